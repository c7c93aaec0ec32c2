#include <base/directories.h>

#include <base/alloc.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int weir_make_directories(const char *path, mode_t mode, struct weir_error *error)
{
    char *partial = weir_strdup(path);
    int status = 0;

    for (char *slash = partial; status == 0 && (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (partial[0] != '\0' && mkdir(partial, mode) != 0 && errno != EEXIST)
            status = weir_error_set(
                error, WEIR_EIO,
                "cannot make the directory %s: %s; expected a place where this user may make it",
                partial, strerror(errno));
        *slash = '/';
    }
    free(partial);
    return status;
}
