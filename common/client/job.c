#include <base/alloc.h>
#include <base/clock.h>
#include <client/job.h>
#include <core/job_lease.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t attempt_deadline(const struct weir_job *job, int64_t now_ns)
{
    return job->timeout_ms > 0 ? now_ns + job->timeout_ms * WEIR_NS_PER_MS : WEIR_TIME_NEVER;
}

void weir_job_handle_init(struct weir_job_handle *self, const struct weir_job *job,
                          void (*extend)(struct weir_job_handle *self))
{
    struct weir_batch_header header;
    self->job = job;
    self->extend = extend;
    self->topic[0] = '\0';
    if (weir_batch_header_decode(&job->header, &header, NULL) == 0) {
        memcpy(self->topic, header.topic, header.topic_bytes);
        self->topic[header.topic_bytes] = '\0';
    }
}

int weir_job_handle_begin(struct weir_job_handle *self, uint32_t at, const struct weir_bytes *body,
                          int64_t now_ns, struct weir_error *error)
{
    self->at = at;
    self->id_known = false;
    self->id_text[0] = '\0';
    self->result = WEIR_BYTES_NONE;
    self->error[0] = '\0';
    self->delay_ms = -1;
    self->attempt_deadline_ns = attempt_deadline(self->job, now_ns);
    return weir_message_decode(body->data, body->size, &self->view, error);
}

struct weir_job_outcome weir_job_handle_reject(uint32_t at, const struct weir_error *error)
{
    return (struct weir_job_outcome){.first = at,
                                     .count = 1,
                                     .outcome = WEIR_REJECT,
                                     .delay_ms = -1,
                                     .error = weir_bytes_copy(error->text, strlen(error->text))};
}

static void texts_drop(struct weir_job_handle *self)
{
    free(self->key);
    self->key = NULL;
    for (uint32_t i = 0; i < self->view.header_count; i++) {
        free(self->names[i]);
        free(self->values[i]);
        self->names[i] = self->values[i] = NULL;
    }
}

void weir_job_handle_end(struct weir_job_handle *self, int returned,
                         struct weir_job_outcome *outcome)
{
    *outcome = (struct weir_job_outcome){
        .first = self->at, .count = 1, .outcome = WEIR_RETRY, .delay_ms = self->delay_ms};
    if (returned >= WEIR_DONE && returned <= WEIR_UNAVAILABLE)
        outcome->outcome = (enum weir_outcome)returned;
    else
        weir_job_error(self, "the handler returned %d, which is no outcome", returned);
    if (outcome->outcome == WEIR_DONE && self->result.size > WEIR_MESSAGE_BYTES_MAX) {
        outcome->outcome = WEIR_REJECT;
        weir_job_error(self, "the result has %zu bytes, the limit is %u", self->result.size,
                       WEIR_MESSAGE_BYTES_MAX);
    }
    if (outcome->outcome == WEIR_DONE)
        outcome->result = self->result;
    else
        weir_bytes_drop(&self->result);
    if (outcome->outcome != WEIR_DONE && self->error[0] != '\0')
        outcome->error = weir_bytes_copy(self->error, strlen(self->error));
    if (outcome->outcome != WEIR_RETRY)
        outcome->delay_ms = -1;
    self->result = WEIR_BYTES_NONE;
    texts_drop(self);
}

/* ---- What handlers see ---------------------------------------------------------------------- */

/* The handler's own thread is the only one that uses a job, so a copy may be made in passing. */
static struct weir_job_handle *own(const weir_job_t *job)
{
    return (struct weir_job_handle *)job;
}

const void *weir_job_payload(const weir_job_t *job, size_t *bytes)
{
    if (bytes != NULL)
        *bytes = job->view.payload_bytes;
    return job->view.payload;
}

const char *weir_job_key(const weir_job_t *job)
{
    if (job->key == NULL && job->view.key != NULL)
        own(job)->key = weir_strndup(job->view.key, job->view.key_bytes);
    return job->key;
}

uint32_t weir_job_header_count(const weir_job_t *job)
{
    return job->view.header_count;
}

const char *weir_job_header_at(const weir_job_t *job, uint32_t at, const char **value)
{
    if (at >= job->view.header_count)
        return NULL;
    const struct weir_header_pair *pair = &job->view.headers[at];
    if (job->names[at] == NULL) {
        own(job)->names[at] = weir_strndup(pair->name, pair->name_bytes);
        own(job)->values[at] = weir_strndup(pair->value, pair->value_bytes);
    }
    if (value != NULL)
        *value = job->values[at];
    return job->names[at];
}

const char *weir_job_header(const weir_job_t *job, const char *name)
{
    const size_t bytes = strlen(name);
    for (uint32_t i = 0; i < job->view.header_count; i++) {
        const struct weir_header_pair *pair = &job->view.headers[i];
        const char *value = NULL;
        if (pair->name_bytes != bytes || memcmp(pair->name, name, bytes) != 0)
            continue;
        weir_job_header_at(job, i, &value);
        return value;
    }
    return NULL;
}

const char *weir_job_topic(const weir_job_t *job)
{
    return job->topic;
}

const char *weir_job_group(const weir_job_t *job)
{
    return job->job->group;
}

static struct weir_id id_of(const weir_job_t *job)
{
    return (struct weir_id){.time_ms = job->job->time_ms,
                            .tag = job->job->tag,
                            .sequence = job->job->sequence + job->at};
}

const uint8_t *weir_job_id(const weir_job_t *job)
{
    if (!job->id_known) {
        const struct weir_id id = id_of(job);
        weir_id_encode(&id, own(job)->id);
        own(job)->id_known = true;
    }
    return job->id;
}

const char *weir_job_id_text(const weir_job_t *job)
{
    if (job->id_text[0] == '\0') {
        const struct weir_id id = id_of(job);
        weir_id_format(&id, own(job)->id_text);
    }
    return job->id_text;
}

uint32_t weir_job_attempt(const weir_job_t *job)
{
    return job->job->attempt;
}

int64_t weir_job_time_ms(const weir_job_t *job)
{
    return job->job->time_ms;
}

void weir_job_extend(weir_job_t *job)
{
    job->attempt_deadline_ns = attempt_deadline(job->job, weir_clock_now().mono_ns);
    job->extend(job);
}

bool weir_job_cancelled(const weir_job_t *job)
{
    if (atomic_load(&job->cancelled))
        return true;
    int64_t now_ns = weir_clock_now().mono_ns;
    return now_ns >= job->attempt_deadline_ns ||
           (job->job->lease != NULL && now_ns >= weir_job_lease_deadline(job->job->lease));
}

void weir_job_result(weir_job_t *job, const void *result, size_t bytes)
{
    weir_bytes_drop(&job->result);
    if (bytes > WEIR_MESSAGE_BYTES_MAX) /* not worth a copy: it will be refused by its size */
        job->result = weir_bytes_borrow("", bytes);
    else
        job->result = weir_bytes_copy(result, bytes);
}

void weir_job_error(weir_job_t *job, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(job->error, sizeof job->error, format, arguments);
    va_end(arguments);
}

void weir_job_delay(weir_job_t *job, int64_t delay_ms)
{
    job->delay_ms = delay_ms < 0 ? 0 : delay_ms;
}
