/* What stands behind the host's services in a real process: things with a thread of their own that
 * take requests from the reactor and give completions back through an eventfd. */
#ifndef WEIR_CONTRACT_BACKEND_H
#define WEIR_CONTRACT_BACKEND_H

#include <contract/host.h>
#include <contract/store.h>

/* A store: common/store for a ventilator, nodes/sink and nodes/dlq for the holders. */
struct weir_store {
    /* Hand a request over (reactor thread). Takes its contents over. Never blocks. */
    void (*submit)(struct weir_store *self, struct weir_store_request *request);
    /* Take one completion (reactor thread); false when there is none now. */
    bool (*poll)(struct weir_store *self, struct weir_store_result *result);
    /* Readable while poll has something to give. */
    int (*fd)(const struct weir_store *self);
    /* Finish everything handed over, end the threads, close the files. */
    void (*destroy)(struct weir_store *self);
};

/* An executor: starts handlers (worker). */
struct weir_executor {
    void (*run)(struct weir_executor *self, struct weir_job *job);
    void (*kill)(struct weir_executor *self, uint64_t job);
    bool (*poll)(struct weir_executor *self, struct weir_handled *handled);
    int (*fd)(const struct weir_executor *self);
    /* Ends what still runs, waits for it. */
    void (*destroy)(struct weir_executor *self);
};

void weir_store_destroy(struct weir_store **self);
void weir_executor_destroy(struct weir_executor **self);
void weir_handled_fini(struct weir_handled *handled);

#endif
