#include <base/alloc.h>
#include <base/error.h>
#include <hold/message_json.h>
#include <sink/result_json.h>
#include <string.h>

static int append(const char *data, size_t bytes, void *arg)
{
    struct weir_lines *lines = arg;
    if (lines->bytes + bytes > lines->capacity) {
        lines->capacity = 2 * lines->capacity + bytes + 4096;
        lines->data = weir_realloc(lines->data, lines->capacity, 1);
    }
    memcpy(lines->data + lines->bytes, data, bytes);
    lines->bytes += bytes;
    return 0;
}

void weir_lines_add(struct weir_lines *lines, const struct weir_held_message *message,
                    int64_t time_ms)
{
    const struct weir_message_view *view = &message->view;
    char id[WEIR_ID_TEXT_BYTES], time[WEIR_TIME_TEXT_BYTES];
    json_t *line = json_object();
    weir_id_format(&message->id, id);
    weir_time_format(time_ms, time);
    json_object_set_new(line, "id", json_string(id));
    weir_json_set_bytes(line, "topic", message->topic, message->topic_bytes);
    weir_json_set_bytes(line, "group", view->origin.group, view->origin.group_bytes);
    weir_json_set_bytes(line, "key", view->key, view->key_bytes);
    json_object_set_new(line, "attempt", json_integer(view->origin.attempt));
    if (view->origin.death > 0)
        json_object_set_new(line, "death", json_integer(view->origin.death));
    weir_json_set_bytes(line, "result", view->payload, view->payload_bytes);
    if (view->header_count > 0)
        json_object_set_new(line, "headers", weir_json_headers(view));
    if (!message->readable)
        json_object_set_new(line, "unreadable", json_true());
    json_object_set_new(line, "time", json_string(time));
    int status = json_dump_callback(line, append, lines, JSON_COMPACT);
    WEIR_ASSERT(status == 0);
    append("\n", 1, lines);
    json_decref(line);
}
