/* What those who hold leases say, and what becomes of leases of which nothing is heard. */
#include <base/alloc.h>
#include <base/canary.h>
#include <core/ventilator.h>
#include <stdlib.h>
#include <string.h>

static struct weir_lease *find(struct weir_ventilator *v, const struct weir_lease_ref *ref)
{
    return weir_leases_find(&v->leases, ref->incarnation, ref->delivery);
}

/* What lives of that which was named, for an answer: what is not in it its worker does not have any
 * more. Where so many parts do not fit, some are named together with what has ended between them.
 */
static struct weir_lease_ref *living(struct weir_ventilator *v, const struct weir_control *control,
                                     uint32_t *count)
{
    struct weir_lease_ref *leases = weir_alloc(WEIR_LEASES_MAX * sizeof *leases);
    *count = 0;
    for (uint32_t i = 0; i < control->lease_count; i++) {
        const struct weir_lease_ref *ref = &control->leases[i];
        const struct weir_lease *lease = find(v, ref);
        const uint32_t behind = control->lease_count - i - 1;
        uint32_t first = ref->first, left = ref->count;
        while (lease && left > 0 && weir_lease_open_run(lease, &first, &left)) {
            const bool last = *count + behind + 1 >= WEIR_LEASES_MAX;
            const uint32_t rest = ref->first + ref->count - first;
            leases[(*count)++] =
                (struct weir_lease_ref){ref->incarnation, ref->delivery, first, last ? rest : left};
            first += left;
            left = last ? 0 : rest - left;
        }
    }
    return leases;
}

static void know_worker(struct weir_lease *lease, const struct weir_control *control)
{
    if (WEIR_HAS(control, WORKER) && control->worker)
        lease->worker = control->worker;
    if (WEIR_HAS(control, NAME) && !lease->worker_name)
        lease->worker_name = weir_strndup(control->name.data, control->name.bytes);
}

/* ---- acks ---- */

static void on_ack(void *self, uint64_t peer, const struct weir_control *control,
                   const struct weir_now *now)
{
    (void)peer;
    (void)now;
    struct weir_ventilator *v = self;
    struct weir_group *named = weir_groups_find(v, control->group.data, control->group.bytes);
    for (uint32_t i = 0; i < control->ack_count; i++) {
        const struct weir_ack *ack = &control->acks[i];
        struct weir_lease *lease = find(v, &ack->lease);
        struct weir_group *group = lease ? lease->group : named;
        struct weir_verdict verdict = {.outcome = ack->outcome,
                                       .delay_ms = ack->delay_ms,
                                       .error = ack->error,
                                       .error_bytes = ack->error ? ack->error_bytes : 0};
        char worker[WEIR_WORKER_NAME_BYTES_MAX + 1] = "";
        if (lease) {
            know_worker(lease, control);
            if (lease->worker_name)
                strncpy(worker, lease->worker_name, sizeof worker - 1);
        }
        verdict.worker = worker;
        verdict.worker_bytes = (uint32_t)strlen(worker);
        const bool known = ack->outcome <= WEIR_UNAVAILABLE;
        const uint64_t ended = lease && known ? weir_outcome_apply(v, lease, ack->lease.first,
                                                                   ack->lease.count, &verdict)
                                              : 0;
        const uint64_t stale = ack->lease.count - ended;
        if (stale && group) {
            group->row.totals.stale += stale;
            weir_flush_group(v, group);
        }
        v->count.acks_stale += WEIR_CANARY(STALE_ACK_NOT_COUNTED) ? 0 : stale;
    }
}

/* ---- beats ---- */

static void keep(struct weir_ventilator *v, struct weir_lease *lease)
{
    const int64_t lease_ms = weir_group_lease_ms(lease->group);
    weir_heap_set(&v->leases.deadlines, &lease->deadline,
                  v->now.mono_ns + lease_ms * WEIR_NS_PER_MS);
    /* The state's deadline follows in large steps: it is looked at only after a restart. */
    if (lease->durable && !lease->final &&
        v->now.wall_ms + lease_ms - lease->stored_deadline_ms > lease_ms / 2)
        weir_flush_lease(v, lease);
}

static int64_t attempt_end(const struct weir_ventilator *v, const struct weir_group *group)
{
    return v->now.mono_ns + (group->row.policy.timeout_ms + WEIR_TIMEOUT_GRACE_MS) * WEIR_NS_PER_MS;
}

/* These run, of what is named as held. */
static void note_running(struct weir_ventilator *v, const struct weir_lease_ref *refs,
                         uint32_t count, bool anew)
{
    uint32_t looks = 0; /* nobody runs more at once */
    for (uint32_t i = 0; i < count; i++) {
        struct weir_lease *lease = find(v, &refs[i]);
        if (!lease || lease->group->row.policy.timeout_ms <= 0)
            continue;
        const int64_t until_ns = attempt_end(v, lease->group);
        uint32_t first = refs[i].first, left = refs[i].count;
        while (left > 0 && weir_lease_open_run(lease, &first, &left)) {
            for (uint32_t n = 0; n < left && looks < WEIR_LEASES_MAX; n++, looks++)
                weir_lease_run(&v->leases, lease, first + n, until_ns, anew, v->last_beat);
            first += left;
            left = refs[i].first + refs[i].count - first;
        }
    }
}

/* What ran before and is held, but does not run any more, has no time that could end. */
static void note_stopped(struct weir_ventilator *v, const struct weir_control *control)
{
    for (uint32_t i = 0; i < control->lease_count; i++) {
        const struct weir_lease_ref *ref = &control->leases[i];
        struct weir_lease *lease = find(v, ref);
        for (uint32_t r = 0; lease && r < lease->running_count;) {
            const struct weir_lease_running *running = &lease->running[r];
            if (running->beat != v->last_beat && running->index >= ref->first &&
                running->index - ref->first < ref->count)
                weir_lease_stop(&v->leases, lease, running->index);
            else
                r++;
        }
    }
}

static void on_beat(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    struct weir_control echo = {.verb = WEIR_VERB_HEARTBEAT};
    struct weir_lease_ref *leases = living(v, control, &echo.lease_count);
    for (uint32_t i = 0; i < echo.lease_count; i++) {
        struct weir_lease *lease = find(v, &leases[i]);
        know_worker(lease, control);
        keep(v, lease);
    }
    v->last_beat++;
    note_running(v, control->running, control->running_count, false);
    note_stopped(v, control);
    WEIR_SET(&echo, serial, SERIAL, control->serial);
    WEIR_SET(&echo, incarnation, INCARNATION, v->incarnation);
    WEIR_SET(&echo, leases, LEASES, leases);
    if (WEIR_HAS(control, WORKER))
        WEIR_SET(&echo, worker, WORKER, control->worker);
    weir_dispatch_send(v->dispatch, peer, &echo);
    free(leases);
}

static void on_begin(void *self, uint64_t peer, const struct weir_control *control,
                     const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    struct weir_control go = {.verb = WEIR_VERB_GO};
    struct weir_lease_ref *leases = living(v, control, &go.lease_count);
    for (uint32_t i = 0; i < go.lease_count; i++) {
        struct weir_lease *lease = find(v, &leases[i]);
        know_worker(lease, control);
        lease->begun = true;
    }
    WEIR_SET(&go, leases, LEASES, leases);
    WEIR_SET(&go, worker, WORKER, control->worker);
    if (go.lease_count)
        weir_dispatch_send(v->dispatch, peer, &go);
    free(leases);
}

static void on_extend(void *self, uint64_t peer, const struct weir_control *control,
                      const struct weir_now *now)
{
    (void)peer;
    (void)now;
    note_running(self, control->leases, control->lease_count, true);
}

/* ---- losses ---- */

/* Nobody has these any more. Of a suspect that had begun it counts: it was the only thing its
 * worker had. */
static void lose(struct weir_ventilator *v, struct weir_lease *lease, uint32_t first,
                 uint32_t count, const char *worker, const char *what)
{
    const bool counts = lease->alone && (lease->begun || WEIR_CANARY(LOSS_COUNTS_WITHOUT_GO));
    struct weir_verdict verdict = {.outcome = counts ? WEIR_NOTE_LOST : WEIR_OUTCOME_LOST,
                                   .delay_ms = -1,
                                   .error = what,
                                   .error_bytes = (uint32_t)strlen(what),
                                   .worker = worker,
                                   .worker_bytes = (uint32_t)strlen(worker)};
    weir_outcome_apply(v, lease, first, count, &verdict);
}

static void on_lost(void *self, uint64_t worker, const char *name,
                    const struct weir_lease_ref *leases, uint32_t count, const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    v->count.lost_workers++;
    weir_ventilator_log(v, WEIR_LOG_WARNING, "worker %s (%llx) is lost; it held %u deliveries",
                        name ? name : "", (unsigned long long)worker, count);
    for (uint32_t i = 0; i < count; i++) {
        struct weir_lease *lease = find(v, &leases[i]);
        if (lease)
            lose(v, lease, leases[i].first, leases[i].count, name ? name : "",
                 "the worker was lost");
    }
}

/* The session in which these went out is over, and nobody says that he has them: they never came,
 * or they have been handled, and the ack is on its way by another connection. At most once: that is
 * not enough to send one again, as a RELEASE by the worker itself is. Until the lease's deadline
 * the ack counts. */
static void on_released(void *self, const struct weir_lease_ref *leases, uint32_t count,
                        const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    const struct weir_verdict verdict = {.outcome = WEIR_RELEASE, .delay_ms = -1};
    for (uint32_t i = 0; i < count; i++) {
        struct weir_lease *lease = find(v, &leases[i]);
        if (lease && !lease->final)
            weir_outcome_apply(v, lease, leases[i].first, leases[i].count, &verdict);
    }
}

/* Tell the dispatch that these open messages are not out any more. */
static void forget(struct weir_ventilator *v, const struct weir_lease *lease, uint32_t first,
                   uint32_t count)
{
    const struct weir_lease_ref ref = {.incarnation = lease->name.incarnation,
                                       .delivery = lease->name.delivery,
                                       .first = first,
                                       .count = count};
    weir_dispatch_forget(v->dispatch, &ref);
}

static void deadline_passed(struct weir_ventilator *v, struct weir_lease *lease)
{
    const struct weir_lease_slice *last = &lease->slices[lease->slice_count - 1];
    const uint32_t count = last->index + last->count;
    char worker[WEIR_WORKER_NAME_BYTES_MAX + 1] = "";
    if (lease->worker_name)
        strncpy(worker, lease->worker_name, sizeof worker - 1);
    v->count.deadlines++;
    forget(v, lease, 0, count);
    lose(v, lease, 0, count, worker, "the lease's deadline passed without a word from the worker");
}

static void time_passed(struct weir_ventilator *v, struct weir_lease *lease)
{
    char worker[WEIR_WORKER_NAME_BYTES_MAX + 1] = "";
    static const char error[] = "the attempt took longer than the group's timeout";
    struct weir_verdict verdict = {.outcome = WEIR_NOTE_TIMEOUT,
                                   .delay_ms = -1,
                                   .error = error,
                                   .error_bytes = sizeof error - 1,
                                   .worker = worker};
    if (lease->worker_name)
        strncpy(worker, lease->worker_name, sizeof worker - 1);
    verdict.worker_bytes = (uint32_t)strlen(worker);
    for (uint32_t i = 0; i < lease->running_count; i++) {
        const uint32_t index = lease->running[i].index;
        if (lease->running[i].until_ns > v->now.mono_ns)
            continue;
        v->count.timed_out++;
        forget(v, lease, index, 1);
        weir_outcome_apply(v, lease, index, 1, &verdict); /* may be the end of the lease */
        return;
    }
}

int64_t weir_holders_tick(struct weir_ventilator *v)
{
    struct weir_leases *leases = &v->leases;
    const struct weir_heap_node *node;
    while ((node = weir_heap_first(&leases->deadlines)) != NULL && node->at <= v->now.mono_ns)
        deadline_passed(v, WEIR_CONTAINER_OF(node, struct weir_lease, deadline));
    while ((node = weir_heap_first(&leases->timeouts)) != NULL && node->at <= v->now.mono_ns)
        time_passed(v, WEIR_CONTAINER_OF(node, struct weir_lease, timeout));
    const int64_t deadline = weir_heap_next(&leases->deadlines);
    const int64_t timeout = weir_heap_next(&leases->timeouts);
    return deadline < timeout ? deadline : timeout;
}

/* ---- groups ---- */

static void on_room(void *self, const char *name, const struct weir_now *now)
{
    (void)now;
    struct weir_ventilator *v = self;
    struct weir_group *group = weir_groups_find(v, name, strlen(name));
    if (group)
        weir_ventilator_stir(v, group);
}

static void on_join(void *self, uint64_t peer, const struct weir_control *control,
                    const struct weir_now *now)
{
    (void)now;
    weir_groups_join(self, peer, control);
}

static bool on_known(void *self, const char *name)
{
    return weir_groups_find(self, name, strlen(name)) != NULL;
}

const struct weir_dispatch_owner weir_holders_owner = {
    .room = on_room,
    .ack = on_ack,
    .beat = on_beat,
    .begin = on_begin,
    .extend = on_extend,
    .lost = on_lost,
    .released = on_released,
    .join = on_join,
    .known = on_known,
};
