/* A file of allocated blocks that is given up when the disk is full, so that the state can still be
 * written, work be finished and space be freed. Any thread. */
#ifndef WEIR_STORE_RESERVE_H
#define WEIR_STORE_RESERVE_H

#include "io.h"

#include <stdbool.h>

struct weir_reserve;

/* Take over what an earlier process kept, or nothing. */
struct weir_reserve *weir_reserve_new(const struct weir_io *io, const char *directory,
                                      uint64_t bytes);
/* The file stays. */
void weir_reserve_destroy(struct weir_reserve **self);
/* Have the blocks, if they are to be had. Cheap when they are held already. */
bool weir_reserve_take(struct weir_reserve *self);
/* Give them to whoever writes next. False: there were none. */
bool weir_reserve_give(struct weir_reserve *self);
bool weir_reserve_held(struct weir_reserve *self);
/* What it takes of the disk now. */
uint64_t weir_reserve_bytes(struct weir_reserve *self);

#endif
