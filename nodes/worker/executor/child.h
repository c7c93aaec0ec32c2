/* A handler's process: finding its program, starting it in a process group of its own, ending the
 * whole group, and learning how it ended. */
#ifndef WEIR_WORKER_CHILD_H
#define WEIR_WORKER_CHILD_H

#include <base/error.h>
#include <contract/policy.h>
#include <stdbool.h>
#include <sys/types.h>

/* The path of a program: `name` itself when it has a slash, else the first in $PATH. WEIR_ECONFIG
 * when there is none or it cannot be executed. The caller frees `*path`. */
int weir_program_find(const char *name, char **path, struct weir_error *error);

struct weir_child {
    pid_t pid;
    int pidfd; /* readable once it has ended */
};

/* Start a program with these three descriptors as its 0, 1 and 2 (they stay the caller's) and no
 * other, with every signal as by default. WEIR_ELIMIT: the environment or the arguments are too
 * large for the kernel; WEIR_EIO: anything else, such as no process left. */
int weir_child_spawn(struct weir_child *child, const char *path, char *const *argv,
                     char *const *environment, const int stdio[3], struct weir_error *error);
/* SIGKILL to its process group. Only before it was reaped. */
void weir_child_kill(const struct weir_child *child);

/* How a process ended. */
struct weir_ending {
    bool signaled;
    int number; /* exit status or signal */
};
/* Take the ended process away and close its pidfd; waits if it has not ended. */
struct weir_ending weir_child_reap(struct weir_child *child);
/* By sysexits.h: 0 done, 65 reject, 69 unavailable, all else retry. */
enum weir_outcome weir_ending_outcome(struct weir_ending ending);
/* "exit status 3", "killed by signal 9 (Killed)". */
#define WEIR_ENDING_TEXT_BYTES 96
void weir_ending_describe(struct weir_ending ending, char text[WEIR_ENDING_TEXT_BYTES]);

/* A pipe or file descriptor of ours: close-on-exec, and our end not blocking. */
int weir_pipe_from_child(int *ours, int *theirs);
int weir_pipe_to_child(int *ours, int *theirs);
/* Close it if it is open, and note that it is not. */
void weir_fd_close(int *fd);

#endif
