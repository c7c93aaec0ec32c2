/* The dead letters of a topology, in one SQLite file. The collector writes them; the command line
 * lists, shows, replays and purges them, while the collector runs or not: both may have the file
 * open at once. Anyone may look into it with the sqlite3 shell (table dead_letters).
 *
 * A store belongs to one thread. Every function that can fail fills `error` (may be NULL):
 * WEIR_EIO and WEIR_EDAMAGED name the file and the cause, WEIR_EFULL a full disk, WEIR_EBUSY that
 * another process has kept the file locked for ten seconds. */
#ifndef WEIR_DLQ_STORE_H
#define WEIR_DLQ_STORE_H

#include <base/error.h>
#include <base/message_id.h>
#include <contract/store.h>

struct weir_dlq_store;

/* One death of one message in one group. Texts end with NUL. Bytes that are not UTF-8 stand in
 * JSON as an object {"base64": "…"} in the text's place. */
struct weir_dead_letter {
    int64_t row; /* for paging: ascending in the order of arrival */
    struct weir_id id;
    char id_text[WEIR_ID_TEXT_BYTES];
    const char *group; /* "": a message that came straight from a producer */
    uint32_t death;    /* this death's number, from 1 */
    const char *topic;
    const char *key; /* NULL: none */
    size_t key_bytes;
    const char *headers; /* JSON object */
    const void *payload; /* NULL where the listing was asked to leave payloads out */
    size_t payload_bytes;
    enum weir_reason reason;
    uint32_t attempts;
    const char *history;              /* JSON array: attempt, time, outcome, worker, error */
    const char *error;                /* the newest error in it; "": none */
    struct weir_bytes origin_history; /* the same as it goes on the wire (wire/batch.h); borrowed */
    struct weir_bytes message;        /* the whole message as it came (weir_message_decode);
                                         borrowed; empty where payloads are left out */
    int64_t died_ms;                  /* when it came to the collector */
    int64_t accepted_ms;              /* when the ventilator took it in */
};

/* Which dead letters. Zeroed: all of them. */
struct weir_dlq_filter {
    const struct weir_id *id; /* NULL: any */
    const char *group;        /* NULL: any */
    uint32_t death;           /* 0: any */
    enum weir_reason reason;  /* NONE: any */
    const char *topic;        /* a pattern, as groups have them; NULL: any */
    int64_t since_ms;         /* died at or after; 0: any */
    int64_t until_ms;         /* died before; 0: any */
    const char *text;         /* in the payload or the newest error, letter for letter; NULL: any */
    int64_t after_row;        /* only rows above: the last one of the page before */
    uint32_t limit;           /* at most so many; 0: all */
    bool without_payload;
};

/* Open the file. With `make` it is made if missing, directories too; without, WEIR_ENOTFOUND. */
int weir_dlq_store_open(const char *path, bool make, struct weir_dlq_store **store,
                        struct weir_error *error);
void weir_dlq_store_destroy(struct weir_dlq_store **self);

/* Call `each` for the dead letters that the filter lets through, oldest first, until it returns
 * false. The letter and its texts are valid during the call, which must not use the store: whoever
 * wants to remove while listing asks for a page (limit, after_row), then removes. Short pages also
 * let the collector tidy its file up meanwhile. */
int weir_dlq_store_list(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                        bool (*each)(void *arg, const struct weir_dead_letter *letter), void *arg,
                        struct weir_error *error);
int weir_dlq_store_count(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                         uint64_t *count, struct weir_error *error);

/* Remove exactly one death, after a replay was confirmed. *removed says whether it was there. It is
 * remembered as removed, so that a late repeat of its submission does not bring it back. */
int weir_dlq_store_remove(struct weir_dlq_store *self, const struct weir_id *id, const char *group,
                          uint32_t death, bool *removed, struct weir_error *error);
/* Remove all that the filter lets through (after_row and limit heeded), remembered likewise. */
int weir_dlq_store_purge(struct weir_dlq_store *self, const struct weir_dlq_filter *filter,
                         uint64_t *count, struct weir_error *error);

/* The collector's side (nodes/dlq/main.c). Write some HOLD requests, all or none, in one
 * transaction that is synced when this returns. duplicates[i] gets how many messages of request i
 * were there already. `tag` names letters that came without an origin. */
int weir_dlq_store_hold(struct weir_dlq_store *self, uint16_t tag,
                        const struct weir_store_request *requests, uint32_t count,
                        uint32_t *duplicates, struct weir_error *error);
/* What the collector's machine starts with; *producers is the caller's to free. */
int weir_dlq_store_recover(struct weir_dlq_store *self, struct weir_producer_row **producers,
                           uint32_t *producer_count, uint64_t *next_sequence,
                           struct weir_error *error);
/* The spools whose dead letters came; *spools is the caller's to free. */
int weir_dlq_store_spools(struct weir_dlq_store *self, struct weir_spool_row **spools,
                          uint32_t *count, struct weir_error *error);

#endif
