#include <executor/job_message.h>

#include <core/job_lease.h>

int weir_job_message_decode(const struct weir_job *job, struct weir_job_message *message,
                            struct weir_error *error)
{
    WEIR_ASSERT(job->count == 1);
    struct weir_batch_header header;
    int status = weir_batch_header_decode(&job->header, &header, error);
    if (status == 0)
        status = weir_message_decode(job->body.data, job->body.size, &message->view, error);
    if (status != 0) {
        weir_error_wrap(error, "the message cannot be decoded");
        return status;
    }
    struct weir_id id = {.time_ms = job->time_ms, .tag = job->tag, .sequence = job->sequence};
    weir_id_format(&id, message->id);
    message->topic = header.topic;
    message->topic_bytes = header.topic_bytes;
    message->group = job->group;
    message->attempt = job->attempt;
    return 0;
}

int64_t weir_job_start_until_ns(const struct weir_job *job)
{
    return job->lease != NULL ? weir_job_lease_deadline(job->lease) : job->deadline_ns;
}
