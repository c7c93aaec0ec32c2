/* The processes that a bench forks, and waiting for what they do.
 *
 * A part is a forked process that runs one function. It tells how far it is in memory that it
 * shares with the bench, and begins when it is told to. Whatever becomes of the bench, its parts
 * end with it: the kernel sees to that. All functions but weir_bench_part_… belong to the bench's
 * main thread; a part is to be started while the bench has no other thread. */
#ifndef WEIR_BENCH_CREW_H
#define WEIR_BENCH_CREW_H

#include <base/error.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WEIR_BENCH_PARTS_MAX 300u

enum weir_bench_progress {
    WEIR_BENCH_STARTING,
    WEIR_BENCH_BOUND, /* others can connect to its endpoint */
    WEIR_BENCH_READY, /* all its connections stand */
    WEIR_BENCH_DONE,
    WEIR_BENCH_FAILED, /* its text says why */
};

/* What a part tells. In shared memory. */
struct weir_bench_word {
    atomic_int progress;
    char endpoint[128];
    char text[WEIR_ERROR_TEXT_BYTES];
    int64_t first_ns, last_ns; /* of its work */
    int64_t cpu_ns;            /* used for it */
};

struct weir_bench_part {
    const char *name; /* static */
    pid_t pid;        /* 0: it has ended */
    int go_fd, news_fd;
    bool ending; /* it may end */
    struct weir_bench_word *word;
};

/* The process's whole work; its exit status. `argument` is the bench's, as it was at the fork. */
typedef int weir_bench_body(struct weir_bench_part *self, void *argument);

struct weir_bench_crew {
    struct weir_bench_part parts[WEIR_BENCH_PARTS_MAX];
    uint32_t count;
    struct weir_bench_word *words; /* shared */
    int signal_fd, news_fd;
    int signal_number;       /* that came from outside; 0: none */
    void (*tick)(void *arg); /* called about every 100 ms while the crew is waited for */
    void *arg;
    int64_t ticked_ns;
};

/* Memory that forked processes share, all zero. WEIR_EIO. */
int weir_bench_share(uint64_t bytes, void **memory, struct weir_error *error);
void weir_bench_unshare(void *memory, uint64_t bytes);

/* Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD. WEIR_EIO. */
int weir_bench_crew_init(struct weir_bench_crew *self, struct weir_error *error);
/* Kill what still runs, and wait for it. */
void weir_bench_crew_fini(struct weir_bench_crew *self);

/* Fork a part; `name` is static, and what `ps` and `perf` show. It is sent `parent_death_signal`
 * when the bench dies. The part lives in the crew until weir_bench_crew_forget. WEIR_EIO,
 * WEIR_ELIMIT. */
int weir_bench_crew_start(struct weir_bench_crew *self, const char *name, int parent_death_signal,
                          weir_bench_body *body, void *argument, struct weir_bench_part **part,
                          struct weir_error *error);
/* Let it begin; then, for one that works until it is told to end, let it end. */
void weir_bench_crew_go(struct weir_bench_part *part);
/* The parts from number `first` on have ended, or are to end, and are forgotten. Waits for them. */
int weir_bench_crew_forget(struct weir_bench_crew *self, uint32_t first, int64_t patience_ms,
                           struct weir_error *error);

/* Wait for news of any part, at most this long. WEIR_ECLOSED: a signal wants the bench to end;
 * WEIR_EIO: a part has failed, or ended before its time. */
int weir_bench_crew_turn(struct weir_bench_crew *self, int timeout_ms, struct weir_error *error);
/* Turn until all parts from `first` on have come so far. WEIR_ETIMEDOUT. */
int weir_bench_crew_await(struct weir_bench_crew *self, uint32_t first,
                          enum weir_bench_progress progress, int64_t patience_ms,
                          struct weir_error *error);
bool weir_bench_crew_all(const struct weir_bench_crew *self, uint32_t first,
                         enum weir_bench_progress progress);

/* ---- For the part itself ---- */

void weir_bench_part_tell(struct weir_bench_part *self, enum weir_bench_progress progress);
/* Tell that it failed, and why; returns the exit status. */
int weir_bench_part_fail(struct weir_bench_part *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Until weir_bench_crew_go. Blocks. */
void weir_bench_part_wait(const struct weir_bench_part *self);
/* CPU time of this process, all threads, in ns. */
int64_t weir_bench_part_cpu_ns(void);

#endif
