/* Deliveries that are out: what is still open in each, until when it is leased, and who has it. */
#ifndef WEIR_CORE_LEASE_H
#define WEIR_CORE_LEASE_H

#include <base/clock.h>
#include <base/hash_table.h>
#include <base/heap.h>
#include <base/rangeset.h>
#include <contract/store.h>

struct weir_group;

struct weir_lease_name {
    uint64_t incarnation;
    uint64_t delivery;
};

/* Messages of one batch, neighbours in the stream and in the delivery. */
struct weir_lease_slice {
    uint32_t index; /* of the first, in the delivery */
    uint32_t count;
    uint64_t sequence;
    int64_t time_ms;
    struct weir_row *row;   /* a message with a past: the slice has one message */
    bool again;             /* was handed out before, and given back */
    struct weir_bytes keys; /* order: key: the index entries, for the keys; else empty */
    uint32_t width, flags;  /* of them */
};

struct weir_lease_running {
    uint32_t index;
    int64_t until_ns; /* end of its attempt, with grace */
    uint64_t beat;    /* the newest beat that named it */
};

struct weir_lease {
    UT_hash_handle hh;
    struct weir_lease_name name;
    struct weir_group *group;
    struct weir_lease_slice *slices; /* by index */
    uint32_t slice_count;
    struct weir_rangeset open; /* indexes without an outcome */
    uint64_t open_count;
    struct weir_heap_node deadline, timeout;
    int64_t made_ns, made_ms;
    int64_t stored_deadline_ms; /* as the rows in the state say; 0: they do not */
    bool alone;                 /* a suspect */
    bool begun;                 /* GO was said */
    bool durable;               /* every open message has a row in the state */
    bool final;                 /* at most once: nothing of it comes again */
    uint64_t worker;            /* 0: not known yet */
    char *worker_name;
    struct weir_lease_running *running;
    uint32_t running_count;
    struct weir_lease *prev, *next; /* in `young`: not durable, oldest first */
};

struct weir_leases {
    struct weir_lease *table;
    struct weir_lease *young;
    struct weir_heap deadlines, timeouts;
    uint64_t messages; /* open, of all */
};

/* A new lease over these slices, which are copied; the array's rows and keys are taken over. */
struct weir_lease *weir_leases_add(struct weir_leases *self, const struct weir_lease_name *name,
                                   struct weir_group *group, struct weir_lease_slice *slices,
                                   uint32_t slice_count, const struct weir_now *now,
                                   int64_t deadline_ns);
/* Releases what it still has. */
void weir_leases_remove(struct weir_leases *self, struct weir_lease *lease);
struct weir_lease *weir_leases_find(const struct weir_leases *self, uint64_t incarnation,
                                    uint64_t delivery);
void weir_leases_fini(struct weir_leases *self);
/* Every open message of it has its row now. */
void weir_leases_durable(struct weir_leases *self, struct weir_lease *lease);

/* The first open run within [*first, *first + *count): true, and it is in both; false: none. */
bool weir_lease_open_run(const struct weir_lease *lease, uint32_t *first, uint32_t *count);
/* These have ended. */
void weir_lease_close(struct weir_leases *self, struct weir_lease *lease, uint32_t first,
                      uint32_t count);
struct weir_lease_slice *weir_lease_slice_of(const struct weir_lease *lease, uint32_t index);
/* The key hash of a message of an ordered group; 0: none. */
uint64_t weir_lease_key(const struct weir_lease_slice *slice, uint32_t index);

/* A message is running, says this beat: if that is new, its time ends at `until_ns`; `anew`: from
 * now on in any case. */
void weir_lease_run(struct weir_leases *self, struct weir_lease *lease, uint32_t index,
                    int64_t until_ns, bool anew, uint64_t beat);
void weir_lease_stop(struct weir_leases *self, struct weir_lease *lease, uint32_t index);

#endif
