#include "spool_fixture.h"

#include <base/alloc.h>
#include <base/little_endian.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void spool_next(struct subject *subject, struct weir_store_result *result)
{
    struct pollfd wait = {.fd = subject->store->fd(subject->store), .events = POLLIN};

    while (!subject->store->poll(subject->store, result))
        assert_int_equal(poll(&wait, 1, 30000), 1);
}

static void spool_open(struct subject *subject, uint64_t bytes_max)
{
    struct spool_fixture *fixture = (struct spool_fixture *)subject;

    fixture->config.bytes_max = bytes_max;
    fixture_open(fixture);
}

static void spool_close(struct subject *subject)
{
    fixture_close((struct spool_fixture *)subject);
}

static int remove_entry(const char *path, const struct stat *file, int type, struct FTW *walk)
{
    (void)file;
    (void)type;
    (void)walk;
    return remove(path);
}

static void spool_clear(struct subject *subject)
{
    struct spool_fixture *fixture = (struct spool_fixture *)subject;

    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    mkdir(fixture->directory, 0700);
}

int fixture_set_up(void **state)
{
    struct spool_fixture *fixture = weir_zalloc(1, sizeof *fixture);

    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/weir-spool-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->config.directory = fixture->directory;
    fixture->config.tag = 7;
    fixture->config.segment_bytes = SEGMENT_BYTES;
    fixture->io = &weir_io_posix;
    fixture->subject.open = spool_open;
    fixture->subject.close = spool_close;
    fixture->subject.next = spool_next;
    fixture->subject.clear = spool_clear;
    fixture->subject.small_bytes_max = WEIR_SPOOL_BYTES_MIN;
    *state = fixture;
    return 0;
}

int fixture_tear_down(void **state)
{
    struct spool_fixture *fixture = *state;

    if (fixture->subject.store != NULL)
        fixture_close(fixture);
    chmod(fixture->directory, 0700);
    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

void fixture_open(struct spool_fixture *fixture)
{
    struct weir_error error = {0};
    int status = weir_spool_open_with(&fixture->config, fixture->io, &fixture->subject.store,
                                      &fixture->subject.recovered, &error);

    assert_string_equal(error.text, "");
    assert_int_equal(status, 0);
}

void fixture_open_fails(struct spool_fixture *fixture, int code, struct weir_error *error)
{
    struct weir_store *store = NULL;
    struct weir_recovered *recovered = NULL;
    int status = weir_spool_open_with(&fixture->config, fixture->io, &store, &recovered, error);

    assert_int_equal(status, code);
    assert_int_equal(error->code, code);
    assert_null(store);
    assert_null(recovered);
}

void fixture_close(struct spool_fixture *fixture)
{
    weir_recovered_destroy(&fixture->subject.recovered);
    weir_store_destroy(&fixture->subject.store);
}

static void in_child(struct spool_fixture *fixture, void (*work)(struct spool_fixture *fixture),
                     bool killed)
{
    pid_t child;
    int status;

    assert_null(fixture->subject.store);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fixture_open(fixture);
        work(fixture);
        raise(SIGKILL);
        _exit(99);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (killed)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void fixture_in_killed_child(struct spool_fixture *fixture,
                             void (*work)(struct spool_fixture *fixture))
{
    in_child(fixture, work, true);
}

void fixture_in_child(struct spool_fixture *fixture, void (*work)(struct spool_fixture *fixture))
{
    in_child(fixture, work, false);
}

void fixture_append(struct spool_fixture *fixture, uint64_t first, uint32_t count,
                    uint32_t body_bytes)
{
    struct weir_store_request request = append_request(first, first, count, body_bytes);

    perform_plain(&fixture->subject, &request);
}

int fixture_try_append(struct spool_fixture *fixture, uint64_t first, uint32_t body_bytes,
                       struct weir_error *error)
{
    struct weir_store_request request = append_request(first, first, 1, body_bytes);
    struct weir_store_result result = {0};
    int status;

    fixture->subject.store->submit(fixture->subject.store, &request);
    fixture->subject.next(&fixture->subject, &result);
    assert_int_equal(result.id, first);
    status = result.status;
    if (error != NULL)
        *error = result.error;
    weir_store_result_fini(&result);
    return status;
}

void fixture_absorb(struct spool_fixture *fixture, uint64_t sequence)
{
    struct weir_op op = absorbed_op(sequence);
    struct weir_store_request request = apply_request(1, &op, 1);

    perform_plain(&fixture->subject, &request);
}

void fixture_assert_holds(struct spool_fixture *fixture, uint64_t first, uint64_t last,
                          uint32_t body_bytes)
{
    uint64_t expected = first;
    uint64_t from = 1;

    for (;;) {
        struct weir_store_request request = read_request(1, from, 20000);
        struct weir_store_result result = {0};

        perform(&fixture->subject, &request, &result);
        for (uint32_t i = 0; i < result.record_count; i++)
            assert_record(&result.records[i], expected++, 1, body_bytes);
        from = expected;
        if (result.record_count == 0)
            break;
        weir_store_result_fini(&result);
    }
    assert_int_equal(expected, last + 1);
}

char *fixture_path(const struct spool_fixture *fixture, const char *name)
{
    return weir_asprintf("%s/%s", fixture->directory, name);
}

char *fixture_segment(const struct spool_fixture *fixture, uint64_t first)
{
    return weir_asprintf("%s/log/%020" PRIu64 ".seg", fixture->directory, first);
}

uint32_t fixture_count_files(const struct spool_fixture *fixture, const char *directory,
                             const char *ending)
{
    char *path = fixture_path(fixture, directory);
    DIR *entries = opendir(path);
    struct dirent *entry;
    uint32_t count = 0;

    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        size_t length = strlen(entry->d_name);

        count +=
            length > strlen(ending) && strcmp(entry->d_name + length - strlen(ending), ending) == 0;
    }
    if (entries != NULL)
        closedir(entries);
    free(path);
    return count;
}

uint8_t *file_read(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat file;
    uint8_t *data;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &file), 0);
    *size = (size_t)file.st_size;
    data = weir_alloc(*size);
    assert_int_equal(read(fd, data, *size), *size);
    close(fd);
    return data;
}

void file_write(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

void file_flip(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

uint64_t record_offset(const char *path, uint32_t n)
{
    size_t size;
    uint8_t *data = file_read(path, &size);
    uint64_t offset = WEIR_SEGMENT_HEADER_BYTES;

    for (; n > 0; n--) {
        struct weir_record_header header;

        assert_true(weir_record_header_decode(data + offset, get_u32(data + 12), &header));
        offset += weir_record_bytes(&header);
    }
    free(data);
    return offset;
}
