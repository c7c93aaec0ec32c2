#include "run_lock_file.h"

#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_run_directory(const struct weir_topology *topology, struct weir_error *error)
{
    if (mkdir("var", 0777) != 0 && errno != EEXIST)
        return weir_error_set(error, WEIR_EIO,
                              "cannot make the directory var here: %s; go to a directory you may "
                              "write to",
                              strerror(errno));
    if (mkdir(topology->run_dir, 0777) != 0 && errno != EEXIST)
        return weir_error_set(error, WEIR_EIO, "cannot make the directory %s: %s",
                              topology->run_dir, strerror(errno));
    return 0;
}

static pid_t holder_of(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return 0;
    return lock.l_pid;
}

int weir_run_lock_take(const struct weir_topology *topology, int *fd, struct weir_error *error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int status = make_run_directory(topology, error);

    if (status != 0)
        return status;
    char *path = weir_asprintf("%s/up.lock", topology->run_dir);

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0) {
        status = weir_error_set(error, WEIR_EIO, "cannot open %s: %s", path, strerror(errno));
    } else if (fcntl(*fd, F_SETLK, &lock) != 0) {
        status = errno == EACCES || errno == EAGAIN
                     ? weir_error_set(error, WEIR_ELOCKED,
                                      "'%s' is up already, supervised by process %d; drain it with "
                                      "'weir down %s'",
                                      topology->name, (int)holder_of(*fd), topology->file)
                     : weir_error_set(error, WEIR_EIO, "cannot lock %s: %s", path, strerror(errno));
        close(*fd);
        *fd = -1;
    }
    free(path);
    return status;
}

pid_t weir_run_lock_holder(const struct weir_topology *topology)
{
    char *path = weir_asprintf("%s/up.lock", topology->run_dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    pid_t holder = 0;

    if (fd >= 0) {
        holder = holder_of(fd);
        close(fd);
    }
    free(path);
    return holder;
}
