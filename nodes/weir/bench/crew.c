#include "crew.h"

#include <base/alloc.h>
#include <base/clock.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS (100 * WEIR_NS_PER_MS)

int weir_bench_share(uint64_t bytes, void **memory, struct weir_error *error)
{
    *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (*memory != MAP_FAILED)
        return 0;
    *memory = NULL;
    return weir_error_set(error, WEIR_EIO,
                          "no %llu bytes of memory to count in: %s; ask for fewer messages",
                          (unsigned long long)bytes, strerror(errno));
}

void weir_bench_unshare(void *memory, uint64_t bytes)
{
    if (memory != NULL)
        munmap(memory, bytes);
}

int weir_bench_crew_init(struct weir_bench_crew *self, struct weir_error *error)
{
    struct sigaction hangup;
    void *words;
    sigset_t signals;

    *self = (struct weir_bench_crew){.signal_fd = -1, .news_fd = -1};
    if (weir_bench_share(WEIR_BENCH_PARTS_MAX * sizeof *self->words, &words, error) != 0)
        return error->code;
    self->words = words;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&signals, SIGHUP); /* nohup means it */
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    self->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    self->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->signal_fd < 0 || self->news_fd < 0)
        return weir_error_set(error, WEIR_EIO, "no file descriptors: %s", strerror(errno));
    return 0;
}

void weir_bench_crew_fini(struct weir_bench_crew *self)
{
    for (uint32_t i = 0; i < self->count; i++) {
        struct weir_bench_part *part = &self->parts[i];

        if (part->pid != 0) {
            kill(part->pid, SIGKILL);
            while (waitpid(part->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
        close(part->go_fd);
    }
    weir_bench_unshare(self->words, WEIR_BENCH_PARTS_MAX * sizeof *self->words);
    if (self->signal_fd >= 0)
        close(self->signal_fd);
    if (self->news_fd >= 0)
        close(self->news_fd);
}

/* ---- Starting ---------------------------------------------------------------------------------
 */

_Noreturn static void become(struct weir_bench_part *part, int parent_death_signal, pid_t bench,
                             weir_bench_body *body, void *argument)
{
    sigset_t none;

    setpgid(0, 0); /* Ctrl-C is for the bench, which ends its parts */
    prctl(PR_SET_PDEATHSIG, parent_death_signal);
    prctl(PR_SET_NAME, part->name);
    if (getppid() != bench)
        _exit(EXIT_FAILURE); /* it died before the line above */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    _exit(body(part, argument));
}

int weir_bench_crew_start(struct weir_bench_crew *self, const char *name, int parent_death_signal,
                          weir_bench_body *body, void *argument, struct weir_bench_part **part,
                          struct weir_error *error)
{
    const pid_t bench = getpid();
    int go_fd;

    if (self->count == WEIR_BENCH_PARTS_MAX)
        return weir_error_set(error, WEIR_ELIMIT, "more than %u processes", WEIR_BENCH_PARTS_MAX);
    go_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (go_fd < 0)
        return weir_error_set(error, WEIR_EIO, "no file descriptors: %s", strerror(errno));
    *part = &self->parts[self->count];
    **part = (struct weir_bench_part){
        .name = name, .go_fd = go_fd, .news_fd = self->news_fd, .word = &self->words[self->count]};
    memset((*part)->word, 0, sizeof *(*part)->word);
    fflush(NULL); /* or a part would print it once more */
    const pid_t pid = fork();

    if (pid == 0)
        become(*part, parent_death_signal, bench, body, argument);
    if (pid < 0) {
        close(go_fd);
        return weir_error_set(error, WEIR_EIO, "cannot start another process: %s", strerror(errno));
    }
    (*part)->pid = pid;
    self->count++;
    return 0;
}

static void raise_event(int fd)
{
    const uint64_t one = 1;
    const ssize_t written = write(fd, &one, sizeof one);

    WEIR_ASSERT(written == (ssize_t)sizeof one || errno == EAGAIN);
}

void weir_bench_crew_go(struct weir_bench_part *part)
{
    raise_event(part->go_fd);
}

/* ---- Waiting ----------------------------------------------------------------------------------
 */

static enum weir_bench_progress progress_of(const struct weir_bench_part *part)
{
    return (enum weir_bench_progress)atomic_load(&part->word->progress);
}

/* Whether a part has told that it failed. */
static int heed(const struct weir_bench_crew *self, struct weir_error *error)
{
    for (uint32_t i = 0; i < self->count; i++) {
        const struct weir_bench_part *part = &self->parts[i];

        if (progress_of(part) == WEIR_BENCH_FAILED)
            return weir_error_set(error, WEIR_EIO, "the %s: %s", part->name, part->word->text);
    }
    return 0;
}

static int reap(struct weir_bench_crew *self, struct weir_error *error)
{
    int status = heed(self, error), wait_status;

    for (uint32_t i = 0; i < self->count; i++) {
        struct weir_bench_part *part = &self->parts[i];

        if (part->pid != 0 && waitpid(part->pid, &wait_status, WNOHANG) == part->pid) {
            part->pid = 0;
            if (status != 0 ||
                (wait_status == 0 && (part->ending || progress_of(part) == WEIR_BENCH_DONE)))
                continue;
            if (WIFSIGNALED(wait_status))
                status = weir_error_set(error, WEIR_EIO, "the %s was killed by signal %d (%s)",
                                        part->name, WTERMSIG(wait_status),
                                        strsignal(WTERMSIG(wait_status)));
            else
                status = weir_error_set(error, WEIR_EIO, "the %s has ended with status %d",
                                        part->name, WEXITSTATUS(wait_status));
        }
    }
    return status;
}

static void take_signals(struct weir_bench_crew *self)
{
    struct signalfd_siginfo info;

    while (read(self->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD)
            self->signal_number = (int)info.ssi_signo;
    }
}

int weir_bench_crew_turn(struct weir_bench_crew *self, int timeout_ms, struct weir_error *error)
{
    struct pollfd items[] = {{.fd = self->signal_fd, .events = POLLIN},
                             {.fd = self->news_fd, .events = POLLIN}};
    uint64_t news;
    int status = 0;

    (void)poll(items, 2, timeout_ms);
    if (items[1].revents != 0)
        (void)!read(self->news_fd, &news, sizeof news);
    if (items[0].revents != 0) {
        take_signals(self);
        status = reap(self, error);
    }
    if (status == 0)
        status = heed(self, error);
    if (self->signal_number != 0)
        status = weir_error_set(error, WEIR_ECLOSED, "ended by signal %d (%s)", self->signal_number,
                                strsignal(self->signal_number));
    const int64_t now_ns = weir_clock_now().mono_ns;

    if (self->tick != NULL && now_ns - self->ticked_ns >= TICK_NS) {
        self->ticked_ns = now_ns;
        self->tick(self->arg);
    }
    return status;
}

bool weir_bench_crew_all(const struct weir_bench_crew *self, uint32_t first,
                         enum weir_bench_progress progress)
{
    for (uint32_t i = first; i < self->count; i++) {
        if (progress_of(&self->parts[i]) < progress)
            return false;
    }
    return true;
}

int weir_bench_crew_await(struct weir_bench_crew *self, uint32_t first,
                          enum weir_bench_progress progress, int64_t patience_ms,
                          struct weir_error *error)
{
    static const char *const words[] = {
        [WEIR_BENCH_BOUND] = "bound", [WEIR_BENCH_READY] = "ready", [WEIR_BENCH_DONE] = "done"};
    const int64_t until_ns = weir_clock_now().mono_ns + patience_ms * WEIR_NS_PER_MS;
    int status = 0;

    while (status == 0 && !weir_bench_crew_all(self, first, progress)) {
        status = weir_bench_crew_turn(self, 10, error);
        for (uint32_t i = first; i < self->count && status == 0; i++) {
            const struct weir_bench_part *part = &self->parts[i];

            if (progress_of(part) < progress && weir_clock_now().mono_ns > until_ns)
                status = weir_error_set(error, WEIR_ETIMEDOUT, "the %s is not %s within %lld ms",
                                        part->name, words[progress], (long long)patience_ms);
        }
    }
    return status;
}

int weir_bench_crew_forget(struct weir_bench_crew *self, uint32_t first, int64_t patience_ms,
                           struct weir_error *error)
{
    const int64_t until_ns = weir_clock_now().mono_ns + patience_ms * WEIR_NS_PER_MS;
    int status = 0;

    for (uint32_t i = first; i < self->count; i++)
        self->parts[i].ending = true;
    for (uint32_t i = first; i < self->count && status == 0;) {
        if (self->parts[i].pid == 0)
            i++;
        else if (weir_clock_now().mono_ns > until_ns)
            status = weir_error_set(error, WEIR_ETIMEDOUT, "the %s does not end within %lld ms",
                                    self->parts[i].name, (long long)patience_ms);
        else
            status = weir_bench_crew_turn(self, 10, error);
    }
    while (status == 0 && self->count > first)
        close(self->parts[--self->count].go_fd);
    return status;
}

/* ---- For the part itself ----------------------------------------------------------------------
 */

void weir_bench_part_tell(struct weir_bench_part *self, enum weir_bench_progress progress)
{
    atomic_store(&self->word->progress, (int)progress);
    raise_event(self->news_fd);
}

int weir_bench_part_fail(struct weir_bench_part *self, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(self->word->text, sizeof self->word->text, format, arguments);
    va_end(arguments);
    weir_bench_part_tell(self, WEIR_BENCH_FAILED);
    return EX_SOFTWARE;
}

void weir_bench_part_wait(const struct weir_bench_part *self)
{
    uint64_t once;

    while (read(self->go_fd, &once, sizeof once) < 0 && errno == EINTR)
        ;
}

int64_t weir_bench_part_cpu_ns(void)
{
    struct timespec used;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * WEIR_NS_PER_S + used.tv_nsec;
}
