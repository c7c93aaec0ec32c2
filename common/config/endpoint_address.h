/* Endpoints as a topology may name them: tcp://ADDRESS:PORT and ipc://PATH. */
#ifndef WEIR_CONFIG_ENDPOINT_ADDRESS_H
#define WEIR_CONFIG_ENDPOINT_ADDRESS_H

#include <base/error.h>
#include <stdbool.h>

/* Check an endpoint and give it as ZeroMQ both binds and connects it ("localhost" becomes
 * 127.0.0.1). The caller frees *normal. WEIR_EINVAL says what was expected. */
int weir_endpoint_normalize(const char *text, char **normal, struct weir_error *error);
/* Whether only this machine can reach a normal endpoint. */
bool weir_endpoint_local(const char *normal);

#endif
