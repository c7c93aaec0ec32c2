/* What a spool says and does when it may not, cannot, or has no room. */
#include "spool_fixture.h"
#include "test_disk.h"

#include <base/alloc.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE_BYTES 7000u /* eight fill a segment */

static struct test_disk disk;

static uint32_t spool_segments(const struct spool_fixture *fixture)
{
    return ((const struct weir_spool *)fixture->subject.store)->log->segment_count;
}

static int set_up_disk(void **state)
{
    struct spool_fixture *fixture;

    fixture_set_up(state);
    fixture = *state;
    test_disk_init(&disk);
    fixture->io = &disk.io;
    return 0;
}

static int tear_down_disk(void **state)
{
    fixture_tear_down(state);
    test_disk_fini(&disk);
    return 0;
}

/* --- opening ------------------------------------------------------------------------------- */

static void test_second_holder_is_told_who_holds_it(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;
    char expected[64];

    snprintf(expected, sizeof expected, "in use by process %ld;", (long)getpid());
    fixture_open(fixture);
    fixture_open_fails(fixture, WEIR_ELOCKED, &error);
    assert_non_null(strstr(error.text, expected));
    assert_non_null(strstr(error.text, fixture->directory));
    fixture_close(fixture);
    fixture_open(fixture);
}

static void test_lock_holds_against_another_process(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;
    pid_t child;
    int status;

    fixture_open(fixture);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        struct weir_store *store;
        struct weir_recovered *recovered;

        _exit(weir_spool_open(&fixture->config, &store, &recovered, &error) == WEIR_ELOCKED ? 0
                                                                                            : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_another_tag_is_refused(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    fixture_close(fixture);
    fixture->config.tag = 8;
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, "tag 7"));
    assert_non_null(strstr(error.text, "tag 8"));
}

static void execute_in(const char *database, const char *text)
{
    sqlite3 *connection;

    assert_int_equal(sqlite3_open(database, &connection), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(connection);
}

static void test_a_state_of_version_1_is_opened(void **state)
{
    struct spool_fixture *fixture = *state;
    char *database = fixture_path(fixture, "state.db");
    struct weir_op op = {.type = WEIR_OP_GROUP_PUT};

    fixture_open(fixture);
    op.group = weir_zalloc(1, sizeof *op.group);
    op.group->number = 3;
    op.group->policy = weir_group_policy_default();
    memcpy(op.group->policy.name, "old", sizeof "old");
    op.group->low = op.group->next = 7;
    op.group->totals.stale = 9;
    op.group->ended.count = 1;
    op.group->ended.at[0] = (struct weir_ended_range){1, 2, WEIR_FATE_LOST};
    apply(&fixture->subject, &op, 1);
    fixture_close(fixture);
    execute_in(database, "ALTER TABLE groups DROP COLUMN ended; PRAGMA user_version = 1");
    for (int start = 0; start < 2; start++) { /* upgraded; and as it is then */
        const struct weir_recovered *recovered;

        fixture_open(fixture);
        recovered = fixture->subject.recovered;
        assert_int_equal(recovered->group_count, 1);
        assert_string_equal(recovered->groups[0].policy.name, "old");
        assert_int_equal(recovered->groups[0].low, 7);
        assert_int_equal(recovered->groups[0].totals.stale, 9);
        assert_int_equal(recovered->groups[0].ended.count, 0);
        fixture_close(fixture);
    }
    free(database);
}

static void test_another_version_is_refused(void **state)
{
    struct spool_fixture *fixture = *state;
    char *segment = fixture_segment(fixture, 1), *lock = fixture_path(fixture, "lock");
    char *database = fixture_path(fixture, "state.db");
    static const char newer_lock[] = "weir lock 2\npid 1\n";
    struct weir_error error;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 10);
    fixture_close(fixture);
    file_flip(segment, 8);
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, segment));
    assert_non_null(strstr(error.text, "version"));
    file_flip(segment, 8);

    execute_in(database, "PRAGMA user_version = 3");
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, "state.db has format version 3"));
    execute_in(database, "PRAGMA user_version = 2");

    file_write(lock, newer_lock, sizeof newer_lock - 1);
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, "version 2"));
    unlink(lock);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 1, 10);
    free(segment);
    free(lock);
    free(database);
}

static void test_foreign_files_are_refused(void **state)
{
    struct spool_fixture *fixture = *state;
    char *database = fixture_path(fixture, "state.db");
    struct weir_error error;
    sqlite3 *connection;

    file_write(database, "this is no database, whatever its name may say", 46);
    fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
    assert_non_null(strstr(error.text, database));
    unlink(database);
    assert_int_equal(sqlite3_open(database, &connection), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, "CREATE TABLE mine (a)", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(connection);
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, "not the state of a spool"));
    free(database);
}

/* The log of one spool beside the state of another must not be taken for its own. */
static void test_log_of_another_spool_is_refused(void **state)
{
    struct spool_fixture *fixture = *state;
    char *database = fixture_path(fixture, "state.db");
    char *segment = fixture_segment(fixture, 1), *away = fixture_path(fixture, "away");
    struct weir_error error;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 10);
    fixture_close(fixture);
    assert_int_equal(rename(segment, away), 0);
    unlink(database);
    fixture_open(fixture); /* begun anew: another spool */
    fixture_close(fixture);
    assert_int_equal(rename(away, segment), 0);
    fixture_open_fails(fixture, WEIR_EDAMAGED, &error);
    assert_non_null(strstr(error.text, "another spool"));
    free(database);
    free(segment);
    free(away);
}

static void test_directory_that_cannot_be_used(void **state)
{
    struct spool_fixture *fixture = *state;
    char *file = fixture_path(fixture, "file"), *below = fixture_path(fixture, "file/spool");
    struct weir_error error;

    file_write(file, "x", 1);
    fixture->config.directory = below;
    fixture_open_fails(fixture, WEIR_EIO, &error);
    assert_non_null(strstr(error.text, "file"));
    assert_non_null(strstr(error.text, strerror(ENOTDIR)));
    fixture->config.directory = fixture->directory;
    /* Who is root may write to any directory. */
    if (geteuid() != 0) {
        chmod(fixture->directory, 0500);
        fixture_open_fails(fixture, WEIR_EIO, &error);
        assert_non_null(strstr(error.text, strerror(EACCES)));
        chmod(fixture->directory, 0700);
    }
    free(file);
    free(below);
}

static void test_missing_directories_are_made(void **state)
{
    struct spool_fixture *fixture = *state;
    char *deep = fixture_path(fixture, "var/signup/intake");
    struct stat made;

    fixture->config.directory = deep;
    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 10);
    assert_int_equal(stat(deep, &made), 0);
    assert_int_equal(made.st_mode & 0777, 0700);
    fixture_close(fixture);
    fixture->config.directory = fixture->directory;
    free(deep);
}

static void test_max_that_is_too_small(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture->config.bytes_max = 1000;
    fixture_open_fails(fixture, WEIR_EINVAL, &error);
    assert_non_null(strstr(error.text, "at least"));
}

/* --- a disk that fails --------------------------------------------------------------------- */

static void assert_apply_fails(struct spool_fixture *fixture, int code)
{
    struct weir_op op = absorbed_op(1);
    struct weir_store_request request = apply_request(5, &op, 1);
    struct weir_store_result result = {0};

    fixture->subject.store->submit(fixture->subject.store, &request);
    fixture->subject.next(&fixture->subject, &result);
    assert_int_equal(result.status, code);
    weir_store_result_fini(&result);
}

static void test_failed_sync_is_final(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_fail(&disk, DISK_SYNC, 0, 1, EIO);
    assert_int_equal(fixture_try_append(fixture, 2, 100, &error), WEIR_EIO);
    assert_non_null(strstr(error.text, "cannot sync"));
    /* The disk is well again, but who knows what became of the pages: no second try. */
    assert_int_equal(fixture_try_append(fixture, 3, 100, &error), WEIR_EIO);
    assert_apply_fails(fixture, WEIR_EIO);
    fixture_assert_holds(fixture, 1, 1, 100);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    fixture_assert_holds(fixture, 1, 2, 100);
    fixture_append(fixture, 3, 1, 100);
}

static void test_failed_sync_at_rotation_is_final(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 8; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    /* Nothing is unsynced: the first sync is that of the new segment's header. */
    test_disk_fail(&disk, DISK_SYNC, 0, 1, EIO);
    assert_int_equal(fixture_try_append(fixture, 9, LARGE_BYTES, &error), WEIR_EIO);
    assert_int_equal(fixture_try_append(fixture, 10, LARGE_BYTES, &error), WEIR_EIO);
    fixture_close(fixture);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 8, LARGE_BYTES);
    fixture_append(fixture, 9, 1, LARGE_BYTES);
    fixture_assert_holds(fixture, 1, 9, LARGE_BYTES);
}

static void test_failed_write_is_final(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_fail(&disk, DISK_WRITE, 0, 1, EIO);
    assert_int_equal(fixture_try_append(fixture, 2, 100, &error), WEIR_EIO);
    assert_non_null(strstr(error.text, "cannot write to"));
    assert_int_equal(fixture_try_append(fixture, 2, 100, &error), WEIR_EIO);
    fixture_assert_holds(fixture, 1, 1, 100);
}

static void test_no_room_for_a_write(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_fail(&disk, DISK_WRITE, 0, 1, ENOSPC);
    assert_int_equal(fixture_try_append(fixture, 2, 100, &error), WEIR_EFULL);
    assert_non_null(strstr(error.text, "free space"));
    fixture_append(fixture, 2, 1, 100);
    fixture_append(fixture, 3, 1, 100);
    fixture_assert_holds(fixture, 1, 3, 100);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    fixture_assert_holds(fixture, 1, 3, 100);
}

/* What had no room left no trace: the shorter batch that came instead moves those behind it. */
static void test_no_room_leaves_no_place_behind(void **state)
{
    static const uint32_t sizes[] = {5000, 1100000, 100};
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture->config.segment_bytes = 8u << 20;
    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_hold(&disk, true);
    request = append_request(2, 2, 1, 1200000);
    fixture->subject.store->submit(fixture->subject.store, &request);
    test_disk_wait_for_sync(&disk);
    for (uint32_t i = 0; i < 3; i++) {
        request = append_request(3 + i, 3 + i, 1, sizes[i]);
        fixture->subject.store->submit(fixture->subject.store, &request);
    }
    test_disk_fail(&disk, DISK_WRITE, 0, 1, ENOSPC);
    test_disk_hold(&disk, false);
    for (uint64_t i = 2; i <= 5; i++) {
        fixture->subject.next(&fixture->subject, &result);
        assert_int_equal(result.id, i);
        assert_int_equal(result.status, i == 2 ? 0 : WEIR_EFULL);
        weir_store_result_fini(&result);
    }
    for (uint32_t i = 0; i < 3; i++)
        fixture_append(fixture, 3 + i, 1, i == 0 ? 100 : sizes[i]);
    request = read_request(6, 5, 1);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 5, 1, sizes[2]);
    weir_store_result_fini(&result);
}

static void test_no_room_for_a_segment(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_error error;

    fixture_open(fixture);
    for (uint64_t i = 1; i <= 8; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    test_disk_fail(&disk, DISK_ALLOCATE, 0, 2, ENOSPC);
    assert_int_equal(fixture_try_append(fixture, 9, LARGE_BYTES, &error), WEIR_EFULL);
    assert_non_null(strstr(error.text, "allocate"));
    assert_int_equal(fixture_try_append(fixture, 9, LARGE_BYTES, &error), WEIR_EFULL);
    assert_int_equal(fixture_count_files(fixture, "log", ".new"), 0);
    fixture_append(fixture, 9, 1, LARGE_BYTES);
    fixture_assert_holds(fixture, 1, 9, LARGE_BYTES);
}

/* When `max` has room for one segment only, that one is freed as a whole, once all in it is done.
 */
static void test_full_segment_without_a_successor(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};
    uint64_t next = 1, used;

    fixture->config.bytes_max = WEIR_SPOOL_BYTES_MIN;
    fixture->config.segment_bytes = 1u << 20;
    fixture_open(fixture);
    for (int times = 0; times < 3; times++) {
        while (fixture_try_append(fixture, next, LARGE_BYTES, NULL) == 0)
            next++;
        assert_int_equal(spool_segments(fixture), 1);
        request = read_request(1, next - 1, 1);
        perform(&fixture->subject, &request, &result);
        used = result.used_bytes;
        assert_record(&result.records[0], next - 1, 1, LARGE_BYTES);
        assert_int_equal(result.oldest_segment_last, next - 1);
        weir_store_result_fini(&result);
        /* Not all of it is done yet. */
        fixture_absorb(fixture, next - 1);
        request = trim_request(2, next - 1);
        perform(&fixture->subject, &request, &result);
        assert_int_equal(result.oldest_segment_last, next - 1);
        weir_store_result_fini(&result);
        assert_int_equal(fixture_try_append(fixture, next, 10, NULL), WEIR_EFULL);
        request = trim_request(3, next);
        perform(&fixture->subject, &request, &result);
        assert_int_equal(result.oldest_segment_last, 0);
        assert_true(result.used_bytes < used);
        weir_store_result_fini(&result);
    }
    fixture_append(fixture, next, 1, LARGE_BYTES);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_null(fixture->subject.recovered->damage);
    fixture_assert_holds(fixture, next, next, LARGE_BYTES);
}

/* A large transaction's WAL is not left behind to count as use. */
static void test_wal_does_not_stay_large(void **state)
{
    struct spool_fixture *fixture = *state;
    char *wal = fixture_path(fixture, "state.db-wal");
    struct weir_op ops[64];
    struct weir_store_request request;
    struct stat file;

    fixture->config.bytes_max = 2 * WEIR_SPOOL_BYTES_MIN;
    fixture_open(fixture);
    for (uint32_t i = 0; i < 64; i++) {
        ops[i] = (struct weir_op){.type = WEIR_OP_CHUNK_PUT, .number = 1, .chunk = i};
        ops[i].bits = weir_zalloc(1, WEIR_CHUNK_BYTES);
    }
    for (uint32_t i = 0; i < 32; i++) {
        free(ops[i].bits);
        ops[i] = (struct weir_op){.type = WEIR_OP_ROW_PUT};
        ops[i].row = weir_zalloc(1, sizeof *ops[i].row);
        ops[i].row->group = 1;
        ops[i].row->sequence = i + 1;
        ops[i].row->state = WEIR_ROW_DEFERRED;
        ops[i].row->body = pattern(i, 1, 50000);
    }
    request = apply_request(1, ops, 64);
    perform_plain(&fixture->subject, &request);
    assert_int_equal(stat(wal, &file), 0);
    assert_true(file.st_size < 1 << 20);
    free(wal);
}

/* One request of many has no room: those before it are kept, those behind it are not. */
static void test_no_room_in_the_middle_of_a_group(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_result result = {0};

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_hold(&disk, true);
    for (uint64_t i = 2; i <= 20; i++) {
        struct weir_store_request request = append_request(i, i, 1, LARGE_BYTES);

        fixture->subject.store->submit(fixture->subject.store, &request);
        /* The others wait while this one is synced, and so become one group. */
        if (i == 2)
            test_disk_wait_for_sync(&disk);
    }
    test_disk_fail(&disk, DISK_ALLOCATE, 0, 1, ENOSPC);
    test_disk_hold(&disk, false);
    for (uint64_t i = 2; i <= 20; i++) {
        fixture->subject.next(&fixture->subject, &result);
        assert_int_equal(result.id, i);
        assert_int_equal(result.status, i <= 9 ? 0 : WEIR_EFULL);
        weir_store_result_fini(&result);
    }
    fixture_append(fixture, 10, 1, LARGE_BYTES);
}

/* --- the state on a full disk -------------------------------------------------------------- */

static sqlite3_syscall_ptr real_pwrite;
static bool state_disk_full;

static ssize_t full_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))real_pwrite;

    if (__atomic_load_n(&state_disk_full, __ATOMIC_SEQ_CST)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, data, size, offset);
}

static const char *const pwrite_names[] = {"pwrite", "pwrite64", "write"};

static void replace_state_writes(bool replaced)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    for (int i = 0; i < 2; i++) {
        if (vfs->xGetSystemCall(vfs, pwrite_names[i]) == NULL)
            continue;
        if (replaced)
            real_pwrite = vfs->xGetSystemCall(vfs, pwrite_names[i]);
        assert_int_equal(vfs->xSetSystemCall(vfs, pwrite_names[i],
                                             replaced ? (sqlite3_syscall_ptr)full_pwrite : NULL),
                         SQLITE_OK);
    }
}

/* As a full disk does: writes go on failing until the reserve is given up. */
static int unlink_frees_space(const struct weir_io *io, const char *path)
{
    if (strstr(path, "/reserve") != NULL)
        __atomic_store_n(&state_disk_full, false, __ATOMIC_SEQ_CST);
    return weir_io_posix.unlink(io, path);
}

static void test_reserve_lets_work_be_noted_on_a_full_disk(void **state)
{
    struct spool_fixture *fixture = *state;
    char *reserve = fixture_path(fixture, "reserve");
    struct weir_error error;

    disk.io.unlink = unlink_frees_space;
    replace_state_writes(true);
    fixture_open(fixture);
    assert_int_equal(access(reserve, F_OK), 0);
    fixture_append(fixture, 1, 1, 100);
    __atomic_store_n(&state_disk_full, true, __ATOMIC_SEQ_CST);
    fixture_absorb(fixture, 1);
    assert_int_equal(access(reserve, F_OK), -1);
    /* Until there is room for the reserve again, nothing is accepted. */
    test_disk_fail(&disk, DISK_ALLOCATE, 0, 1, ENOSPC);
    assert_int_equal(fixture_try_append(fixture, 2, 100, &error), WEIR_EFULL);
    assert_non_null(strstr(error.text, "the disk is full"));
    fixture_append(fixture, 2, 1, 100);
    assert_int_equal(access(reserve, F_OK), 0);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 1);
    replace_state_writes(false);
    free(reserve);
}

static void test_state_without_any_room_may_be_tried_again(void **state)
{
    struct spool_fixture *fixture = *state;

    replace_state_writes(true);
    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    __atomic_store_n(&state_disk_full, true, __ATOMIC_SEQ_CST);
    assert_apply_fails(fixture, WEIR_EFULL);
    assert_apply_fails(fixture, WEIR_EFULL);
    __atomic_store_n(&state_disk_full, false, __ATOMIC_SEQ_CST);
    fixture_absorb(fixture, 1);
    fixture_append(fixture, 2, 1, 100);
    fixture_close(fixture);
    replace_state_writes(false);
    fixture_open(fixture);
    assert_int_equal(fixture->subject.recovered->absorbed, 1);
}

/* --- what is durable when ------------------------------------------------------------------ */

static void test_one_sync_for_all_that_came_during_the_last(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_result result = {0};
    uint32_t before;

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    before = test_disk_syncs(&disk);
    test_disk_hold(&disk, true);
    for (uint64_t i = 2; i <= 101; i++) {
        struct weir_store_request request = append_request(i, i, 1, 100);

        fixture->subject.store->submit(fixture->subject.store, &request);
        if (i == 2)
            test_disk_wait_for_sync(&disk);
    }
    /* Written, but not synced: not answered, and not to be read. */
    assert_false(fixture->subject.store->poll(fixture->subject.store, &result));
    test_disk_hold(&disk, false);
    for (uint64_t i = 2; i <= 101; i++) {
        fixture->subject.next(&fixture->subject, &result);
        assert_int_equal(result.id, i);
        assert_int_equal(result.status, 0);
        assert_int_equal(result.log_syncs, before + (i == 2 ? 1 : 2));
        weir_store_result_fini(&result);
    }
    assert_int_equal(test_disk_syncs(&disk) - before, 2);
    fixture_assert_holds(fixture, 1, 101, 100);
}

static void test_unsynced_records_are_not_read(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture_open(fixture);
    fixture_append(fixture, 1, 1, 100);
    test_disk_hold(&disk, true);
    request = append_request(2, 2, 1, 100);
    fixture->subject.store->submit(fixture->subject.store, &request);
    test_disk_wait_for_sync(&disk);
    request = read_request(3, 1, 10000);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.record_count, 1);
    assert_record(&result.records[0], 1, 1, 100);
    weir_store_result_fini(&result);
    test_disk_hold(&disk, false);
    fixture->subject.next(&fixture->subject, &result);
    assert_int_equal(result.id, 2);
    weir_store_result_fini(&result);
}

static void test_interval_answers_first_and_syncs_soon(void **state)
{
    struct spool_fixture *fixture = *state;

    fixture->config.fsync = WEIR_FSYNC_INTERVAL;
    fixture_open(fixture);
    test_disk_hold(&disk, true);
    fixture_append(fixture, 1, 1, 100);
    fixture_append(fixture, 2, 1, 100);
    fixture_assert_holds(fixture, 1, 2, 100);
    test_disk_wait_for_sync(&disk); /* without anything else happening */
    test_disk_hold(&disk, false);
}

static void test_never_syncs_at_rotation_for_the_state_and_at_the_end(void **state)
{
    struct spool_fixture *fixture = *state;
    struct weir_store_request request;
    struct weir_store_result result = {0};

    fixture->config.fsync = WEIR_FSYNC_NEVER;
    fixture_open(fixture);
    for (uint64_t i = 1; i <= 8; i++)
        fixture_append(fixture, i, 1, LARGE_BYTES);
    assert_int_equal(test_disk_syncs(&disk), 0);
    fixture_append(fixture, 9, 1, LARGE_BYTES);
    assert_int_equal(test_disk_syncs(&disk), 1);
    fixture_assert_holds(fixture, 1, 9, LARGE_BYTES);
    fixture_absorb(fixture, 9);
    assert_int_equal(test_disk_syncs(&disk), 2);
    request = read_request(1, 9, 1);
    perform(&fixture->subject, &request, &result);
    assert_int_equal(result.log_syncs, 2);
    weir_store_result_fini(&result);
    fixture_close(fixture);
    assert_int_equal(test_disk_syncs(&disk), 3);
    fixture_open(fixture);
    fixture_assert_holds(fixture, 1, 9, LARGE_BYTES);
}

/* --- looking in from outside --------------------------------------------------------------- */

static void test_the_state_can_be_read_by_others_meanwhile(void **state)
{
    struct spool_fixture *fixture = *state;
    char *database = fixture_path(fixture, "state.db"),
         *wal = fixture_path(fixture, "state.db-wal");
    sqlite3 *connection;
    sqlite3_stmt *statement;
    struct stat file;
    uint64_t with_reader;

    fixture_open(fixture);
    fixture_absorb(fixture, 41);
    assert_int_equal(sqlite3_open_v2(database, &connection, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, "SELECT * FROM message_list", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(connection, "SELECT absorbed_sequence FROM spool", -1, &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int64(statement, 0), 41);
    /* The reader stays in its transaction; the spool goes on, and its WAL grows … */
    for (uint64_t i = 42; i < 1100; i++)
        fixture_absorb(fixture, i);
    assert_int_equal(stat(wal, &file), 0);
    with_reader = (uint64_t)file.st_size;
    assert_true(with_reader > 1000u * 4096u);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_exec(connection, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(connection);
    /* … until the reader is gone. */
    for (uint64_t i = 1100; i < 2500; i++)
        fixture_absorb(fixture, i);
    assert_int_equal(stat(wal, &file), 0);
    assert_true((uint64_t)file.st_size <= 1100u * 4096u);
    free(database);
    free(wal);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up_disk, tear_down_disk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_second_holder_is_told_who_holds_it),
        CASE(test_lock_holds_against_another_process),
        CASE(test_another_tag_is_refused),
        CASE(test_another_version_is_refused),
        CASE(test_a_state_of_version_1_is_opened),
        CASE(test_foreign_files_are_refused),
        CASE(test_log_of_another_spool_is_refused),
        CASE(test_directory_that_cannot_be_used),
        CASE(test_missing_directories_are_made),
        CASE(test_max_that_is_too_small),
        CASE(test_failed_sync_is_final),
        CASE(test_failed_sync_at_rotation_is_final),
        CASE(test_failed_write_is_final),
        CASE(test_no_room_for_a_write),
        CASE(test_no_room_leaves_no_place_behind),
        CASE(test_no_room_for_a_segment),
        CASE(test_full_segment_without_a_successor),
        CASE(test_wal_does_not_stay_large),
        CASE(test_no_room_in_the_middle_of_a_group),
        CASE(test_reserve_lets_work_be_noted_on_a_full_disk),
        CASE(test_state_without_any_room_may_be_tried_again),
        CASE(test_one_sync_for_all_that_came_during_the_last),
        CASE(test_unsynced_records_are_not_read),
        CASE(test_interval_answers_first_and_syncs_soon),
        CASE(test_never_syncs_at_rotation_for_the_state_and_at_the_end),
        CASE(test_the_state_can_be_read_by_others_meanwhile),
    };

    return cmocka_run_group_tests_name("spool faults", tests, NULL, NULL);
}
