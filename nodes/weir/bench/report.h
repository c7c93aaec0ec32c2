/* A bench's figures, for people and for programs. */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

#include "figures.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* One object: see docs/bench.md. The caller's. */
json_t *weir_bench_to_json(const struct weir_bench_plan *plan,
                           const struct weir_bench_figures *figures);
void weir_bench_print(const struct weir_bench_plan *plan, const struct weir_bench_figures *figures,
                      FILE *out, bool coloured);

#endif
