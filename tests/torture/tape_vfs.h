/* SQLite's files on the tape. */
#ifndef WEIR_TESTS_TAPE_VFS_H
#define WEIR_TESTS_TAPE_VFS_H

/* Make the VFS that records SQLite's default one; once. */
void tape_vfs_use(void);

#endif
