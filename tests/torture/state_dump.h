/* What a state says, as text that can be compared. */
#ifndef WEIR_TESTS_STATE_DUMP_H
#define WEIR_TESTS_STATE_DUMP_H

#include <contract/store.h>

/* All but the UUID; to be freed. */
char *dump_recovered(const struct weir_recovered *recovered);
char *dump_rows(const struct weir_store_result *result);

#endif
