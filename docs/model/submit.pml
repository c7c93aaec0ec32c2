/* The submit protocol (docs/protocol.md, section 4): one producer, one holder, and between them
 * connections that break and a disk that keeps what was synced.
 *
 * The producer is common/core/submit.c, the holder intake.c with accept.c and recovery.c. README.md
 * beside this file says what is modelled, what is not, and what each planted error (-D…) must lead to.
 */
#define BATCHES 3
#define WINDOW  2 /* batches without an answer; and answers that the holder remembers */
#define DEPTH   4 /* frames on a connection, one way */

#ifndef MISHAPS
#define MISHAPS 3 /* of any kind: see MISHAP */
#endif

#define BIT(n) (1 << (n))
#define MISHAP (mishaps < MISHAPS)

mtype = { PUT, OK, BUSY, REFUSED, ORDER };

/* Two connections, the second for when the first has broken. What was already read from the network
 * when one breaks is still there for its reader, and may be read after frames of the next. */
chan up[2] = [DEPTH] of { mtype, byte /* number */, byte /* first */ };
chan down[2] = [DEPTH] of { mtype, byte /* number */, byte /* expected */ };
byte link = 0; /* the connection that stands */
bool linked = true;
byte mishaps = 0;

/* The producer: batches `head` … are in the window. */
mtype = { UNSENT, SENT, CONFIRMED, GIVEN_UP };
mtype batch[BATCHES + 1] = UNSENT;
byte head = 1;
bool oldest[BATCHES + 1]; /* its last PUT named itself as `first` */
bool behind[BATCHES + 2]; /* the last PUT went out after that of the batch ahead */
bool paused = false;
bool ended = false;

/* The holder's memory. */
bool up_and_open = true;
byte accepted = 0;
byte answers = 0; /* bits: the answers that are remembered */
byte peer = 0;    /* the connection that the producer was last heard on */
byte committed = 0; /* records whose result has come back; those above are without an answer */

/* Its disk: the log, of which `synced` records are safe, and the state. */
byte log[BATCHES + 2];
byte length = 0, synced = 0;
byte row_accepted = 0, row_answers = 0, absorbed = 0;

byte bad = 0;     /* this batch does not parse */
byte said_ok = 0; /* bits: whatever was said to be held, whether the answer arrived or not */

byte keep = 0, keep_down = 0; /* chosen before a step that needs it, and 0 again after it */

/* Scratch of single steps (d_step), no part of the state. */
hidden byte c_at, c_seen, x_left, x_at, x_a, x_b, u_n, p_n, a_number, a_expected, t_n, t_first, t_expected;
hidden byte q_at, o_number, w_at, r_at;
hidden byte t_pending; /* bool */
hidden mtype x_verb, a_verb;

/* ---- what must hold ---- */

inline check_log()
{
    /* Each batch once, in the order of the numbers, and everything that was confirmed. */
    c_seen = 0;
    c_at = 0;
    do
    :: c_at < length ->
        assert(!(c_seen & BIT(log[c_at])));          /* stored once */
        assert(c_at == 0 || log[c_at - 1] < log[c_at]); /* in order */
        c_seen = c_seen | BIT(log[c_at]);
        c_at++
    :: else -> break
    od;
    assert((said_ok & ~c_seen) == 0); /* never lost */
    c_seen = 0;
    c_at = 0
}

/* ---- the connection ---- */

/* How many frames of those on their way have arrived: the first so many. */
inline choose(channel)
{
    keep = 0;
    do
    :: keep < len(channel) -> keep++
    :: break
    od
}

inline cut(channel, arrived)
{
    x_left = len(channel);
    x_at = 0;
    do
    :: x_at < x_left ->
        channel ? x_verb, x_a, x_b;
        if
        :: x_at < arrived -> channel ! x_verb, x_a, x_b
        :: else -> skip
        fi;
        x_at++
    :: else -> break
    od
}

inline drop(channel)
{
    do
    :: nempty(channel) -> channel ? _, _, _
    :: empty(channel) -> break
    od
}

inline all_unsent()
{
    u_n = 1;
    do
    :: u_n <= BATCHES ->
        if
        :: batch[u_n] == SENT -> batch[u_n] = UNSENT
        :: else -> skip
        fi;
        u_n++
    :: else -> break
    od
}

active proctype Network()
{
end:
    do
    :: atomic {
            linked && MISHAP && !ended ->
            choose(down[link]);
            keep_down = keep;
            choose(up[link]);
            d_step {
                mishaps++;
                linked = false;
                cut(up[link], keep);
                cut(down[link], keep_down);
                keep = 0;
                keep_down = 0
            }
        }
    :: d_step {
            !linked && up_and_open && empty(up[1 - link]) && empty(down[1 - link]) ->
            link = 1 - link;
            linked = true;
            paused = false; /* LINK_UP */
            all_unsent();
            skip
        }
    od
}

/* ---- the producer ---- */

inline put_all()
{
    p_n = head;
    do
    :: p_n < head + WINDOW && p_n <= BATCHES ->
        if
        :: batch[p_n] == UNSENT && len(up[link]) < DEPTH ->
            up[link] ! PUT, p_n, head;
            oldest[p_n] = p_n == head;
            behind[p_n] = true;
            behind[p_n + 1] = false;
            batch[p_n] = SENT
        :: else -> skip
        fi;
        p_n++
    :: else -> break
    od
}

inline end_batch(n, how)
{
    batch[n] = how;
    oldest[n] = false;
    behind[n] = false;
    behind[n + 1] = false;
    do
    :: head <= BATCHES && (batch[head] == CONFIRMED || batch[head] == GIVEN_UP) -> head++
    :: else -> break
    od;
    ended = head > BATCHES
}

inline take_answer(channel)
{
    channel ? a_verb, a_number, a_expected;
    if
    :: batch[a_number] == CONFIRMED || batch[a_number] == GIVEN_UP -> skip /* not waited for */
    :: else ->
        if
        :: a_verb == OK -> end_batch(a_number, CONFIRMED)
        :: a_verb == BUSY -> batch[a_number] = UNSENT; paused = true
        :: a_verb == REFUSED || (a_verb == ORDER && a_expected > a_number) ->
            assert(a_number == bad); /* nothing else is ever given up */
            end_batch(a_number, GIVEN_UP)
        :: a_verb == ORDER && a_expected <= a_number ->
            batch[a_number] = UNSENT;
#ifndef ONLY_ITSELF
            /* The one ahead went out before, and its answer would have come before: one of them is
             * lost. (With a window of two no other can be expected.) */
            if
            :: behind[a_number] && batch[a_number - 1] == SENT -> batch[a_number - 1] = UNSENT
            :: else -> skip
            fi;
#endif
            paused = paused || oldest[a_number]
        fi
    fi
}

#define SOME_UNSENT                                                                                \
    (batch[head] == UNSENT ||                                                                      \
     (head + 1 <= BATCHES && head + 1 < head + WINDOW && batch[head + 1] == UNSENT))
#define SOME_SENT (batch[1] == SENT || batch[2] == SENT || batch[3] == SENT)
#define QUIET                                                                                      \
    (empty(up[0]) && empty(up[1]) && empty(down[0]) && empty(down[1]) && committed == length)

active proctype Producer()
{
    if
    :: bad = 0
    :: bad = 1
    :: bad = 2
    fi;
end:
    do
    :: ended -> break
    :: d_step { !ended && linked && !paused && SOME_UNSENT && len(up[link]) + 1 < DEPTH -> put_all(); skip }
    :: d_step { !ended && linked && paused -> paused = false; skip }
    :: d_step { nempty(down[0]) -> take_answer(down[0]); skip }
    :: d_step { nempty(down[1]) -> take_answer(down[1]); skip }
    /* A long silence: repeat. When nothing is on its way it must come to that; once it also happens
     * although there is. */
    :: d_step { !ended && linked && up_and_open && SOME_SENT && QUIET -> all_unsent(); skip }
    :: d_step { !ended && linked && SOME_SENT && MISHAP -> mishaps++; all_unsent(); skip }
    od
}

/* ---- the holder ---- */

inline say(to, verb, number, expected)
{
    if
    :: linked && to == link && len(down[to]) < DEPTH -> down[to] ! verb, number, expected
    :: else -> skip /* nobody is there */
    fi
}

inline remember(number)
{
    answers = answers | BIT(number);
#ifdef SHORT_MEMORY
    answers = answers & ~(BIT(number) - 1) /* only the newest */
#else
    if
    :: number > WINDOW -> answers = answers & ~BIT(number - WINDOW)
    :: else -> skip
    fi
#endif
}

inline is_pending(number, result)
{
    q_at = committed;
    result = false;
    do
    :: q_at < length ->
        result = result || log[q_at] == number;
        q_at++
    :: else -> break
    od
}

inline take_put(connection, no_room)
{
    up[connection] ? PUT, t_n, t_first;
    if
    :: t_n == bad -> say(connection, REFUSED, t_n, 0)
    :: else ->
        peer = connection;
        is_pending(t_n, t_pending);
        t_expected = accepted + 1;
#ifndef FIRST_IGNORED
        if
        :: t_expected < t_first -> t_expected = t_first
        :: else -> skip
        fi;
#endif
        if
        :: answers & BIT(t_n) -> said_ok = said_ok | BIT(t_n); say(peer, OK, t_n, 0)
        :: t_pending && !(answers & BIT(t_n)) -> skip
        :: else ->
            if
#ifdef ANY_ORDER
            :: t_n > accepted ->
#else
            :: t_n == t_expected ->
#endif
                if
                :: no_room -> mishaps++; say(peer, BUSY, t_n, 0)
                :: else ->
                    accepted = t_n;
                    log[length] = t_n;
                    length++;
#ifdef OK_BEFORE_SYNC
                    said_ok = said_ok | BIT(t_n);
                    say(peer, OK, t_n, 0);
#endif
                fi
            :: else -> say(peer, ORDER, t_n, t_expected)
            fi
        fi
    fi
}

/* The result of an append that is durable: only now is the batch confirmed. */
inline commit()
{
    o_number = log[committed];
    committed++;
    remember(o_number);
    said_ok = said_ok | BIT(o_number);
    say(peer, OK, o_number, 0)
}

/* There was no room: nothing of this batch is on the disk, nor of any behind it. */
inline withdraw()
{
    w_at = committed;
    do
    :: w_at < length ->
        if
        :: accepted >= log[w_at] -> accepted = log[w_at] - 1
        :: else -> skip
        fi;
        say(peer, BUSY, log[w_at], 0);
        log[w_at] = 0;
        w_at++
    :: else -> break
    od;
    length = committed
}

/* One transaction: what the log holds up to `absorbed`, and what its producer was told. */
inline flush()
{
#ifndef ABSORBED_APART
    row_accepted = (committed < length -> log[committed] - 1 : accepted);
    row_answers = answers;
#endif
    absorbed = committed
}

/* Killed, what was written is still in the page cache; when the power goes, the log ends anywhere
 * above what was synced. `keep` records of it are left. */
inline crash()
{
    mishaps++;
    up_and_open = false;
    linked = false;
    drop(up[0]);
    drop(up[1]);
    cut(down[link], keep_down);
    accepted = 0;
    answers = 0;
    peer = 0;
    committed = 0;
    do
    :: length > keep -> length--; log[length] = 0
    :: else -> break
    od;
    keep = 0;
    keep_down = 0;
    check_log()
}

inline recover()
{
    accepted = row_accepted;
    answers = row_answers;
    r_at = absorbed;
    do
    :: r_at < length ->
        if
        :: log[r_at] > accepted -> accepted = log[r_at]
        :: else -> skip
        fi;
        remember(log[r_at]);
        r_at++
    :: else -> break
    od;
#ifdef FORGETFUL
    accepted = 0;
    answers = 0;
#endif
#ifndef RECOVERED_UNSYNCED
    synced = length;
#endif
    committed = length;
    up_and_open = true;
    check_log()
}

active proctype Holder()
{
end:
    do
    :: d_step { up_and_open && nempty(up[0]) && length <= BATCHES -> take_put(0, false); skip }
    :: d_step { up_and_open && nempty(up[1]) && length <= BATCHES -> take_put(1, false); skip }
    :: d_step { up_and_open && nempty(up[0]) && MISHAP -> take_put(0, true); skip }
    :: d_step { up_and_open && nempty(up[1]) && MISHAP -> take_put(1, true); skip }
    /* While it recovered there was no room for what waits: nobody has looked at it. */
    :: d_step { up_and_open && nempty(up[0]) && MISHAP -> mishaps++; up[0] ? _, _, _ }
    :: d_step { up_and_open && nempty(up[1]) && MISHAP -> mishaps++; up[1] ? _, _, _ }
    :: d_step { up_and_open && synced < length -> synced = length; check_log(); skip }
    :: d_step { up_and_open && committed < synced -> commit(); check_log(); skip }
    :: d_step {
            up_and_open && committed < length && committed == synced && MISHAP ->
            mishaps++;
            withdraw();
            check_log();
            skip
        }
    :: d_step { up_and_open && absorbed != committed -> flush(); skip }
    :: atomic {
            up_and_open && MISHAP && !ended ->
            choose(down[link]);
            keep_down = keep;
            keep = synced;
            do
            :: keep < length -> keep++
            :: break
            od;
            d_step { crash(); skip }
        }
    :: d_step { !up_and_open -> recover(); skip }
    od
}

/* Everything is answered in the end, and what was good is confirmed. */
ltl drains { <> (ended && (batch[1] == CONFIRMED || bad == 1) && (batch[2] == CONFIRMED || bad == 2) &&
                 batch[3] == CONFIRMED) }
