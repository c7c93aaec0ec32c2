#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/alloc.h>
#include <base/directories.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mode_t mode_of(const char *directory, const char *name)
{
    char *path = weir_asprintf("%s/%s", directory, name);
    struct stat file;
    const mode_t mode = stat(path, &file) == 0 ? file.st_mode : 0;

    free(path);
    return mode;
}

static int make(const char *directory, const char *name, struct weir_error *error)
{
    char *path = weir_asprintf("%s/%s", directory, name);
    const int status = weir_make_directories(path, 0700, error);

    free(path);
    return status;
}

static void what_is_missing_above_a_file_is_made(void **state)
{
    static const char *const made[] = {"c/d", "c", "a/b", "a"};
    char directory[] = "/tmp/weir-test-XXXXXX", before[4096];
    struct weir_error error;

    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(make(directory, "file", &error), 0);
    assert_int_equal(mode_of(directory, "file"), 0);
    assert_int_equal(make(directory, "a//b/file", &error), 0);
    assert_int_equal(make(directory, "a/b/file", &error), 0);
    assert_int_equal(mode_of(directory, "a"), S_IFDIR | 0700);
    assert_int_equal(mode_of(directory, "a/b"), S_IFDIR | 0700);
    assert_int_equal(mode_of(directory, "a/b/file"), 0);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(directory), 0);
    assert_int_equal(weir_make_directories("file", 0700, &error), 0);
    assert_int_equal(weir_make_directories("", 0700, &error), 0);
    assert_int_equal(weir_make_directories("c/d/", 0750, &error), 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(mode_of(directory, "c/d"), S_IFDIR | 0750);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char *path = weir_asprintf("%s/%s", directory, made[i]);

        assert_int_equal(rmdir(path), 0);
        free(path);
    }
    assert_int_equal(rmdir(directory), 0);
}

static void it_is_said_which_cannot_be_made(void **state)
{
    char directory[] = "/tmp/weir-test-XXXXXX";
    struct weir_error error;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(directory));
    char *file = weir_asprintf("%s/file", directory), *below = weir_asprintf("%s/below", file);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(make(directory, "file/below/it", &error), WEIR_EIO);
    assert_non_null(strstr(error.text, below));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(directory), 0);
    free(file);
    free(below);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_above_a_file_is_made),
        cmocka_unit_test(it_is_said_which_cannot_be_made),
    };
    umask(0022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
