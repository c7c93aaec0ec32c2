/* The stream as the groups read it: what is committed, the newest batches kept in memory, and
 * chunks read from the log for the groups that lag. */
#ifndef WEIR_CORE_STREAM_H
#define WEIR_CORE_STREAM_H

#include <contract/store.h>
#include <wire/batch.h>

/* A committed batch. */
struct weir_stream_batch {
    struct weir_record record;
    struct weir_batch_header header; /* points into record.header */
    uint32_t width;                  /* of an index entry */
    uint32_t known_entry;            /* the body's offset of one entry, so that going through … */
    uint64_t known_offset;           /* … a batch adds its lengths up once */
};

/* Takes the record over. WEIR_EPROTO when it is not a batch; it is released then. */
int weir_stream_batch_init(struct weir_stream_batch *batch, struct weir_record *record);
void weir_stream_batch_fini(struct weir_stream_batch *batch);
uint64_t weir_stream_batch_bytes(const struct weir_stream_batch *batch);
/* The first sequence above the batch. */
uint64_t weir_stream_batch_end(const struct weir_stream_batch *batch);
/* The offset in the body of an entry. */
uint64_t weir_stream_batch_offset(struct weir_stream_batch *batch, uint32_t entry);
uint64_t weir_stream_batch_key(const struct weir_stream_batch *batch, uint64_t sequence);
/* How many sequences from `first` on, below `end`, are all skipped or all not. */
uint64_t weir_stream_batch_run(const struct weir_stream_batch *batch, uint64_t first, uint64_t end,
                               bool *skipped);
/* One message, as new references. */
void weir_stream_batch_cut(struct weir_stream_batch *batch, uint64_t sequence, uint32_t count,
                           struct weir_bytes *index, struct weir_bytes *body);

struct weir_stream_chunk { /* what one READ gave: all there is in [from, to) */
    uint64_t from, to;
    struct weir_stream_batch *batches;
    uint32_t count;
    uint64_t bytes;
    uint64_t used; /* when, for the least recently used one to give way */
};

struct weir_stream_read {
    uint64_t sequence;
    uint64_t expected; /* it will probably bring all below this, too */
    uint64_t end;      /* committed when it was asked for */
};

struct weir_stream_failed { /* a READ that failed, and is not tried again before its time */
    uint64_t sequence;
    int64_t again_ns, wait_ns;
};

struct weir_stream {
    uint64_t next;                  /* the next sequence to be given to a message */
    uint64_t end;                   /* everything below is committed */
    struct weir_stream_batch *tail; /* a ring of `capacity`, oldest first from `head` */
    uint32_t head, count, capacity;
    uint64_t tail_from; /* the tail has all there is from here on */
    uint64_t tail_bytes;
    uint64_t pushed_bytes; /* committed since the start */
    struct weir_stream_chunk *chunks;
    uint32_t chunk_count;
    uint64_t chunk_bytes;
    uint64_t message_bytes; /* on the average of the newest chunk; 0: there was none */
    uint64_t clock;
    struct weir_stream_read reads[WEIR_READS_MAX];
    uint32_t read_count;
    struct weir_stream_failed failed[WEIR_READS_MAX];
    uint32_t failed_count;
    int64_t now_ns; /* of this turn: its owner's to set */
    void *arg;
    void (*read)(void *arg, uint64_t sequence, uint32_t bytes); /* ask the log */
};

void weir_stream_init(struct weir_stream *self, uint64_t next,
                      void (*read)(void *arg, uint64_t sequence, uint32_t bytes), void *arg);
void weir_stream_fini(struct weir_stream *self);

/* A batch was committed; taken over. Batches come in order. */
void weir_stream_push(struct weir_stream *self, struct weir_stream_batch *batch);

enum weir_stream_found {
    WEIR_STREAM_HERE,    /* *batch holds the sequence, or is the next one there is above it */
    WEIR_STREAM_END,     /* nothing is committed at or above it */
    WEIR_STREAM_UNKNOWN, /* it is not in memory: see weir_stream_want */
};
/* *batch lives until the next push or loaded. */
enum weir_stream_found weir_stream_find(struct weir_stream *self, uint64_t sequence,
                                        struct weir_stream_batch **batch);
/* Read it, and about so many bytes behind it, unless that is under way. Whoever waits looks again
 * when any READ has ended. False: it has failed lately, and is not asked for now; look again in a
 * while. */
bool weir_stream_want(struct weir_stream *self, uint64_t sequence, uint32_t bytes);
/* The READ for `sequence` has ended; the records are taken over. False: it failed, and that is to
 * be said: for the first time, or after a long while again. */
bool weir_stream_loaded(struct weir_stream *self, uint64_t sequence,
                        struct weir_store_result *result);

#endif
