#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t bytes);
void *REAL(calloc)(size_t count, size_t bytes);
void *REAL(realloc)(void *memory, size_t bytes);

/* A sanitizer's runtime allocates before it is ready to look at anybody's memory. */
#define UNSEEN __attribute__((no_sanitize("address", "undefined")))

void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *memory, size_t bytes);

/* Where this program's code lies, which the libraries' does not. */
extern const char __executable_start, etext;

static _Thread_local uint64_t calls, fail_at;
static _Thread_local bool fail_for_good, failed, inside;
static atomic_uint_fast64_t end_every, end_calls, end_tried, end_silent;
static void (*end_seen)(void);

void memory_fail(uint64_t nth, bool for_good)
{
    calls = 0;
    failed = false;
    fail_for_good = for_good;
    fail_at = nth;
}

bool memory_failed(void)
{
    return failed;
}

void memory_end_each(uint64_t every, void (*seen)(void))
{
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    if (every > 0) {
        end_seen = seen;
        atomic_store(&end_calls, 0);
        atomic_store(&end_tried, 0);
        atomic_store(&end_silent, 0);
    }
    atomic_store(&end_every, every);
}

struct memory_counts memory_ended(void)
{
    return (struct memory_counts){atomic_load(&end_calls), atomic_load(&end_tried),
                                  atomic_load(&end_silent)};
}

/* Has the child said that memory ran out, and ended by it? */
static bool ends_loudly(pid_t child, int words)
{
    char text[512];
    size_t bytes = 0;
    ssize_t got;
    int status;

    while ((got = read(words, text + bytes, sizeof text - 1 - bytes)) > 0)
        bytes += (size_t)got;
    text[bytes] = '\0';
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
           strstr(text, "out of memory") != NULL && strstr(text, "recovered") != NULL;
}

/* True in the child only. */
static bool end_in_a_fork(void)
{
    int words[2];
    pid_t child;

    if (pipe(words) != 0)
        return false;
    atomic_fetch_add(&end_tried, 1);
    child = fork();
    if (child == 0) {
        dup2(words[1], STDERR_FILENO);
        atomic_store(&end_every, 0);
        return true;
    }
    close(words[1]);
    if (child < 0 || !ends_loudly(child, words[0]))
        atomic_fetch_add(&end_silent, 1);
    close(words[0]);
    return false;
}

UNSEEN static bool fails(const void *caller)
{
    const uint64_t every = atomic_load_explicit(&end_every, memory_order_relaxed);
    bool ends = false;

    if (fail_at != 0) {
        const uint64_t call = ++calls;

        failed = failed || call == fail_at;
        return call == fail_at || (fail_for_good && call > fail_at);
    }
    if (every == 0 || inside || (const char *)caller < &__executable_start ||
        (const char *)caller >= &etext)
        return false;
    if (atomic_fetch_add(&end_calls, 1) % every != 0)
        return false;
    inside = true;
    end_seen();
    ends = end_in_a_fork();
    inside = false;
    return ends;
}

UNSEEN void *malloc(size_t bytes)
{
    if (fails(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return REAL(malloc)(bytes);
}

UNSEEN void *calloc(size_t count, size_t bytes)
{
    if (fails(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return REAL(calloc)(count, bytes);
}

UNSEEN void *realloc(void *memory, size_t bytes)
{
    if (fails(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return REAL(realloc)(memory, bytes);
}
