/* When a process that ended is started again. Pure: times come in, a delay goes out. */
#ifndef WEIR_RESTART_POLICY_H
#define WEIR_RESTART_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_RESTART_FIRST_MS 100
#define WEIR_RESTART_MAX_MS 5000
/* One that lived so long starts afresh. Long lives would be wrong: what is killed from outside
 * every few seconds would hardly run at all, and then everything that needs it waits as well. */
#define WEIR_RESTART_LIFE_MS 1000
#define WEIR_RESTART_STORAGE_MAX 5         /* ends in a row with a storage error … */
#define WEIR_RESTART_STORAGE_LIFE_MS 10000 /* … after lives shorter than this */

struct weir_restart {
    uint32_t short_lives; /* in a row */
    uint32_t storage_failures;
};

/* `wait_status` as waitpid gave it. The delay in ms until the next start; -1: never again. */
int64_t weir_restart_after(struct weir_restart *self, int wait_status, int64_t lived_ms);

/* "ended with status 78 (configuration error)", "was killed by signal 9 (Killed)". */
#define WEIR_ENDING_BYTES 96
void weir_format_ending(int wait_status, char *text, size_t bytes);

#endif
