/* Dead letters on their way to the collector: rows in DYING, fetched in portions, submitted with
 * their origin, and forgotten but for a tombstone at the collector's OK. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN_MS 30000 /* for what was refused before this start */

struct weir_dying_letter {
    struct weir_row row;
    uint64_t batch; /* sent in it; 0: not yet */
    bool ended;     /* replayed or removed meanwhile: the collector's answer changes nothing */
};

/* ---- answers ---- */

static void confirmed(struct weir_ventilator *v, struct weir_group *group, struct weir_row *row)
{
    group->dying--;
    group->dead++;
    group->tombstones++;
    v->dying.rows--;
    v->dying.confirmed++;
    row->state = WEIR_ROW_DEAD;
    row->releases = 0;
    weir_flush_row(v, row, false);
    weir_flush_group(v, group);
}

static void refused(struct weir_ventilator *v, struct weir_row *row)
{
    int64_t wait_ms = WEIR_DYING_RETRY_MS;
    for (uint32_t i = 0; i < row->releases && wait_ms < WEIR_DYING_RETRY_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > WEIR_DYING_RETRY_MAX_MS)
        wait_ms = WEIR_DYING_RETRY_MAX_MS;
    row->releases++;
    row->due_ms = v->now.wall_ms + wait_ms;
    weir_flush_row(v, row, false);
    v->dying.refused++;
    if (row->due_ms < v->dying.at_ms)
        v->dying.at_ms = row->due_ms;
}

static void submitted(void *self, const struct weir_submitted *submitted,
                      const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    const uint64_t batch = (uint64_t)(uintptr_t)submitted->arg;
    uint32_t kept = 0, count = 0;
    for (uint32_t i = 0; i < v->dying.count; i++) {
        struct weir_dying_letter *letter = &v->dying.letters[i];
        struct weir_group *group = weir_groups_number(v, letter->row.group);
        if (letter->batch != batch) {
            v->dying.letters[kept++] = *letter;
            continue;
        }
        count++;
        if (group && !letter->ended && submitted->status == 0)
            confirmed(v, group, &letter->row);
        else if (group && !letter->ended)
            refused(v, &letter->row);
        weir_row_fini(&letter->row);
    }
    v->dying.count = kept;
    if (submitted->status != 0)
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "the dead-letter collector refuses %u dead letters: %.*s; they stay "
                            "here and are offered again",
                            count, (int)submitted->answer->text.bytes,
                            submitted->answer->text.data);
}

void weir_dying_init(struct weir_ventilator *v)
{
    const struct weir_submit_owner owner = {.self = v, .submitted = submitted};
    uint8_t producer[WEIR_PRODUCER_BYTES];
    if (!v->config.dead_letters)
        return;
    weir_random_fill(&v->random, producer, sizeof producer);
    v->submit = weir_submit_new(WEIR_PORT_TO, producer, WEIR_PRODUCER_WINDOW, &owner, &v->host);
}

void weir_dying_fini(struct weir_ventilator *v)
{
    for (uint32_t i = 0; i < v->dying.count; i++)
        weir_row_fini(&v->dying.letters[i].row);
    free(v->dying.letters);
}

void weir_dying_put(struct weir_ventilator *v)
{
    if (v->now.wall_ms < v->dying.at_ms)
        v->dying.at_ms = v->now.wall_ms;
}

void weir_dying_replayed(struct weir_ventilator *v, uint32_t group, uint64_t sequence)
{
    v->dying.outdated = v->dying.asking;
    for (uint32_t i = 0; i < v->dying.count; i++)
        if (v->dying.letters[i].row.group == group && v->dying.letters[i].row.sequence == sequence)
            v->dying.letters[i].ended = true;
}

void weir_dying_removed(struct weir_ventilator *v, uint32_t group)
{
    for (uint32_t i = 0; i < v->dying.count; i++)
        if (v->dying.letters[i].row.group == group)
            v->dying.letters[i].ended = true;
}

void weir_dying_copied(struct weir_ventilator *v, const struct weir_row *copy)
{
    for (uint32_t i = 0; i < v->dying.count; i++) {
        struct weir_row *row = &v->dying.letters[i].row;
        if (row->group != copy->group || row->sequence != copy->sequence || row->body.size)
            continue;
        row->header = weir_bytes_ref(&copy->header);
        row->index_entry = weir_bytes_ref(&copy->index_entry);
        row->body = weir_bytes_ref(&copy->body);
    }
}

struct weir_row *weir_dying_row(const struct weir_ventilator *v, uint32_t i)
{
    return &v->dying.letters[i].row;
}

/* ---- fetching ---- */

static void have_dying(struct weir_ventilator *v, struct weir_store_result *result, uint64_t arg,
                       void *pointer)
{
    (void)arg;
    (void)pointer;
    v->dying.asking = false;
    if (result->more || v->dying.outdated)
        v->dying.at_ms = v->now.wall_ms;
    if (v->dying.outdated) {
        v->dying.outdated = false;
        return;
    }
    v->dying.letters = weir_realloc(v->dying.letters, v->dying.count + result->row_count + 1,
                                    sizeof *v->dying.letters);
    for (uint32_t i = 0; i < result->row_count; i++) {
        v->dying.letters[v->dying.count++] = (struct weir_dying_letter){
            .row = result->rows[i], .ended = !weir_groups_number(v, result->rows[i].group)};
        result->rows[i] = (struct weir_row){0};
    }
}

static void fetch(struct weir_ventilator *v)
{
    struct weir_store_request request = {.kind = WEIR_STORE_QUERY,
                                         .query = WEIR_QUERY_DYING,
                                         .time_ms = v->now.wall_ms,
                                         .count = WEIR_DYING_MAX};
    v->dying.asking = true;
    v->dying.at_ms = v->now.wall_ms + LOOK_AGAIN_MS;
    weir_flush_now(v);
    weir_ventilator_ask(v, &request, have_dying, 0, NULL);
}

/* ---- sending ---- */

struct letter_source { /* where the message of a letter is */
    struct weir_batch_header header;
    const uint8_t *body;
    size_t bytes;
    struct weir_bytes hold; /* keeps it while it is looked at */
};

enum source { SOURCE_HERE, SOURCE_LATER, SOURCE_MISSING };

static enum source find_source(struct weir_ventilator *v, const struct weir_row *row,
                               struct letter_source *source)
{
    struct weir_stream_batch *batch;
    if (row->body.size) {
        if (weir_batch_header_decode(&row->header, &source->header, NULL) != 0)
            return SOURCE_MISSING;
        source->hold = weir_bytes_ref(&row->body);
    } else {
        const enum weir_stream_found found = weir_stream_find(&v->stream, row->sequence, &batch);
        if (found == WEIR_STREAM_UNKNOWN) {
            weir_stream_want(&v->stream, row->sequence, WEIR_READ_ONE_BYTES);
            return SOURCE_LATER;
        }
        if (found == WEIR_STREAM_END || batch->record.first > row->sequence)
            return SOURCE_MISSING;
        struct weir_bytes index;
        source->header = batch->header;
        weir_stream_batch_cut(batch, row->sequence, 1, &index, &source->hold);
        weir_bytes_drop(&index);
    }
    source->body = source->hold.data;
    source->bytes = source->hold.size;
    return SOURCE_HERE;
}

/* The dead letter of a message: all that it was, and where it comes from and why. */
static int add_letter(struct weir_ventilator *v, struct weir_batch_builder *builder,
                      const struct weir_row *row, const struct weir_group *group,
                      const struct letter_source *source)
{
    struct weir_message_view message = {0};
    const struct weir_id id = {row->time_ms, v->tag, row->sequence};
    char key[WEIR_ORIGIN_KEY_BYTES];
    if (weir_message_decode(source->body, source->bytes, &message, NULL) != 0) {
        message = (struct weir_message_view){0}; /* a stranger's bytes: as they are */
        message.payload = source->body;
        message.payload_bytes = source->bytes;
    }
    message.has_origin = true;
    message.origin = (struct weir_origin){.topic = source->header.topic,
                                          .topic_bytes = source->header.topic_bytes,
                                          .group = group->row.policy.name,
                                          .group_bytes = (uint32_t)strlen(group->row.policy.name),
                                          .death = row->death,
                                          .attempt = row->attempt,
                                          .reason = row->reason,
                                          .history = row->history};
    weir_id_encode(&id, message.origin.id);
    message.idempotency_key_bytes = weir_origin_key(&message.origin, key);
    message.idempotency_key = key;
    struct weir_error error = {0};
    int rc = weir_batch_builder_add(builder, &message, &error);
    if (rc == WEIR_ELIMIT && message.origin.history.size) {
        message.origin.history = WEIR_BYTES_NONE; /* too large with it */
        rc = weir_batch_builder_add(builder, &message, &error);
    }
    if (rc != 0 && rc != WEIR_EFULL)
        weir_ventilator_log(v, WEIR_LOG_ERROR,
                            "message %llu of group %s cannot be made a dead letter: %s; it stays "
                            "here",
                            (unsigned long long)row->sequence, group->row.policy.name, error.text);
    return rc;
}

static void let_go(struct weir_ventilator *v, struct weir_dying_letter *letter,
                   struct weir_group *group)
{
    confirmed(v, group, &letter->row);
    letter->ended = true;
}

/* What is not there any more cannot be handed over; that it died is still known. */
static void missing(struct weir_ventilator *v, struct weir_dying_letter *letter,
                    struct weir_group *group)
{
    weir_ventilator_log(v, WEIR_LOG_ERROR,
                        "dead letter %llu of group %s is gone from a damaged log",
                        (unsigned long long)letter->row.sequence, group->row.policy.name);
    v->count.missing++;
    let_go(v, letter, group);
}

static void forget_ended(struct weir_ventilator *v)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < v->dying.count; i++) {
        struct weir_dying_letter *letter = &v->dying.letters[i];
        if (letter->ended && letter->batch == 0)
            weir_row_fini(&letter->row);
        else
            v->dying.letters[kept++] = *letter;
    }
    v->dying.count = kept;
}

/* Add the letter to the batch of its topic that is being built. False: it belongs into the next
 * batch. */
static bool put_letter(struct weir_ventilator *v, struct weir_batch_builder **builder,
                       struct weir_batch_header *header, struct weir_dying_letter *letter,
                       uint64_t batch)
{
    struct letter_source source = {0};
    struct weir_group *group = weir_groups_number(v, letter->row.group);
    if (letter->batch || letter->ended || !group)
        return true;
    const enum source where = find_source(v, &letter->row, &source);
    if (where == SOURCE_MISSING)
        missing(v, letter, group);
    if (where != SOURCE_HERE)
        return true;
    bool taken = true;
    if (*builder && (header->topic_bytes != source.header.topic_bytes ||
                     memcmp(header->topic, source.header.topic, header->topic_bytes) != 0)) {
        taken = false;
    } else {
        if (!*builder) {
            *header = (struct weir_batch_header){.version = WEIR_BATCH_VERSION,
                                                 .topic = source.header.topic,
                                                 .topic_bytes = source.header.topic_bytes,
                                                 .created_ms = v->now.wall_ms};
            memcpy(header->producer, weir_submit_producer(v->submit), sizeof header->producer);
            header->has_spool = true;
            memcpy(header->spool, v->uuid, sizeof header->spool);
            *builder = weir_batch_builder_new(header);
        }
        const int rc = add_letter(v, *builder, &letter->row, group, &source);
        if (rc == 0) {
            letter->batch = batch;
            if (WEIR_CANARY(LETTER_DROPPED_BEFORE_OK))
                let_go(v, letter, group);
        } else if (rc == WEIR_EFULL) {
            taken = false;
        } else {
            refused(v, &letter->row);
            letter->ended = true;
        }
    }
    weir_bytes_drop(&source.hold);
    return taken;
}

/* One batch of letters of one topic. False: there was nothing to send. */
static bool send_batch(struct weir_ventilator *v)
{
    char topic[WEIR_TOPIC_BYTES_MAX];
    struct weir_batch_builder *builder = NULL;
    struct weir_batch_header header = {0};
    const uint64_t batch = ++v->dying.batches;
    for (uint32_t i = 0; i < v->dying.count; i++) {
        const bool first = builder == NULL;
        if (!put_letter(v, &builder, &header, &v->dying.letters[i], batch))
            continue;
        if (first && builder) { /* the topic outlives the batch it was found in */
            memcpy(topic, header.topic, header.topic_bytes);
            header.topic = topic;
        }
        if (builder && weir_batch_builder_size(builder) >= WEIR_DYING_BATCH_BYTES)
            break;
    }
    const bool any = builder && weir_batch_builder_count(builder) > 0;
    if (any)
        weir_submit_send(v->submit, builder, 0, (void *)(uintptr_t)batch, &v->now);
    if (builder)
        weir_batch_builder_destroy(&builder);
    return any;
}

int64_t weir_dying_tick(struct weir_ventilator *v)
{
    struct weir_dying *dying = &v->dying;
    if (!v->submit || v->state != WEIR_VENTILATOR_OPEN)
        return WEIR_TIME_NEVER;
    forget_ended(v);
    while (dying->count && weir_submit_room(v->submit) && send_batch(v))
        ;
    forget_ended(v);
    if (dying->rows == 0 || dying->count || dying->asking)
        return WEIR_TIME_NEVER;
    if (dying->at_ms > v->now.wall_ms)
        return weir_ventilator_mono_of(v, dying->at_ms);
    fetch(v);
    return WEIR_TIME_NEVER;
}
