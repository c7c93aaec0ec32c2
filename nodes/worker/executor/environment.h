/* The environment of handlers: the worker's own, what the topology adds, and the message. */
#ifndef WEIR_WORKER_ENVIRONMENT_H
#define WEIR_WORKER_ENVIRONMENT_H

#include <executor/job_message.h>

struct weir_environment;

/* From the worker's environment without what Weir sets itself, and `extra` ("NAME=value",
 * NULL-ended; may be NULL), which wins. Copies both. */
struct weir_environment *weir_environment_new(char *const *own, char *const *extra);
void weir_environment_destroy(struct weir_environment **self);
/* What every handler gets, NULL-ended. Lives as long as `self`. */
char *const *weir_environment_base(const struct weir_environment *self);

/* The same and WEIR_ID, WEIR_TOPIC, WEIR_GROUP, WEIR_ATTEMPT, WEIR_KEY, WEIR_HEADER_<NAME> (letters
 * in upper case, whatever is neither letter nor digit as '_'; of two headers with one such name the
 * first) and TRACEPARENT, the last three where the message has them. A value ends at its first NUL.
 * Free with weir_environment_free; `self` must outlive it. */
char **weir_environment_of(const struct weir_environment *self,
                           const struct weir_job_message *message);
void weir_environment_free(const struct weir_environment *self, char **environment);

#endif
