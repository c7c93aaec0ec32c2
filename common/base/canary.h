/* Canaries: bugs planted on purpose, which prove that the simulator, or the torture of the holders'
 * stores, would find them.
 *
 * WEIR_CANARY (NAME) stands where the bug would be made, and is `false`: nothing of it is in any
 * program. Only the tests of these two build what they test once more with WEIR_CANARIES, where it
 * is true for the one bug that was chosen. canaries.def, in tests/sim/ for the layers of common/,
 * in tests/torture/ for the nodes, says what is wrong under each name. */
#ifndef WEIR_BASE_CANARY_H
#define WEIR_BASE_CANARY_H

#include <stdbool.h>

#ifdef WEIR_CANARIES

enum weir_canary {
    WEIR_CANARY_NONE,
#define X(NAME, ...) WEIR_CANARY_##NAME,
#include <canaries.def>
#undef X
};

extern enum weir_canary weir_canary; /* the one that lives */

#define WEIR_CANARY(NAME) (weir_canary == WEIR_CANARY_##NAME)

#else

#define WEIR_CANARY(NAME) false

#endif

#endif
