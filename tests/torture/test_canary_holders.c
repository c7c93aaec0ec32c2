/* Bugs planted in the holders' stores (canaries.def), which prove that an end at every single write
 * would show them. Prints what was said of each, by the kind of holder, and fails when that is not
 * what must be said. */
#include "crash_holders.h"
#include "tape_vfs.h"

#include <base/canary.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LINES (1u << HOLDER_LINES)
#define ROWS (1u << HOLDER_ROWS)
#define LETTERS (1u << HOLDER_LETTERS)
#define SAID_BYTES 4096u

enum weir_canary weir_canary = WEIR_CANARY_NONE;

static const struct {
    const char *name;
    uint32_t kinds;
    const char *says, *text;
} canaries[] = {
    {"", 0, "", ""}, /* WEIR_CANARY_NONE */
#define X(NAME, kinds, says, text) {#NAME, kinds, says, text},
#include "canaries.def"
#undef X
};

#define CANARIES (sizeof canaries / sizeof canaries[0])

static void test_kind(void **state)
{
    crash_holders(*(const enum holder_kind *)*state);
}

static _Noreturn void play(enum weir_canary canary, enum holder_kind kind, int said)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(test_kind, &kind)};

    if (dup2(said, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
        _exit(70);
    weir_canary = canary;
    tape_vfs_use();
    exit(cmocka_run_group_tests(tests, NULL, NULL) != 0);
}

/* What the torture has said, of a store with this bug; true: the test has failed. */
static bool is_found(enum weir_canary canary, enum holder_kind kind, char said[SAID_BYTES])
{
    int ends[2], status = -1;
    size_t bytes = 0;
    ssize_t got;

    fflush(NULL);
    if (pipe(ends) != 0) {
        perror("test_canary_holders: pipe");
        exit(70);
    }
    const pid_t pid = fork();
    if (pid == 0)
        play(canary, kind, ends[1]);
    close(ends[1]);
    while ((got = read(ends[0], said + bytes, SAID_BYTES - 1 - bytes)) > 0)
        bytes += (size_t)got;
    said[bytes] = '\0';
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static uint32_t row_print(enum weir_canary canary)
{
    uint32_t wrong = 0;

    printf("%-24s", canaries[canary].name);
    for (enum holder_kind kind = 0; kind < HOLDER_KINDS; kind++) {
        static char said[SAID_BYTES];

        if ((canaries[canary].kinds >> kind & 1u) == 0) {
            printf(" .       ");
            continue;
        }
        const bool good =
            is_found(canary, kind, said) && strstr(said, canaries[canary].says) != NULL;
        printf(" %-8s", good ? "found" : "NOT");
        wrong += !good;
        if (!good)
            fprintf(stderr, "%s: expected that it \"%s\"; it was said:\n%s\n",
                    canaries[canary].name, canaries[canary].says, said);
    }
    printf(" \"%s\": %s\n", canaries[canary].says, canaries[canary].text);
    return wrong;
}

int main(void)
{
    uint32_t wrong = 0;

    printf("%-24s lines    rows     letters\n", "canary");
    for (uint32_t canary = 1; canary < CANARIES; canary++)
        wrong += row_print((enum weir_canary)canary);
    printf("%u canaries, %s\n", (uint32_t)CANARIES - 1,
           wrong == 0 ? "every one found" : "NOT all as it must be");
    return wrong > 0;
}
