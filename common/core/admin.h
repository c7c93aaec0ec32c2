/* The admin conversation as every role has it: one request, one ANSWER (a msgpack map in a frame of
 * its own) or ERROR. */
#ifndef WEIR_CORE_ADMIN_H
#define WEIR_CORE_ADMIN_H

#include <contract/host.h>
#include <wire/control.h>

/* Decode the request in a MESSAGE on the admin port. What does not parse is answered here. True:
 * end with weir_control_fini. */
bool weir_admin_decode(const struct weir_host *host, const struct weir_event *event,
                       struct weir_control *control);
/* Answer with the packer's map; the packer is destroyed. */
void weir_admin_answer(const struct weir_host *host, const struct weir_event *event,
                       struct weir_packer **packer);
/* Answer that it is done: a map of this one word, true. */
void weir_admin_done(const struct weir_host *host, const struct weir_event *event,
                     const char *word);
void weir_admin_error(const struct weir_host *host, const struct weir_event *event,
                      const char *code, const char *text);
/* ERROR unexpected: this role knows no such request. */
void weir_admin_unknown(const struct weir_host *host, const struct weir_event *event,
                        enum weir_verb verb);

#endif
