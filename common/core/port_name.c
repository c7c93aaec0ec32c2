#include "port_name.h"

#include <inttypes.h>
#include <stdio.h>

struct weir_port_name weir_port_name(const struct weir_host *host, uint32_t port)
{
    struct weir_port_name name;
    const char *endpoint = host->endpoint ? host->endpoint(host->self, port) : NULL;
    if (endpoint)
        snprintf(name.text, sizeof name.text, "%s", endpoint);
    else if (port >= WEIR_PORT_FROM)
        snprintf(name.text, sizeof name.text, "upstream %" PRIu32, port - WEIR_PORT_FROM);
    else
        snprintf(name.text, sizeof name.text, "the receiver of batches");
    return name;
}
