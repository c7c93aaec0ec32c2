/* Looking at a segment's records one after another, and finding the next one behind a damage. Used
 * by recovery and by reading. */
#ifndef WEIR_STORE_LOG_SCAN_H
#define WEIR_STORE_LOG_SCAN_H

#include "io.h"
#include "log_format.h"

/* A part of a file in memory. */
struct weir_window {
    const struct weir_io *io;
    int fd;
    uint32_t salt;
    uint64_t limit; /* nothing is looked at from this offset on */
    uint8_t *data;
    size_t capacity;
    uint64_t offset;
    size_t size;
    size_t step; /* bytes read at once, when less is asked for */
};

enum weir_look {
    WEIR_LOOK_GOOD,
    WEIR_LOOK_BAD_BODY, /* the header can be trusted, what follows it cannot */
    WEIR_LOOK_NONE,     /* no record begins here, or its header is damaged */
    WEIR_LOOK_ERROR,    /* the file cannot be read: errno */
};

void weir_window_init(struct weir_window *window, const struct weir_io *io, size_t step);
void weir_window_fini(struct weir_window *window);
/* Turn to another file, or to another limit of the same one. */
void weir_window_set(struct weir_window *window, int fd, uint32_t salt, uint64_t limit);
/* The bytes [offset, offset + size). NULL: errno says why; 0 when they lie behind the limit or the
 * file's end. They stay until the next call. */
const uint8_t *weir_window_at(struct weir_window *window, uint64_t offset, size_t size);

/* Only the header of the record at `offset`: never BAD_BODY. */
enum weir_look weir_look_header(struct weir_window *window, uint64_t offset,
                                struct weir_record_header *header);
/* The whole record, against its own seed. */
enum weir_look weir_look_record(struct weir_window *window, uint64_t offset,
                                struct weir_record_header *header);
/* The first whole record at or above `offset` that holds a sequence above `after` (or a mark that
 * is not below it). GOOD: *found and *header; else NONE or ERROR. */
enum weir_look weir_look_for_record(struct weir_window *window, uint64_t offset, uint64_t after,
                                    uint64_t *found, struct weir_record_header *header);

#endif
