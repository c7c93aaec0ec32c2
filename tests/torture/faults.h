/* Calls that fail on demand: the N-th one of a kind, on the files of the tape being recorded. */
#ifndef WEIR_TESTS_FAULTS_H
#define WEIR_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* Weir's own calls, and the same of SQLite. */
enum fault {
    FAULT_OPEN, /* mkdir, too */
    FAULT_READ,
    FAULT_WRITE, /* ftruncate, too */
    FAULT_SYNC,  /* of directories, too */
    FAULT_ALLOCATE,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_STATE_OPEN,
    FAULT_STATE_READ,
    FAULT_STATE_WRITE, /* xTruncate, too */
    FAULT_STATE_SYNC,
    FAULT_STATE_UNLINK,
    FAULT_STATE_SHM, /* xShmMap */
    FAULT_KINDS,
};

/* From the `nth` call of this kind on (from 1), `times` calls fail with this errno. Short writes
 * (SHORT_WRITE for errno) fail by half. */
#define SHORT_WRITE (-1)
void faults_set(enum fault kind, uint32_t nth, uint32_t times, int number);
void faults_clear(void);
/* How many calls came since faults_set or faults_clear; whether one of them failed. */
uint32_t faults_seen(enum fault kind);
bool faults_hit(void);
const char *fault_name(enum fault kind);

/* For those that carry the calls out, with the tape's lock held: is this one to fail? Sets errno.
 */
bool fault_comes(enum fault kind);
bool fault_is_short(void);

#endif
