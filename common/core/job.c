#include <base/alloc.h>
#include <contract/host.h>
#include <core/job_lease.h>
#include <stdatomic.h>
#include <stdlib.h>

struct weir_job_lease {
    atomic_uint holders;
    _Atomic int64_t deadline_ns;
};

struct weir_job_lease *weir_job_lease_new(int64_t deadline_ns)
{
    struct weir_job_lease *self = weir_alloc(sizeof *self);
    atomic_init(&self->holders, 1);
    atomic_init(&self->deadline_ns, deadline_ns);
    return self;
}

struct weir_job_lease *weir_job_lease_ref(struct weir_job_lease *self)
{
    atomic_fetch_add_explicit(&self->holders, 1, memory_order_relaxed);
    return self;
}

void weir_job_lease_drop(struct weir_job_lease **self)
{
    struct weir_job_lease *lease = *self;
    *self = NULL;
    if (lease && atomic_fetch_sub_explicit(&lease->holders, 1, memory_order_acq_rel) == 1)
        free(lease);
}

void weir_job_lease_push(struct weir_job_lease *self, int64_t deadline_ns)
{
    atomic_store_explicit(&self->deadline_ns, deadline_ns, memory_order_release);
}

int64_t weir_job_lease_deadline(const struct weir_job_lease *self)
{
    return atomic_load_explicit(&self->deadline_ns, memory_order_acquire);
}

void weir_job_fini(struct weir_job *job)
{
    weir_bytes_drop(&job->header);
    weir_bytes_drop(&job->index);
    weir_bytes_drop(&job->body);
    weir_job_lease_drop(&job->lease);
}
