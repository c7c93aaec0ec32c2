/* Between the tape and those who put things on it. */
#ifndef WEIR_TESTS_TAPE_INSIDE_H
#define WEIR_TESTS_TAPE_INSIDE_H

#include "tape.h"

#include <sys/types.h>

/* The lock; recursive, because SQLite's calls come through both ways. */
void tape_lock(void);
void tape_unlock(void);
/* Of all of these: with the lock held, and after the fact. They do nothing when no tape is recorded
 * or the file is none of its own. `path` is as the caller of the system has it. */
bool tape_is_ours(const char *path);
void tape_created(const char *path);
void tape_made_directory(const char *path);
void tape_wrote(ino_t inode, uint64_t at, const void *data, uint64_t bytes);
void tape_resized(ino_t inode, uint64_t bytes, bool grow);
void tape_synced(ino_t inode);
void tape_sync_failed(ino_t inode);
void tape_synced_directory(const char *path);
void tape_renamed(const char *from, const char *to);
void tape_unlinked(const char *path);
/* 0: none, or no tape is recorded. */
ino_t tape_inode(int fd);
ino_t tape_inode_of(const char *path);
/* Is this the descriptor of a file or directory that the tape is about? */
bool tape_has(int fd);

#endif
