#include <core/admin.h>

static void say(const struct weir_host *host, const struct weir_event *event,
                const struct weir_control *control, struct weir_bytes body)
{
    struct weir_frames frames = {0};
    weir_frames_push(&frames, weir_control_encode(control));
    if (body.size)
        weir_frames_push(&frames, body);
    host->send(host->self, event->port, event->peer, &frames);
}

bool weir_admin_decode(const struct weir_host *host, const struct weir_event *event,
                       struct weir_control *control)
{
    struct weir_error error = {0};
    if (event->frames->count == 1 &&
        weir_control_decode(&event->frames->at[0], control, &error) == 0)
        return true;
    if (error.code == 0)
        weir_error_set(&error, WEIR_EPROTO, "an admin request is one frame, not %u",
                       event->frames->count);
    weir_admin_error(host, event, WEIR_CODE_MALFORMED, error.text);
    return false;
}

void weir_admin_answer(const struct weir_host *host, const struct weir_event *event,
                       struct weir_packer **packer)
{
    const struct weir_control answer = {.verb = WEIR_VERB_ANSWER};
    say(host, event, &answer, weir_packer_finish(packer));
}

void weir_admin_done(const struct weir_host *host, const struct weir_event *event, const char *word)
{
    struct weir_packer *packer = weir_packer_new();
    weir_pack_map(packer, 1);
    weir_pack_text(packer, word);
    weir_pack_bool(packer, true);
    weir_admin_answer(host, event, &packer);
}

void weir_admin_error(const struct weir_host *host, const struct weir_event *event,
                      const char *code, const char *text)
{
    struct weir_control error = {.verb = WEIR_VERB_ERROR};
    WEIR_SET(&error, code, CODE, weir_text_of(code));
    WEIR_SET(&error, text, TEXT, weir_text_of(text));
    say(host, event, &error, WEIR_BYTES_NONE);
}

void weir_admin_unknown(const struct weir_host *host, const struct weir_event *event,
                        enum weir_verb verb)
{
    struct weir_error error;
    weir_error_set(&error, WEIR_EPROTO, "this node does not answer %s", weir_verb_name(verb));
    weir_admin_error(host, event, WEIR_CODE_UNEXPECTED, error.text);
}
