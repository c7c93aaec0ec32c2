#include <executor/serve_lines.h>

#include <base/alloc.h>
#include <jansson.h>
#include <json/json_text.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>

/* ---- Requests ------------------------------------------------------------------------------- */

static int append(const char *text, size_t size, void *out)
{
    weir_json_text_raw(out, text, size);
    return 0;
}

static void write_headers(const struct weir_message_view *view, struct weir_json_text *out)
{
    json_t *headers = json_object();
    for (uint32_t i = 0; i < view->header_count; i++) {
        const struct weir_header_pair *header = &view->headers[i];
        json_t *name = json_stringn(header->name, header->name_bytes);
        json_t *value = json_stringn(header->value, header->value_bytes);
        /* A name with a NUL, or what is not UTF-8, has no place in JSON's objects. */
        if (name != NULL && value != NULL && strlen(json_string_value(name)) == header->name_bytes)
            json_object_set(headers, json_string_value(name), value);
        json_decref(name);
        json_decref(value);
    }
    json_dump_callback(headers, append, out, JSON_COMPACT);
    json_decref(headers);
}

/* What is not UTF-8 is called <name>_base64. */
static void write_bytes(struct weir_json_text *out, const char *start, const void *data,
                        size_t bytes)
{
    weir_json_text_member(out, start, bytes == 0 ? "" : data, bytes);
}

void weir_serve_request(const struct weir_job_message *message, struct weir_buffer *out)
{
    const struct weir_message_view *view = &message->view;
    struct weir_json_text text = {0};
    write_bytes(&text, "{\"id", message->id, strlen(message->id));
    write_bytes(&text, ",\"topic", message->topic, message->topic_bytes);
    write_bytes(&text, ",\"group", message->group, strlen(message->group));
    WEIR_JSON_TEXT(&text, ",\"attempt\":");
    weir_json_text_number(&text, message->attempt);
    if (view->key != NULL)
        write_bytes(&text, ",\"key", view->key, view->key_bytes);
    WEIR_JSON_TEXT(&text, ",\"headers\":");
    if (view->header_count > 0)
        write_headers(view, &text);
    else
        WEIR_JSON_TEXT(&text, "{}");
    write_bytes(&text, ",\"payload", view->payload, view->payload_bytes);
    WEIR_JSON_TEXT(&text, "}\n");
    weir_buffer_append(out, text.data, text.bytes);
    free(text.data);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static int malformed(struct weir_error *error, const char *what)
{
    return weir_error_set(error, WEIR_EPROTO, "the coprocess's answer %s", what);
}

static int read_id(const json_t *object, struct weir_serve_answer *answer, struct weir_error *error)
{
    const char *id = json_string_value(json_object_get(object, "id"));
    if (id == NULL || strlen(id) >= sizeof answer->id)
        return malformed(error, "has no \"id\"; expected that of its request");
    memcpy(answer->id, id, strlen(id) + 1);
    return 0;
}

static int read_outcome(const json_t *object, struct weir_serve_answer *answer,
                        struct weir_error *error)
{
    const char *name = json_string_value(json_object_get(object, "outcome"));
    for (int outcome = WEIR_DONE; name != NULL && outcome <= WEIR_UNAVAILABLE; outcome++)
        if (strcmp(name, weir_outcome_name((enum weir_outcome)outcome)) == 0) {
            answer->outcome = (enum weir_outcome)outcome;
            return 0;
        }
    return malformed(error, "has no known \"outcome\"; expected done, retry, reject, release or "
                            "unavailable");
}

static int read_base64(const json_t *value, struct weir_bytes *bytes, struct weir_error *error)
{
    size_t text_bytes = json_string_length(value), size;
    uint8_t *data = weir_alloc(BASE64_DECODE_LENGTH(text_bytes));
    struct base64_decode_ctx decoder;
    base64_decode_init(&decoder);
    if (base64_decode_update(&decoder, &size, data, text_bytes, json_string_value(value)) == 0 ||
        base64_decode_final(&decoder) == 0) {
        free(data);
        return malformed(error, "has a \"result_base64\" that is not base 64");
    }
    *bytes = weir_bytes_wrap(data, size, free, data);
    return 0;
}

static int read_result(const json_t *object, struct weir_serve_answer *answer,
                       struct weir_error *error)
{
    const json_t *text = json_object_get(object, "result");
    const json_t *base64 = json_object_get(object, "result_base64");
    int status = 0;
    if (json_is_string(base64))
        status = read_base64(base64, &answer->result, error);
    else if (json_is_string(text))
        answer->result = weir_bytes_copy(json_string_value(text), json_string_length(text));
    else if ((text != NULL && !json_is_null(text)) || (base64 != NULL && !json_is_null(base64)))
        return malformed(error, "has a result that is no string; expected \"result\" as text or "
                                "\"result_base64\"");
    if (status == 0 && answer->result.size > WEIR_MESSAGE_BYTES_MAX)
        return malformed(error, "has a result over 8 MiB");
    return status;
}

static int read_rest(const json_t *object, struct weir_serve_answer *answer,
                     struct weir_error *error)
{
    const json_t *text = json_object_get(object, "error");
    const json_t *delay = json_object_get(object, "delay_ms");
    if (json_is_string(text)) {
        struct weir_tail tail = {0};
        weir_tail_append(&tail, json_string_value(text), json_string_length(text));
        answer->error = weir_tail_error(&tail, NULL);
    } else if (text != NULL && !json_is_null(text)) {
        return malformed(error, "has an \"error\" that is no string");
    }
    if (json_is_integer(delay) && json_integer_value(delay) >= 0)
        answer->delay_ms = json_integer_value(delay);
    else if (delay != NULL && !json_is_null(delay))
        return malformed(error, "has a \"delay_ms\" that is no integer from 0");
    return 0;
}

int weir_serve_answer(const char *line, size_t size, struct weir_serve_answer *answer,
                      struct weir_error *error)
{
    json_error_t where;
    *answer = (struct weir_serve_answer){.delay_ms = -1};
    json_t *object = json_loadb(line, size, JSON_ALLOW_NUL, &where);
    int status;
    if (!json_is_object(object)) {
        size_t shown = size < 60 ? size : 60;
        status = weir_error_set(error, WEIR_EPROTO,
                                "the coprocess's answer is not a JSON object in one line: %.*s%s",
                                (int)shown, line, shown < size ? " …" : "");
        json_decref(object);
        return status;
    }
    status = read_id(object, answer, error);
    answer->extend = json_is_true(json_object_get(object, "extend"));
    if (status == 0 && !answer->extend) {
        status = read_outcome(object, answer, error);
        if (status == 0)
            status = read_result(object, answer, error);
        if (status == 0)
            status = read_rest(object, answer, error);
    }
    json_decref(object);
    if (status != 0) {
        weir_bytes_drop(&answer->result);
        weir_bytes_drop(&answer->error);
    }
    return status;
}

void weir_serve_answer_fini(struct weir_serve_answer *answer)
{
    weir_bytes_drop(&answer->result);
    weir_bytes_drop(&answer->error);
}
