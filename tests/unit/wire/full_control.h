/* A control struct with a value for every field there is, for round trips. */
#ifndef TEST_FULL_CONTROL_H
#define TEST_FULL_CONTROL_H

#include <stdbool.h>
#include <wire/control_table.h>

/* Every member set, no bit of `has`. The arrays are static: never weir_control_fini this. */
struct weir_control full_control(void);
/* The same with exactly the fields that the verb may have, or must have. */
struct weir_control full_control_of(enum weir_verb verb, bool optional);
/* Fails the test unless both have the same verb, the same fields and equal values in them. */
void assert_same_control(const struct weir_control *a, const struct weir_control *b);

#endif
