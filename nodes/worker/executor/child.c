#include <executor/child.h>

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static bool executable(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && access(path, X_OK) == 0;
}

static int explain_path(const char *path, struct weir_error *error)
{
    struct stat file;
    if (stat(path, &file) != 0) {
        const int number = errno;
        char *here = path[0] == '/' ? NULL : get_current_dir_name();
        const int status = weir_error_set(
            error, WEIR_ECONFIG, "handler %s: %s%s%s; expected the path of a program", path,
            strerror(number), here ? " in " : "", here ? here : "");
        free(here);
        return status;
    }
    if (!S_ISREG(file.st_mode))
        return weir_error_set(error, WEIR_ECONFIG,
                              "handler %s is not a file; expected the path of a program", path);
    return weir_error_set(error, WEIR_ECONFIG,
                          "handler %s is not executable; run `chmod +x %s`, or name its "
                          "interpreter first",
                          path, path);
}

int weir_program_find(const char *name, char **path, struct weir_error *error)
{
    *path = NULL;
    if (strchr(name, '/') != NULL) {
        if (!executable(name))
            return explain_path(name, error);
        *path = weir_strdup(name);
        return 0;
    }
    const char *search = getenv("PATH");
    for (const char *at = search ? search : "/usr/local/bin:/usr/bin:/bin"; *at != '\0';) {
        size_t bytes = strcspn(at, ":");
        char *candidate = bytes == 0 ? weir_asprintf("./%s", name)
                                     : weir_asprintf("%.*s/%s", (int)bytes, at, name);
        if (name[0] != '\0' && executable(candidate)) {
            *path = candidate;
            return 0;
        }
        free(candidate);
        at += bytes + (at[bytes] == ':');
    }
    return weir_error_set(error, WEIR_ECONFIG,
                          "handler '%s' is in no directory of $PATH; expected the name or the path "
                          "of a program",
                          name);
}

static void prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                    const int stdio[3])
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(actions);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(actions, stdio[i], i);
    posix_spawn_file_actions_addclosefrom_np(actions, 3);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF);
}

int weir_child_spawn(struct weir_child *child, const char *path, char *const *argv,
                     char *const *environment, const int stdio[3], struct weir_error *error)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    prepare(&actions, &attributes, stdio);
    int rc = posix_spawn(&child->pid, path, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        return weir_error_set(error, rc == E2BIG ? WEIR_ELIMIT : WEIR_EIO, "cannot start %s: %s",
                              path, strerror(rc));
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pidfd < 0) {
        int status = weir_error_set(error, WEIR_EIO, "cannot follow %s: pidfd_open: %s", path,
                                    strerror(errno));
        weir_child_kill(child);
        (void)weir_child_reap(child);
        return status;
    }
    return 0;
}

void weir_child_kill(const struct weir_child *child)
{
    (void)kill(-child->pid, SIGKILL);
}

struct weir_ending weir_child_reap(struct weir_child *child)
{
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)child->pid, &info, WEXITED) != 0 && errno == EINTR)
        ;
    weir_fd_close(&child->pidfd);
    return (struct weir_ending){info.si_code != CLD_EXITED, info.si_status};
}

enum weir_outcome weir_ending_outcome(struct weir_ending ending)
{
    if (ending.signaled)
        return WEIR_RETRY;
    switch (ending.number) {
    case EX_OK:
        return WEIR_DONE;
    case EX_DATAERR:
        return WEIR_REJECT;
    case EX_UNAVAILABLE:
        return WEIR_UNAVAILABLE;
    default:
        return WEIR_RETRY;
    }
}

void weir_ending_describe(struct weir_ending ending, char text[WEIR_ENDING_TEXT_BYTES])
{
    if (!ending.signaled) {
        snprintf(text, WEIR_ENDING_TEXT_BYTES, "exit status %d", ending.number);
        return;
    }
    const char *name = sigdescr_np(ending.number);
    snprintf(text, WEIR_ENDING_TEXT_BYTES, "killed by signal %d (%s)", ending.number,
             name ? name : "unknown");
}

int weir_pipe_from_child(int *ours, int *theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return WEIR_EIO;
    *ours = ends[0];
    *theirs = ends[1];
    return fcntl(*ours, F_SETFL, O_NONBLOCK) == 0 ? 0 : WEIR_EIO;
}

int weir_pipe_to_child(int *ours, int *theirs)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return WEIR_EIO;
    *ours = ends[1];
    *theirs = ends[0];
    return fcntl(*ours, F_SETFL, O_NONBLOCK) == 0 ? 0 : WEIR_EIO;
}

void weir_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
