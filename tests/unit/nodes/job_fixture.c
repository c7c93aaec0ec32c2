#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "job_fixture.h"
#include <base/alloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 10000

struct weir_job job_of(uint64_t id, const struct weir_message_view *message)
{
    struct weir_batch_header header = {
        .version = WEIR_BATCH_VERSION,
        .topic = "test.topic",
        .topic_bytes = 10,
        .producer = {1},
    };
    struct weir_error error;
    struct weir_batch_builder *builder = weir_batch_builder_new(&header);
    if (weir_batch_builder_add(builder, message, &error) != 0)
        fail_msg("%s", error.text);
    struct weir_job job = {
        .id = id,
        .count = 1,
        .sequence = id,
        .time_ms = 1700000000000,
        .attempt = 1,
        .tag = 7,
        .group = "group",
        .deadline_ns = WEIR_TIME_NEVER,
    };
    weir_batch_builder_finish(builder, 1, 1700000000000, 0, &job.header, &job.index, &job.body);
    weir_batch_builder_destroy(&builder);
    return job;
}

struct weir_job job_of_text(uint64_t id, const char *payload)
{
    struct weir_message_view message = {
        .payload = (const uint8_t *)payload,
        .payload_bytes = strlen(payload),
    };
    return job_of(id, &message);
}

const char *job_message_id(const struct weir_job *job)
{
    static char text[WEIR_ID_TEXT_BYTES];
    struct weir_id id = {.time_ms = job->time_ms, .tag = job->tag, .sequence = job->sequence};
    weir_id_format(&id, text);
    return text;
}

static struct weir_handled next_handled(struct weir_executor *executor)
{
    struct weir_handled handled;
    while (!executor->poll(executor, &handled)) {
        struct pollfd item = {.fd = executor->fd(executor), .events = POLLIN};
        if (poll(&item, 1, PATIENCE_MS) != 1)
            fail_msg("nothing came of the handler");
    }
    return handled;
}

struct ended await_end(struct weir_executor *executor)
{
    struct ended ended = {0};
    for (;;) {
        struct weir_handled handled = next_handled(executor);
        /* Jobs that run beside each other may say that they started in between. */
        if (handled.type == WEIR_HANDLED_STARTED || handled.type == WEIR_HANDLED_EXTEND) {
            ended.extended += handled.type == WEIR_HANDLED_EXTEND;
            ended.started = true;
            continue;
        }
        if (handled.type == WEIR_HANDLED_OUTCOMES) {
            assert_int_equal(handled.outcome_count, 1);
            assert_int_equal(handled.outcomes[0].first, 0);
            assert_int_equal(handled.outcomes[0].count, 1);
            ended.has_outcome = true;
            ended.outcome = handled.outcomes[0];
            ended.job = handled.job;
            free(handled.outcomes);
            continue;
        }
        assert_int_equal(handled.type, WEIR_HANDLED_END);
        assert_true(!ended.has_outcome || ended.job == handled.job);
        ended.job = handled.job;
        return ended;
    }
}

void ended_fini(struct ended *ended)
{
    weir_bytes_drop(&ended->outcome.result);
    weir_bytes_drop(&ended->outcome.error);
}

void await_start(struct weir_executor *executor, uint64_t job)
{
    struct weir_handled handled = next_handled(executor);
    assert_int_equal(handled.type, WEIR_HANDLED_STARTED);
    assert_int_equal(handled.job, job);
}

static void expect_text(const struct weir_bytes *bytes, const char *expected)
{
    static const char ellipsis[] = "…";
    size_t size = strlen(expected), mark = sizeof ellipsis - 1;
    bool open = size >= mark && strcmp(expected + size - mark, ellipsis) == 0;
    size -= open ? mark : 0;
    if (bytes->size < size || (!open && bytes->size != size) ||
        (size > 0 && memcmp(bytes->data, expected, size) != 0))
        fail_msg("expected '%s', got '%.*s'", expected, (int)bytes->size,
                 bytes->data ? (const char *)bytes->data : "");
}

void expect_end(struct weir_executor *executor, uint64_t job, enum weir_outcome outcome,
                const char *result, const char *error)
{
    struct ended ended = await_end(executor);
    assert_int_equal(ended.job, job);
    assert_true(ended.has_outcome);
    if (ended.outcome.outcome != outcome)
        fail_msg("job %llu: expected %s, got %s: %.*s", (unsigned long long)job,
                 weir_outcome_name(outcome), weir_outcome_name(ended.outcome.outcome),
                 (int)ended.outcome.error.size, (const char *)ended.outcome.error.data);
    if (result != NULL)
        expect_text(&ended.outcome.result, result);
    else
        assert_null(ended.outcome.result.data);
    if (error != NULL)
        expect_text(&ended.outcome.error, error);
    ended_fini(&ended);
}
