/* An operator, as a test plays one: questions on the admin port. */
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wire/reader.h>

#include <cmocka.h>

#define OPERATOR_PEER 2

/* Go to the value of a name in the map that is next. */
static bool enter(struct weir_reader *reader, const char *name)
{
    uint32_t pairs;
    if (!weir_read_map(reader, &pairs))
        return false;
    for (; pairs > 0; pairs--) {
        const char *key;
        uint32_t bytes;
        assert_true(weir_read_text(reader, &key, &bytes));
        if (bytes == strlen(name) && memcmp(key, name, bytes) == 0)
            return true;
        assert_true(weir_read_skip(reader));
    }
    return false;
}

static struct weir_reader ask(struct stage *self, const struct weir_control *control)
{
    weir_bytes_drop(&self->admin);
    self->admin_error[0] = '\0';
    stage_control(self, WEIR_PORT_ADMIN, OPERATOR_PEER, control);
    if (!self->admin.size)
        fail_msg("no answer but the error \"%s\": %s", self->admin_error, self->group_error);
    return weir_reader_of(self->admin.data, self->admin.size);
}

uint64_t stage_stat(struct stage *self, const char *group, const char *name)
{
    const struct weir_control control = {.verb = WEIR_VERB_STATS};
    struct weir_reader reader = ask(self, &control);
    uint64_t value;
    if (group) {
        assert_true(enter(&reader, "groups"));
        assert_true(enter(&reader, group));
    }
    assert_true(enter(&reader, name));
    assert_true(weir_read_u64(&reader, UINT64_MAX, &value));
    return value;
}

static int64_t time_of(const struct stage *self, uint64_t sequence)
{
    for (uint32_t i = 0; i < self->answered_count; i++)
        if (self->answered[i].verb == WEIR_VERB_OK && self->answered[i].first <= sequence &&
            sequence - self->answered[i].first < self->answered[i].count)
            return self->answered[i].time_ms;
    fail_msg("message %lu was never taken", (unsigned long)sequence);
    return 0;
}

static bool enter_state(struct stage *self, uint64_t sequence, const char *group,
                        struct weir_reader *reader)
{
    struct weir_control control = {.verb = WEIR_VERB_STATUS};
    const struct weir_id id = {time_of(self, sequence), STAGE_TAG, sequence};
    WEIR_MARK(&control, ID);
    weir_id_encode(&id, control.id);
    *reader = ask(self, &control);
    assert_true(enter(reader, "groups"));
    return enter(reader, group);
}

const char *stage_state(struct stage *self, uint64_t sequence, const char *group)
{
    static char state[16];
    struct weir_reader reader;
    const char *text;
    uint32_t bytes;
    if (!enter_state(self, sequence, group, &reader))
        return "";
    assert_true(enter(&reader, "state"));
    assert_true(weir_read_text(&reader, &text, &bytes));
    snprintf(state, sizeof state, "%.*s", (int)bytes, text);
    return state;
}

uint64_t stage_state_number(struct stage *self, uint64_t sequence, const char *group,
                            const char *name)
{
    struct weir_reader reader;
    uint64_t value;
    assert_true(enter_state(self, sequence, group, &reader));
    assert_true(enter(&reader, name));
    assert_true(weir_read_u64(&reader, UINT64_MAX, &value));
    return value;
}

bool stage_state_unknown(struct stage *self, uint64_t sequence, const char *group, const char *name)
{
    struct weir_reader reader;
    assert_true(enter_state(self, sequence, group, &reader));
    assert_true(enter(&reader, name));
    return weir_read_nil(&reader);
}

void stage_group(struct stage *self, const char *group, const char *action)
{
    struct weir_control control = {.verb = WEIR_VERB_GROUP};
    WEIR_SET(&control, group, GROUP, weir_text_of(group));
    WEIR_SET(&control, action, ACTION, weir_text_of(action));
    ask(self, &control);
}

void stage_drain(struct stage *self)
{
    const struct weir_control control = {.verb = WEIR_VERB_DRAIN};
    ask(self, &control);
}
