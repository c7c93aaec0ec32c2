/* Making the directories above a file. */
#ifndef WEIR_BASE_DIRECTORIES_H
#define WEIR_BASE_DIRECTORIES_H

#include <base/error.h>
#include <sys/types.h>

/* Make what is missing of the directories that a path leads through: all up to its last slash, so
 * that the last part is taken for a file, and "run/" makes run. Not synced. Blocks. WEIR_EIO. */
int weir_make_directories(const char *path, mode_t mode, struct weir_error *error);

#endif
