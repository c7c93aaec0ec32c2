/* Runs handlers that are C functions: one thread for each job at once. */
#ifndef WEIR_CLIENT_EXECUTOR_H
#define WEIR_CLIENT_EXECUTOR_H

#include <contract/backend.h>
#include <weir.h>

/* Starts the threads. NULL: there are no more threads or file descriptors to be had. */
struct weir_executor *weir_function_executor_new(weir_handler_fn *handler, void *arg,
                                                 uint32_t threads, struct weir_error *error);
/* Any thread: start no further message; jobs end after the one that is running. */
void weir_function_executor_drain(struct weir_executor *executor);

#endif
