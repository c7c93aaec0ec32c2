/* A binary heap of timers, embedded in the things that wait. */
#ifndef WEIR_BASE_HEAP_H
#define WEIR_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embed one in whatever waits. `index` is the heap's own; 0 means "not in a heap". */
struct weir_heap_node {
    int64_t at;
    size_t index;
};

struct weir_heap {
    struct weir_heap_node **nodes; /* 1-based */
    size_t count;
    size_t capacity;
};

void weir_heap_fini(struct weir_heap *heap);
/* Insert `node`, or move it when it is in already. */
void weir_heap_set(struct weir_heap *heap, struct weir_heap_node *node, int64_t at);
/* Remove `node` if it is in. */
void weir_heap_remove(struct weir_heap *heap, struct weir_heap_node *node);
/* The earliest node, or NULL. */
struct weir_heap_node *weir_heap_first(const struct weir_heap *heap);
/* The earliest time, or WEIR_TIME_NEVER. */
int64_t weir_heap_next(const struct weir_heap *heap);

#define WEIR_CONTAINER_OF(pointer, type, member)                                                   \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
