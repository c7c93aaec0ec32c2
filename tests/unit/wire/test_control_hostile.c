#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "full_control.h"

#include <base/alloc.h>
#include <base/random.h>

#include <stdlib.h>
#include <string.h>

static int decode(const char *bytes, size_t size, struct weir_error *error)
{
    /* A copy of its own, so that a read past the end is seen. */
    uint8_t *copy = weir_alloc(size);
    struct weir_bytes frame = weir_bytes_borrow(copy, size);
    struct weir_control control;
    int rc;

    if (size > 0)
        memcpy(copy, bytes, size);
    rc = weir_control_decode(&frame, &control, error);
    if (rc != 0) {
        /* Nothing is left to release. */
        assert_null(control.leases);
        assert_null(control.acks);
        assert_true(control.has == 0);
    }
    weir_control_fini(&control);
    free(copy);
    return rc;
}

/* The frame must be refused, and the text must hold `said`. */
static void assert_refused(const char *bytes, size_t size, const char *said)
{
    struct weir_error error = {0};

    assert_int_equal(decode(bytes, size, &error), WEIR_EPROTO);
    assert_int_equal(error.code, WEIR_EPROTO);
    if (strstr(error.text, said) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, said);
}

#define REFUSED(literal, said) assert_refused(literal, sizeof(literal) - 1, said)

static void every_frame_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (enum weir_verb verb = 1; verb < WEIR_VERB_COUNT; verb++) {
        struct weir_control sent = full_control_of(verb, true);
        struct weir_bytes frame = weir_control_encode(&sent);

        for (size_t size = 0; size < frame.size; size++)
            assert_int_equal(decode((const char *)frame.data, size, NULL), WEIR_EPROTO);
        weir_bytes_drop(&frame);
    }
}

static void the_shape_is_checked(void **state)
{
    (void)state;
    REFUSED("", "expected [verb");
    REFUSED("\xc0", "expected [verb");
    REFUSED("\x91\xa3"
            "BYE",
            "expected [verb");
    REFUSED("\x93\xa3"
            "BYE\x80\xc0",
            "expected [verb");
    REFUSED("\x92\x05\x80", "expected [verb");
    REFUSED("\x92\xa3"
            "BYE\x90",
            "map of fields");
    REFUSED("\x92\xa3"
            "BYE\x80\xc0",
            "after the end");
    REFUSED("\x92\xa3"
            "bye\x80",
            "does not know");
    REFUSED("\x92\xa4NOPE\x80", "does not know");
    REFUSED("\x92\xa3"
            "BYE\x81\x01\x02",
            "field's name");
    assert_int_equal(decode("\x92\xa3"
                            "BYE\x80",
                            6, NULL),
                     0);
}

static void missing_and_doubled_fields_are_named(void **state)
{
    (void)state;
    REFUSED("\x92\xa7WAITING\x80", "\"group\" is missing");
    REFUSED("\x92\xa7WAITING\x82\xa5group\xa1g\xa5group\xa1h", "\"group\" is there twice");
    REFUSED("\x92\xa4"
            "BUSY\x81\xa6number\x01",
            "\"retry_ms\" is missing");
}

static void types_and_ranges_are_checked(void **state)
{
    (void)state;
    REFUSED("\x92\xa7WAITING\x81\xa5group\x05", "\"group\" is not valid: expected str (a name)");
    REFUSED("\x92\xa7WAITING\x81\xa5group\xa0", "\"group\"");
    REFUSED("\x92\xa7WAITING\x81\xa5group\xa3"
            "a/b",
            "\"group\"");
    REFUSED("\x92\xa4"
            "BUSY\x81\xa6number\xff",
            "\"number\" is not valid: expected uint");
    REFUSED("\x92\xa4"
            "BUSY\x81\xa6number\xca\x00\x00\x00\x00",
            "\"number\"");
    REFUSED("\x92\xa4"
            "BUSY\x81\xa8retry_ms\xcf\x00\x00\x02\x00\x00\x00\x00\x00",
            "\"retry_ms\"");
    REFUSED("\x92\xa2OK\x81\xa3tag\xce\x00\x01\x00\x00", "\"tag\"");
    REFUSED("\x92\xa2OK\x81\xa4time\xcf\x00\x01\x00\x00\x00\x00\x00\x00", "\"time\"");
    REFUSED("\x92\xa7"
            "DELIVER\x81\xa5"
            "alone\x01",
            "\"alone\" is not valid: expected bool");
    REFUSED("\x92\xa6STATUS\x81\xa2id\xc4\x0f"
            "0123456789abcde",
            "\"id\"");
    REFUSED("\x92\xa4JOIN\x81\xa6topics\x91\xa1>", "\"group\" is missing");
    REFUSED("\x92\xa4JOIN\x81\xa6topics\x91\xa2>>", "\"topics\"");
}

static void entries_of_arrays_are_checked(void **state)
{
    (void)state;
#define BEGIN(entry)                                                                               \
    "\x92\xa5"                                                                                     \
    "BEGIN\x81\xa6leases\x91" entry
    REFUSED(BEGIN("\x05"), "\"leases\"");
    REFUSED(BEGIN("\x93\x01\x01\x01"), "\"leases\"");
    REFUSED(BEGIN("\x94\x01\x01\x00\x00"), "\"leases\"");         /* no message */
    REFUSED(BEGIN("\x94\x01\x01\xcd\x10\x00\x01"), "\"leases\""); /* index 4096 */
    REFUSED(BEGIN("\x94\x01\x01\x01\xcd\x10\x00"), "\"leases\""); /* 1 + 4096 */
    REFUSED(BEGIN("\x94\x01\x01\xce\xff\xff\xff\xff\x02"), "\"leases\"");
#define ACK(entry)                                                                                 \
    "\x92\xa3"                                                                                     \
    "ACK\x81\xa4"                                                                                  \
    "acks\x91" entry
    REFUSED(ACK("\x94\x01\x01\x00\x01"), "\"acks\"");
    REFUSED(ACK("\x95\x01\x01\x00\x01\x05"), "\"acks\""); /* no such outcome */
    REFUSED(ACK("\x96\x01\x01\x00\x01\x01\xff"), "\"acks\"");
    REFUSED(ACK("\x97\x01\x01\x00\x01\x01\xc0\x05"), "\"acks\"");
    REFUSED("\x92\xa3"
            "ACK\x81\xa4"
            "acks\x90",
            "\"acks\"");
#define DELIVER(entry)                                                                             \
    "\x92\xa7"                                                                                     \
    "DELIVER\x81\xa6slices\x91" entry
    REFUSED(DELIVER("\x96\x00\x01\x00\x00\x01\x00"), "\"slices\""); /* sequence 0 */
    REFUSED(DELIVER("\x96\x00\x01\x01\x00\x00\x00"), "\"slices\""); /* attempt 0 */
    REFUSED(DELIVER("\x96\x00\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01\x00"), "\"slices\"");
#define OK(entry)                                                                                  \
    "\x92\xa2OK\x81\xaa"                                                                           \
    "duplicates\x91" entry
    REFUSED(OK("\x92\xce\x00\x01\x00\x00\xc4\x10"
               "0123456789abcdef"),
            "\"duplicates\"");
    REFUSED(OK("\x92\x00\xc4\x01x"), "\"duplicates\"");
}

static void ranges_of_sequences_do_not_overflow(void **state)
{
    struct weir_control ok = full_control_of(WEIR_VERB_OK, false);
    struct weir_bytes frame;

    (void)state;
    ok.count = 1001;
    frame = weir_control_encode(&ok);
    assert_refused((const char *)frame.data, frame.size, "first + count");
    weir_bytes_drop(&frame);
}

static void what_later_versions_add_is_skipped(void **state)
{
    static const char bytes[] = "\x92\xa5"
                                "BEGIN\x83\xa5later\x91\x81\xc0\xc0\xa6leases\x91"
                                "\x95\x01\x02\x03\x04\xa1x\xa6worker\x09";
    struct weir_bytes frame = weir_bytes_borrow(bytes, sizeof bytes - 1);
    struct weir_control control;

    (void)state;
    assert_int_equal(weir_control_decode(&frame, &control, NULL), 0);
    assert_int_equal(control.lease_count, 1);
    assert_int_equal(control.leases[0].incarnation, 1);
    assert_int_equal(control.leases[0].delivery, 2);
    assert_int_equal(control.leases[0].first, 3);
    assert_int_equal(control.leases[0].count, 4);
    assert_int_equal(control.worker, 9);
    weir_control_fini(&control);
}

/* A field of another verb is not this verb's: whatever it holds, it is passed over. */
static void fields_of_other_verbs_are_skipped(void **state)
{
    static const char bytes[] = "\x92\xa3"
                                "BYE\x81\xa5group\x05";
    struct weir_bytes frame = weir_bytes_borrow(bytes, sizeof bytes - 1);
    struct weir_control control;

    (void)state;
    assert_int_equal(weir_control_decode(&frame, &control, NULL), 0);
    assert_int_equal(control.verb, WEIR_VERB_BYE);
    assert_true(control.has == 0);
    weir_control_fini(&control);
}

static void counts_that_lie_allocate_nothing(void **state)
{
    (void)state;
    REFUSED("\x92\xa5"
            "BEGIN\x81\xa6leases\xdd\xff\xff\xff\xff",
            "\"leases\"");
    REFUSED("\x92\xa5"
            "BEGIN\x81\xa6leases\xdc\x10\x00",
            "\"leases\"");
    REFUSED("\x92\xa5"
            "BEGIN\xdf\xff\xff\xff\xff",
            "map of fields");
    REFUSED("\x92\xa5"
            "BEGIN\x81\xa5later\xdd\x00\x00\x00\x09",
            "does not parse");
}

static void arrays_over_their_limit_are_refused(void **state)
{
    /* 65 patterns; 257 slices. */
    char topics[16 + 3 + 65 * 2] = "\x92\xa4JOIN\x81\xa6topics\xdc\x00\x41";
    char slices[20 + 3 + 257 * 7] = "\x92\xa7"
                                    "DELIVER\x81\xa6slices\xdc\x01\x01";
    size_t topics_head = 17, slices_head = 20;

    (void)state;
    for (size_t i = 0; i < 65; i++)
        memcpy(topics + topics_head + 2 * i, "\xa1t", 2);
    assert_refused(topics, topics_head + 130, "\"topics\"");
    topics[topics_head - 1] = 64;
    assert_refused(topics, topics_head + 128, "\"group\" is missing");
    for (size_t i = 0; i < 257; i++)
        memcpy(slices + slices_head + 7 * i, "\x96\x00\x01\x01\x00\x01\x00", 7);
    assert_refused(slices, slices_head + 257 * 7, "\"slices\"");
    slices[slices_head - 1] = 0;
    assert_refused(slices, slices_head + 256 * 7, "is missing");
}

static void depth_is_harmless(void **state)
{
    static char bytes[1 << 20] = "\x92\xa3"
                                 "BYE\x81\xa5later";

    (void)state;
    memset(bytes + 12, 0x91, sizeof bytes - 12);
    assert_refused(bytes, sizeof bytes, "does not parse");
    bytes[sizeof bytes - 1] = '\xc0';
    assert_int_equal(decode(bytes, sizeof bytes, NULL), 0);
}

static void a_frame_over_the_limit_is_refused(void **state)
{
    size_t size = WEIR_CONTROL_BYTES_MAX + 1;
    char *bytes = weir_zalloc(1, size);

    (void)state;
    assert_refused(bytes, size, "the limit is");
    free(bytes);
}

static void random_bytes_are_survived(void **state)
{
    struct weir_random random;
    char bytes[256];

    (void)state;
    weir_random_seed(&random, 11);
    for (int i = 0; i < 100000; i++) {
        size_t size = weir_random_below(&random, sizeof bytes + 1);

        weir_random_fill(&random, bytes, size);
        (void)decode(bytes, size, NULL);
    }
}

/* Frames with a few bytes changed; what is accepted comes back the same from another round trip. */
static void changed_frames_are_refused_or_understood(void **state)
{
    struct weir_random random;

    (void)state;
    weir_random_seed(&random, 12);
    for (int i = 0; i < 100000; i++) {
        enum weir_verb verb = (enum weir_verb)(1 + weir_random_below(&random, WEIR_VERB_COUNT - 1));
        struct weir_control sent = full_control_of(verb, true), got, again;
        struct weir_bytes frame = weir_control_encode(&sent), encoded;

        for (uint64_t k = 0; k <= weir_random_below(&random, 3); k++)
            ((uint8_t *)frame.data)[weir_random_below(&random, frame.size)] =
                (uint8_t)weir_random_u64(&random);
        if (weir_control_decode(&frame, &got, NULL) == 0) {
            encoded = weir_control_encode(&got);
            assert_int_equal(weir_control_decode(&encoded, &again, NULL), 0);
            assert_same_control(&got, &again);
            weir_control_fini(&again);
            weir_bytes_drop(&encoded);
        }
        weir_control_fini(&got);
        weir_bytes_drop(&frame);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_cut_anywhere_is_refused),
        cmocka_unit_test(the_shape_is_checked),
        cmocka_unit_test(missing_and_doubled_fields_are_named),
        cmocka_unit_test(types_and_ranges_are_checked),
        cmocka_unit_test(entries_of_arrays_are_checked),
        cmocka_unit_test(ranges_of_sequences_do_not_overflow),
        cmocka_unit_test(what_later_versions_add_is_skipped),
        cmocka_unit_test(fields_of_other_verbs_are_skipped),
        cmocka_unit_test(counts_that_lie_allocate_nothing),
        cmocka_unit_test(arrays_over_their_limit_are_refused),
        cmocka_unit_test(depth_is_harmless),
        cmocka_unit_test(a_frame_over_the_limit_is_refused),
        cmocka_unit_test(random_bytes_are_survived),
        cmocka_unit_test(changed_frames_are_refused_or_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
