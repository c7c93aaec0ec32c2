/* The one message of a job, decoded: what a handler of another process is told. */
#ifndef WEIR_WORKER_JOB_MESSAGE_H
#define WEIR_WORKER_JOB_MESSAGE_H

#include <contract/host.h>
#include <wire/batch.h>

struct weir_job_message {
    char id[WEIR_ID_TEXT_BYTES];
    const char *topic; /* not NUL-terminated */
    uint32_t topic_bytes;
    const char *group;
    uint32_t attempt;
    struct weir_message_view view;
};

/* Decode it; everything points into the job. WEIR_EPROTO: a message that no handler can be given.
 */
int weir_job_message_decode(const struct weir_job *job, struct weir_job_message *message,
                            struct weir_error *error);
/* Until when, on the monotonic clock, the message may be started. */
int64_t weir_job_start_until_ns(const struct weir_job *job);

#endif
