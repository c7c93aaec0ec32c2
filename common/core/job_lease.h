/* The deadline of a job's lease, shared between the worker machine, which pushes it on with each
 * heartbeat's echo, and the executor, which looks at it before each start. Counted, atomic. */
#ifndef WEIR_CORE_JOB_LEASE_H
#define WEIR_CORE_JOB_LEASE_H

#include <stdint.h>

struct weir_job;
struct weir_job_lease;

struct weir_job_lease *weir_job_lease_new(int64_t deadline_ns);
struct weir_job_lease *weir_job_lease_ref(struct weir_job_lease *self);
void weir_job_lease_drop(struct weir_job_lease **self);
void weir_job_lease_push(struct weir_job_lease *self,
                         int64_t deadline_ns); /* 0: the lease is lost */
int64_t weir_job_lease_deadline(const struct weir_job_lease *self);

/* Release all that a job owns. */
void weir_job_fini(struct weir_job *job);

#endif
