/* A sink's and a collector's work ends at every single write that was made to their files: what
 * they said they held is there afterwards, once, and everything that is then said again is there
 * once, too. What was removed stays away. */
#ifndef WEIR_TESTS_CRASH_HOLDERS_H
#define WEIR_TESTS_CRASH_HOLDERS_H

#include "holder_life.h"

/* Fails the test that runs, and says where it ended and what is wrong afterwards. */
void crash_holders(enum holder_kind kind);

#endif
