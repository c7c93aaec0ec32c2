#include <net/ipc_lock.h>

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH_BYTES_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 1)

/* Does anything listen at this path? Also a program that knows nothing of our lock. */
static bool listened_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    bool listens = rc == 0 || errno == EAGAIN || errno == EINPROGRESS;
    close(fd);
    return listens;
}

static int refuse_locked(const char *endpoint, int fd, struct weir_error *error)
{
    char pid[32] = "";
    ssize_t size = pread(fd, pid, sizeof pid - 1, 0);
    pid[size > 0 ? size : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    return weir_error_set(error, WEIR_ELOCKED,
                          "%s is held by another process%s%s; end that one first, or choose "
                          "another endpoint",
                          endpoint, pid[0] ? ", pid " : "", pid);
}

static int lock_file(const char *endpoint, const char *path, int *fd, struct weir_error *error)
{
    char *lock_path = weir_asprintf("%s.lock", path);
    int status = 0;
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) {
        status = weir_error_set(error, WEIR_EIO,
                                "cannot bind %s: opening %s: %s; the directory must exist and be "
                                "writable",
                                endpoint, lock_path, strerror(errno));
        goto cleanup;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK ? refuse_locked(endpoint, lock, error)
                                      : weir_error_set(error, WEIR_EIO, "cannot lock %s: %s",
                                                       lock_path, strerror(errno));
        close(lock);
        goto cleanup;
    }
    /* The pid is for the message above only; that it cannot be noted changes nothing. */
    char pid[32];
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock, 0) == 0 && pwrite(lock, pid, (size_t)length, 0) < 0)
        pid[0] = '\0';
    *fd = lock;
cleanup:
    free(lock_path);
    return status;
}

int weir_ipc_lock(const char *endpoint, int *fd, struct weir_error *error)
{
    static const char scheme[] = "ipc://";
    *fd = -1;
    if (strncmp(endpoint, scheme, sizeof scheme - 1) != 0)
        return 0;
    const char *path = endpoint + sizeof scheme - 1;
    if (path[0] == '@' || strcmp(path, "*") == 0)
        return 0;
    if (strlen(path) > PATH_BYTES_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "the path of %s has %zu bytes, and a socket's may have %zu; choose a "
                              "shorter one, such as a relative path",
                              endpoint, strlen(path), PATH_BYTES_MAX);
    int status = lock_file(endpoint, path, fd, error);
    if (status != 0)
        return status;
    if (listened_at(path)) {
        close(*fd);
        *fd = -1;
        return weir_error_set(error, WEIR_ELOCKED,
                              "%s: another program listens at that path; end it first, or choose "
                              "another endpoint",
                              endpoint);
    }
    return 0;
}
