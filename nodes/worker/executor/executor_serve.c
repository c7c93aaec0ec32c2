/* The executor over coprocesses: its thread, and its face towards the reactor. */
#include <executor/executor.h>

#include <base/alloc.h>
#include <base/clock.h>
#include <errno.h>
#include <executor/mailbox.h>
#include <executor/program.h>
#include <executor/slots.h>
#include <jansson.h>
#include <stdlib.h>

/* From one turn to the next while answers flow. Being woken for each costs more than all else that
 * is done for a message, and a coprocess has its next requests already. */
#define FLOW_NS (WEIR_NS_PER_MS * 3 / 10)

struct serve_executor {
    struct weir_executor executor; /* first */
    struct weir_program program;
    struct weir_mailbox *mailbox;
    struct weir_slots *slots; /* the thread's */
    pthread_t thread;
};

static void take_orders(struct serve_executor *self)
{
    struct weir_orders orders;
    weir_mailbox_take(self->mailbox, &orders);
    for (uint32_t i = 0; i < orders.job_count; i++)
        weir_slots_take(self->slots, &orders.jobs[i]);
    for (uint32_t i = 0; i < orders.kill_count; i++)
        weir_slots_kill(self->slots, orders.kills[i]);
    free(orders.jobs);
    free(orders.kills);
    if (orders.close)
        weir_slots_close(self->slots, weir_clock_now().mono_ns);
}

static void *serve_thread(void *arg)
{
    struct serve_executor *self = arg;
    uint32_t count = 1 + weir_slots_poll_count(self->slots);
    struct pollfd *polls = weir_zalloc(count, sizeof *polls);
    polls[0] = (struct pollfd){.fd = weir_mailbox_orders_fd(self->mailbox), .events = POLLIN};
    weir_slots_turn(self->slots, weir_clock_now().mono_ns, NULL);
    while (!weir_slots_ended(self->slots)) {
        weir_slots_polls(self->slots, polls + 1);
        int rc = poll(polls, count, weir_clock_ms_until(weir_slots_next_ns(self->slots)));
        WEIR_ASSERT(rc >= 0 || errno == EINTR);
        if (rc < 0)
            continue;
        if (polls[0].revents)
            take_orders(self);
        const int64_t now_ns = weir_clock_now().mono_ns;
        weir_slots_turn(self->slots, now_ns, polls + 1);
        weir_mailbox_tell(self->mailbox);
        if (weir_slots_flow(self->slots))
            weir_executor_pause(now_ns + FLOW_NS);
    }
    free(polls);
    return NULL;
}

/* ---- The executor's face -------------------------------------------------------------------- */

static struct serve_executor *of(const struct weir_executor *executor)
{
    return (struct serve_executor *)(uintptr_t)executor;
}

static void serve_run(struct weir_executor *executor, struct weir_job *job)
{
    weir_mailbox_run(of(executor)->mailbox, job);
}

static void serve_kill(struct weir_executor *executor, uint64_t job)
{
    weir_mailbox_kill(of(executor)->mailbox, job);
}

static bool serve_poll(struct weir_executor *executor, struct weir_handled *handled)
{
    return weir_mailbox_poll(of(executor)->mailbox, handled);
}

static int serve_fd(const struct weir_executor *executor)
{
    return weir_mailbox_fd(of(executor)->mailbox);
}

static void serve_destroy(struct weir_executor *executor)
{
    struct serve_executor *self = of(executor);
    weir_mailbox_close(self->mailbox);
    pthread_join(self->thread, NULL);
    weir_slots_destroy(&self->slots);
    weir_mailbox_destroy(&self->mailbox);
    weir_program_fini(&self->program);
    free(self);
}

int weir_serve_executor_new(const struct weir_handler_program *program, uint32_t coprocesses,
                            struct weir_executor **executor, struct weir_error *error)
{
    struct serve_executor *self = weir_zalloc(1, sizeof *self);
    *executor = NULL;
    int status = weir_program_init(&self->program, program, error);
    if (status != 0) {
        free(self);
        return status;
    }
    json_set_alloc_funcs(weir_alloc, free); /* as everywhere: running out of memory ends us */
    self->executor = (struct weir_executor){
        .run = serve_run,
        .kill = serve_kill,
        .poll = serve_poll,
        .fd = serve_fd,
        .destroy = serve_destroy,
    };
    self->mailbox = weir_mailbox_new();
    self->slots = weir_slots_new(&self->program, coprocesses, self->mailbox);
    weir_executor_thread(&self->thread, serve_thread, self);
    *executor = &self->executor;
    return 0;
}
