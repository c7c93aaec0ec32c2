#include "restart_policy.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

/* It would end the same way again, whatever the time. */
static bool hopeless(int status)
{
    return status == EX_USAGE || status == EX_CONFIG || status == 126 || status == 127;
}

/* Somebody has to mend something, though it may mend itself. */
static bool storage(int status)
{
    return status == EX_DATAERR || status == EX_UNAVAILABLE || status == EX_CANTCREAT ||
           status == EX_IOERR;
}

int64_t weir_restart_after(struct weir_restart *self, int wait_status, int64_t lived_ms)
{
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    int64_t delay_ms = WEIR_RESTART_FIRST_MS;

    if (lived_ms >= WEIR_RESTART_LIFE_MS)
        self->short_lives = 0;
    if (lived_ms >= WEIR_RESTART_STORAGE_LIFE_MS)
        self->storage_failures = 0;
    if (hopeless(status))
        return -1;
    self->storage_failures = storage(status) ? self->storage_failures + 1 : 0;
    if (self->storage_failures >= WEIR_RESTART_STORAGE_MAX)
        return -1;
    for (uint32_t i = 0; i < self->short_lives && delay_ms < WEIR_RESTART_MAX_MS; i++)
        delay_ms *= 2;
    self->short_lives++;
    return delay_ms < WEIR_RESTART_MAX_MS ? delay_ms : WEIR_RESTART_MAX_MS;
}

static const char *meaning(int status)
{
    switch (status) {
    case EX_USAGE:
        return "wrong usage";
    case EX_DATAERR:
        return "damaged data";
    case EX_UNAVAILABLE:
        return "something it needs is away";
    case EX_SOFTWARE:
        return "an error in the program";
    case EX_OSERR:
        return "the system gave no more resources";
    case EX_CANTCREAT:
        return "a file cannot be made";
    case EX_IOERR:
        return "storage failed";
    case EX_TEMPFAIL:
        return "locked or full";
    case EX_CONFIG:
        return "configuration error";
    case 126:
    case 127:
        return "it could not be started";
    default:
        return NULL;
    }
}

void weir_format_ending(int wait_status, char *text, size_t bytes)
{
    if (WIFSIGNALED(wait_status)) {
        snprintf(text, bytes, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
        return;
    }
    int status = WEXITSTATUS(wait_status);
    const char *what = meaning(status);

    snprintf(text, bytes, "ended with status %d%s%s%s", status, what ? " (" : "", what ? what : "",
             what ? ")" : "");
}
