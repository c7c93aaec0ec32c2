/* The topology's loader, libfyaml in it, gets no memory at its N-th request, for every N: it loads
 * what it always loads, or says what is wrong, or the process ends loudly. Never a crash, a hang,
 * or a topology with a part of it missing. */
#include "memory.h"

#include <base/alloc.h>
#include <config/config.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define EVERY 37u /* allocations: a fork is slow there */
#else
#define EVERY 1u
#endif
#define HANG_S 120
#define WORDS_MAX 65536u

enum child_end {
    CHILD_NEVER_FAILED = 40, /* there are not so many allocations */
    CHILD_LOADED,
    CHILD_REFUSED,
    CHILD_LIBRARY_CRASHED,
    CHILD_LOADED_WRONG,
    CHILD_CRASHED,
};

/* Where this program's code lies, which the libraries' does not. */
extern const char __executable_start, etext;

static void crashed(int number, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
#ifdef __x86_64__
    const char *code = (const char *)at->uc_mcontext.gregs[REG_RIP];
#else
    const char *code = (const char *)at->uc_mcontext.pc;
#endif

    (void)number;
    (void)info;
    _exit(code >= &__executable_start && code < &etext ? CHILD_CRASHED : CHILD_LIBRARY_CRASHED);
}

static char *graph_of(const struct weir_topology *topology)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        abort();
    weir_topology_graph(topology, out);
    fclose(out);
    return text;
}

/* In the child. Whatever it says goes to `words`. */
static enum child_end load(const char *file, const char *expected, uint64_t nth, bool for_good,
                           int words)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    const struct sigaction action = {.sa_sigaction = crashed, .sa_flags = SA_SIGINFO};
    static char buffer[4096];
    FILE *report = fdopen(dup(words), "w");
    struct weir_topology *topology = NULL;
    bool failed;
    int status;

    if (report == NULL)
        abort();
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        sigaction(crashes[i], &action, NULL);
    setvbuf(report, buffer, _IOLBF, sizeof buffer);
    dup2(words, STDERR_FILENO);
    alarm(HANG_S);
    memory_fail(nth, for_good);
    status = weir_topology_load(file, report, false, &topology, NULL);
    failed = memory_failed();
    memory_fail(0, false);
    fflush(report);
    if (status != 0 && topology == NULL)
        return failed ? CHILD_REFUSED : CHILD_LOADED_WRONG;
    if (status != 0 || strcmp(graph_of(topology), expected) != 0)
        return CHILD_LOADED_WRONG;
    return failed ? CHILD_LOADED : CHILD_NEVER_FAILED;
}

struct counts {
    uint64_t loaded, refused, ended, crashed_in_library;
};

/* Returns whether there was such an allocation. */
static bool starve(const char *file, const char *expected, uint64_t nth, bool for_good,
                   struct counts *counts)
{
    static char text[WORDS_MAX];
    size_t bytes = 0;
    ssize_t got;
    int words[2], status;
    pid_t child;

    assert_int_equal(pipe(words), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(load(file, expected, nth, for_good, words[1]));
    close(words[1]);
    while ((got = read(words[0], text + bytes, sizeof text - 1 - bytes)) > 0)
        bytes += (size_t)got;
    text[bytes] = '\0';
    close(words[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(text, "out of memory")) {
        counts->ended++;
        return true;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) < CHILD_NEVER_FAILED ||
        WEXITSTATUS(status) >= CHILD_LOADED_WRONG)
        fail_msg("%s: allocation %llu fails%s, and the end is status %x: %s", file,
                 (unsigned long long)nth, for_good ? " and all after it" : "", status, text);
    if (WEXITSTATUS(status) == CHILD_REFUSED && text[0] == '\0')
        fail_msg("%s: allocation %llu fails, and nothing is said", file, (unsigned long long)nth);
    counts->loaded += WEXITSTATUS(status) == CHILD_LOADED;
    counts->refused += WEXITSTATUS(status) == CHILD_REFUSED;
    counts->crashed_in_library += WEXITSTATUS(status) == CHILD_LIBRARY_CRASHED;
    return WEXITSTATUS(status) != CHILD_NEVER_FAILED;
}

static void test_every_allocation(void **state)
{
    static const char file[] = FILES_DIR "/full.yaml";
    const struct rlimit no_core = {0, 0};
    struct weir_topology *topology = NULL;
    struct counts counts = {0};
    uint64_t nth = 1;
    char *expected;

    (void)state;
    setrlimit(RLIMIT_CORE, &no_core);
    assert_int_equal(weir_topology_load(file, stderr, false, &topology, NULL), 0);
    expected = graph_of(topology);
    weir_topology_destroy(&topology);
    while (starve(file, expected, nth, nth / EVERY % 5 == 0, &counts))
        nth += EVERY;
    assert_true(nth > 500);
    print_message("%llu allocations%s: %llu loaded all the same, %llu refused, %llu ended, "
                  "%llu crashed in the library\n",
                  (unsigned long long)nth, EVERY > 1 ? " (some left out)" : "",
                  (unsigned long long)counts.loaded, (unsigned long long)counts.refused,
                  (unsigned long long)counts.ended, (unsigned long long)counts.crashed_in_library);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation),
    };

    return cmocka_run_group_tests_name("a topology without memory", tests, NULL, NULL);
}
