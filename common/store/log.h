/* The log of a spool: a row of segment files, of which the last one is being written.
 *
 *   oldest                                          active
 *   [first …  last] [first …  last] … [first … last | not written yet ]     [spare] [spare]
 *
 * Three threads use it: the log writer appends (log_writer.c), the reader reads (log_read.c), the
 * state thread trims (log_table.c). What they share is under `lock`; the file writing itself is
 * not, so nobody ever waits for a disk there. */
#ifndef WEIR_STORE_LOG_H
#define WEIR_STORE_LOG_H

#include "io.h"
#include "log_format.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where a record begins: one for each WEIR_INDEX_STEP_BYTES, so memory grows by 16 bytes a MiB. */
struct weir_place {
    uint64_t sequence;
    uint64_t offset;
};

/* A damaged part, found at start or by reading. */
struct weir_hole {
    uint64_t from;
    uint64_t to;
};

struct weir_segment {
    uint64_t first; /* its name; no record is below it */
    uint64_t last;  /* sequence of its records; first - 1: none */
    uint64_t end;   /* where its records end */
    uint64_t bytes; /* of the file */
    uint32_t salt;
    struct weir_place *places; /* ascending */
    uint32_t place_count;
    struct weir_hole *holes; /* ascending */
    uint32_t hole_count;
    int fd;          /* -1: closed */
    uint32_t pins;   /* held by the reader: neither closed nor reused */
    bool unsurveyed; /* its records, places and holes are not known before it is first read */
    bool retiring;   /* its file is being removed: nobody may pin it */
    uint64_t read_tick;
};

struct weir_log_config {
    const struct weir_io *io;
    const char *directory; /* of the spool; the segments are in its "log" */
    uint8_t uuid[16];
    uint16_t tag;
    uint64_t bytes_max; /* 0: unbounded */
    uint64_t segment_bytes;
};

struct weir_gather; /* log_writer.c: records on their way into one write */

struct weir_log {
    const struct weir_io *io;
    char *directory; /* ".../log" */
    char *damaged;   /* ".../damaged" */
    uint8_t uuid[16];
    uint16_t tag;
    uint64_t bytes_max;
    uint64_t segment_bytes;
    atomic_uint_fast64_t
        other_bytes; /* of the spool's other files, as the state thread sees them */
    atomic_uint_fast64_t wanted_bytes; /* of the segment for which there was no room last */
    atomic_uint_fast64_t syncs;        /* of its segments' records, since the start */
    atomic_bool unsynced; /* weir_log_sync_appended has failed: no later sync says anything */

    pthread_mutex_t lock;
    struct weir_segment **segments; /* ascending */
    uint32_t segment_count;
    uint32_t segment_capacity;
    uint64_t segments_bytes;                  /* of the files in the table */
    uint64_t spares[WEIR_SPARE_SEGMENTS_MAX]; /* numbers in their names */
    uint32_t spare_count;
    uint32_t recycling;    /* spares to be */
    uint64_t spare_number; /* for the next one's name */
    uint64_t trim_mark;    /* records wholly below it are not needed */
    bool removal_unsynced; /* whoever retires a segment: the last one may come back */
    bool removal_failed;   /* … and this was said */
    bool blocked;          /* the active segment is full, and there was no room for another */
    uint64_t readable;     /* the last sequence whose append has ended */

    /* The log writer's own. */
    struct weir_segment *active; /* its file stays open */
    uint64_t write_end;          /* in the active segment */
    uint64_t next_sequence;      /* above the last record: no append may be below it … */
    uint64_t state_next;         /* … nor below what the state asks for */
    uint64_t certified;          /* the last sequence known to be synced */
    uint64_t marked;             /* the highest certified mark that a file bears */
    uint64_t next_place;         /* from this offset on the active segment gets its next place */
    uint32_t crc;                /* of the last record, or the salt */
    bool dirty;                  /* written to since the last sync */
    int failed;                  /* a WEIR_E… once a write or a sync has failed */
    struct weir_error failure;
    struct weir_gather *gather;
};

/* --- log_table.c: which segments there are ------------------------------------------------- */

/* "<directory>/<20 digits>.seg"; to be freed. */
char *weir_log_segment_path(const struct weir_log *log, uint64_t first);
char *weir_log_spare_path(const struct weir_log *log, uint64_t number);
struct weir_segment *weir_segment_new(uint64_t first, uint64_t bytes, uint32_t salt);
void weir_segment_destroy(const struct weir_log *log, struct weir_segment **self);
void weir_segment_add_place(struct weir_segment *segment, uint64_t sequence, uint64_t offset);
void weir_segment_add_hole(struct weir_segment *segment, uint64_t from, uint64_t to);
/* Where the hole at `offset` ends; `offset` itself when there is none. */
uint64_t weir_segment_skip_hole(const struct weir_segment *segment, uint64_t offset);

/* All of these take the lock. */
/* One that has the name of the last one in the table takes its place: that one was empty, and its
 * file is gone since the new one's was given its name. */
void weir_log_add_segment(struct weir_log *log, struct weir_segment *segment);
void weir_log_add_spare(struct weir_log *log, uint64_t number);
/* Bytes of all the spool's files but the spares, which are room rather than use. */
uint64_t weir_log_used_bytes(struct weir_log *log);
/* Remove spares until they, too, fit into what is allowed. */
void weir_log_shed_spares(struct weir_log *log);
/* May a file of this size be added? (There are no spares then, or one would be used.) */
bool weir_log_has_room(struct weir_log *log, uint64_t bytes);
uint64_t weir_log_oldest_segment_last(struct weir_log *log);
/* Free the segments wholly below `sequence`, the active one excepted. */
void weir_log_trim(struct weir_log *log, uint64_t sequence);
bool weir_log_is_blocked(struct weir_log *log);
/* When the log is blocked and nothing in its active segment is needed any more, take that out, so
 * that none is active. Otherwise a small spool full of finished work would stay full for ever.
 * (Log writer.) */
void weir_log_unblock(struct weir_log *log);
/* Take a spare to be written over: true, and its number. (Log writer.) */
bool weir_log_take_spare(struct weir_log *log, uint64_t *number);

/* The segment that holds `sequence`, or the first one above it, pinned; *readable is the last
 * sequence that may be seen. NULL: nothing readable there. */
struct weir_segment *weir_log_pin(struct weir_log *log, uint64_t sequence, uint64_t *readable);
/* Of a pinned segment: where to begin looking for `sequence`, where its records end now, and with
 * which sequence. */
void weir_log_extent(struct weir_log *log, const struct weir_segment *segment, uint64_t sequence,
                     uint64_t *offset, uint64_t *end, uint64_t *last);
void weir_log_unpin(struct weir_log *log, struct weir_segment *segment);
/* From another thread than the log writer's: sync all whose append has ended. A failure is as final
 * as one of the log writer's own. */
int weir_log_sync_appended(struct weir_log *log, struct weir_error *error);

/* --- log_directory.c ----------------------------------------------------------------------- */

struct weir_listing {
    uint64_t *firsts; /* of the segments found, ascending; to be freed */
    uint32_t count;
};

/* Whether a spool's directory has segments of a log. */
bool weir_log_exists(const struct weir_io *io, const char *spool_directory);
/* List the segments, adopt spares, remove what a crash left unfinished. WEIR_EIO. */
int weir_log_list(struct weir_log *log, struct weir_listing *listing, struct weir_error *error);
/* Open a segment and check its header. WEIR_EINVAL: another version. WEIR_EDAMAGED: the header is
 * damaged, or another spool's, or another segment's. WEIR_EIO. */
int weir_log_open_segment(const struct weir_log *log, uint64_t first,
                          struct weir_segment_header *header, struct weir_segment **segment,
                          struct weir_error *error);

/* --- log_recovery.c ------------------------------------------------------------------------ */

/* Open or make the log and recover it. `absorbed` is the last sequence that the state says was in
 * it, `next_sequence` what the state asks for at least.
 * *damage becomes a report for the operator, to be freed, or stays NULL.
 * *oldest becomes the first sequence there is, or 0. */
int weir_log_open(const struct weir_log_config *config, uint64_t absorbed, uint64_t next_sequence,
                  struct weir_log **self, uint64_t *oldest, char **damage,
                  struct weir_error *error);

/* --- log_writer.c -------------------------------------------------------------------------- */

struct weir_gather *weir_gather_new(void);

struct weir_append {
    const struct weir_record *record;
    int status;
    struct weir_error error;
};

/* Write the records, in order, and with `sync` make them durable; without, weir_log_sync does so
 * later, unless they lie more than WEIR_UNSYNCED_MESSAGES_MAX above what is durable: whatever can
 * be read lies within that, or is durable. Nobody reads them before weir_log_show. Every append
 * gets its status; once one is WEIR_EFULL, those behind it are as well. Returns 0, or the error
 * after which the log cannot be written any more, now and ever after. */
int weir_log_append(struct weir_log *log, struct weir_append *appends, uint32_t count, bool sync);
/* All that was appended well may be read from now on. */
void weir_log_show(struct weir_log *log);
/* Make all that was written durable. Returns as weir_log_append. */
int weir_log_sync(struct weir_log *log);
/* Sync, and note what is synced, so that the next start has nothing to write anew. Then free all.
 */
void weir_log_close(struct weir_log **self);
/* Free all, as if the process had been killed. */
void weir_log_abandon(struct weir_log **self);

/* Begin a segment with room for `bytes`, header included. With `publish_now` it is part of the log
 * at once; without (recovery), its file has a name that no start looks at until
 * weir_log_publish_segment gives it its own. */
int weir_log_begin_segment(struct weir_log *log, uint64_t first, uint64_t bytes, bool publish_now,
                           struct weir_error *error);
int weir_log_publish_segment(struct weir_log *log, struct weir_error *error);

/* --- log_read.c ---------------------------------------------------------------------------- */

struct weir_log_reader;

struct weir_log_reader *weir_log_reader_new(struct weir_log *log);
void weir_log_reader_destroy(struct weir_log_reader **self);
/* Records from the one that holds `sequence`, or the next there is, up to `bytes_max`, but one at
 * least. Reads each block once and hands out references to it. What turns out to be damaged is
 * reported to the operator and left out. WEIR_EIO: says which file. */
int weir_log_read(struct weir_log_reader *reader, uint64_t sequence, uint32_t bytes_max,
                  struct weir_record **records, uint32_t *count, struct weir_error *error);

#endif
