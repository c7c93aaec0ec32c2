/* The tables of `weir ps`, `weir top` and `weir group ls`. */
#ifndef WEIR_SURVEY_TABLE_H
#define WEIR_SURVEY_TABLE_H

#include "survey.h"

#include <stdbool.h>
#include <stdio.h>

void weir_survey_print_processes(const struct weir_survey *survey, FILE *out, bool coloured);
/* Prints nothing when no ventilator answered. */
void weir_survey_print_groups(const struct weir_survey *survey, FILE *out, bool coloured);

#endif
