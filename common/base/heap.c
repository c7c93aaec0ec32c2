#include <base/alloc.h>
#include <base/clock.h>
#include <base/error.h>
#include <base/heap.h>

#include <stdlib.h>

void weir_heap_fini(struct weir_heap *heap)
{
    for (size_t i = 1; i <= heap->count; i++)
        heap->nodes[i]->index = 0;
    free(heap->nodes);
    *heap = (struct weir_heap){NULL, 0, 0};
}

static void place(struct weir_heap *heap, struct weir_heap_node *node, size_t index)
{
    heap->nodes[index] = node;
    node->index = index;
}

static void rise(struct weir_heap *heap, struct weir_heap_node *node)
{
    size_t index = node->index;

    while (index > 1 && heap->nodes[index / 2]->at > node->at) {
        place(heap, heap->nodes[index / 2], index);
        index /= 2;
    }
    place(heap, node, index);
}

static void sink(struct weir_heap *heap, struct weir_heap_node *node)
{
    size_t index = node->index;

    while (2 * index <= heap->count) {
        size_t child = 2 * index;

        if (child < heap->count && heap->nodes[child + 1]->at < heap->nodes[child]->at)
            child++;
        if (heap->nodes[child]->at >= node->at)
            break;
        place(heap, heap->nodes[child], index);
        index = child;
    }
    place(heap, node, index);
}

void weir_heap_set(struct weir_heap *heap, struct weir_heap_node *node, int64_t at)
{
    node->at = at;
    if (node->index == 0) {
        if (heap->count + 1 >= heap->capacity) {
            heap->capacity = heap->capacity > 0 ? 2 * heap->capacity : 16;
            heap->nodes = weir_realloc(heap->nodes, heap->capacity, sizeof *heap->nodes);
        }
        place(heap, node, ++heap->count);
    }
    WEIR_ASSERT(heap->nodes[node->index] == node);
    rise(heap, node);
    sink(heap, node);
}

void weir_heap_remove(struct weir_heap *heap, struct weir_heap_node *node)
{
    size_t index = node->index;
    struct weir_heap_node *last;

    if (index == 0)
        return;
    WEIR_ASSERT(index <= heap->count && heap->nodes[index] == node);
    last = heap->nodes[heap->count--];
    node->index = 0;
    if (last == node)
        return;
    place(heap, last, index);
    rise(heap, last);
    sink(heap, last);
}

struct weir_heap_node *weir_heap_first(const struct weir_heap *heap)
{
    return heap->count > 0 ? heap->nodes[1] : NULL;
}

int64_t weir_heap_next(const struct weir_heap *heap)
{
    return heap->count > 0 ? heap->nodes[1]->at : WEIR_TIME_NEVER;
}
