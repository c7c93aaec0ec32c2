#include <base/alloc.h>
#include <contract/policy.h>
#include <hold/message_json.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static json_t *base64_new(const void *data, size_t bytes)
{
    const size_t size = BASE64_ENCODE_RAW_LENGTH(bytes);
    char *text = weir_alloc(size);
    base64_encode_raw(text, bytes, data);
    json_t *json = json_stringn(text, size);
    free(text);
    return json;
}

json_t *weir_json_bytes(const void *data, size_t bytes)
{
    json_t *json = json_stringn(bytes > 0 ? data : "", bytes);
    if (json == NULL) {
        json = json_object();
        json_object_set_new(json, "base64", base64_new(data, bytes));
    }
    return json;
}

static const char *outcome_name(uint32_t outcome)
{
    switch (outcome) {
    case WEIR_NOTE_LOST:
        return "lost";
    case WEIR_NOTE_TIMEOUT:
        return "timeout";
    case WEIR_NOTE_EXPIRED:
        return "expired";
    default:
        return outcome <= WEIR_UNAVAILABLE ? weir_outcome_name((enum weir_outcome)outcome)
                                           : "unknown";
    }
}

json_t *weir_json_history(const struct weir_bytes *history)
{
    struct weir_attempt_note notes[WEIR_HISTORY_ENTRIES_MAX];
    json_t *array = json_array();
    int count =
        history->size > 0 ? weir_history_decode(history, notes, WEIR_HISTORY_ENTRIES_MAX) : 0;
    for (int i = 0; i < count; i++) {
        json_t *note = json_object();
        json_object_set_new(note, "attempt", json_integer(notes[i].attempt));
        json_object_set_new(note, "time_ms", json_integer(notes[i].time_ms));
        json_object_set_new(note, "outcome", json_string(outcome_name(notes[i].outcome)));
        json_object_set_new(note, "worker",
                            weir_json_bytes(notes[i].worker, notes[i].worker_bytes));
        json_object_set_new(note, "error", weir_json_bytes(notes[i].error, notes[i].error_bytes));
        json_array_append_new(array, note);
    }
    return array;
}

void weir_time_format(int64_t time_ms, char text[WEIR_TIME_TEXT_BYTES])
{
    /* A peer may have said anything: what lies beyond the year 9999 is cut to it. */
    const int64_t end_ms = INT64_C(253402300799999);
    int64_t clamped = time_ms < 0 ? 0 : time_ms > end_ms ? end_ms : time_ms;
    time_t seconds = (time_t)(clamped / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t length = strftime(text, WEIR_TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, WEIR_TIME_TEXT_BYTES - length, ".%03dZ", (int)(clamped % 1000));
}
