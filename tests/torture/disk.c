/* What a tape's entries do to a disk, and what is left of it. Names and contents become safe apart
 * from each other, as POSIX has it: a file that was synced is lost all the same while its directory
 * was not. What is not safe is lost or kept piece by piece; names in the order of their changes, as
 * every journal keeps them. */
#include "tape.h"

#include <base/alloc.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512u
#define DIRECTORY UINT32_MAX

struct content {
    uint8_t *data;
    uint64_t bytes, capacity;
};

struct disk_file {
    struct content now, safe;
    const struct tape_entry **unsynced; /* in their order */
    uint32_t unsynced_count, unsynced_capacity;
};

struct name {
    char *path;
    uint32_t file; /* or DIRECTORY */
};

struct names {
    struct name *at;
    uint32_t count, capacity;
};

struct disk {
    struct disk_file *files;
    uint32_t file_count;
    struct names now, safe;
    const struct tape_entry **unsynced; /* changes of names */
    uint32_t unsynced_count, unsynced_capacity;
};

/* ---- contents ---- */

static void resize(struct content *content, uint64_t bytes)
{
    if (bytes > content->capacity) {
        content->capacity = bytes > 2 * content->capacity ? bytes : 2 * content->capacity;
        content->data = weir_realloc(content->data, content->capacity, 1);
    }
    if (bytes > content->bytes)
        memset(content->data + content->bytes, 0, bytes - content->bytes);
    content->bytes = bytes;
}

static void put(struct content *content, uint64_t at, const uint8_t *data, uint64_t bytes)
{
    if (at + bytes > content->bytes)
        resize(content, at + bytes);
    if (bytes > 0)
        memcpy(content->data + at, data, bytes);
}

static void change(struct content *content, const struct tape_entry *entry)
{
    if (entry->kind == TAPE_WRITE)
        put(content, entry->at, entry->data, entry->bytes);
    else if (!entry->grow || entry->bytes > content->bytes)
        resize(content, entry->bytes);
}

/* Some sectors of a write arrive, or the size does without the data, or nothing. */
static void tear(struct content *content, const struct tape_entry *entry,
                 struct weir_random *random)
{
    if (entry->kind != TAPE_WRITE) {
        if (weir_random_below(random, 2) == 0)
            change(content, entry);
        return;
    }
    if (weir_random_below(random, 4) == 0 && entry->at + entry->bytes > content->bytes)
        resize(content, entry->at + entry->bytes);
    for (uint64_t at = 0; at < entry->bytes;) {
        uint64_t bytes = SECTOR_BYTES - (entry->at + at) % SECTOR_BYTES;

        if (bytes > entry->bytes - at)
            bytes = entry->bytes - at;
        if (weir_random_below(random, 2) == 0)
            put(content, entry->at + at, entry->data + at, bytes);
        at += bytes;
    }
}

/* ---- names ---- */

static struct name *find(struct names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i].path, path) == 0)
            return &names->at[i];
    }
    return NULL;
}

static void add_name(struct names *names, const char *path, uint32_t file)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity > 0 ? 2 * names->capacity : 32;
        names->at = weir_realloc(names->at, names->capacity, sizeof *names->at);
    }
    names->at[names->count++] = (struct name){weir_strdup(path), file};
}

static void remove_name(struct names *names, const char *path)
{
    struct name *name = find(names, path);

    if (name == NULL)
        return;
    free(name->path);
    *name = names->at[--names->count];
}

static void change_names(struct names *names, const struct tape_entry *entry)
{
    struct name *name = find(names, entry->path);

    switch (entry->kind) {
    case TAPE_CREATE:
        add_name(names, entry->path, entry->file);
        break;
    case TAPE_DIRECTORY:
        add_name(names, entry->path, DIRECTORY);
        break;
    case TAPE_UNLINK:
        remove_name(names, entry->path);
        break;
    default: /* a rename; what it renames may itself have been lost */
        remove_name(names, entry->to);
        name = find(names, entry->path);
        if (name != NULL) {
            free(name->path);
            name->path = weir_strdup(entry->to);
        }
        break;
    }
}

static bool is_in(const char *path, const char *directory)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash != NULL ? (size_t)(slash - path) : 0;

    return strlen(directory) == length && strncmp(path, directory, length) == 0;
}

static void names_copy(struct names *to, const struct names *from)
{
    for (uint32_t i = 0; i < from->count; i++)
        add_name(to, from->at[i].path, from->at[i].file);
}

static void names_fini(struct names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->at[i].path);
    free(names->at);
}

/* ---- the disk ---- */

struct disk *disk_new(const struct tape *tape)
{
    struct disk *disk = weir_zalloc(1, sizeof *disk);

    disk->file_count = tape->file_count;
    disk->files = weir_zalloc(tape->file_count + 1, sizeof *disk->files);
    for (uint32_t i = 0; i < tape->file_count; i++) {
        const struct tape_file *file = &tape->files[i];

        if (file->path == NULL)
            continue;
        add_name(&disk->now, file->path, file->directory ? DIRECTORY : i);
        add_name(&disk->safe, file->path, file->directory ? DIRECTORY : i);
        put(&disk->files[i].now, 0, file->data, file->bytes);
        put(&disk->files[i].safe, 0, file->data, file->bytes);
    }
    return disk;
}

static void push(const struct tape_entry ***list, uint32_t *count, uint32_t *capacity,
                 const struct tape_entry *entry)
{
    if (*count == *capacity) {
        *capacity = *capacity > 0 ? 2 * *capacity : 16;
        *list = weir_realloc(*list, *capacity, sizeof **list);
    }
    (*list)[(*count)++] = entry;
}

static struct disk_file *file_at(struct disk *disk, uint32_t number)
{
    if (number >= disk->file_count) {
        disk->files = weir_realloc(disk->files, number + 1, sizeof *disk->files);
        memset(&disk->files[disk->file_count], 0,
               (number + 1 - disk->file_count) * sizeof *disk->files);
        disk->file_count = number + 1;
    }
    return &disk->files[number];
}

struct disk *disk_copy(const struct disk *self)
{
    struct disk *copy = weir_zalloc(1, sizeof *copy);

    names_copy(&copy->now, &self->now);
    names_copy(&copy->safe, &self->safe);
    for (uint32_t i = 0; i < self->unsynced_count; i++)
        push(&copy->unsynced, &copy->unsynced_count, &copy->unsynced_capacity, self->unsynced[i]);
    for (uint32_t i = 0; i < self->file_count; i++) {
        const struct disk_file *from = &self->files[i];
        struct disk_file *to = file_at(copy, i);

        put(&to->now, 0, from->now.data, from->now.bytes);
        put(&to->safe, 0, from->safe.data, from->safe.bytes);
        for (uint32_t at = 0; at < from->unsynced_count; at++)
            push(&to->unsynced, &to->unsynced_count, &to->unsynced_capacity, from->unsynced[at]);
    }
    return copy;
}

uint32_t disk_file_count(const struct disk *self)
{
    return self->file_count;
}

const char *disk_name(const struct disk *self, uint32_t i, uint32_t *file)
{
    if (i >= self->now.count)
        return NULL;
    *file = self->now.at[i].file;
    return self->now.at[i].path;
}

void disk_destroy(struct disk **self)
{
    struct disk *disk = *self;

    *self = NULL;
    for (uint32_t i = 0; i < disk->file_count; i++) {
        free(disk->files[i].now.data);
        free(disk->files[i].safe.data);
        free(disk->files[i].unsynced);
    }
    names_fini(&disk->now);
    names_fini(&disk->safe);
    free(disk->unsynced);
    free(disk->files);
    free(disk);
}

static void sync_file(struct disk_file *file)
{
    for (uint32_t i = 0; i < file->unsynced_count; i++)
        change(&file->safe, file->unsynced[i]);
    file->unsynced_count = 0;
}

/* As Linux has it after a failed sync: the pages count as clean, whatever the disk has of them. */
static void lose(struct disk_file *file)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < file->unsynced_count; i++) {
        if (file->unsynced[i]->kind != TAPE_WRITE)
            file->unsynced[kept++] = file->unsynced[i];
    }
    file->unsynced_count = kept;
}

static void sync_directory(struct disk *disk, const char *path)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < disk->unsynced_count; i++) {
        const struct tape_entry *entry = disk->unsynced[i];

        if (is_in(entry->path, path))
            change_names(&disk->safe, entry);
        else
            disk->unsynced[kept++] = entry;
    }
    disk->unsynced_count = kept;
}

void disk_step(struct disk *self, const struct tape_entry *entry)
{
    struct disk_file *file = file_at(self, entry->file);

    switch (entry->kind) {
    case TAPE_WRITE:
    case TAPE_RESIZE:
        change(&file->now, entry);
        push(&file->unsynced, &file->unsynced_count, &file->unsynced_capacity, entry);
        break;
    case TAPE_SYNC:
        sync_file(file);
        break;
    case TAPE_SYNC_FAILED:
        lose(file);
        break;
    case TAPE_SYNC_DIRECTORY:
        sync_directory(self, entry->path);
        break;
    case TAPE_NOTE:
        break;
    default:
        change_names(&self->now, entry);
        push(&self->unsynced, &self->unsynced_count, &self->unsynced_capacity, entry);
        break;
    }
}

bool disk_has_unsynced(const struct disk *self)
{
    bool any = self->unsynced_count > 0;

    for (uint32_t i = 0; i < self->file_count && !any; i++)
        any = self->files[i].unsynced_count > 0;
    return any;
}

/* ---- what is left ---- */

static void write_file(const char *directory, const char *name, const struct content *content)
{
    char *path = weir_asprintf("%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 ||
        (content->bytes > 0 && write(fd, content->data, content->bytes) != (ssize_t)content->bytes))
        abort();
    close(fd);
    free(path);
}

static void leave_file(const struct disk *self, uint32_t number, const char *name,
                       enum tape_end end, struct weir_random *random, const struct tape_entry *next,
                       uint64_t next_bytes, const char *directory)
{
    const struct disk_file *file = &self->files[number];
    const struct content *from = end == TAPE_KILLED ? &file->now : &file->safe;
    struct content left = {0};

    put(&left, 0, from->data, from->bytes);
    if (end == TAPE_TORN) {
        for (uint32_t i = 0; i < file->unsynced_count; i++)
            tear(&left, file->unsynced[i], random);
    }
    if (next != NULL && next->kind == TAPE_WRITE && next->file == number)
        put(&left, next->at, next->data, next_bytes);
    write_file(directory, name, &left);
    free(left.data);
}

static bool has_parent(struct names *names, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent;
    bool there;

    if (slash == NULL)
        return true;
    parent = weir_strndup(path, (size_t)(slash - path));
    there = find(names, parent) != NULL;
    free(parent);
    return there;
}

void disk_leave(const struct disk *self, enum tape_end end, uint64_t seed,
                const struct tape_entry *next, uint64_t next_bytes, const char *directory)
{
    struct names names = {0};
    struct weir_random random;

    weir_random_seed(&random, seed);
    names_copy(&names, end == TAPE_KILLED ? &self->now : &self->safe);
    if (end == TAPE_TORN) {
        uint32_t kept = (uint32_t)weir_random_below(&random, self->unsynced_count + 1);

        for (uint32_t i = 0; i < kept; i++)
            change_names(&names, self->unsynced[i]);
    }
    for (uint32_t i = 0; i < names.count; i++) {
        if (names.at[i].file != DIRECTORY)
            continue;
        char *path = weir_asprintf("%s/%s", directory, names.at[i].path);

        mkdir(path, 0700);
        free(path);
    }
    for (uint32_t i = 0; i < names.count; i++) {
        if (names.at[i].file != DIRECTORY && has_parent(&names, names.at[i].path))
            leave_file(self, names.at[i].file, names.at[i].path, end, &random, next, next_bytes,
                       directory);
    }
    names_fini(&names);
}
