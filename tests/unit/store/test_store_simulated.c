/* The contract's suite on the real log, on the simulator's disk; and what that disk promises to
 * keep and to lose. */
#include "simulated.h"

#include <base/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 64u
#define SECTORS 8u

static int create(struct sim_filesystem *files, const char *path)
{
    int fd = files->io.open(&files->io, path, O_RDWR | O_CREAT);

    assert_true(fd >= 0);
    return fd;
}

static void fill(struct sim_filesystem *files, int fd, uint8_t byte)
{
    uint8_t data[SECTORS * SIM_SECTOR_BYTES];
    struct iovec iov = {data, sizeof data};

    memset(data, byte, sizeof data);
    assert_int_equal(weir_io_write(&files->io, fd, &iov, 1, 0), 0);
}

/* A new disk with a file of ones that are synced and, over them, twos that are not. */
static int overwrite(struct sim_filesystem *files, uint64_t seed)
{
    int fd;

    sim_filesystem_init(files, seed);
    fd = create(files, SIM_MOUNT "/file");
    fill(files, fd, 1);
    assert_int_equal(files->io.fdatasync(&files->io, fd), 0);
    assert_int_equal(weir_io_sync_directory(&files->io, SIM_MOUNT), 0);
    fill(files, fd, 2);
    return fd;
}

/* How many sectors have the new byte wholly, and how many a part of it. */
static void count(struct sim_filesystem *files, const char *path, uint8_t old, uint8_t new,
                  uint32_t *whole, uint32_t *torn)
{
    uint8_t data[SECTORS * SIM_SECTOR_BYTES];
    int fd = files->io.open(&files->io, path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(weir_io_read(&files->io, fd, data, sizeof data, 0), 1);
    for (uint32_t s = 0; s < SECTORS; s++) {
        const uint8_t *at = data + s * SIM_SECTOR_BYTES;
        uint32_t news = 0;

        while (news < SIM_SECTOR_BYTES && at[news] == new)
            news++;
        for (uint32_t i = news; i < SIM_SECTOR_BYTES; i++)
            assert_int_equal(at[i], old);
        *whole += news == SIM_SECTOR_BYTES;
        *torn += news > 0 && news < SIM_SECTOR_BYTES;
    }
    files->io.close(&files->io, fd);
}

static void test_power_cut_keeps_what_was_synced_and_some_of_the_rest(void **state)
{
    uint32_t whole = 0, torn = 0;

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct sim_filesystem files;

        overwrite(&files, round);
        sim_filesystem_power_cut(&files);
        sim_filesystem_reopen(&files);
        count(&files, SIM_MOUNT "/file", 1, 2, &whole, &torn);
        sim_filesystem_fini(&files);
    }
    assert_in_range(whole, 1, ROUNDS * SECTORS - 1);
    assert_in_range(torn, 1, ROUNDS * SECTORS - 1);
}

static void test_kill_keeps_the_page_cache(void **state)
{
    struct sim_filesystem files;
    uint32_t whole = 0, torn = 0;

    (void)state;
    sim_filesystem_init(&files, 1);
    fill(&files, create(&files, SIM_MOUNT "/file"), 2);
    sim_filesystem_die(&files);
    assert_int_equal(files.io.unlink(&files.io, SIM_MOUNT "/file"), -1);
    sim_filesystem_reopen(&files);
    count(&files, SIM_MOUNT "/file", 0, 2, &whole, &torn);
    assert_int_equal(whole, SECTORS);
    sim_filesystem_fini(&files);
}

/* The second sync says that all is well, and what the first one could not write is lost. */
static void test_failed_sync_drops_what_it_did_not_write(void **state)
{
    uint32_t whole = 0, torn = 0;

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct sim_filesystem files;
        int fd = overwrite(&files, round);

        sim_filesystem_fail(&files, SIM_CALL_SYNC, 0, 1, EIO);
        assert_int_equal(files.io.fdatasync(&files.io, fd), -1);
        assert_int_equal(errno, EIO);
        assert_int_equal(files.io.fdatasync(&files.io, fd), 0);
        sim_filesystem_power_cut(&files);
        sim_filesystem_reopen(&files);
        count(&files, SIM_MOUNT "/file", 1, 2, &whole, &torn);
        sim_filesystem_fini(&files);
    }
    assert_in_range(whole, 1, ROUNDS * SECTORS - 1);
    assert_int_equal(torn, 0);
}

static void test_names_are_kept_from_the_sync_of_their_directory_on(void **state)
{
    uint32_t kept = 0;

    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct sim_filesystem files;
        struct stat status;
        bool old, new;

        sim_filesystem_init(&files, round);
        create(&files, SIM_MOUNT "/old");
        assert_int_equal(weir_io_sync_directory(&files.io, SIM_MOUNT), 0);
        assert_int_equal(files.io.rename(&files.io, SIM_MOUNT "/old", SIM_MOUNT "/new"), 0);
        assert_int_equal(files.io.stat(&files.io, SIM_MOUNT "/old", &status), -1);
        sim_filesystem_power_cut(&files);
        sim_filesystem_reopen(&files);
        old = files.io.stat(&files.io, SIM_MOUNT "/old", &status) == 0;
        new = files.io.stat(&files.io, SIM_MOUNT "/new", &status) == 0;
        assert_int_not_equal(old, new); /* one of them, whatever happens */
        kept += new;
        sim_filesystem_fini(&files);
    }
    assert_in_range(kept, 1, ROUNDS - 1);
}

static void test_disk_without_room(void **state)
{
    struct sim_filesystem files;
    uint8_t data[3 * SIM_BLOCK_BYTES] = {0};
    struct iovec iov = {data, sizeof data};
    int fd, other;

    (void)state;
    sim_filesystem_init(&files, 1);
    files.bytes_max = 4 * SIM_BLOCK_BYTES;
    fd = create(&files, SIM_MOUNT "/file");
    other = create(&files, SIM_MOUNT "/other");
    assert_int_equal(files.io.allocate(&files.io, fd, 2 * SIM_BLOCK_BYTES), 0);
    assert_int_equal(weir_io_write(&files.io, other, &iov, 1, 0), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(sim_filesystem_used(&files), 4 * SIM_BLOCK_BYTES);
    /* What was allocated can be written. */
    iov = (struct iovec){data, 2 * SIM_BLOCK_BYTES};
    assert_int_equal(weir_io_write(&files.io, fd, &iov, 1, 0), 0);
    sim_filesystem_fini(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut_keeps_what_was_synced_and_some_of_the_rest),
        cmocka_unit_test(test_kill_keeps_the_page_cache),
        cmocka_unit_test(test_failed_sync_drops_what_it_did_not_write),
        cmocka_unit_test(test_names_are_kept_from_the_sync_of_their_directory_on),
        cmocka_unit_test(test_disk_without_room),
    };
    struct simulated simulated;
    int failed;

    simulated_init(&simulated, 1);
    failed = conformance_run(&simulated.subject);
    simulated_fini(&simulated);
    return failed + cmocka_run_group_tests_name("simulated disk", tests, NULL, NULL);
}
