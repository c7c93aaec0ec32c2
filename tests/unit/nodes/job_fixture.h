/* Jobs as the worker machine hands them over, and the outcomes an executor gives back. */
#ifndef WEIR_TEST_JOB_FIXTURE_H
#define WEIR_TEST_JOB_FIXTURE_H

#include <contract/backend.h>
#include <wire/batch.h>

/* A job of one message of topic "test.topic" and group "group"; its deadline is far away, it has no
 * timeout, and everything may be changed before it is run. */
struct weir_job job_of(uint64_t id, const struct weir_message_view *message);
struct weir_job job_of_text(uint64_t id, const char *payload);
/* The message id of that job as text. Static, until the next call. */
const char *job_message_id(const struct weir_job *job);

/* How one job went. */
struct ended {
    uint64_t job;
    bool started;
    uint32_t extended;
    bool has_outcome;
    struct weir_job_outcome outcome; /* owned */
};

/* Wait until a job is over; fails the test after ten seconds. */
struct ended await_end(struct weir_executor *executor);
void ended_fini(struct ended *ended);
/* Wait until a job says that it has started; nothing may end before. */
void await_start(struct weir_executor *executor, uint64_t job);
/* The job ends so, with this result and error; NULL: none, of the result; not looked at, of the
 * error. An error that ends with '…' needs to begin so only. */
void expect_end(struct weir_executor *executor, uint64_t job, enum weir_outcome outcome,
                const char *result, const char *error);

#endif
