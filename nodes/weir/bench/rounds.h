/* The rounds of a bench: pipeline and libzmq alone, in turn. */
#ifndef WEIR_BENCH_ROUNDS_H
#define WEIR_BENCH_ROUNDS_H

#include "crew.h"
#include "figures.h"
#include "stage.h"

/* Run all rounds on a stage that is up. `say` is told, in a few words, what goes on.
 * WEIR_ECLOSED: a signal came; WEIR_ETIMEDOUT: nothing went on any more; WEIR_EDAMAGED: messages
 * were lost, or came out of order; WEIR_EIO: a process ended. */
int weir_bench_rounds(const struct weir_bench_plan *plan, struct weir_bench_stage *stage,
                      struct weir_bench_crew *crew, void (*say)(const char *what),
                      struct weir_bench_figures *figures, struct weir_error *error);

#endif
