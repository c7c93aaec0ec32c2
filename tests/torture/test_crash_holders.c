/* What crash_holders.h says, of each kind of holder. */
#include "crash_holders.h"
#include "tape_vfs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_sink_of_lines(void **state)
{
    (void)state;
    crash_holders(HOLDER_LINES);
}

static void test_sink_of_rows(void **state)
{
    (void)state;
    crash_holders(HOLDER_ROWS);
}

static void test_collector(void **state)
{
    (void)state;
    crash_holders(HOLDER_LETTERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sink_of_lines),
        cmocka_unit_test(test_sink_of_rows),
        cmocka_unit_test(test_collector),
    };

    tape_vfs_use();
    return cmocka_run_group_tests_name("holder crashes", tests, NULL, NULL);
}
