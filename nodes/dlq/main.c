/* weir-dlq: the dead-letter collector. Takes dead letters over from ventilators and keeps them in
 * an SQLite file until the command line replays or purges them. */
#include <base/alloc.h>
#include <dlq/dlq_store.h>
#include <holder/holder_main.h>
#include <stdlib.h>

struct collector {
    struct weir_dlq_store *store;
    uint16_t tag;
};

static int hold(void *arg, const struct weir_store_request *requests, uint32_t count,
                uint32_t *duplicates, struct weir_error *error)
{
    struct collector *self = arg;
    return weir_dlq_store_hold(self->store, self->tag, requests, count, duplicates, error);
}

static void destroy(void *arg)
{
    struct collector *self = arg;
    weir_dlq_store_destroy(&self->store);
    free(self);
}

static int open_collector(const struct weir_node *node, struct weir_holder_opened *opened,
                          struct weir_error *error)
{
    struct weir_dlq_store *store = NULL;
    int status = weir_dlq_store_open(node->store_path, true, &store, error);
    if (status == 0)
        status = weir_dlq_store_recover(store, &opened->producers, &opened->producer_count,
                                        &opened->next_sequence, error);
    if (status == 0)
        status = weir_dlq_store_spools(store, &opened->spools, &opened->spool_count, error);
    if (status != 0) {
        weir_dlq_store_destroy(&store);
        return status;
    }
    struct collector *collector = weir_zalloc(1, sizeof *collector);
    *collector = (struct collector){.store = store, .tag = node->tag};
    opened->writer = (struct weir_hold_writer){collector, hold, destroy};
    return 0;
}

int main(int argc, char **argv)
{
    return weir_holder_main(WEIR_ROLE_DLQ, open_collector, argc, argv);
}
