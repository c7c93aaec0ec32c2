/* A small service that answers at once and leaves the rest of its work to Weir.
 *
 * It listens on 127.0.0.1 for lines "signup ADDRESS" and answers each as soon as the event is
 * durable at the ventilator: about as long as one fsync takes, however slow the mail that greets
 * the new user may be. One thread, one poll loop; libweir joins in with a file descriptor.
 *
 *     service PORT SUBMIT-ENDPOINT        (PORT 0: any; the first line on stdout says which) */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir.h>

#define CLIENTS_MAX 64
#define LINE_BYTES_MAX 512

struct client {
    int fd; /* -1: it has hung up, but answers to it are still on their way */
    int awaited;
    char line[LINE_BYTES_MAX];
    size_t bytes;
};

struct service {
    int listener;
    weir_producer_t *producer;
    weir_message_t *message;
    struct client *clients[CLIENTS_MAX];
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static void reply(struct client *client, const char *status, const char *text)
{
    char line[640];
    int bytes = snprintf(line, sizeof line, "%s %s\n", status, text);
    if (client->fd >= 0 && bytes > 0)
        send(client->fd, line, (size_t)bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Runs inside weir_producer_dispatch, on our own thread. */
static void on_confirmed(void *arg, const struct weir_receipt *receipt,
                         const struct weir_error *error)
{
    struct client *client = arg;
    client->awaited--;
    if (receipt != NULL)
        reply(client, "welcome", receipt->id_text);
    else
        reply(client, "sorry", error->text);
}

static void on_line(struct service *service, struct client *client, const char *line)
{
    struct weir_error error;
    if (strncmp(line, "signup ", 7) != 0 || line[7] == '\0') {
        reply(client, "sorry", "the only command is: signup ADDRESS");
        return;
    }
    const char *address = line + 7;
    weir_message_clear(service->message);
    weir_message_set_payload(service->message, address, strlen(address));
    weir_message_set_key(service->message, address);
    if (weir_producer_send_async(service->producer, service->message, on_confirmed, client,
                                 &error) == 0)
        client->awaited++;
    else
        reply(client, "sorry", error.text); /* full: the ventilator has been away for long */
}

static void on_readable(struct service *service, struct client *client)
{
    ssize_t got = recv(client->fd, client->line + client->bytes,
                       sizeof client->line - 1 - client->bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close(client->fd);
        client->fd = -1;
        return;
    }
    client->bytes += (size_t)got;
    client->line[client->bytes] = '\0';
    char *start = client->line;
    for (char *end; (end = strchr(start, '\n')) != NULL; start = end + 1) {
        *end = '\0';
        on_line(service, client, start);
    }
    client->bytes -= (size_t)(start - client->line);
    memmove(client->line, start, client->bytes + 1);
    if (client->bytes == sizeof client->line - 1)
        client->bytes = 0; /* no command is that long */
}

static void on_connection(struct service *service)
{
    int fd = accept(service->listener, NULL, NULL);
    for (int i = 0; i < CLIENTS_MAX && fd >= 0; i++) {
        if (service->clients[i] != NULL)
            continue;
        service->clients[i] = calloc(1, sizeof *service->clients[i]);
        if (service->clients[i] == NULL)
            break;
        service->clients[i]->fd = fd;
        return;
    }
    if (fd >= 0)
        close(fd); /* too many already */
}

static void turn(struct service *service)
{
    struct pollfd items[CLIENTS_MAX + 2] = {
        {.fd = service->listener, .events = POLLIN},
        {.fd = weir_producer_fd(service->producer), .events = POLLIN},
    };
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = service->clients[i];
        if (client != NULL && client->fd < 0 && client->awaited == 0) {
            free(client);
            client = service->clients[i] = NULL;
        }
        items[i + 2] = (struct pollfd){.fd = client != NULL ? client->fd : -1, .events = POLLIN};
    }
    if (poll(items, CLIENTS_MAX + 2, -1) < 0)
        return; /* a signal */
    if (items[1].revents)
        weir_producer_dispatch(service->producer);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (items[i + 2].revents)
            on_readable(service, service->clients[i]);
    if (items[0].revents)
        on_connection(service);
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) {
        perror("service: cannot listen");
        return -1;
    }
    printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct service service = {.listener = -1};
    struct weir_error error = {0};
    int status = EXIT_FAILURE;
    if (argc != 3) {
        fprintf(stderr, "usage: service PORT SUBMIT-ENDPOINT\n");
        return 64;
    }
    /* Without SA_RESTART: the signal is to end the poll. */
    const struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);

    weir_producer_options_t *options = weir_producer_options_new(argv[2]);
    /* This thread must never wait: when the producer is full, say sorry. */
    weir_producer_options_set_when_full(options, WEIR_WHEN_FULL_FAIL);
    service.producer = weir_producer_new(options, &error);
    weir_producer_options_destroy(&options);
    if (service.producer == NULL) {
        fprintf(stderr, "service: %s\n", error.text);
        return EXIT_FAILURE;
    }
    service.message = weir_message_new("user.signed_up", NULL, 0);
    service.listener = listen_on(argv[1]);
    if (service.listener >= 0) {
        while (!stopping)
            turn(&service);
        status = EXIT_SUCCESS;
        if (weir_producer_flush(service.producer, 5000, &error) != 0) {
            fprintf(stderr, "service: %s\n", error.text);
            status = EXIT_FAILURE;
        }
        close(service.listener);
    }
    weir_producer_destroy(&service.producer);
    weir_message_destroy(&service.message);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (service.clients[i] != NULL && service.clients[i]->fd >= 0)
            close(service.clients[i]->fd);
        free(service.clients[i]);
    }
    return status;
}
