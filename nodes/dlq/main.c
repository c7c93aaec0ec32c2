/* weir-dlq: the dead-letter collector. Takes dead letters over from ventilators and keeps them in
 * an SQLite file until the command line replays or purges them. */
#include <base/alloc.h>
#include <core/roles.h>
#include <dlq/dlq_store.h>
#include <hold/hold_store.h>
#include <runtime/node.h>
#include <stdlib.h>

struct collector {
    struct weir_dlq_store *store;
    uint16_t tag;
};

static int collector_hold(void *arg, const struct weir_store_request *requests, uint32_t count,
                          uint32_t *duplicates, struct weir_error *error)
{
    struct collector *self = arg;
    return weir_dlq_store_hold(self->store, self->tag, requests, count, duplicates, error);
}

static void collector_destroy(void *arg)
{
    struct collector *self = arg;
    weir_dlq_store_destroy(&self->store);
    free(self);
}

static int serve(struct weir_process *process, struct weir_error *error)
{
    const struct weir_node *node = process->node;
    struct weir_dlq_store *store = NULL;
    struct weir_producer_row *producers = NULL;
    uint32_t producer_count = 0;
    uint64_t next_sequence = 1;
    int status = weir_dlq_store_open(node->store_path, true, &store, error);
    if (status == 0)
        status = weir_dlq_store_recover(store, &producers, &producer_count, &next_sequence, error);
    if (status != 0) {
        weir_dlq_store_destroy(&store);
        return status;
    }

    struct collector *collector = weir_zalloc(1, sizeof *collector);
    *collector = (struct collector){.store = store, .tag = node->tag};
    const struct weir_hold_writer writer = {collector, collector_hold, collector_destroy};
    struct weir_store *writing = weir_hold_store_new(&writer, error);
    if (writing != NULL) {
        const struct weir_holder_config config = {
            .name = process->label, .role = "dlq", .tag = node->tag, .fsync = WEIR_FSYNC_ALWAYS};
        struct weir_role *role =
            weir_holder_new(&config, producers, producer_count, next_sequence,
                            weir_reactor_host(process->reactor), process->seed);
        weir_reactor_attach_store(process->reactor, writing);
        status = weir_process_run(process, &role);
        weir_store_destroy(&writing);
    } else {
        status = error->code;
    }
    free(producers);
    return status;
}

int main(int argc, char **argv)
{
    struct weir_process process;
    struct weir_error error = {0};
    int status;
    if (!weir_process_start(&process, WEIR_ROLE_DLQ, argc, argv, &status))
        return status;
    status = serve(&process, &error);
    if (status < 0)
        status = weir_process_fail(&error);
    weir_process_end(&process);
    return status;
}
