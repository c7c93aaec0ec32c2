/* A tape of everything that happens to the files of one directory, in its order, and what a kill or
 * a power cut after any part of it would leave behind.
 *
 * Our own system calls get onto it because these tests are linked with --wrap (tape_calls.c),
 * SQLite's because its default VFS is ours (tape_vfs.c). Both are carried out for real under one
 * lock, so the order on the tape is the one in which they took effect. */
#ifndef WEIR_TESTS_TAPE_H
#define WEIR_TESTS_TAPE_H

#include <base/random.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tape_kind {
    TAPE_CREATE,         /* path, file: a new, empty one */
    TAPE_DIRECTORY,      /* path: a new one */
    TAPE_WRITE,          /* file, at, bytes, data */
    TAPE_RESIZE,         /* file, bytes; `grow`: never smaller than it is */
    TAPE_SYNC,           /* file: what it holds */
    TAPE_SYNC_FAILED,    /* file: its pages are clean now, and no later sync writes them */
    TAPE_SYNC_DIRECTORY, /* path: the names in it */
    TAPE_RENAME,         /* path, to */
    TAPE_UNLINK,         /* path */
    TAPE_NOTE,           /* what the outside saw happen: note, number, value */
};

struct tape_entry {
    enum tape_kind kind;
    uint32_t file;
    bool grow;
    uint64_t at;
    uint64_t bytes;
    uint8_t *data;
    char *path, *to; /* within the directory; "" is the directory itself */
    uint32_t note;
    uint64_t number, value;
};

/* A file as a tape begins with it. */
struct tape_file {
    char *path; /* NULL: it comes later */
    bool directory;
    uint8_t *data;
    uint64_t bytes;
};

struct tape {
    struct tape_entry *entries;
    uint32_t count, capacity;
    struct tape_file *files; /* numbered as in the entries */
    uint32_t file_count, file_capacity;
};

/* Record what happens below this directory from now on; one tape at a time. What is there already
 * counts as synced. */
struct tape *tape_record(const char *directory);
/* The same of a directory that a kill left: what is not synced on this disk stays so, and the
 * tape's entries go on from it. */
struct disk;
struct tape *tape_record_on(const char *directory, const struct disk *disk);
/* No more; the tape stays. */
void tape_stop(void);
void tape_destroy(struct tape **self);
/* The outside saw something; from any thread. Nothing when no tape is recorded. */
void tape_note(uint32_t note, uint64_t number, uint64_t value);
/* How many entries there are; safe while it is recorded. */
uint32_t tape_length(const struct tape *self);

/* ---- what would be left ---- */

enum tape_end {
    TAPE_KILLED,    /* all that was written */
    TAPE_POWER_CUT, /* what was synced, nothing else */
    TAPE_TORN,      /* what was synced, and some of the rest, in pieces of 512 bytes */
};

/* A disk on which the entries of a tape happen one after another. */
struct disk *disk_new(const struct tape *tape);
/* Another one on which the same has happened. The entries themselves stay the tape's. */
struct disk *disk_copy(const struct disk *self);
uint32_t disk_file_count(const struct disk *self);
/* The i-th name on it, as whoever lists it would see it; NULL: there are no more. */
const char *disk_name(const struct disk *self, uint32_t i, uint32_t *file);
void disk_destroy(struct disk **self);
void disk_step(struct disk *self, const struct tape_entry *entry);
/* Something on it is not synced. */
bool disk_has_unsynced(const struct disk *self);
/* Make this empty directory as the end leaves it. With `next` (KILLED) the part `next_bytes` of
 * that write is there, too: the kill came in the middle of it. */
void disk_leave(const struct disk *self, enum tape_end end, uint64_t seed,
                const struct tape_entry *next, uint64_t next_bytes, const char *directory);

/* ---- a directory in memory to work in ---- */

char *tape_directory_new(void); /* to be freed by: */
void tape_directory_destroy(char **self);
void tape_directory_clear(const char *self);

#endif
