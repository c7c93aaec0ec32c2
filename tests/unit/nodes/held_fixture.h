/* Batches as a holder gets them, and a directory for its files. */
#ifndef WEIR_HELD_FIXTURE_H
#define WEIR_HELD_FIXTURE_H

#include <contract/store.h>
#include <wire/batch.h>

/* A new directory under $TMPDIR or /tmp; the text is the caller's to free. */
char *fixture_directory_new(void);
/* Remove it and the files in it, and free the text. */
void fixture_directory_destroy(char **self);
/* "<directory>/<name>"; the caller's to free. */
char *fixture_path(const char *directory, const char *name);
char *fixture_read(const char *path, size_t *bytes);

#define FIXTURE_SPOOL 0x5b /* each byte of the UUID of the spool that messages come from */

/* A HOLD request with these messages, as batch `number` of producer `producer`. */
struct weir_store_request fixture_hold(uint64_t first, uint8_t producer, uint64_t number,
                                       const char *topic, const struct weir_message_view *messages,
                                       uint32_t count);
/* A result of group `group` for the message with this sequence of stream 7. */
struct weir_message_view fixture_result(uint64_t sequence, const char *group, uint32_t death,
                                        const char *payload);

#endif
