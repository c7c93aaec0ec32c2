/* Memory. Weir is crash-only: when memory runs out a process says so and ends, and recovery finds
 * the truth on disk. So these never return NULL. Sizes that come from a peer are checked against
 * limits.h first. */
#ifndef WEIR_BASE_ALLOC_H
#define WEIR_BASE_ALLOC_H

#include <stddef.h>

void *weir_alloc(size_t bytes);                /* not zeroed */
void *weir_zalloc(size_t count, size_t bytes); /* zeroed; checks the product */
void *weir_realloc(void *memory, size_t count, size_t bytes);
/* For what a library has allocated: NULL ends the process likewise. Returns `memory`. */
void *weir_allocated(void *memory, size_t bytes);
char *weir_strdup(const char *text);
char *weir_strndup(const char *text, size_t bytes);
char *weir_asprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
