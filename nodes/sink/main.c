/* weir-sink: takes results over and writes each of them once. */
#include <holder/holder_main.h>
#include <sink/sink_store.h>
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

static int open_sink(const struct weir_node *node, struct weir_holder_opened *opened,
                     struct weir_error *error)
{
    const struct weir_sink_config config = {.kind = node->sink,
                                            .path = node->sink_path,
                                            .ledger_path = node->ledger_path,
                                            .stdout_fd = STDOUT_FILENO,
                                            .tag = node->tag};
    struct weir_sink *sink = NULL;
    int status = weir_sink_open(&config, &sink, error);
    if (status == 0)
        status = weir_sink_recover(sink, &opened->producers, &opened->producer_count,
                                   &opened->next_sequence, error);
    if (status == 0)
        status = weir_sink_spools(sink, &opened->spools, &opened->spool_count, error);
    if (status != 0)
        weir_sink_destroy(&sink);
    opened->writer = (struct weir_hold_writer){sink, hold, destroy};
    return status;
}

int main(int argc, char **argv)
{
    return weir_holder_main(WEIR_ROLE_SINK, open_sink, argc, argv);
}
