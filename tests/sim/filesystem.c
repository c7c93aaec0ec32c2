#include "filesystem.h"
#include <base/alloc.h>
#include <base/error.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTOR_FIRST 1000 /* not one of the real ones */

/* A creation (no `from`), an unlink (no `to`), or a rename. */
struct sim_change {
    struct sim_name *from, *to;
    struct sim_inode *inode;
};

static struct sim_filesystem *filesystem_of(const struct weir_io *io)
{
    return (struct sim_filesystem *)(uintptr_t)io;
}

static bool chance(struct sim_filesystem *self, uint32_t one_in)
{
    return weir_random_below(&self->random, one_in) == 0;
}

int sim_filesystem_call(struct sim_filesystem *self, enum sim_call_kind kind)
{
    if (self->calls_left > 0 && kind != SIM_CALL_READ && --self->calls_left == 0)
        self->dead = true;
    if (self->dead) {
        errno = EIO;
        return -1;
    }
    if (self->fail[kind].times == 0)
        return 0;
    if (self->fail[kind].after > 0) {
        self->fail[kind].after--;
        return 0;
    }
    self->fail[kind].times--;
    self->failed[kind]++;
    errno = self->fail[kind].number;
    return -1;
}

void sim_filesystem_fail(struct sim_filesystem *self, enum sim_call_kind kind, uint32_t after,
                         uint32_t times, int number)
{
    self->fail[kind].after = after;
    self->fail[kind].times = times;
    self->fail[kind].number = number;
}

/* --- room --- */

/* What is unlinked and closed takes no room, though a power cut may bring it back. */
static bool is_seen(const struct sim_filesystem *self, const struct sim_inode *inode)
{
    bool seen = inode->open > 0;
    for (uint32_t i = 0; i < self->name_count && !seen; i++)
        seen = self->names[i]->cache == inode;
    return seen;
}

uint64_t sim_filesystem_used(const struct sim_filesystem *self)
{
    uint64_t used = self->ballast + self->other;
    for (uint32_t i = 0; i < self->inode_count; i++)
        used += is_seen(self, self->inodes[i]) ? self->inodes[i]->allocated : 0;
    return used;
}

static bool has_room(struct sim_filesystem *self, uint64_t bytes)
{
    if (self->bytes_max == 0 || sim_filesystem_used(self) + bytes <= self->bytes_max)
        return true;
    self->full++;
    errno = ENOSPC;
    return false;
}

int sim_filesystem_other(struct sim_filesystem *self, uint64_t bytes)
{
    if (bytes > self->other && !has_room(self, bytes - self->other))
        return -1;
    self->other = bytes;
    return 0;
}

/* --- names --- */

static struct sim_name *name_find(struct sim_filesystem *self, const char *path)
{
    for (uint32_t i = 0; i < self->name_count; i++)
        if (strcmp(self->names[i]->path, path) == 0)
            return self->names[i];
    return NULL;
}

static struct sim_name *name_of(struct sim_filesystem *self, const char *path)
{
    struct sim_name *name = name_find(self, path);
    if (name)
        return name;
    name = weir_zalloc(1, sizeof *name);
    name->path = weir_strdup(path);
    self->names = weir_realloc(self->names, self->name_count + 1, sizeof(struct sim_name *));
    self->names[self->name_count++] = name;
    return name;
}

static bool is_in(const char *path, const char *directory)
{
    const size_t bytes = strlen(directory);
    return strncmp(path, directory, bytes) == 0 && path[bytes] == '/' &&
           strchr(path + bytes + 1, '/') == NULL;
}

static struct sim_inode *inode_new(struct sim_filesystem *self)
{
    struct sim_inode *inode = weir_zalloc(1, sizeof *inode);
    self->inodes = weir_realloc(self->inodes, self->inode_count + 1, sizeof(struct sim_inode *));
    self->inodes[self->inode_count++] = inode;
    return inode;
}

static bool is_needed(const struct sim_filesystem *self, const struct sim_inode *inode)
{
    if (inode->open > 0)
        return true;
    for (uint32_t i = 0; i < self->name_count; i++)
        if (self->names[i]->cache == inode || self->names[i]->disk == inode)
            return true;
    for (uint32_t i = 0; i < self->change_count; i++)
        if (self->changes[i].inode == inode)
            return true;
    return false;
}

static bool is_changing(const struct sim_filesystem *self, const struct sim_name *name)
{
    for (uint32_t i = 0; i < self->change_count; i++)
        if (self->changes[i].from == name || self->changes[i].to == name)
            return true;
    return false;
}

/* Forget names and files that nothing leads to any more. */
static void tidy(struct sim_filesystem *self)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < self->name_count; i++) {
        struct sim_name *name = self->names[i];
        if (name->cache || name->disk || is_changing(self, name)) {
            self->names[kept++] = name;
        } else {
            free(name->path);
            free(name);
        }
    }
    self->name_count = kept;
    kept = 0;
    for (uint32_t i = 0; i < self->inode_count; i++) {
        if (is_needed(self, self->inodes[i]))
            self->inodes[kept++] = self->inodes[i];
        else
            sim_inode_destroy(self->inodes[i]);
    }
    self->inode_count = kept;
}

static void change_add(struct sim_filesystem *self, struct sim_name *from, struct sim_name *to,
                       struct sim_inode *inode)
{
    self->changes = weir_realloc(self->changes, self->change_count + 1, sizeof *self->changes);
    self->changes[self->change_count++] =
        (struct sim_change){.from = from, .to = to, .inode = inode};
}

static void change_reaches_disk(const struct sim_change *change)
{
    if (change->from && change->from->disk == change->inode)
        change->from->disk = NULL;
    if (change->to)
        change->to->disk = change->inode;
}

/* A change that touches what a lost one touched is lost with it. */
static bool depends_on(const struct sim_change *change, const struct sim_change *earlier)
{
    return change->inode == earlier->inode ||
           (change->from && (change->from == earlier->from || change->from == earlier->to)) ||
           (change->to && (change->to == earlier->from || change->to == earlier->to));
}

static void power_cut_names(struct sim_filesystem *self)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < self->change_count; i++) {
        const struct sim_change change = self->changes[i];
        bool survives = chance(self, 2);
        for (uint32_t l = 0; l < lost && survives; l++)
            survives = !depends_on(&change, &self->changes[l]);
        if (survives)
            change_reaches_disk(&change);
        else
            self->changes[lost++] = change;
    }
    self->change_count = 0;
    for (uint32_t i = 0; i < self->name_count; i++) /* whose directory is gone is gone */
        for (uint32_t d = 0; d < self->name_count; d++)
            if (!self->names[d]->disk && self->names[d]->cache &&
                self->names[d]->cache->directory &&
                is_in(self->names[i]->path, self->names[d]->path))
                self->names[i]->disk = NULL;
    for (uint32_t i = 0; i < self->name_count; i++)
        self->names[i]->cache = self->names[i]->disk;
}

static void sync_directory(struct sim_filesystem *self, const struct sim_inode *inode)
{
    const char *path = "";
    uint32_t left = 0;
    for (uint32_t i = 0; i < self->name_count; i++)
        if (self->names[i]->cache == inode)
            path = self->names[i]->path;
    for (uint32_t i = 0; i < self->change_count; i++) {
        const struct sim_change change = self->changes[i];
        if (is_in((change.to ? change.to : change.from)->path, path))
            change_reaches_disk(&change);
        else
            self->changes[left++] = change;
    }
    self->change_count = left;
    tidy(self);
}

/* --- the calls --- */

static struct sim_inode *inode_of(const struct sim_filesystem *self, int fd)
{
    WEIR_ASSERT(fd >= DESCRIPTOR_FIRST &&
                (uint32_t)(fd - DESCRIPTOR_FIRST) < self->descriptor_count);
    struct sim_inode *inode = self->descriptors[fd - DESCRIPTOR_FIRST];
    WEIR_ASSERT(inode); /* a program's error, not the disk's */
    return inode;
}

static int descriptor_new(struct sim_filesystem *self, struct sim_inode *inode)
{
    uint32_t at = 0;
    while (at < self->descriptor_count && self->descriptors[at])
        at++;
    if (at == self->descriptor_count) {
        self->descriptor_count++;
        self->descriptors =
            weir_realloc(self->descriptors, self->descriptor_count, sizeof(struct sim_inode *));
    }
    self->descriptors[at] = inode;
    inode->open++;
    return DESCRIPTOR_FIRST + (int)at;
}

static struct sim_inode *create(struct sim_filesystem *self, const char *path)
{
    struct sim_name *name = name_of(self, path);
    name->cache = inode_new(self);
    change_add(self, NULL, name, name->cache);
    return name->cache;
}

static int call_open(const struct weir_io *io, const char *path, int flags)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_name *name = name_find(self, path);
    struct sim_inode *inode = name ? name->cache : NULL;
    if (sim_filesystem_call(self, flags & O_CREAT ? SIM_CALL_NAME : SIM_CALL_READ) != 0)
        return -1;
    if (!inode && !(flags & O_CREAT)) {
        errno = ENOENT;
        return -1;
    }
    if (!inode || (flags & O_TRUNC))
        inode = create(self, path);
    return descriptor_new(self, inode);
}

static void call_close(const struct weir_io *io, int fd)
{
    struct sim_filesystem *self = filesystem_of(io);
    inode_of(self, fd)->open--;
    self->descriptors[fd - DESCRIPTOR_FIRST] = NULL;
    tidy(self);
}

static ssize_t call_pread(const struct weir_io *io, int fd, void *data, size_t size,
                          uint64_t offset)
{
    struct sim_filesystem *self = filesystem_of(io);
    const struct sim_inode *inode = inode_of(self, fd);
    if (sim_filesystem_call(self, SIM_CALL_READ) != 0)
        return -1;
    if (offset >= inode->size)
        return 0;
    if (size > inode->size - offset)
        size = (size_t)(inode->size - offset);
    memset(data, 0, size);
    if (offset < inode->held)
        memcpy(data, inode->cache + offset,
               size < inode->held - offset ? size : inode->held - offset);
    return (ssize_t)size;
}

/* Blocks for what reaches behind those there are; fewer bytes where there is no room for all. */
static uint64_t find_room(struct sim_filesystem *self, struct sim_inode *inode, uint64_t offset,
                          uint64_t size)
{
    while (offset + size > inode->allocated) {
        if (!has_room(self, SIM_BLOCK_BYTES))
            return inode->allocated > offset ? inode->allocated - offset : 0;
        inode->allocated += SIM_BLOCK_BYTES;
    }
    return size;
}

static ssize_t call_pwritev(const struct weir_io *io, int fd, const struct iovec *iov, int count,
                            uint64_t offset)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_inode *inode = inode_of(self, fd);
    uint64_t size = 0, left;
    for (int i = 0; i < count; i++)
        size += iov[i].iov_len;
    const bool was_dead = self->dead;
    const bool fails = sim_filesystem_call(self, SIM_CALL_WRITE) != 0;
    const int number = errno;
    if (was_dead)
        return -1;
    if (fails) /* some of it is written all the same */
        size = weir_random_below(&self->random, size + 1);
    else if (size > 1 && chance(self, 64)) /* it may take several calls */
        size = 1 + weir_random_below(&self->random, size - 1);
    left = find_room(self, inode, offset, size);
    if (left == 0 && size > 0 && !fails)
        return -1;
    size = left;
    for (int i = 0; i < count && left > 0; i++) {
        const uint64_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        sim_inode_write(inode, iov[i].iov_base, part, offset);
        offset += part;
        left -= part;
    }
    if (chance(self, 16))
        sim_inode_write_back(inode, &self->random);
    errno = number;
    return fails ? -1 : (ssize_t)size;
}

static int call_sync(const struct weir_io *io, int fd)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_inode *inode = inode_of(self, fd);
    if (sim_filesystem_call(self, SIM_CALL_SYNC) != 0) {
        const int number = errno;
        if (!self->dead)
            sim_inode_sync_fails(inode, &self->random);
        errno = number;
        return -1;
    }
    if (inode->directory)
        sync_directory(self, inode);
    else
        sim_inode_sync(inode);
    return 0;
}

static int call_allocate(const struct weir_io *io, int fd, uint64_t size)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_inode *inode = inode_of(self, fd);
    if (sim_filesystem_call(self, SIM_CALL_WRITE) != 0)
        return -1;
    const uint64_t bytes = (size + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES * SIM_BLOCK_BYTES;
    if (bytes > inode->allocated && !has_room(self, bytes - inode->allocated))
        return -1;
    if (bytes > inode->allocated)
        inode->allocated = bytes;
    if (size > inode->size)
        inode->size = size;
    return 0;
}

static int call_rename(const struct weir_io *io, const char *from, const char *to)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_name *old = name_find(self, from);
    if (sim_filesystem_call(self, SIM_CALL_NAME) != 0)
        return -1;
    if (!old || !old->cache) {
        errno = ENOENT;
        return -1;
    }
    struct sim_name *new = name_of(self, to);
    change_add(self, old, new, old->cache);
    new->cache = old->cache;
    old->cache = NULL;
    tidy(self);
    return 0;
}

static int call_unlink(const struct weir_io *io, const char *path)
{
    struct sim_filesystem *self = filesystem_of(io);
    struct sim_name *name = name_find(self, path);
    if (sim_filesystem_call(self, SIM_CALL_NAME) != 0)
        return -1;
    if (!name || !name->cache) {
        errno = ENOENT;
        return -1;
    }
    change_add(self, name, NULL, name->cache);
    name->cache = NULL;
    tidy(self);
    return 0;
}

static int call_stat(const struct weir_io *io, const char *path, struct stat *status)
{
    struct sim_filesystem *self = filesystem_of(io);
    const struct sim_name *name = name_find(self, path);
    if (self->dead || !name || !name->cache) {
        errno = self->dead ? EIO : ENOENT;
        return -1;
    }
    memset(status, 0, sizeof *status);
    status->st_mode = name->cache->directory ? S_IFDIR | 0700 : S_IFREG | 0600;
    status->st_size = (off_t)name->cache->size;
    status->st_blocks = (blkcnt_t)(name->cache->allocated / 512);
    return 0;
}

static int call_mkdir(const struct weir_io *io, const char *path)
{
    struct sim_filesystem *self = filesystem_of(io);
    const struct sim_name *name = name_find(self, path);
    if (sim_filesystem_call(self, SIM_CALL_NAME) != 0)
        return -1;
    if (name && name->cache) {
        errno = EEXIST;
        return -1;
    }
    create(self, path)->directory = true;
    return 0;
}

static int call_list(const struct weir_io *io, const char *path,
                     void (*each)(void *arg, const char *name), void *arg)
{
    struct sim_filesystem *self = filesystem_of(io);
    const struct sim_name *directory = name_find(self, path);
    if (sim_filesystem_call(self, SIM_CALL_READ) != 0)
        return -1;
    if (!directory || !directory->cache) {
        errno = ENOENT;
        return -1;
    }
    char **found = weir_zalloc(self->name_count, sizeof *found);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->name_count; i++)
        if (self->names[i]->cache && is_in(self->names[i]->path, path))
            found[count++] = weir_strdup(strrchr(self->names[i]->path, '/') + 1);
    for (uint32_t i = count; i > 1; i--) { /* in no order */
        const uint64_t other = weir_random_below(&self->random, i);
        char *swapped = found[i - 1];
        found[i - 1] = found[other];
        found[other] = swapped;
    }
    for (uint32_t i = 0; i < count; i++) {
        each(arg, found[i]);
        free(found[i]);
    }
    free(found);
    return 0;
}

/* --- its life --- */

void sim_filesystem_init(struct sim_filesystem *self, uint64_t seed)
{
    memset(self, 0, sizeof *self);
    weir_random_seed(&self->random, seed);
    struct sim_name *root = name_of(self, SIM_MOUNT);
    root->cache = root->disk = inode_new(self);
    root->cache->directory = true;
    self->io = (struct weir_io){.open = call_open,
                                .pread = call_pread,
                                .pwritev = call_pwritev,
                                .fdatasync = call_sync,
                                .fsync = call_sync,
                                .allocate = call_allocate,
                                .rename = call_rename,
                                .unlink = call_unlink,
                                .close = call_close,
                                .stat = call_stat,
                                .mkdir = call_mkdir,
                                .list = call_list};
}

void sim_filesystem_fini(struct sim_filesystem *self)
{
    for (uint32_t i = 0; i < self->name_count; i++) {
        free(self->names[i]->path);
        free(self->names[i]);
    }
    for (uint32_t i = 0; i < self->inode_count; i++)
        sim_inode_destroy(self->inodes[i]);
    free(self->names);
    free(self->inodes);
    free(self->changes);
    free(self->descriptors);
}

void sim_filesystem_die(struct sim_filesystem *self)
{
    self->dead = true;
}

void sim_filesystem_power_cut(struct sim_filesystem *self)
{
    self->dead = true;
    power_cut_names(self);
    for (uint32_t i = 0; i < self->inode_count; i++)
        sim_inode_power_cut(self->inodes[i], &self->random);
}

void sim_filesystem_reopen(struct sim_filesystem *self)
{
    for (uint32_t i = 0; i < self->descriptor_count; i++)
        if (self->descriptors[i])
            self->descriptors[i]->open--;
    self->descriptor_count = 0;
    self->dead = false;
    self->calls_left = 0;
    self->full = 0;
    memset(self->failed, 0, sizeof self->failed);
    tidy(self);
    for (uint32_t i = 0; i < self->inode_count; i++)
        sim_inode_forget(self->inodes[i], &self->random);
}
