#include "bodies.h"

#include <base/clock.h>
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int weir_bench_spawn(struct weir_bench_part *self, void *argument)
{
    const struct weir_bench_spawn *what = argument;
    char *const argv[] = {(char[]){WEIR_BENCH_PROGRAM}, NULL};
    uint64_t started = 0, ended = 0;
    int status, number = 0;
    pid_t pid;

    self->word->first_ns = weir_clock_now().mono_ns;
    while (ended < what->count && number == 0) {
        if (started < what->count && started - ended < what->at_once) {
            number = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
            started++;
        } else if (wait(&status) > 0) {
            ended++;
        } else if (errno != EINTR) {
            number = errno;
        }
    }
    if (number != 0)
        return weir_bench_part_fail(self, "cannot run " WEIR_BENCH_PROGRAM ": %s",
                                    strerror(number));
    self->word->last_ns = weir_clock_now().mono_ns;
    weir_bench_part_tell(self, WEIR_BENCH_DONE);
    return 0;
}
