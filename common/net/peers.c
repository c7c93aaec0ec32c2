#include <net/peers.h>

#include <base/alloc.h>
#include <base/error.h>
#include <base/hash_table.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    UT_hash_handle by_identity;
    UT_hash_handle by_number;
    struct weir_peer peer; /* last: ends with the identity */
};

struct weir_peers {
    struct entry *identities;
    struct entry *numbers;
    struct entry *recent; /* messages of one peer tend to come in a row */
    uint64_t next;
};

struct weir_peers *weir_peers_new(void)
{
    struct weir_peers *self = weir_zalloc(1, sizeof *self);
    self->next = 1;
    return self;
}

void weir_peers_destroy(struct weir_peers **self)
{
    if (*self == NULL)
        return;
    struct entry *entry, *next;
    HASH_ITER (by_identity, (*self)->identities, entry, next) {
        HASH_DELETE(by_identity, (*self)->identities, entry);
        HASH_DELETE(by_number, (*self)->numbers, entry);
        free(entry);
    }
    free(*self);
    *self = NULL;
}

struct weir_peer *weir_peers_identified(struct weir_peers *self, const void *identity, size_t bytes)
{
    struct entry *entry = self->recent;
    if (entry != NULL && entry->peer.identity_bytes == bytes &&
        memcmp(entry->peer.identity, identity, bytes) == 0)
        return &entry->peer;
    HASH_FIND(by_identity, self->identities, identity, bytes, entry);
    if (entry == NULL)
        return NULL;
    self->recent = entry;
    return &entry->peer;
}

struct weir_peer *weir_peers_numbered(struct weir_peers *self, uint64_t number)
{
    struct entry *entry = self->recent;
    if (entry == NULL || entry->peer.number != number)
        HASH_FIND(by_number, self->numbers, &number, sizeof number, entry);
    return entry == NULL ? NULL : &entry->peer;
}

struct weir_peer *weir_peers_add(struct weir_peers *self, const void *identity, size_t bytes,
                                 int fd)
{
    WEIR_ASSERT(bytes <= UINT8_MAX);
    struct entry *entry = weir_zalloc(1, sizeof *entry + bytes);
    entry->peer.number = self->next++;
    entry->peer.fd = fd;
    entry->peer.identity_bytes = (uint8_t)bytes;
    memcpy(entry->peer.identity, identity, bytes);
    HASH_ADD_KEYPTR(by_identity, self->identities, entry->peer.identity, bytes, entry);
    HASH_ADD(by_number, self->numbers, peer.number, sizeof entry->peer.number, entry);
    return &entry->peer;
}

void weir_peers_remove(struct weir_peers *self, uint64_t number)
{
    struct entry *entry;
    HASH_FIND(by_number, self->numbers, &number, sizeof number, entry);
    if (entry == NULL)
        return;
    if (self->recent == entry)
        self->recent = NULL;
    HASH_DELETE(by_number, self->numbers, entry);
    HASH_DELETE(by_identity, self->identities, entry);
    free(entry);
}

uint32_t weir_peers_count(const struct weir_peers *self)
{
    return HASH_CNT(by_number, self->numbers);
}

void weir_peers_each(struct weir_peers *self, void (*each)(void *arg, struct weir_peer *peer),
                     void *arg)
{
    struct entry *entry, *next;
    HASH_ITER (by_number, self->numbers, entry, next)
        each(arg, &entry->peer);
}
