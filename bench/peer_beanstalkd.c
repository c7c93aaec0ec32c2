/* beanstalkd, over its own text protocol, since Debian has no client of it in C: many `put`s under
 * way, and as many `reserve`s, each followed by its `delete`. The server answers in the order of
 * the commands. */
#include "work.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    COMMAND_BYTES_MAX = 224, /* the protocol's limit on a line */
    FILL_BYTES = 65536,
    TIME_TO_RUN_S = 3600, /* none is to go back while it waits for its turn */
};

struct bytes {
    char *at;
    size_t start, end, capacity;
};

struct connection {
    int fd;
    struct bytes in, out;
};

struct beanstalkd {
    struct connection producer, consumer;
};

static void reserve_bytes(struct bytes *bytes, size_t more)
{
    if (bytes->start > 0) {
        memmove(bytes->at, bytes->at + bytes->start, bytes->end - bytes->start);
        bytes->end -= bytes->start;
        bytes->start = 0;
    }
    if (bytes->capacity - bytes->end >= more)
        return;
    bytes->capacity = 2 * (bytes->end + more);
    bytes->at = realloc(bytes->at, bytes->capacity);
    if (bytes->at == NULL)
        work_fail("no memory for %zu bytes", bytes->capacity);
}

static void append(struct connection *connection, const char *data, size_t bytes)
{
    struct bytes *out = &connection->out;

    if (out->capacity - out->end < bytes)
        reserve_bytes(out, bytes);
    memcpy(out->at + out->end, data, bytes);
    out->end += bytes;
}

static void flush(struct connection *connection)
{
    struct bytes *out = &connection->out;

    while (out->start < out->end) {
        ssize_t sent = write(connection->fd, out->at + out->start, out->end - out->start);
        if (sent < 0 && errno != EINTR)
            work_fail("the connection failed: %s", strerror(errno));
        if (sent > 0)
            out->start += (size_t)sent;
    }
    out->start = out->end = 0;
}

/* Waits for more from the server, which first gets all that waits for it. */
static void fill(struct connection *connection)
{
    struct bytes *in = &connection->in;

    flush(connection);
    reserve_bytes(in, FILL_BYTES);
    ssize_t got = read(connection->fd, in->at + in->end, in->capacity - in->end);
    if (got == 0 || (got < 0 && errno != EINTR))
        work_fail("the connection ended: %s", got == 0 ? "by the server" : strerror(errno));
    if (got > 0)
        in->end += (size_t)got;
}

/* The next line without its end; valid until the next call. */
static const char *take_line(struct connection *connection)
{
    struct bytes *in = &connection->in;
    char *end;

    while ((end = memmem(in->at + in->start, in->end - in->start, "\r\n", 2)) == NULL) {
        if (in->end - in->start > COMMAND_BYTES_MAX)
            work_fail("a line of more than %d bytes from the server", COMMAND_BYTES_MAX);
        fill(connection);
    }
    const char *line = in->at + in->start;
    *end = '\0';
    in->start = (size_t)(end + 2 - in->at);
    return line;
}

/* That many bytes and the end of a line; valid until the next call. */
static const char *take_body(struct connection *connection, size_t bytes)
{
    struct bytes *in = &connection->in;

    while (in->end - in->start < bytes + 2)
        fill(connection);
    const char *body = in->at + in->start;
    in->start += bytes + 2;
    return body;
}

/* "RESERVED <id> <bytes>"; false: it is something else. */
static bool is_reserved(const char *line, uint64_t *id, uint64_t *bytes)
{
    static const char word[] = "RESERVED ";
    char *end;

    if (strncmp(line, word, strlen(word)) != 0)
        return false;
    *id = strtoull(line + strlen(word), &end, 10);
    *bytes = strtoull(end, NULL, 10); /* 0 if there is none: no message is so short */
    return true;
}

static void connect_to(struct connection *connection, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0)
        work_fail("no connection to port %u: %s", port, strerror(errno));
    reserve_bytes(&connection->in, FILL_BYTES);
    reserve_bytes(&connection->out, FILL_BYTES);
}

static void *open_beanstalkd(const struct work *work)
{
    struct beanstalkd *beanstalkd = work_alloc(sizeof *beanstalkd);

    connect_to(&beanstalkd->producer, work->port);
    connect_to(&beanstalkd->consumer, work->port);
    return beanstalkd;
}

static void produce(void *state, struct work *work)
{
    struct connection *connection = &((struct beanstalkd *)state)->producer;
    uint64_t sent = 0, confirmed = 0;
    char command[COMMAND_BYTES_MAX];

    int command_bytes = snprintf(command, sizeof command, "put 0 0 %d %" PRIu32 "\r\n",
                                 TIME_TO_RUN_S, work->size_bytes);
    while (confirmed < work->messages) {
        for (; sent < work->messages && sent - confirmed < work->window; sent++) {
            append(connection, command, (size_t)command_bytes);
            append(connection, work_message(work, sent), work->size_bytes);
            append(connection, "\r\n", 2);
        }
        for (uint64_t until = work_confirm_until(work, sent); confirmed < until; confirmed++) {
            const char *answer = take_line(connection);
            if (strncmp(answer, "INSERTED ", strlen("INSERTED ")) != 0)
                work_fail("put: the server says %s", answer);
        }
    }
}

static void consume(void *state, struct work *work)
{
    struct connection *connection = &((struct beanstalkd *)state)->consumer;
    uint64_t reserved = 0, deleted = 0, id, bytes;
    char command[COMMAND_BYTES_MAX];

    while (deleted < work->messages) {
        for (; reserved < work->messages && reserved - deleted < work->window; reserved++)
            append(connection, "reserve\r\n", strlen("reserve\r\n"));
        const char *answer = take_line(connection);
        if (strcmp(answer, "DELETED") == 0) {
            deleted++;
        } else if (is_reserved(answer, &id, &bytes)) {
            work_take(work, take_body(connection, bytes), bytes);
            append(connection, command,
                   (size_t)snprintf(command, sizeof command, "delete %" PRIu64 "\r\n", id));
        } else {
            work_fail("reserve or delete: the server says %s", answer);
        }
    }
}

int main(int argc, char **argv)
{
    static const struct work_client client = {.peer = "beanstalkd",
                                              .window = 200,
                                              .open = open_beanstalkd,
                                              .produce = produce,
                                              .consume = consume};

    return work_main(argc, argv, &client);
}
