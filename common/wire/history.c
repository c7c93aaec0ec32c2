/* A failing message's past attempts: a msgpack array of [attempt, time, outcome, worker, error]. */
#include <wire/message.h>
#include <wire/reader.h>
#include <wire/writer.h>

/* What a note takes at most, as written here. */
#define NOTE_BYTES_MAX (WEIR_ERROR_BYTES_MAX + WEIR_WORKER_NAME_BYTES_MAX + 64u)

bool weir_history_valid(const struct weir_bytes *history)
{
    struct weir_reader reader = weir_reader_of(history->data, history->size);
    struct weir_reader ahead = reader;
    uint32_t count;

    return history->size <= WEIR_HISTORY_BYTES_MAX && weir_read_array(&ahead, &count) &&
           weir_read_skip(&reader) && reader.at == reader.end;
}

static void write_note(msgpack_packer *packer, const struct weir_attempt_note *note)
{
    (void)msgpack_pack_array(packer, 5);
    (void)msgpack_pack_uint32(packer, note->attempt);
    (void)msgpack_pack_int64(packer, note->time_ms);
    (void)msgpack_pack_uint32(packer, note->outcome);
    weir_write_raw(packer, note->worker,
                   weir_text_fit(note->worker, note->worker_bytes, WEIR_WORKER_NAME_BYTES_MAX));
    weir_write_raw(packer, note->error,
                   weir_text_fit(note->error, note->error_bytes, WEIR_ERROR_BYTES_MAX));
}

/* Where the first note and the newest fourteen stand: with the new one they are sixteen. A note
 * larger than any that is written here is left out, so that a history cannot outgrow its limit. 0
 * when there is no history, or none that can be read. */
static uint32_t find_notes(const struct weir_bytes *history,
                           struct weir_reader kept[WEIR_HISTORY_ENTRIES_MAX])
{
    struct weir_reader reader = weir_reader_of(history->data, history->size);
    uint32_t total, count = 0;

    if (history->size == 0 || !weir_history_valid(history) || !weir_read_array(&reader, &total))
        return 0;
    for (uint32_t i = 0; i < total; i++) {
        const uint8_t *start = reader.at;

        if (!weir_read_skip(&reader))
            return 0;
        if (i > 0 && i + WEIR_HISTORY_ENTRIES_MAX < (uint64_t)total + 2)
            continue;
        if ((size_t)(reader.at - start) > NOTE_BYTES_MAX)
            continue;
        kept[count++] = (struct weir_reader){start, reader.at};
    }
    return count;
}

struct weir_bytes weir_history_add(const struct weir_bytes *history,
                                   const struct weir_attempt_note *note)
{
    struct weir_reader kept[WEIR_HISTORY_ENTRIES_MAX];
    uint32_t count = find_notes(history, kept);
    struct weir_writer writer = {0};
    msgpack_packer packer;

    weir_writer_pack(&writer, &packer);
    (void)msgpack_pack_array(&packer, count + 1);
    for (uint32_t i = 0; i < count; i++)
        (void)packer.callback(packer.data, (const char *)kept[i].at, weir_reader_left(&kept[i]));
    write_note(&packer, note);
    return weir_writer_take(&writer);
}

static bool read_note(struct weir_reader *reader, struct weir_attempt_note *note)
{
    uint32_t count;

    if (!weir_read_array(reader, &count) || count < 5 ||
        !weir_read_u32(reader, UINT32_MAX, &note->attempt) ||
        !weir_read_time(reader, WEIR_TIME_MS_MAX, &note->time_ms) ||
        !weir_read_u32(reader, UINT32_MAX, &note->outcome) ||
        !weir_read_raw(reader, &note->worker, &note->worker_bytes) ||
        !weir_read_raw(reader, &note->error, &note->error_bytes))
        return false;
    for (uint32_t i = 5; i < count; i++)
        if (!weir_read_skip(reader))
            return false;
    return true;
}

int weir_history_decode(const struct weir_bytes *history, struct weir_attempt_note *notes,
                        uint32_t max)
{
    struct weir_reader reader = weir_reader_of(history->data, history->size);
    uint32_t count;

    if (history->size == 0)
        return 0;
    if (!weir_read_array(&reader, &count))
        return WEIR_EPROTO;
    if (count > max)
        count = max;
    for (uint32_t i = 0; i < count; i++)
        if (!read_note(&reader, &notes[i]))
            return WEIR_EPROTO;
    return (int)count;
}
