/* A file system in memory that behaves as Linux may at its worst, behind the store's table of
 * system calls. Deterministic: all that chance decides follows from its own random numbers.
 *
 * It keeps two views of everything. What programs read is the page cache; what is on the disk lags
 * behind until it is synced. A kill leaves the page cache as it is. A power cut leaves what was
 * synced and, of what was not, any sectors in any order, some of them torn within, and any of the
 * renames, creations and unlinks that do not depend on one that was lost.
 *
 * A sync that fails has written some sectors; the others count as clean from then on and are not
 * written by the next one, as Linux has it, and at some time the cache forgets what they held. */
#ifndef SIM_FILESYSTEM_H
#define SIM_FILESYSTEM_H

#include "inode.h"
#include <store/io.h>

#define SIM_MOUNT "/disk" /* the one directory that is there at first */

enum sim_call_kind { SIM_CALL_WRITE, SIM_CALL_READ, SIM_CALL_SYNC, SIM_CALL_NAME, SIM_CALL_KINDS };

struct sim_name {
    char *path;
    struct sim_inode *cache, *disk; /* NULL: it is not there */
};

struct sim_change;

struct sim_filesystem {
    struct weir_io io; /* first: the calls find their way back */
    struct weir_random random;
    struct sim_inode **inodes;
    uint32_t inode_count;
    struct sim_name **names;
    uint32_t name_count;
    struct sim_change *changes; /* of names, not synced yet, oldest first */
    uint32_t change_count;
    struct sim_inode **descriptors;
    uint32_t descriptor_count;
    uint64_t bytes_max; /* the size of the disk; 0: unbounded */
    uint64_t ballast;   /* of it, in use by somebody else */
    uint64_t other;     /* of it, in use by files that are not in here */
    /* What fails: after so many calls of a kind, so many of them, with this errno. */
    struct {
        uint32_t after, times;
        int number;
    } fail[SIM_CALL_KINDS];
    uint32_t failed[SIM_CALL_KINDS]; /* how many did, since the last sim_filesystem_reopen */
    uint32_t full;                   /* calls that found no room, likewise */
    /* The process ends at the call that makes it 0: neither that one nor a later one is carried
     * out, until sim_filesystem_reopen. */
    uint32_t calls_left;
    bool dead;
};

void sim_filesystem_init(struct sim_filesystem *self, uint64_t seed);
void sim_filesystem_fini(struct sim_filesystem *self);
/* From now on nothing is carried out any more: the process is gone. */
void sim_filesystem_die(struct sim_filesystem *self);
/* The power fails. (Nothing may be done before sim_filesystem_reopen.) */
void sim_filesystem_power_cut(struct sim_filesystem *self);
/* Another process begins: no descriptor is open, calls are carried out again, and the cache may
 * have forgotten what it could not write. */
void sim_filesystem_reopen(struct sim_filesystem *self);
void sim_filesystem_fail(struct sim_filesystem *self, enum sim_call_kind kind, uint32_t after,
                         uint32_t times, int number);
/* A call of this kind that is not in the table (the state's): 0, or -1 and errno. */
int sim_filesystem_call(struct sim_filesystem *self, enum sim_call_kind kind);
/* Room for files that are not in here to have `bytes` in all: 0, or -1 and ENOSPC. */
int sim_filesystem_other(struct sim_filesystem *self, uint64_t bytes);
uint64_t sim_filesystem_used(const struct sim_filesystem *self);

#endif
