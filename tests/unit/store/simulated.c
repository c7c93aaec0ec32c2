#include "simulated.h"

#include <base/alloc.h>
#include <sim/outside.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEGMENT_BYTES 8192u
#define BODY_BYTES 500u

static void serve(struct weir_spool *spool, struct weir_task_queue *queue,
                  void (*turn)(struct weir_spool *spool, struct weir_task *tasks))
{
    bool closed;

    if (queue->first != NULL)
        turn(spool, weir_task_queue_take(queue, WEIR_TIME_NEVER, &closed));
}

void simulated_serve(struct simulated *self)
{
    struct weir_spool *spool = self->spool;

    while (spool->appends.first != NULL || spool->states.first != NULL ||
           spool->reads.first != NULL) {
        serve(spool, &spool->appends, weir_spool_serve_appends);
        serve(spool, &spool->states, weir_spool_serve_states);
        serve(spool, &spool->reads, weir_spool_serve_reads);
    }
}

static int open_with(struct simulated *self, uint64_t bytes_max)
{
    struct weir_spool_config config = {.directory = SIM_MOUNT "/var/spool",
                                       .tag = 7,
                                       .fsync = self->fsync,
                                       .bytes_max = bytes_max,
                                       .segment_bytes = self->segment_bytes};
    struct weir_error error;
    int status;

    sim_filesystem_reopen(&self->files);
    self->files.calls_left = self->killed_at;
    self->killed_at = 0;
    sim_state_mount(&self->state);
    sim_outside_set(&(struct sim_outside){.random = &self->files.random});
    status = weir_spool_open_quiet(&config, &self->files.io, &self->spool, &self->subject.recovered,
                                   &error);
    if (status == 0)
        self->subject.store = &self->spool->store;
    return status;
}

int simulated_open(struct simulated *self)
{
    return open_with(self, 0);
}

static void end(struct simulated *self)
{
    weir_recovered_destroy(&self->subject.recovered);
    weir_store_destroy(&self->subject.store);
    self->spool = NULL;
}

void simulated_kill(struct simulated *self)
{
    sim_filesystem_die(&self->files);
    end(self);
}

void simulated_power_cut(struct simulated *self)
{
    simulated_kill(self);
    sim_filesystem_power_cut(&self->files);
}

static void subject_open(struct subject *subject, uint64_t bytes_max)
{
    assert_int_equal(open_with((struct simulated *)subject, bytes_max), 0);
}

static void subject_close(struct subject *subject)
{
    simulated_serve((struct simulated *)subject);
    end((struct simulated *)subject);
}

static void subject_next(struct subject *subject, struct weir_store_result *result)
{
    if (subject->store->poll(subject->store, result))
        return;
    simulated_serve((struct simulated *)subject);
    assert_true(subject->store->poll(subject->store, result));
}

static void disk_fini(struct simulated *self)
{
    sim_state_disk_fini(&self->state);
    sim_filesystem_fini(&self->files);
}

static void disk_init(struct simulated *self, uint64_t seed)
{
    sim_filesystem_init(&self->files, seed);
    sim_state_disk_init(&self->state, &self->files);
}

static void subject_clear(struct subject *subject)
{
    disk_fini((struct simulated *)subject);
    disk_init((struct simulated *)subject, 1);
}

void simulated_init(struct simulated *self, uint64_t seed)
{
    *self = (struct simulated){.subject = {.open = subject_open,
                                           .close = subject_close,
                                           .next = subject_next,
                                           .clear = subject_clear,
                                           .small_bytes_max = WEIR_SPOOL_BYTES_MIN},
                               .segment_bytes = SEGMENT_BYTES};
    disk_init(self, seed);
}

void simulated_fini(struct simulated *self)
{
    if (self->spool != NULL)
        simulated_kill(self);
    disk_fini(self);
}

int simulated_append(struct simulated *self, uint64_t sequence)
{
    struct weir_store_request request = append_request(sequence, sequence, 1, BODY_BYTES);
    struct weir_store_result result = {0};
    int status;

    self->spool->store.submit(&self->spool->store, &request);
    subject_next(&self->subject, &result);
    status = result.status;
    weir_store_result_fini(&result);
    return status;
}

void simulated_assert_holds(struct simulated *self, uint64_t first, uint64_t last)
{
    struct weir_store_request request = read_request(UINT64_MAX, 1, 1u << 20);
    struct weir_store_result result = {0};

    self->spool->store.submit(&self->spool->store, &request);
    subject_next(&self->subject, &result);
    assert_int_equal(result.status, 0);
    assert_int_equal(result.record_count, last - first + 1);
    for (uint32_t i = 0; i < result.record_count; i++)
        assert_record(&result.records[i], first + i, 1, BODY_BYTES);
    weir_store_result_fini(&result);
}
