/* Whatever is done to a file: an error with a report, or a topology; never a crash, a leak or a
 * hang. Mutations come from a seed, so that a failure can be had again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <base/alloc.h>
#include <base/random.h>
#include <cmocka.h>
#include <config/config.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 1500
#define TEXT_BYTES_MAX 16384

static size_t read_text(const char *file, char *text)
{
    FILE *in = fopen(file, "re");

    assert_non_null(in);
    size_t bytes = fread(text, 1, TEXT_BYTES_MAX / 2, in);

    fclose(in);
    assert_true(bytes > 0);
    return bytes;
}

static size_t line_end(const char *text, size_t bytes, size_t at)
{
    const char *newline = memchr(text + at, '\n', bytes - at);

    return newline ? (size_t)(newline - text) + 1 : bytes;
}

/* One change: a byte, a cut, a doubled stretch, a lost line, a word of the format put in. */
static size_t mutate(char *text, size_t bytes, struct weir_random *random)
{
    static const char *const words[] = {
        "*policy", "&x ",  "- ",    "{",           "}",
        "[",       "]",    ": ",    "\n  ",        "null",
        "~",       "role", "count", "\t",          "9999999999999999999",
        "\"",      "'",    "#",     "<<: *policy", "---\n",
        "!!str",   "|\n",  "? ",    "%",           "\xc3\xa9"};
    size_t at = weir_random_below(random, bytes), span = 1 + weir_random_below(random, 40);
    const char *word;

    if (span > bytes - at)
        span = bytes - at;
    switch (weir_random_below(random, 5)) {
    case 0:
        text[at] = (char)weir_random_below(random, 256);
        return bytes;
    case 1:
        memmove(text + at, text + at + span, bytes - at - span);
        return bytes - span;
    case 2:
        if (bytes + span > TEXT_BYTES_MAX)
            return bytes;
        memmove(text + at + span, text + at, bytes - at);
        return bytes + span;
    case 3:
        span = line_end(text, bytes, at) - at;
        memmove(text + at, text + at + span, bytes - at - span);
        return bytes - span;
    default:
        word = words[weir_random_below(random, sizeof words / sizeof words[0])];
        span = strlen(word);
        if (bytes + span > TEXT_BYTES_MAX)
            return bytes;
        memmove(text + at + span, text + at, bytes - at);
        memcpy(text + at, word, span);
        return bytes + span;
    }
}

static void load(const char *file, const char *text, size_t bytes)
{
    struct weir_topology *topology;
    char *report;
    size_t report_bytes;
    FILE *out = fopen(file, "we"), *told = open_memstream(&report, &report_bytes);

    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, bytes, out), bytes);
    fclose(out);
    int status = weir_topology_load(file, told, true, &topology, NULL);

    fclose(told);
    if (status == 0) {
        assert_non_null(topology);
    } else {
        assert_int_equal(status, WEIR_ECONFIG);
        assert_null(topology);
        assert_non_null(strstr(report, "error: "));
    }
    weir_topology_destroy(&topology);
    free(report);
}

static void test_mutations(void **state)
{
    char directory[] = "/tmp/weir-config-XXXXXX";
    char *original = weir_alloc(TEXT_BYTES_MAX), *text = weir_alloc(TEXT_BYTES_MAX);
    size_t original_bytes = read_text(FILES_DIR "/full.yaml", original);
    struct weir_random random;

    (void)state;
    assert_non_null(mkdtemp(directory));
    char *file = weir_asprintf("%s/t.yaml", directory);

    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        weir_random_seed(&random, seed);
        memcpy(text, original, original_bytes);
        size_t bytes = original_bytes;

        for (uint64_t n = 1 + weir_random_below(&random, 4); n > 0 && bytes > 0; n--)
            bytes = mutate(text, bytes, &random);
        load(file, text, bytes);
    }
    unlink(file);
    rmdir(directory);
    free(file);
    free(original);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
