/* The dispatch protocol (docs/protocol.md, section 5): a ventilator that leases messages, workers
 * that run them, a router between them that may lose all it knows, connections that break, and
 * processes that are killed and come back.
 *
 * The serving side is common/core/dispatch*.c with holders.c, lease.c, outcome.c and flush.c, the
 * worker is worker*.c and session.c, the router relay*.c. README.md beside this file says what is
 * modelled, what is not, and what each planted error (-D…) must lead to.
 */
#ifndef MESSAGES
#define MESSAGES 2 /* 1 or 2 */
#endif
#ifndef WORKERS
#define WORKERS 2 /* 1 or 2 */
#endif
#define LEASES   8 /* deliveries, of one message each; a name is never used twice */
#define PREFETCH 2
#define ATTEMPTS 2
#define DEPTH    4 /* frames on a connection, one way */

#ifndef MISHAPS
#define MISHAPS 2 /* of any kind: see MISHAP */
#endif
#define MISHAP (mishaps < MISHAPS)
byte mishaps = 0;

#define BIT(n)   (1 << (n))
#define NOTHING  255
#define PEERS    4 /* worker w has connections 2w and 2w + 1, one after another */
#define OTHER(p) ((p) ^ 1)

mtype = { READY, WELCOME, CREDIT, DELIVER, ACK, RELEASE, HEARTBEAT, ECHO, BEGIN, GO, LOST };

/* What was read from the network when a connection breaks is still there for the server. */
chan up[PEERS] = [DEPTH] of { mtype, byte, byte };
chan down[PEERS] = [DEPTH] of { mtype, byte, byte };
bool stands[PEERS];

/* ---- the workers ---- */

mtype = { DOWN, GREETING, OPEN };
mtype session[2] = DOWN;
byte conn[2];                                     /* the newest connection */
byte life[2];                                     /* which start of the process: its `worker` number … */
byte readies[2];                                  /* … and which READY of that */
byte held[2];                                     /* leases without an ack, as bits */
byte running[2] = NOTHING;                        /* the lease whose handler runs */
byte done[2], failed[2], given[2];                /* acks to be said, of what is held */
byte kept_done[2], kept_failed[2], kept_given[2]; /* said, and kept */
bool beating[2];                                  /* a beat is out; it … */
byte named[2], covered[2];                        /* … named these, and went out after these acks */
byte alone[2] = NOTHING;                          /* a suspect that it holds */
bool asked[2], go[2];
byte limit[2], used[2];                           /* credit of this session */

#define KEPT(w) (kept_done[w] | kept_failed[w] | kept_given[w])
#define OWED(w) (done[w] | failed[w] | given[w])

/* ---- who serves the workers: the ventilator, or the router ---- */

mtype = { NONE, LIVE, GONE, SUPERSEDED };
mtype peer[PEERS] = NONE;
byte peer_ready[PEERS];
byte peer_limit[PEERS], peer_sent[PEERS];
byte has[PEERS];     /* leases that are noted for a peer, as bits */
byte sent_alone = 0; /* of all of these, what was sent as a suspect */

/* ---- the ventilator ---- */

mtype = { WAITS, OUT, DONE, DEAD };
mtype state[2] = WAITS;
byte attempts[2];                                /* that count */
bool suspect[2];
byte message[LEASES];
byte next_lease = 0;
byte live = 0, durable = 0, begun = 0, lone = 0; /* leases, as bits; lone: of a suspect */
bool dirty = false;

/* What its state on the disk says: OUT under a lease that is stored, or not finished, or finished. */
mtype stored[2] = WAITS;
byte stored_lease[2], stored_attempts[2];
bool stored_suspect[2];

#define COUNT(x)                                                                                   \
    (((x) & 1) + (((x) >> 1) & 1) + (((x) >> 2) & 1) + (((x) >> 3) & 1) + (((x) >> 4) & 1) +       \
     (((x) >> 5) & 1) + (((x) >> 6) & 1) + (((x) >> 7) & 1))

/* ---- what only an onlooker knows ---- */

byte ran = 0;     /* messages whose handler came to a good end */
byte did[2];      /* leases that this process has done */
byte excused = 0; /* leases that ended for a reason for which a message may run twice */
byte granted = 0; /* leases of suspects that GO was said of */
byte causes[2];   /* what may count as an attempt */

byte keep = 0; /* chosen before a step that needs it, and 0 again after it */

/* Scratch of single steps (d_step), no part of the state. */
hidden byte d, e, i, j, k, n, these, x, y, remaining, m;
hidden mtype verb;

/* When nothing can go wrong any more, what is on the disk is of no interest. */
inline settle_disk()
{
    if
    :: MISHAP -> skip
    :: else ->
        stored[0] = WAITS;
        stored[1] = WAITS;
        stored_lease[0] = 0;
        stored_lease[1] = 0;
        stored_attempts[0] = 0;
        stored_attempts[1] = 0;
        stored_suspect[0] = false;
        stored_suspect[1] = false;
        durable = 0;
        dirty = false
    fi
}

#define ENDED(m) (state[m] == DONE || state[m] == DEAD)
#define DRAINED  (ENDED(0) && ENDED(1))

/* One lease for a message that is out, none for one that is not. */
inline check()
{
    m = 0;
    do
    :: m < 2 ->
        n = 0;
        e = 0;
        do
        :: e < LEASES ->
            n = n + ((live & BIT(e)) && message[e] == m);
            e++
        :: else -> break
        od;
        assert(n == (state[m] == OUT));                    /* never two leases of one message */
        assert(state[m] != DONE || (ran & BIT(m)));        /* never lost */
        assert(stored[m] != DONE || (ran & BIT(m)));
        assert(state[m] != DEAD || attempts[m] >= ATTEMPTS);
        assert(attempts[m] <= causes[m]);                  /* only for a real cause */
        m++
    :: else -> break
    od
}

/* ---- connections ---- */

inline drop(channel)
{
    do
    :: nempty(channel) -> channel ? _, _, _
    :: empty(channel) -> break
    od
}

/* How many frames of those on their way have arrived: the first so many. */
inline choose(channel)
{
    keep = 0;
    do
    :: keep < len(channel) -> keep++
    :: break
    od
}

inline cut(channel)
{
    remaining = len(channel);
    i = 0;
    do
    :: i < remaining ->
        channel ? verb, x, y;
        if
        :: i < keep -> channel ! verb, x, y
        :: else -> skip
        fi;
        i++
    :: else -> break
    od;
    keep = 0
}

/* It is out of reach. Of a suspect that it has begun, and may have finished without anybody's having
 * heard of it, that may count. */
inline blame(w)
{
    these = KEPT(w) | (alone[w] == NOTHING -> 0 : BIT(alone[w]));
    d = 0;
    do
    :: d < LEASES ->
        if
        :: these & lone & BIT(d) -> causes[message[d]]++
        :: else -> skip
        fi;
        d++
    :: else -> break
    od
}

/* A worker's side of it: leases and acks stay, the session does not. */
inline unlink(w)
{
    session[w] = DOWN;
    stands[conn[w]] = false;
    drop(down[conn[w]]);
    beating[w] = false;
    named[w] = 0;
    covered[w] = 0;
    asked[w] = false;
    limit[w] = 0;
    used[w] = 0;
    blame(w)
}

inline kill_worker(w)
{
    if
    :: session[w] != DOWN ->
        unlink(w);
        cut(up[conn[w]])
    :: else -> blame(w)
    fi;
    life[w]++;
    readies[w] = 0;
    held[w] = 0;
    running[w] = NOTHING;
    done[w] = 0;
    failed[w] = 0;
    given[w] = 0;
    kept_done[w] = 0;
    kept_failed[w] = 0;
    kept_given[w] = 0;
    alone[w] = NOTHING;
    go[w] = false;
    did[w] = 0
}

/* ---- a worker ---- */

inline lose(w, which)
{
    held[w] = held[w] & ~(which);
    done[w] = done[w] & ~(which);
    failed[w] = failed[w] & ~(which);
    given[w] = given[w] & ~(which);
    if
    :: running[w] != NOTHING && ((which) & BIT(running[w])) -> running[w] = NOTHING
    :: else -> skip
    fi;
    if
    :: alone[w] != NOTHING && ((which) & BIT(alone[w])) ->
        alone[w] = NOTHING;
        go[w] = false;
        asked[w] = false
    :: else -> skip
    fi
}

inline say_ack(w, ds, fs, gs)
{
    if
    :: (ds) | (fs) -> up[conn[w]] ! ACK, ds, fs
    :: else -> skip
    fi;
    if
    :: gs -> up[conn[w]] ! RELEASE, gs, 0
    :: else -> skip
    fi
}

inline take_frame(w)
{
    down[conn[w]] ? verb, x, y;
    if
    :: verb == WELCOME ->
        session[w] = OPEN;
#ifndef ACKS_NOT_KEPT
        say_ack(w, kept_done[w], kept_failed[w], kept_given[w])
#endif
    :: verb == DELIVER ->
        used[w]++;
        assert(used[w] <= limit[w]); /* credit */
        held[w] = held[w] | BIT(x);
        if
        :: alone[w] != NOTHING -> given[w] = given[w] | BIT(x)
        :: else ->
            if
            :: y ->
                alone[w] = x;
                given[w] = held[w] & ~(BIT(x) | OWED(w));
                if
                :: running[w] != NOTHING -> given[w] = given[w] & ~BIT(running[w])
                :: else -> skip
                fi
            :: else -> skip
            fi
        fi
    :: verb == ECHO ->
        these = named[w] & ~x & held[w];
        lose(w, these);
        kept_done[w] = kept_done[w] & ~covered[w];
        kept_failed[w] = kept_failed[w] & ~covered[w];
        kept_given[w] = kept_given[w] & ~covered[w];
        beating[w] = false;
        named[w] = 0;
        covered[w] = 0
    :: verb == GO ->
        go[w] = go[w] || (alone[w] == x && asked[w])
    fi
}

/* A worker and its READY in one number. */
#define WHO(w)          ((life[w] << 4) | readies[w])
#define SAME_LIFE(a, b) (((a) >> 4) == ((b) >> 4))
#define FREE(p)         (peer[p] == NONE && len(up[p]) == 0 && !stands[p])
#define WAITING(w)      (held[w] & ~OWED(w))
#define ROOM(c)         (len(c) + 2 <= DEPTH)
#define STARTABLE(w, l)                                                                            \
    (running[w] == NOTHING && (WAITING(w) & BIT(l)) &&                                             \
     (alone[w] == NOTHING || (alone[w] == (l) && GO_GIVEN(w))))
#ifdef GO_NOT_ASKED
#define GO_GIVEN(w) true
#else
#define GO_GIVEN(w) go[w]
#endif

inline start(w)
{
    d = 0;
    do
    :: !STARTABLE(w, d) -> d++
    :: else -> break
    od;
    running[w] = d;
    /* A suspect runs where nothing else is, and with leave. */
    assert(alone[w] != d || (WAITING(w) == BIT(d) && (granted & BIT(d))))
#ifdef ACK_BEFORE_THE_END
    ;
    done[w] = done[w] | BIT(d)
#endif
}

proctype Worker(byte w)
{
end:
    do
    :: DRAINED -> break /* the rest is silence */
    :: d_step { /* a new connection */
            session[w] == DOWN && !DRAINED &&
            (FREE(2 * w) || FREE(2 * w + 1)) ->
            if
            :: FREE(2 * w) -> conn[w] = 2 * w
            :: !FREE(2 * w) -> conn[w] = 2 * w + 1
            fi;
            stands[conn[w]] = true;
            session[w] = GREETING;
            readies[w]++;
#ifdef KEPT_NOT_NAMED
            up[conn[w]] ! READY, held[w], WHO(w);
#else
            up[conn[w]] ! READY, held[w] | KEPT(w), WHO(w);
#endif
            skip
        }
    :: d_step {
            session[w] != DOWN && nempty(down[conn[w]]) && ROOM(up[conn[w]]) -> take_frame(w);
            skip
        }
    :: d_step {
            running[w] == NOTHING && WAITING(w) &&
            (STARTABLE(w, 0) || STARTABLE(w, 1) || STARTABLE(w, 2) || STARTABLE(w, 3) ||
             STARTABLE(w, 4) || STARTABLE(w, 5) || STARTABLE(w, 6) || STARTABLE(w, 7)) ->
            start(w);
            skip
        }
    :: d_step { /* done */
            running[w] != NOTHING ->
            done[w] = done[w] | BIT(running[w]);
            did[w] = did[w] | BIT(running[w]);
            ran = ran | BIT(message[running[w]]);
            running[w] = NOTHING
        }
    :: d_step { /* failed */
            running[w] != NOTHING && MISHAP ->
            mishaps++;
            settle_disk();
            failed[w] = failed[w] | BIT(running[w]);
            causes[message[running[w]]]++;
            running[w] = NOTHING
        }
    :: d_step {
            session[w] == OPEN && OWED(w) && ROOM(up[conn[w]]) ->
            say_ack(w, done[w], failed[w], given[w]);
            kept_done[w] = kept_done[w] | done[w];
            kept_failed[w] = kept_failed[w] | failed[w];
            kept_given[w] = kept_given[w] | given[w];
            these = OWED(w);
            lose(w, these);
            skip
        }
    :: d_step {
            session[w] == OPEN && alone[w] != NOTHING && !asked[w] && !go[w] &&
            held[w] == BIT(alone[w]) && running[w] == NOTHING && !OWED(w) && ROOM(up[conn[w]]) ->
            up[conn[w]] ! BEGIN, alone[w], 0;
            asked[w] = true
        }
    :: d_step { /* the question or its answer was lost */
            session[w] == OPEN && alone[w] != NOTHING && asked[w] && !go[w] &&
            (live & BIT(alone[w])) && empty(up[conn[w]]) && empty(down[conn[w]]) ->
            asked[w] = false
        }
    :: d_step {
            session[w] == OPEN && alone[w] == NOTHING && ROOM(up[conn[w]]) &&
            used[w] + (PREFETCH - COUNT(held[w])) > limit[w] ->
            limit[w] = used[w] + (PREFETCH - COUNT(held[w]));
            up[conn[w]] ! CREDIT, limit[w], 0
        }
    /* A beat of which nothing new could be learned changes nothing and is not modelled. */
    :: d_step {
            session[w] == OPEN && !beating[w] && (KEPT(w) || (held[w] & ~live)) &&
            ROOM(up[conn[w]]) ->
            beating[w] = true;
            named[w] = held[w];
            covered[w] = KEPT(w);
            up[conn[w]] ! HEARTBEAT, held[w], w
        }
    :: atomic { /* its connection breaks, or it is killed */
            session[w] != DOWN && MISHAP ->
            choose(up[conn[w]]);
            if
            :: d_step { mishaps++; unlink(w); cut(up[conn[w]]); settle_disk(); skip }
            :: d_step { mishaps++; kill_worker(w); settle_disk(); skip }
            fi
        }
    :: d_step { session[w] == DOWN && MISHAP -> mishaps++; kill_worker(w); settle_disk(); skip }
    od
}

/* ---- the ventilator: what outcomes do ---- */

inline end_lease(l)
{
    live = live & ~BIT(l);
    durable = durable & ~BIT(l);
    begun = begun & ~BIT(l);
    lone = lone & ~BIT(l);
    dirty = MISHAP
}

/* It comes again, or is dead. */
inline fail_message(m)
{
    attempts[m]++;
    state[m] = (attempts[m] >= ATTEMPTS -> DEAD : WAITS)
}

inline apply_each(set, verdict)
{
    d = 0;
    do
    :: d < LEASES ->
        if
#ifdef STALE_ACKS_COUNT
        :: ((set) & BIT(d)) && d < next_lease && !ENDED(message[d]) ->
#else
        :: (set) & live & BIT(d) ->
#endif
            k = message[d];
            if
            :: verdict == ACK -> state[k] = DONE
            :: verdict == BEGIN -> fail_message(k) /* a handler failed */
            :: verdict == RELEASE ->
                state[k] = WAITS;
#ifdef RELEASE_COUNTS
                attempts[k]++
#endif
            :: verdict == LOST ->
#ifdef LOSS_COUNTS
                if
                :: lone & BIT(d) -> fail_message(k)
#else
                if
                :: (lone & BIT(d)) && (begun & BIT(d)) -> fail_message(k)
#endif
                :: else -> state[k] = WAITS
                fi;
                suspect[k] = true
            fi;
            end_lease(d)
        :: else -> skip
        fi;
        d++
    :: else -> break
    od
}

inline begin_lease(l)
{
    if
    :: live & BIT(l) -> begun = begun | BIT(l); granted = granted | BIT(l)
    :: else -> skip
    fi
}

/* A message is handed out. A worker that lives may have it still, or may have done it, only where
 * there is an excuse. */
inline hand_out(msg, is_alone)
{
    assert(next_lease < LEASES);
    d = 0;
    do
    :: d < next_lease ->
        assert(message[d] != msg || (excused & BIT(d)) ||
               !((held[0] | did[0] | held[1] | did[1]) & BIT(d))); /* nothing is repeated */
        d++
    :: else -> break
    od;
    message[next_lease] = msg;
    live = live | BIT(next_lease);
    lone = lone | ((is_alone) << next_lease);
    state[msg] = OUT;
    next_lease++;
    dirty = MISHAP
}

/* What is not stored of leases are those younger than a second that never failed before. */
inline flush_state(old_leases)
{
    m = 0;
    do
    :: m < 2 ->
        stored_attempts[m] = attempts[m];
        stored_suspect[m] = suspect[m];
        stored_lease[m] = 0;
        if
        :: state[m] != OUT -> stored[m] = state[m]
        :: else ->
            d = 0;
            do
            :: !((live & BIT(d)) && message[d] == m) -> d++
            :: else -> break
            od;
            if
            :: (old_leases) || attempts[m] || suspect[m] || (durable & BIT(d)) ->
                stored[m] = OUT;
                stored_lease[m] = d;
                durable = durable | BIT(d)
            :: else -> stored[m] = WAITS
            fi
        fi;
        m++
    :: else -> break
    od;
    dirty = false
}

inline restart_ventilator()
{
    excused = excused | (~(live & durable) & (BIT(next_lease) - 1));
    live = 0;
    durable = 0;
    begun = 0;
    m = 0;
    do
    :: m < 2 ->
        state[m] = stored[m];
        attempts[m] = stored_attempts[m];
        suspect[m] = stored_suspect[m];
        if
        :: stored[m] == OUT ->
#ifdef LEASE_FORGOTTEN
            state[m] = WAITS
#else
            d = stored_lease[m];
            live = live | BIT(d);
            durable = durable | BIT(d);
            if
            :: stored_suspect[m] -> lone = lone | BIT(d)
            :: else -> skip
            fi
#endif
        :: else -> skip
        fi;
        m++
    :: else -> break
    od;
    lone = lone & live;
#ifdef NUMBERS_REUSED
    next_lease = 0;
#endif
    dirty = false
}

/* ---- serving workers ---- */

/* Whoever had these, has them no longer. */
inline forget(set)
{
    has[0] = has[0] & ~(set);
    has[1] = has[1] & ~(set);
    has[2] = has[2] & ~(set);
    has[3] = has[3] & ~(set);
    sent_alone = sent_alone & ~(set)
}

inline forget_peer(p)
{
    drop(up[p]);
    sent_alone = sent_alone & ~has[p];
    has[p] = 0;
    peer[p] = NONE;
    peer_ready[p] = 0;
    peer_limit[p] = 0;
    peer_sent[p] = 0
}

inline on_ready(p)
{
    if
#ifndef READY_UNORDERED
    /* An older one, of a connection that has ended. */
    :: peer[OTHER(p)] != NONE && SAME_LIFE(peer_ready[OTHER(p)], y) && peer_ready[OTHER(p)] > y -> skip
    :: else ->
#else
    :: true ->
#endif
        peer[p] = LIVE;
        peer_ready[p] = y;
        if
        :: peer[OTHER(p)] != NONE && SAME_LIFE(peer_ready[OTHER(p)], y) ->
            has[OTHER(p)] = has[OTHER(p)] & ~x;
            peer[OTHER(p)] = SUPERSEDED
        :: else -> skip
        fi;
        /* What is noted for another worker stays there. */
        has[p] = x & ~(has[0] | has[1] | has[2] | has[3]);
        say(p, WELCOME, 0)
    fi
}

inline say(p, what, about)
{
    if
    :: stands[p] -> down[p] ! what, about, 0
    :: else -> skip
    fi
}

inline take_up(p)
{
    up[p] ? verb, x, y;
    if
    :: verb == READY && peer[p] == NONE -> on_ready(p)
    :: verb == ACK && peer[p] != NONE -> forget(x | y); own_ack(x, y)
    :: verb == RELEASE && peer[p] != NONE -> forget(x); own_release(x)
    :: verb == CREDIT && peer[p] == LIVE ->
#ifdef CREDIT_ADDS
        peer_limit[p] = peer_limit[p] + x
#else
        peer_limit[p] = x
#endif
    :: verb == HEARTBEAT && peer[p] == LIVE -> own_beat(p)
    :: verb == BEGIN && peer[p] == LIVE -> own_begin(p)
    :: else -> skip
    fi
}

/* The grace is over: the worker is lost with all that it had, or it has been back for a while, and
 * what it did not name then was lost on the way. */
inline end_peer(p)
{
    these = has[p];
    verb = peer[p];
    forget_peer(p);
    if
    :: verb == GONE ->
        excused = excused | these;
        own_lost(these)
    :: else -> own_release(these)
    fi
}

#define FITS(p) (!stands[p] || len(down[p]) + 2 <= DEPTH)
#define TAKES(p)                                                                                   \
    (peer[p] == LIVE && peer_sent[p] < peer_limit[p] && !(has[p] & sent_alone) && FITS(p))

inline deliver(p, l, is_alone)
{
    has[p] = has[p] | BIT(l);
    sent_alone = sent_alone | ((is_alone) << (l));
    peer_sent[p]++;
    if
    :: stands[p] -> down[p] ! DELIVER, l, is_alone
    :: else -> skip
    fi
}

inline lose_connections()
{
    j = 0;
    do
    :: j < 2 ->
        if
        :: session[j] != DOWN -> unlink(j)
        :: else -> skip
        fi;
        j++
    :: else -> break
    od;
    forget_peer(0);
    forget_peer(1);
    forget_peer(2);
    forget_peer(3)
}

#define IS(m, s)   (state[m] == WAITS && suspect[m] == (s))
#define NEXT(s)    (IS(0, s) -> 0 : 1)
#define WAITING_V(s) (IS(0, s) || IS(1, s))

/* ---- the ventilator ---- */

/* Nobody has it, and nothing is on its way. */
#define EMPTY(p) (empty(up[p]) && empty(down[p]))
#define STILL    (EMPTY(0) && EMPTY(1) && EMPTY(2) && EMPTY(3))
#define IN_HANDS (held[0] | held[1] | KEPT(0) | KEPT(1))

/* The deadline of leases of which nothing is heard. */
inline expire(set)
{
    excused = excused | (set);
    blame(0);
    blame(1);
    these = set;
    forget(these);
    apply_each(these, LOST)
}

inline own_ack(ds, fs)
{
    apply_each(ds, ACK);
    apply_each(fs, BEGIN)
}

inline own_release(set)
{
    apply_each(set, RELEASE)
}

inline own_lost(set)
{
    apply_each(set, LOST)
}

inline own_beat(p)
{
    say(p, ECHO, x & live)
}

inline own_begin(p)
{
    begin_lease(x);
    if
    :: live & BIT(x) -> say(p, GO, x)
    :: else -> skip
    fi
}

inline stop_ventilator()
{
    lose_connections();
    restart_ventilator()
}

/* One for each connection. */
proctype Serve(byte p)
{
end:
    do
    :: DRAINED -> break /* the rest is silence */
    :: d_step { nempty(up[p]) && FITS(p) -> take_up(p); check(); skip }
    :: d_step { peer[p] == LIVE && !stands[p] -> peer[p] = GONE }
    :: d_step { STILL && (has[p] & ~(IN_HANDS)) -> has[p] = has[p] & (IN_HANDS) } /* two leases later */
    :: d_step { peer[p] == GONE || peer[p] == SUPERSEDED -> end_peer(p); check(); skip }
    :: d_step {
            TAKES(p) && (WAITING_V(false) || (!has[p] && WAITING_V(true))) ->
            if
            :: WAITING_V(false) -> x = NEXT(false); y = 0
            :: else -> x = NEXT(true); y = 1
            fi;
            hand_out(x, y);
            deliver(p, next_lease - 1, y);
            check();
            skip
        }
    od
}

active proctype Ventilator()
{
    atomic {
#if MESSAGES == 1
        state[1] = DONE;
        stored[1] = DONE;
        ran = BIT(1);
#endif
        run Worker(0);
        run Serve(0);
        run Serve(1);
#if WORKERS == 2
        run Worker(1);
        run Serve(2);
        run Serve(3);
#endif
        skip
    };
end:
    do
    :: DRAINED -> break /* the rest is silence */
    :: d_step { dirty -> flush_state(false); check(); skip }
    :: d_step { (live & ~durable) && MISHAP -> flush_state(true); check(); skip }
#ifndef NO_DEADLINE
    :: d_step { STILL && (live & ~(IN_HANDS)) -> expire(live & ~(IN_HANDS)); check(); skip }
    :: d_step { live && MISHAP -> mishaps++; expire(live); settle_disk(); check(); skip }
#endif
    :: d_step { MISHAP -> mishaps++; stop_ventilator(); settle_disk(); check(); skip }
    /* The router: who is there and who has what is forgotten, and no lease ends. */
    :: d_step {
            MISHAP ->
            mishaps++;
            lose_connections();
#ifdef ROUTER_LOSS_FREES
            apply_each(live, RELEASE);
#endif
            settle_disk();
            check();
            skip
        }
    od
}

ltl drains { <> DRAINED }
