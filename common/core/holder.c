/* Sink and dead-letter collector: accept a batch, have it written for good, say OK.
 *
 *   SERVING ──── DRAIN ────► DRAINING ──── the last OK is out ────► stopped (0)
 *      │                        │
 *      └── the store fails ─────┴──────────────────────────────────► stopped (74)
 */
#include <base/alloc.h>
#include <base/hash_table.h>
#include <core/admin.h>
#include <core/intake.h>
#include <core/roles.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_STORAGE 74 /* EX_IOERR */
#define BUSY_MS 50
#define FULL_MS 1000 /* somebody has to free some space first */
#define EXPIRE_EVERY_NS (3600 * WEIR_NS_PER_S)

enum state { SERVING, DRAINING, STOPPED };

struct hold { /* one batch at the store */
    uint64_t ticket;
    uint64_t first;
    uint32_t count;
    uint64_t bytes;
    int64_t time_ms;
};

struct holder {
    struct weir_role role;
    struct weir_host host;
    char *name, *kind;
    uint64_t next_sequence;
    struct weir_intake *intake;
    enum state state;
    struct hold holds[WEIR_STORE_REQUESTS_MAX]; /* a ring: the store ends them in order */
    uint32_t hold_head, hold_count;
    uint64_t hold_bytes;
    uint64_t held, duplicates;
    bool full; /* as the operator was told */
    struct known_spool *spools;
};

/* A stream that something came from. What is held is known by its tag and sequence, so what comes
 * from another spool under the same tag must not be taken for what is there already. */
struct known_spool {
    UT_hash_handle hh;
    struct weir_spool_row row;
};

static void stop(struct holder *self, int status)
{
    self->state = STOPPED;
    self->host.stopped(self->host.self, status);
}

static int turn_away(struct weir_turned_away *away, const char *text)
{
    away->retry_ms = BUSY_MS;
    return weir_error_set(&away->error, WEIR_EBUSY, "%s", text);
}

static void remember_spool(struct holder *self, const struct weir_spool_row *row)
{
    struct known_spool *known = weir_zalloc(1, sizeof *known);
    known->row = *row;
    HASH_ADD(hh, self->spools, row.tag, sizeof known->row.tag, known);
}

/* Looks at the first message only: all of a batch are of the spool that its header names. */
static int check_spool(struct holder *self, const struct weir_put *put,
                       struct weir_turned_away *away)
{
    const uint32_t bytes = weir_index_length(&put->index, weir_index_width(put->header.flags), 0);
    struct weir_message_view first;
    struct known_spool *known;
    struct weir_id id;
    if (!put->header.has_spool || weir_message_decode(put->body.data, bytes, &first, NULL) != 0 ||
        !first.has_origin)
        return 0;
    weir_id_decode(first.origin.id, &id);
    HASH_FIND(hh, self->spools, &id.tag, sizeof id.tag, known);
    if (!known) {
        struct weir_spool_row row = {.tag = id.tag};
        memcpy(row.uuid, put->header.spool, sizeof row.uuid);
        remember_spool(self, &row);
        return 0;
    }
    if (memcmp(known->row.uuid, put->header.spool, sizeof known->row.uuid) == 0)
        return 0;
    away->code = WEIR_CODE_TAG;
    return weir_error_set(
        &away->error, WEIR_EREFUSED,
        "%s has messages of stream %u from another spool, and could not tell those of this one "
        "from them: give the ventilator its former spool back, or another tag, or begin with a "
        "new %s; until then nothing of this spool is taken",
        self->name, id.tag, strcmp(self->kind, "sink") == 0 ? "output and ledger" : "store");
}

static int on_put(void *arg, struct weir_put *put, struct weir_turned_away *away,
                  const struct weir_now *now)
{
    struct holder *self = arg;
    const uint64_t bytes = put->header_frame.size + put->index.size + put->body.size;
    if (self->hold_count == WEIR_STORE_REQUESTS_MAX)
        return turn_away(away, "too many batches are on their way to the disk");
    if (self->hold_count && self->hold_bytes + bytes > WEIR_INTAKE_BYTES_MAX)
        return turn_away(away, "too many bytes are on their way to the disk");
    int status = check_spool(self, put, away);
    if (status != 0)
        return status;

    const struct hold hold = {.ticket = put->ticket,
                              .first = self->next_sequence,
                              .count = put->header.count,
                              .bytes = bytes,
                              .time_ms = now->wall_ms};
    self->holds[(self->hold_head + self->hold_count++) % WEIR_STORE_REQUESTS_MAX] = hold;
    self->hold_bytes += bytes;
    self->next_sequence += hold.count;
    put->first = hold.first;
    put->time_ms = hold.time_ms;

    struct weir_store_request request = {.id = hold.ticket, .kind = WEIR_STORE_HOLD};
    request.record = (struct weir_record){.first = hold.first,
                                          .count = hold.count,
                                          .time_ms = hold.time_ms,
                                          .header = put->header_frame,
                                          .index = put->index,
                                          .body = put->body};
    weir_intake_row(self->intake, put, &request.producer);
    put->header_frame = put->index = put->body = WEIR_BYTES_NONE;
    self->host.store(self->host.self, &request);
    return 0;
}

static void drain(struct holder *self)
{
    if (self->state != SERVING)
        return;
    self->state = DRAINING;
    weir_intake_close(self->intake, WEIR_CODE_DRAINING,
                      "this node is shutting down; send the batch again when it is back");
    if (self->hold_count == 0)
        stop(self, 0);
}

static void store_failed(struct holder *self, const struct weir_error *error)
{
    char *text = weir_asprintf("what arrives cannot be kept any more: %s. The node ends; nothing "
                               "that was answered OK is lost. Mend the cause and start it again",
                               error->text);
    self->host.log(self->host.self, WEIR_LOG_ERROR, text);
    weir_intake_close(self->intake, WEIR_CODE_STORAGE, text);
    free(text);
    stop(self, EXIT_STORAGE);
}

static void note_full(struct holder *self, const struct weir_store_result *result)
{
    const bool full = result->status == WEIR_EFULL;
    if (full == self->full)
        return;
    self->full = full;
    self->host.log(self->host.self, full ? WEIR_LOG_WARNING : WEIR_LOG_INFO,
                   full ? result->error.text : "there is room again: taking batches");
}

static void on_stored(struct holder *self, const struct weir_event *event)
{
    const struct weir_store_result *result = event->result;
    if (self->state == STOPPED)
        return;
    const struct hold hold = self->holds[self->hold_head];
    WEIR_ASSERT(self->hold_count > 0 && result->id == hold.ticket);
    if (result->status != 0 && result->status != WEIR_EFULL) {
        store_failed(self, &result->error);
        return;
    }
    self->hold_head = (self->hold_head + 1) % WEIR_STORE_REQUESTS_MAX;
    self->hold_count--;
    self->hold_bytes -= hold.bytes;
    note_full(self, result);
    if (result->status == WEIR_EFULL) {
        /* Whatever was accepted behind it ends the same way: the store sees to that. */
        weir_intake_withdraw(self->intake, hold.ticket, FULL_MS, result->error.text);
    } else {
        self->duplicates += result->duplicates;
        self->held += hold.count - result->duplicates;
        weir_intake_answer(self->intake, hold.ticket, hold.first, hold.count, hold.time_ms, NULL,
                           0);
    }
    if (self->state == DRAINING && self->hold_count == 0)
        stop(self, 0);
}

static void answer_stats(struct holder *self, const struct weir_event *event)
{
    struct weir_packer *packer = weir_packer_new();
    weir_pack_map(packer, 5 + weir_intake_stats_count());
    weir_pack_text(packer, "node");
    weir_pack_text(packer, self->name);
    weir_pack_text(packer, "role");
    weir_pack_text(packer, self->kind);
    weir_pack_text(packer, "draining");
    weir_pack_bool(packer, self->state != SERVING);
    weir_pack_text(packer, "held");
    weir_pack_u64(packer, self->held);
    weir_pack_text(packer, "duplicates");
    weir_pack_u64(packer, self->duplicates);
    weir_intake_stats(self->intake, packer);
    weir_admin_answer(&self->host, event, &packer);
}

static void on_admin(struct holder *self, const struct weir_event *event)
{
    struct weir_control control;
    if (!weir_admin_decode(&self->host, event, &control))
        return;
    if (control.verb == WEIR_VERB_STATS) {
        answer_stats(self, event);
    } else if (control.verb == WEIR_VERB_DRAIN) {
        weir_admin_done(&self->host, event, "draining");
        drain(self);
    } else {
        weir_admin_unknown(&self->host, event, control.verb);
    }
    weir_control_fini(&control);
}

static void expire(struct holder *self, const struct weir_now *now)
{
    weir_intake_expire(self->intake, now->wall_ms - WEIR_PRODUCER_EXPIRE_MS);
    self->host.wake_at(self->host.self, now->mono_ns + EXPIRE_EVERY_NS);
}

static void step(struct weir_role *role, struct weir_event *event)
{
    struct holder *self = (struct holder *)(void *)role;
    switch (event->type) {
    case WEIR_EVENT_START:
    case WEIR_EVENT_TIMER:
        expire(self, &event->now);
        break;
    case WEIR_EVENT_MESSAGE:
        if (event->port == WEIR_PORT_SUBMIT)
            weir_intake_event(self->intake, event);
        else
            on_admin(self, event);
        break;
    case WEIR_EVENT_STORED:
        on_stored(self, event);
        break;
    case WEIR_EVENT_DRAIN:
        drain(self);
        break;
    default:
        break;
    }
}

static void destroy(struct weir_role *role)
{
    struct holder *self = (struct holder *)(void *)role;
    struct known_spool *known, *next;
    HASH_ITER (hh, self->spools, known, next) {
        HASH_DELETE(hh, self->spools, known);
        free(known);
    }
    weir_intake_destroy(&self->intake);
    free(self->name);
    free(self->kind);
    free(self);
}

struct weir_role *weir_holder_new(const struct weir_holder_config *config,
                                  const struct weir_producer_row *producers,
                                  uint32_t producer_count, uint64_t next_sequence,
                                  const struct weir_host *host, uint64_t seed)
{
    (void)seed; /* nothing here is left to chance */
    struct holder *self = weir_zalloc(1, sizeof *self);
    self->role = (struct weir_role){.step = step, .destroy = destroy};
    self->host = *host;
    self->name = weir_strdup(config->name);
    self->kind = weir_strdup(config->role);
    self->next_sequence = next_sequence;
    const struct weir_intake_owner owner = {.self = self, .accept = on_put};
    self->intake =
        weir_intake_new(WEIR_PORT_SUBMIT, config->tag, config->fsync, &owner, &self->host);
    for (uint32_t i = 0; i < producer_count; i++)
        weir_intake_remember(self->intake, &producers[i]);
    for (uint32_t i = 0; i < config->spool_count; i++)
        remember_spool(self, &config->spools[i]);
    return &self->role;
}
