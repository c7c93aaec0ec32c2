#include "tape_inside.h"

#include <base/alloc.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock;
static pthread_once_t lock_once = PTHREAD_ONCE_INIT;
static struct tape *recorded;
static char root[256];
/* Which file an inode is now. */
static struct {
    ino_t inode;
    uint32_t file;
} * known;
static uint32_t known_count;

static void make_lock(void)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

void tape_lock(void)
{
    pthread_once(&lock_once, make_lock);
    pthread_mutex_lock(&lock);
}

void tape_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- files ---- */

static uint32_t add_file(struct tape_file file)
{
    if (recorded->file_count == recorded->file_capacity) {
        recorded->file_capacity = recorded->file_capacity > 0 ? 2 * recorded->file_capacity : 16;
        recorded->files =
            weir_realloc(recorded->files, recorded->file_capacity, sizeof *recorded->files);
    }
    recorded->files[recorded->file_count] = file;
    return recorded->file_count++;
}

static void know(ino_t inode, uint32_t file)
{
    for (uint32_t i = 0; i < known_count; i++) {
        if (known[i].inode == inode) {
            known[i].file = file;
            return;
        }
    }
    known = weir_realloc(known, known_count + 1, sizeof *known);
    known[known_count].inode = inode;
    known[known_count++].file = file;
}

static bool find(ino_t inode, uint32_t *file)
{
    if (recorded == NULL)
        return false;
    for (uint32_t i = 0; i < known_count; i++) {
        if (known[i].inode == inode) {
            *file = known[i].file;
            return true;
        }
    }
    return false;
}

ino_t tape_inode(int fd)
{
    struct stat file;

    return recorded != NULL && fstat(fd, &file) == 0 ? file.st_ino : 0;
}

ino_t tape_inode_of(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 ? file.st_ino : 0;
}

bool tape_has(int fd)
{
    uint32_t file;

    return find(tape_inode(fd), &file);
}

bool tape_is_ours(const char *path)
{
    size_t length = strlen(root);

    return recorded != NULL && strncmp(path, root, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

static char *inner(const char *path)
{
    const char *rest = path + strlen(root);

    return weir_strdup(*rest == '/' ? rest + 1 : rest);
}

/* ---- entries ---- */

static struct tape_entry *add(enum tape_kind kind)
{
    struct tape_entry *entry;

    if (recorded->count == recorded->capacity) {
        recorded->capacity = recorded->capacity > 0 ? 2 * recorded->capacity : 256;
        recorded->entries =
            weir_realloc(recorded->entries, recorded->capacity, sizeof *recorded->entries);
    }
    entry = &recorded->entries[recorded->count++];
    *entry = (struct tape_entry){.kind = kind};
    return entry;
}

void tape_created(const char *path)
{
    if (!tape_is_ours(path))
        return;
    struct tape_entry *entry = add(TAPE_CREATE);
    entry->file = add_file((struct tape_file){0});
    entry->path = inner(path);
    know(tape_inode_of(path), entry->file);
}

void tape_made_directory(const char *path)
{
    if (!tape_is_ours(path))
        return;
    know(tape_inode_of(path), add_file((struct tape_file){0}));
    add(TAPE_DIRECTORY)->path = inner(path);
}

void tape_wrote(ino_t inode, uint64_t at, const void *data, uint64_t bytes)
{
    uint32_t file;

    if (!find(inode, &file) || bytes == 0)
        return;
    struct tape_entry *entry = add(TAPE_WRITE);
    entry->file = file;
    entry->at = at;
    entry->bytes = bytes;
    entry->data = weir_alloc(bytes);
    memcpy(entry->data, data, bytes);
}

void tape_resized(ino_t inode, uint64_t bytes, bool grow)
{
    uint32_t file;

    if (!find(inode, &file))
        return;
    struct tape_entry *entry = add(TAPE_RESIZE);
    entry->file = file;
    entry->bytes = bytes;
    entry->grow = grow;
}

void tape_synced(ino_t inode)
{
    uint32_t file;

    if (find(inode, &file))
        add(TAPE_SYNC)->file = file;
}

void tape_sync_failed(ino_t inode)
{
    uint32_t file;

    if (find(inode, &file))
        add(TAPE_SYNC_FAILED)->file = file;
}

void tape_synced_directory(const char *path)
{
    if (tape_is_ours(path))
        add(TAPE_SYNC_DIRECTORY)->path = inner(path);
}

void tape_renamed(const char *from, const char *to)
{
    if (!tape_is_ours(from))
        return;
    struct tape_entry *entry = add(TAPE_RENAME);
    entry->path = inner(from);
    entry->to = inner(to);
}

void tape_unlinked(const char *path)
{
    if (tape_is_ours(path))
        add(TAPE_UNLINK)->path = inner(path);
}

void tape_note(uint32_t note, uint64_t number, uint64_t value)
{
    tape_lock();
    if (recorded != NULL) {
        struct tape_entry *entry = add(TAPE_NOTE);

        entry->note = note;
        entry->number = number;
        entry->value = value;
    }
    tape_unlock();
}

/* ---- recording ---- */

static uint8_t *read_whole(const char *path, uint64_t bytes)
{
    uint8_t *data = weir_alloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, data, bytes) != (ssize_t)bytes)
        abort();
    close(fd);
    return data;
}

static int take_file(const char *path, const struct stat *file, int type, struct FTW *walk)
{
    struct tape_file found = {.directory = type == FTW_D};

    if (walk->level > 0)
        found.path = inner(path);
    if (type == FTW_F) {
        found.bytes = (uint64_t)file->st_size;
        found.data = read_whole(path, found.bytes);
    }
    know(file->st_ino, add_file(found));
    return 0; /* directories are known, too: their descriptors get synced */
}

struct tape *tape_record(const char *directory)
{
    struct tape *tape = weir_zalloc(1, sizeof *tape);

    tape_lock();
    snprintf(root, sizeof root, "%s", directory);
    recorded = tape;
    nftw(directory, take_file, 8, FTW_PHYS);
    tape_unlock();
    return tape;
}

struct tape *tape_record_on(const char *directory, const struct disk *disk)
{
    struct tape *tape = weir_zalloc(1, sizeof *tape);
    const char *name;
    uint32_t file;

    tape_lock();
    snprintf(root, sizeof root, "%s", directory);
    recorded = tape;
    while (tape->file_count < disk_file_count(disk))
        add_file((struct tape_file){0});
    for (uint32_t i = 0; (name = disk_name(disk, i, &file)) != NULL; i++) {
        char *path = weir_asprintf("%s/%s", directory, name);

        /* Directories have a number, too, but only here. */
        know(tape_inode_of(path), file != UINT32_MAX ? file : add_file((struct tape_file){0}));
        free(path);
    }
    know(tape_inode_of(directory), add_file((struct tape_file){0}));
    tape_unlock();
    return tape;
}

void tape_stop(void)
{
    tape_lock();
    recorded = NULL;
    free(known);
    known = NULL;
    known_count = 0;
    tape_unlock();
}

uint32_t tape_length(const struct tape *self)
{
    uint32_t count;

    tape_lock();
    count = self->count;
    tape_unlock();
    return count;
}

void tape_destroy(struct tape **self)
{
    struct tape *tape = *self;

    *self = NULL;
    for (uint32_t i = 0; i < tape->count; i++) {
        free(tape->entries[i].data);
        free(tape->entries[i].path);
        free(tape->entries[i].to);
    }
    for (uint32_t i = 0; i < tape->file_count; i++) {
        free(tape->files[i].data);
        free(tape->files[i].path);
    }
    free(tape->entries);
    free(tape->files);
    free(tape);
}

/* ---- directories ---- */

char *tape_directory_new(void)
{
    /* In memory, where there is such a place: a test makes thousands of them. */
    char *path = weir_strdup(access("/dev/shm", W_OK) == 0 ? "/dev/shm/weir-torture-XXXXXX"
                                                           : "/tmp/weir-torture-XXXXXX");

    if (mkdtemp(path) == NULL)
        abort();
    return path;
}

static int remove_entry(const char *path, const struct stat *file, int type, struct FTW *walk)
{
    (void)file;
    (void)type;
    return walk->level > 0 ? remove(path) : 0;
}

void tape_directory_clear(const char *self)
{
    nftw(self, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void tape_directory_destroy(char **self)
{
    tape_directory_clear(*self);
    rmdir(*self);
    free(*self);
    *self = NULL;
}
