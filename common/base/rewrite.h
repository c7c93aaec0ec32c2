/* Making sure of what an earlier process wrote. */
#ifndef WEIR_BASE_REWRITE_H
#define WEIR_BASE_REWRITE_H

/* Write a file's content over itself, and sync it. After a sync that failed the kernel takes the
 * pages for written, so that no later sync writes them; this does. Readers see no change; the
 * caller sees to it that nobody writes meanwhile. A file that is not there is no error. Blocks.
 * Returns 0, or -1 with errno. */
int weir_file_rewrite(const char *path);

#endif
