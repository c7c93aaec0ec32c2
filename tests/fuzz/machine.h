/* A role machine in a world that is made of the fuzzer's input: peers that say whatever it says,
 * true to the grammar or not, echoing the names of leases that the machine has given out; storage,
 * handlers and time that move when it says so.
 *
 *   machine.c  the host, and the moves
 *   speech.c   what is said to the machine
 */
#ifndef FUZZ_MACHINE_H
#define FUZZ_MACHINE_H

#include <core/roles.h>
#include <store/store.h>
#include <wire/batch.h>
#include <wire/control.h>

#define MACHINE_PORTS_MAX 6u
#define MACHINE_PEERS 4u /* of a server port: 1 … */
#define MACHINE_SEEN 16u
#define MACHINE_JOBS_MAX 64u

/* The fuzzer's bytes; behind their end there are zeros. */
struct input {
    const uint8_t *data;
    size_t size;
};

uint8_t input_byte(struct input *self);
uint32_t input_below(struct input *self, uint32_t bound);

struct machine {
    struct weir_host host;
    struct weir_role *role; /* NULL: it has stopped */
    struct weir_now now;
    int64_t wake_ns;
    bool stopped;
    struct input in;
    struct {
        uint32_t port;
        bool client;
        bool linked;
    } ports[MACHINE_PORTS_MAX];
    uint32_t port_count;
    struct weir_store *store; /* a ventilator's */
    uint32_t (*store_step)(struct machine *self, uint32_t requests);
    struct weir_store_request *held; /* a holder's requests, oldest first */
    uint32_t held_count, held_capacity;
    bool storage_failed;
    struct weir_job jobs[MACHINE_JOBS_MAX]; /* a worker's … */
    uint32_t ended[MACHINE_JOBS_MAX];       /* … and how many messages of each have ended */
    uint32_t job_count;
    /* Names that the machine has spoken, for peers to use. */
    struct weir_lease_ref seen[MACHINE_SEEN];
    uint64_t numbers[MACHINE_SEEN];
    uint32_t seen_count, number_count;
};

void machine_init(struct machine *self, const uint8_t *data, size_t size);
void machine_port(struct machine *self, uint32_t port, bool client);
/* Say START to `role`, then make one move after the other until the input is at its end or the
 * machine has stopped; then have it drain, and end it. */
void machine_play(struct machine *self, struct weir_role *role);
void machine_fini(struct machine *self);

/* speech.c */
#define SPEECH_GROUPS 3u
extern const char *const speech_groups[SPEECH_GROUPS];
/* A message, whole or mangled. */
void speech_message(struct machine *self, struct weir_frames *frames);
/* Remember the names in what the machine sent; checks that it is well-formed. */
void speech_heard(struct machine *self, const struct weir_frames *frames);

#endif
