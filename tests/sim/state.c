#include "state.h"
#include <base/alloc.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <store/state.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define WAL_BYTES_MAX (4u * PAGE_BYTES) /* then it is taken in and begins anew */
#define OPERATIONS_PER_PAGE 16u

struct sim_state {
    struct weir_state state; /* first: the store sees no more of it */
    struct sim_state_disk *disk;
    /* The transaction that is open: what it is made of is the requests'. */
    struct {
        struct weir_op *ops;
        uint32_t count;
        struct weir_store_result *result;
    } * parts;
    uint32_t part_count;
};

static struct sim_state_disk *mounted;

void sim_state_disk_init(struct sim_state_disk *self, struct sim_filesystem *files)
{
    *self = (struct sim_state_disk){.files = files};
}

void sim_state_disk_fini(struct sim_state_disk *self)
{
    weir_memory_state_destroy(&self->memory);
}

void sim_state_mount(struct sim_state_disk *self)
{
    mounted = self;
}

static struct sim_state *from_state(const struct weir_state *state)
{
    return (struct sim_state *)(uintptr_t)state;
}

static int failed(const char *what, struct weir_error *error)
{
    return weir_io_error(error, errno, what, "the state");
}

/* A file by whose being there a start knows that there is a state. One that a start before had
 * made, and was killed, may not be on the disk yet: SQLite, too, would sync it before it relied on
 * it. */
static int make_file(struct sim_filesystem *files, const char *path, struct weir_error *error)
{
    struct iovec iov = {(void *)(uintptr_t) "state", 5};
    const int fd = files->io.open(&files->io, path, O_RDWR | O_CREAT);
    if (fd < 0)
        return failed("make", error);
    int status = 0;
    if (weir_io_write(&files->io, fd, &iov, 1, 0) != 0 || files->io.fsync(&files->io, fd) != 0)
        status = failed("write", error);
    files->io.close(&files->io, fd);
    return status;
}

int weir_state_open(const char *directory, uint16_t tag, uint64_t bytes_max,
                    struct weir_state **self, struct weir_error *error)
{
    struct sim_state_disk *disk = mounted;
    char *path = weir_asprintf("%s/state.db", directory);
    struct stat file;
    int status = 0;
    (void)bytes_max;
    const bool there = disk->files->io.stat(&disk->files->io, path, &file) == 0;
    if (!there && errno != ENOENT) {
        status = failed("look for", error);
    } else if (!there || file.st_size == 0) {
        /* A power cut may take back what the very first start had made. */
        weir_memory_state_destroy(&disk->memory);
        disk->memory = weir_memory_state_new();
    } else if (sim_filesystem_call(disk->files, SIM_CALL_READ) != 0) {
        status = failed("read", error);
    }
    if (status == 0)
        status = make_file(disk->files, path, error);
    if (status == 0 && weir_io_sync_directory(&disk->files->io, directory) != 0)
        status = failed("sync the directory of", error);
    free(path);
    if (status != 0)
        return status;
    struct sim_state *state = weir_zalloc(1, sizeof *state);
    state->disk = disk;
    state->state.tag = tag;
    memset(state->state.uuid, tag, sizeof state->state.uuid);
    state->state.absorbed = weir_memory_state_absorbed(disk->memory);
    *self = &state->state;
    return 0;
}

void weir_state_close(struct weir_state **self)
{
    if (!*self)
        return;
    free(from_state(*self)->parts);
    free(from_state(*self));
    *self = NULL;
}

uint64_t weir_state_bytes(const struct weir_state *state)
{
    const struct sim_state_disk *disk = from_state(state)->disk;
    return disk->database_bytes + disk->wal_bytes;
}

int weir_state_check_wal(struct weir_state *state, struct weir_error *error)
{
    (void)state;
    (void)error;
    return 0;
}

int weir_state_begin(struct weir_state *state, struct weir_error *error)
{
    (void)error;
    from_state(state)->part_count = 0;
    return 0;
}

int weir_state_apply(struct weir_state *state, const struct weir_op *ops, uint32_t count,
                     struct weir_store_result *result, struct weir_error *error)
{
    struct sim_state *self = from_state(state);
    (void)error;
    self->parts = weir_realloc(self->parts, self->part_count + 1, sizeof *self->parts);
    self->parts[self->part_count].ops = (struct weir_op *)(uintptr_t)ops;
    self->parts[self->part_count].result = result;
    self->parts[self->part_count++].count = count;
    return 0;
}

static void commit(struct sim_state *self)
{
    for (uint32_t i = 0; i < self->part_count; i++)
        weir_memory_state_apply(self->disk->memory, self->parts[i].ops, self->parts[i].count,
                                self->parts[i].result);
    self->state.absorbed = weir_memory_state_absorbed(self->disk->memory);
    self->state.payload_bytes = weir_memory_state_bytes(self->disk->memory);
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static uint64_t database_bytes(const struct sim_state_disk *disk, uint64_t added)
{
    return 4 * PAGE_BYTES + pages(weir_memory_state_bytes(disk->memory) + added);
}

int weir_state_shrink(struct weir_state *state, struct weir_error *error)
{
    struct sim_state_disk *disk = from_state(state)->disk;
    const uint64_t bytes = database_bytes(disk, 0);
    if (bytes >= disk->database_bytes)
        return 0;
    if (sim_filesystem_call(disk->files, SIM_CALL_WRITE) != 0 ||
        sim_filesystem_call(disk->files, SIM_CALL_SYNC) != 0)
        return failed("shrink", error);
    disk->database_bytes = bytes;
    return sim_filesystem_other(disk->files, bytes + disk->wal_bytes) == 0
               ? 0
               : failed("shrink", error);
}

/* Room in the WAL for the pages that the transaction changes, and in the database for what it adds.
 * Neither file shrinks by itself. */
static int find_room(struct sim_state *self)
{
    struct sim_state_disk *disk = self->disk;
    uint64_t added = 0, operations = 0;
    for (uint32_t p = 0; p < self->part_count; p++) {
        operations += self->parts[p].count;
        for (uint32_t i = 0; i < self->parts[p].count; i++) {
            const struct weir_row *row = self->parts[p].ops[i].row;
            if (row)
                added += row->header.size + row->index_entry.size + row->body.size;
        }
    }
    uint64_t wal_bytes =
        disk->wal_bytes + pages(added) + (1 + operations / OPERATIONS_PER_PAGE) * PAGE_BYTES;
    if (wal_bytes > WAL_BYTES_MAX)
        wal_bytes = disk->wal_bytes > WAL_BYTES_MAX ? disk->wal_bytes : WAL_BYTES_MAX;
    uint64_t needed = database_bytes(disk, added);
    if (needed < disk->database_bytes)
        needed = disk->database_bytes;
    if (sim_filesystem_other(disk->files, needed + wal_bytes) != 0)
        return -1;
    disk->database_bytes = needed;
    disk->wal_bytes = wal_bytes;
    return 0;
}

int weir_state_commit(struct weir_state *state, struct weir_error *error)
{
    struct sim_state *self = from_state(state);
    struct sim_filesystem *files = self->disk->files;
    if (sim_filesystem_call(files, SIM_CALL_WRITE) != 0)
        return failed("write to", error);
    if (find_room(self) != 0)
        return failed("write to", error);
    if (sim_filesystem_call(files, SIM_CALL_SYNC) != 0) {
        const int status = failed("sync", error);
        if (weir_random_below(&files->random, 2) == 0)
            commit(self); /* the next start finds it */
        return status;
    }
    commit(self);
    return 0;
}

int weir_state_query(struct weir_state *state, const struct weir_store_request *request,
                     struct weir_store_result *result, struct weir_error *error)
{
    const struct sim_state_disk *disk = from_state(state)->disk;
    if (sim_filesystem_call(disk->files, SIM_CALL_READ) != 0)
        return failed("read", error);
    weir_memory_state_query(disk->memory, request, result);
    return 0;
}

int weir_state_load(struct weir_state *state, struct weir_recovered *recovered,
                    struct weir_error *error)
{
    (void)error;
    weir_memory_state_recover(from_state(state)->disk->memory, recovered);
    memcpy(recovered->uuid, state->uuid, sizeof recovered->uuid);
    recovered->tag = state->tag;
    return 0;
}
