#include "crash_holders.h"

#include <base/alloc.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct crash {
    enum holder_kind kind;
    char *directory;
    uint32_t boundaries, recoveries;
};

static void check_next_sequence(struct holder *holder, const struct holder_truth *truth,
                                const char *where)
{
    struct weir_producer_row *producers = NULL;
    uint32_t count = 0;
    uint64_t next = 0;
    int status =
        holder->kind == HOLDER_LETTERS
            ? weir_dlq_store_recover(holder->letters, &producers, &count, &next, &holder->error)
            : weir_sink_recover(holder->sink, &producers, &count, &next, &holder->error);

    assert_int_equal(status, 0);
    for (uint32_t batch = 0; batch < HOLDER_BATCHES; batch++) {
        if (truth->held[batch] && (count != 1 || producers[0].number < batch + 1 ||
                                   next <= (batch + 1) * HOLDER_PER_BATCH))
            fail_msg("%s: it does not know of batch %u any more", where, batch);
    }
    free(producers);
}

static void recover(struct crash *crash, const struct holder_truth *before, const char *where)
{
    struct holder_truth truth = *before;
    struct holder holder;

    crash->recoveries++;
    if (holder_open(&holder, crash->kind, crash->directory) != 0)
        fail_msg("%s: it does not open: %s", where, holder.error.text);
    holder_check(&holder, &truth, false, where);
    check_next_sequence(&holder, &truth, where);
    /* Whoever had no answer says it again; so do all others, to be sure. */
    if (holder_hold(&holder, &truth, 0, HOLDER_BATCHES - 1) != 0)
        fail_msg("%s: it holds nothing any more: %s", where, holder.error.text);
    holder_check(&holder, &truth, true, where);
    holder_close(&holder);
}

static void end_here(struct crash *crash, const struct disk *disk, const struct holder_truth *truth,
                     const struct tape *tape, uint32_t at, enum tape_end end)
{
    static const char *const names[] = {"killed", "power cut", "torn"};
    static const char *const kinds[] = {"lines", "rows", "letters"};
    const struct tape_entry *next = &tape->entries[at];
    const uint64_t part = next->kind == TAPE_WRITE && end == TAPE_KILLED ? next->bytes / 2 : 0;
    char where[64];

    snprintf(where, sizeof where, "%s: %s before entry %u", kinds[crash->kind], names[end], at);
    tape_directory_clear(crash->directory);
    disk_leave(disk, end, at, next, part, crash->directory);
    recover(crash, truth, where);
}

static void crash_everywhere(struct crash *crash, const struct tape *tape)
{
    struct disk *disk = disk_new(tape);
    struct holder_truth truth = {0};

    for (uint32_t at = 0; at < tape->count; at++) {
        const struct tape_entry *entry = &tape->entries[at];
        const bool syncs = entry->kind == TAPE_SYNC || entry->kind == TAPE_SYNC_DIRECTORY;

        if (entry->kind != TAPE_NOTE) {
            crash->boundaries++;
            end_here(crash, disk, &truth, tape, at, syncs ? TAPE_POWER_CUT : TAPE_KILLED);
            if (disk_has_unsynced(disk))
                end_here(crash, disk, &truth, tape, at, TAPE_TORN);
        }
        disk_step(disk, entry);
        holder_truth_step(&truth, entry);
    }
    disk_destroy(&disk);
}

void crash_holders(enum holder_kind kind)
{
    struct crash crash = {.kind = kind, .directory = tape_directory_new()};
    struct holder_truth truth = {0};
    struct weir_error error = {0};
    struct tape *tape = tape_record(crash.directory);
    int status = holder_live(kind, crash.directory, HOLDER_BATCHES, &truth, &error);

    tape_stop();
    assert_string_equal(error.text, "");
    assert_int_equal(status, 0);
    crash_everywhere(&crash, tape);
    print_message("%u boundaries, %u recoveries\n", crash.boundaries, crash.recoveries);
    assert_true(crash.boundaries > 100); /* else the recording is broken */
    tape_destroy(&tape);
    tape_directory_destroy(&crash.directory);
}
