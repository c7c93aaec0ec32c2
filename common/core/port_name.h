/* How a machine names one of its ports to a person. */
#ifndef WEIR_CORE_PORT_NAME_H
#define WEIR_CORE_PORT_NAME_H

#include <contract/host.h>

struct weir_port_name {
    char text[160];
};

/* The endpoint, cut to fit; "upstream 2" or the like where the host does not know it. */
struct weir_port_name weir_port_name(const struct weir_host *host, uint32_t port);

#endif
