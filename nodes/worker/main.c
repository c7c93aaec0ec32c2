/* weir-worker: takes messages of one group and runs handlers for them, as a node of a topology or
 * as a subscriber that joins a running one. */
#include "options.h"

#include <base/log.h>
#include <core/roles.h>
#include <executor/executor.h>
#include <runtime/node.h>

/* What both forms of the command line come to. */
struct worker {
    struct weir_process process;
    struct weir_worker_config config;
    struct weir_handler_program program;
    bool serve;
};

static uint32_t jobs_at_once(const struct worker *worker)
{
    return worker->serve ? worker->config.concurrency * WEIR_SERVE_WINDOW
                         : worker->config.concurrency;
}

static int run(struct worker *worker)
{
    struct weir_executor *executor = NULL;
    struct weir_error error;
    int status = worker->serve
                     ? weir_serve_executor_new(&worker->program, worker->config.concurrency,
                                               &executor, &error)
                     : weir_run_executor_new(&worker->program, &executor, &error);
    if (status != 0)
        return weir_process_fail(&error);
    weir_reactor_attach_executor(worker->process.reactor, executor);
    worker->config.concurrency = jobs_at_once(worker);
    worker->config.job_messages_max = 1;
    struct weir_role *role = weir_worker_new(
        &worker->config, weir_reactor_host(worker->process.reactor), worker->process.seed);
    status = weir_process_run(&worker->process, &role);
    weir_executor_destroy(&executor);
    return status;
}

static int run_declared(struct worker *worker)
{
    const struct weir_node *node = worker->process.node;
    worker->config = (struct weir_worker_config){
        .name = worker->process.label,
        .group = node->group,
        .upstream_count = node->from_count,
        .results = node->to != NULL,
        .result_topic = node->result_topic,
        .concurrency = node->concurrency,
        .prefetch = node->prefetch,
        .prefetch_bytes = node->prefetch_bytes,
    };
    worker->serve = node->serve != NULL;
    worker->program.argv = worker->serve ? node->serve : node->run;
    worker->program.env = node->env;
    return run(worker);
}

static int wire(struct weir_process *process, const struct weir_worker_options *options,
                struct weir_error *error)
{
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < options->from_count; i++)
        status =
            weir_reactor_connect(process->reactor, WEIR_PORT_FROM + i, options->from[i], error);
    if (status == 0 && options->to != NULL)
        status = weir_reactor_connect(process->reactor, WEIR_PORT_TO, options->to, error);
    return status;
}

static int run_joining(struct worker *worker, const struct weir_worker_options *options)
{
    struct weir_error error;
    if (wire(&worker->process, options, &error) != 0)
        return weir_process_fail(&error);
    worker->config = (struct weir_worker_config){
        .name = options->name,
        .group = options->group,
        .topics = options->topic_count > 0 ? options->topics : NULL,
        .topic_count = options->topic_count,
        .from = options->start,
        .upstream_count = options->from_count,
        .results = options->to != NULL,
        .result_topic = options->result_topic,
        .concurrency = options->concurrency,
        .prefetch = options->prefetch,
    };
    worker->serve = options->serve;
    worker->program.argv = options->argv;
    if (worker->config.prefetch == 0)
        worker->config.prefetch = 2 * jobs_at_once(worker) > 8 ? 2 * jobs_at_once(worker) : 8;
    return run(worker);
}

int main(int argc, char **argv)
{
    struct worker worker = {0};
    struct weir_worker_options options = {0};
    int status;
    if (!weir_worker_options_apply(argc, argv)) {
        if (!weir_process_start(&worker.process, WEIR_ROLE_WORKER, argc, argv, &status))
            return status;
        status = run_declared(&worker);
    } else {
        if (weir_worker_options_parse(&options, argc, argv, &status) &&
            weir_process_start_bare(&worker.process, options.name, &status))
            status = run_joining(&worker, &options);
    }
    weir_process_end(&worker.process);
    weir_worker_options_fini(&options);
    return status;
}
