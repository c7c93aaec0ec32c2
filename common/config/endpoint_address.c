#include <arpa/inet.h>
#include <base/alloc.h>
#include <base/limits.h>
#include <config/endpoint_address.h>
#include <stdlib.h>
#include <string.h>

static bool port_valid(const char *text)
{
    char *end;

    if (text[0] < '1' || text[0] > '9' || strlen(text) > 5)
        return false;
    unsigned long port = strtoul(text, &end, 10);
    return *end == '\0' && port <= 65535;
}

static int normalize_tcp(const char *text, char **normal, struct weir_error *error)
{
    const char *address = text + strlen("tcp://");
    const char *colon = strrchr(address, ':');
    char host[INET6_ADDRSTRLEN + 1];
    struct in_addr v4;
    struct in6_addr v6;

    if (colon == NULL || !port_valid(colon + 1))
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.128s' has no port; expected tcp://ADDRESS:PORT with a port from "
                              "1 to 65535, such as tcp://127.0.0.1:7400",
                              text);
    size_t bytes = (size_t)(colon - address);
    bool bracketed = bytes > 2 && address[0] == '[' && address[bytes - 1] == ']';

    if (bracketed) {
        address++;
        bytes -= 2;
    }
    if (bytes >= sizeof host)
        bytes = 0; /* too long for any address: fails below */
    memcpy(host, address, bytes);
    host[bytes] = '\0';
    if (!bracketed && strcmp(host, "localhost") == 0) {
        *normal = weir_asprintf("tcp://127.0.0.1%s", colon);
        return 0;
    }
    if (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.128s' cannot be connected to; expected an address of the machine "
                              "the node runs on, because the other nodes use it, too",
                              text);
    if (bracketed ? inet_pton(AF_INET6, host, &v6) != 1 : inet_pton(AF_INET, host, &v4) != 1)
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.128s' has no numeric address; expected tcp://ADDRESS:PORT, such "
                              "as tcp://127.0.0.1:7400 or tcp://[::1]:7400",
                              text);
    *normal = weir_strdup(text);
    return 0;
}

int weir_endpoint_normalize(const char *text, char **normal, struct weir_error *error)
{
    if (strncmp(text, "tcp://", 6) == 0)
        return normalize_tcp(text, normal, error);
    if (strncmp(text, "ipc://", 6) != 0 || text[6] == '\0' || text[6] == '*')
        return weir_error_set(error, WEIR_EINVAL,
                              "'%.128s' is not an endpoint; expected tcp://ADDRESS:PORT or "
                              "ipc://PATH, such as tcp://127.0.0.1:7400",
                              text);
    if (strlen(text + 6) > WEIR_IPC_PATH_BYTES_MAX)
        return weir_error_set(error, WEIR_EINVAL,
                              "the path of '%.128s' has %zu bytes; expected at most %u (a limit of "
                              "the kernel): use a shorter or a relative path",
                              text, strlen(text + 6), WEIR_IPC_PATH_BYTES_MAX);
    *normal = weir_strdup(text);
    return 0;
}

bool weir_endpoint_local(const char *normal)
{
    return strncmp(normal, "ipc://", 6) == 0 || strncmp(normal, "tcp://127.", 10) == 0 ||
           strncmp(normal, "tcp://[::1]:", 12) == 0;
}
