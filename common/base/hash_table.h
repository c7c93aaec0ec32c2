/* uthash with our memory: by itself it ends the process without a word when there is none. */
#ifndef WEIR_BASE_HASH_TABLE_H
#define WEIR_BASE_HASH_TABLE_H

#include <base/alloc.h>

#define uthash_malloc(size) weir_alloc(size)
#include <uthash.h>

#endif
