/* weir-sink: takes results over and writes each of them once. */
#include <base/alloc.h>
#include <core/roles.h>
#include <hold/hold_store.h>
#include <runtime/node.h>
#include <sink/sink_store.h>
#include <stdlib.h>
#include <unistd.h>

static int hold(void *arg, const struct weir_store_request *requests, uint32_t count,
                uint32_t *duplicates, struct weir_error *error)
{
    return weir_sink_hold(arg, requests, count, duplicates, error);
}

static void destroy(void *arg)
{
    struct weir_sink *sink = arg;
    weir_sink_destroy(&sink);
}

static int serve(struct weir_process *process, struct weir_error *error)
{
    const struct weir_node *node = process->node;
    const struct weir_sink_config config = {.kind = node->sink,
                                            .path = node->sink_path,
                                            .ledger_path = node->ledger_path,
                                            .stdout_fd = STDOUT_FILENO,
                                            .tag = node->tag};
    struct weir_sink *sink = NULL;
    struct weir_producer_row *producers = NULL;
    uint32_t producer_count = 0;
    uint64_t next_sequence = 1;
    int status = weir_sink_open(&config, &sink, error);
    if (status == 0)
        status = weir_sink_recover(sink, &producers, &producer_count, &next_sequence, error);
    if (status != 0) {
        weir_sink_destroy(&sink);
        return status;
    }

    const struct weir_hold_writer writer = {sink, hold, destroy};
    struct weir_store *writing = weir_hold_store_new(&writer, error);
    if (writing != NULL) {
        const struct weir_holder_config holder = {
            .name = process->label, .role = "sink", .tag = node->tag, .fsync = WEIR_FSYNC_ALWAYS};
        struct weir_role *role =
            weir_holder_new(&holder, producers, producer_count, next_sequence,
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
    if (!weir_process_start(&process, WEIR_ROLE_SINK, argc, argv, &status))
        return status;
    status = serve(&process, &error);
    if (status < 0)
        status = weir_process_fail(&error);
    weir_process_end(&process);
    return status;
}
