/* docs/topology.md is what the option table says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/alloc.h>
#include <cmocka.h>
#include <config/config.h>
#include <stdlib.h>

static void test_manual(void **state)
{
    char *text, *written = weir_zalloc(1 << 20, 1);
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes), *in = fopen(DOCS_DIR "/topology.md", "re");

    (void)state;
    weir_topology_manual(out);
    fclose(out);
    assert_non_null(in);
    assert_true(fread(written, 1, (1 << 20) - 1, in) > 0);
    fclose(in);
    /* Differs? Print it anew: weir check --manual > docs/topology.md */
    assert_string_equal(written, text);
    free(text);
    free(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_manual)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
