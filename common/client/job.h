/* One message while its handler runs, and how it is to end. */
#ifndef WEIR_CLIENT_JOB_H
#define WEIR_CLIENT_JOB_H

#include <base/limits.h>
#include <contract/host.h>
#include <stdatomic.h>
#include <weir.h>
#include <wire/batch.h>

struct weir_job_handle {
    /* Of the job. */
    const struct weir_job *job;
    char topic[WEIR_TOPIC_BYTES_MAX + 1];
    void (*extend)(struct weir_job_handle *self);
    /* Of the message. */
    uint32_t at; /* within the job */
    struct weir_message_view view;
    bool id_known;
    uint8_t id[WEIR_ID_BYTES]; /* once it was asked for; so are its text, and the copies below */
    char id_text[WEIR_ID_TEXT_BYTES];
    int64_t attempt_deadline_ns;
    atomic_bool cancelled;
    /* Copies that end with NUL, made when they are asked for. */
    char *key;
    char *names[WEIR_HEADERS_MAX];
    char *values[WEIR_HEADERS_MAX];
    /* What the handler says. */
    struct weir_bytes result; /* block NULL: none */
    char error[WEIR_ERROR_BYTES_MAX + 1];
    int64_t delay_ms;
};

/* Before a job's first message. */
void weir_job_handle_init(struct weir_job_handle *self, const struct weir_job *job,
                          void (*extend)(struct weir_job_handle *self));
/* Before each message, whose bytes are `body`. WEIR_EPROTO: it is no message. */
int weir_job_handle_begin(struct weir_job_handle *self, uint32_t at, const struct weir_bytes *body,
                          int64_t now_ns, struct weir_error *error);
/* After it: what came of it. `returned` is what the handler did. */
void weir_job_handle_end(struct weir_job_handle *self, int returned,
                         struct weir_job_outcome *outcome);
/* How a message ends that never got to the handler. */
struct weir_job_outcome weir_job_handle_reject(uint32_t at, const struct weir_error *error);

#endif
