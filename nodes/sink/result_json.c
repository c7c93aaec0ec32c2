#include <json/json_text.h>
#include <sink/result_json.h>
#include <string.h>

void weir_result_line(struct weir_json_text *lines, const struct weir_held_message *message,
                      const char *time)
{
    const struct weir_message_view *view = &message->view;
    char id[WEIR_ID_TEXT_BYTES];
    weir_id_format(&message->id, id);
    weir_json_text_member(lines, "{\"id", id, sizeof id - 1);
    weir_json_text_member(lines, ",\"topic", message->topic, message->topic_bytes);
    weir_json_text_member(lines, ",\"group", view->origin.group, view->origin.group_bytes);
    weir_json_text_member(lines, ",\"key", view->key, view->key_bytes);
    WEIR_JSON_TEXT(lines, ",\"attempt\":");
    weir_json_text_number(lines, view->origin.attempt);
    if (view->origin.death > 0) {
        WEIR_JSON_TEXT(lines, ",\"death\":");
        weir_json_text_number(lines, view->origin.death);
    }
    weir_json_text_member(lines, ",\"result", view->payload, view->payload_bytes);
    if (view->header_count > 0) {
        WEIR_JSON_TEXT(lines, ",\"headers\":");
        weir_json_text_headers(lines, view);
    }
    if (!message->readable)
        WEIR_JSON_TEXT(lines, ",\"unreadable\":true");
    weir_json_text_member(lines, ",\"time", time, strlen(time));
    WEIR_JSON_TEXT(lines, "}\n");
}
