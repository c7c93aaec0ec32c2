/* Every limit of Weir in one place, units in the names. */
#ifndef WEIR_BASE_LIMITS_H
#define WEIR_BASE_LIMITS_H

#include <stdint.h>

/* Messages and batches: part of the protocol (docs/protocol.md). */
#define WEIR_MESSAGE_BYTES_MAX (8u << 20) /* one encoded message … */
#define WEIR_ORIGIN_BYTES_MAX (80u << 10) /* … and what an origin may add to it */
#define WEIR_BATCH_BYTES_MAX (16u << 20)  /* header + index + body */
#define WEIR_BATCH_MESSAGES_MAX 65536u
#define WEIR_BATCH_HEADER_BYTES_MAX 4096u
#define WEIR_TOPIC_BYTES_MAX 255u
#define WEIR_NAME_BYTES_MAX 63u /* groups, nodes, topologies */
#define WEIR_KEY_BYTES_MAX 1024u
#define WEIR_IDEMPOTENCY_KEY_BYTES_MAX 1024u
#define WEIR_HEADERS_MAX 64u
#define WEIR_HEADER_NAME_BYTES_MAX 128u
#define WEIR_HEADER_VALUE_BYTES_MAX 8192u
#define WEIR_HEADERS_BYTES_MAX 65536u /* all of a message's headers */
#define WEIR_ERROR_BYTES_MAX 2048u    /* a recorded handler error */
#define WEIR_HISTORY_ENTRIES_MAX 16u  /* the first and the last fifteen */
#define WEIR_HISTORY_BYTES_MAX 65536u
#define WEIR_TOPIC_PATTERNS_MAX 64u /* of one group */

/* Control frames. */
#define WEIR_CONTROL_BYTES_MAX (10u << 20) /* room for every array at its own limit */
#define WEIR_TEXT_BYTES_MAX 1024u          /* of a field that is a text */
#define WEIR_WORKER_NAME_BYTES_MAX 127u    /* a node's name and an instance's number */
#define WEIR_SLICES_MAX 256u               /* of one delivery */
#define WEIR_LEASES_MAX 4096u              /* entries in one READY, HEARTBEAT, LOST … */
#define WEIR_ACKS_MAX 4096u                /* entries in one ACK */
#define WEIR_FRAMES_MAX (1u + 3u * WEIR_SLICES_MAX)
#define WEIR_DELIVERY_MESSAGES_MAX 4096u
#define WEIR_DELIVERY_BYTES_MAX (512u << 10) /* a target; one larger message goes alone */

/* What one process keeps at most. */
#define WEIR_PEERS_MAX 4096u /* sessions on one port */
#define WEIR_GROUPS_MAX 1024u
#define WEIR_PRODUCERS_MAX 65536u
#define WEIR_CREDIT_MESSAGES_MAX (1u << 20) /* of one session and group, outstanding */
#define WEIR_CREDIT_BYTES_MAX (256u << 20)
#define WEIR_PARKED_MAX 131072u           /* listed messages that wait for a key, a group */
#define WEIR_BLOCKED_KEYS_MAX 262144u     /* a group */
#define WEIR_LARGE_KEYS_MAX 65536u        /* of them, with more than one message known; a group */
#define WEIR_SETTLED_SPAN_MAX (64u << 20) /* sequences between low and next, a group */
#define WEIR_FETCHING_MAX 256u            /* parked rows being fetched, a group */
#define WEIR_READY_MAX 1024u              /* deferred messages fetched ahead, a group */
#define WEIR_TAIL_BYTES_MAX (8u << 20)    /* recent batches kept for the groups that keep up */
#define WEIR_TAIL_BATCHES_MAX 65536u
#define WEIR_READ_BYTES (256u << 10)         /* read ahead for a group that lags */
#define WEIR_READ_ONE_BYTES (64u << 10)      /* read for a single message */
#define WEIR_READS_MAX 32u                   /* under way */
#define WEIR_READ_CACHE_BYTES_MAX (8u << 20) /* what was read for those that lag, all groups */
#define WEIR_READ_CHUNKS_MAX 64u
#define WEIR_READ_AGAIN_MS 1000 /* after a READ that failed: doubles up to … */
#define WEIR_READ_AGAIN_MAX_MS 60000
#define WEIR_RETURNED_RANGES_MAX 4096u /* given back untouched, to go out again; a group */
#define WEIR_CLAIM_MESSAGES_MAX 4096u  /* noted as sent before they are; a group */
#define WEIR_TURN_DELIVERIES_MAX 16u   /* of one group in one turn */
#define WEIR_TURN_SCAN_MAX 65536u      /* looked at one by one in one turn, a group */
#define WEIR_TURN_READING_MAX 64u      /* to be read first, after which a turn looks no further */
#define WEIR_TURN_ROWS_MAX 1024u       /* rows made at once: expired, delayed */
#define WEIR_TURN_LOOKS_MAX 256u       /* batches or stretches passed over in one turn, a group */
#define WEIR_FLUSH_OPS_MAX 65536u      /* gathered, above which no PUT is taken … */
#define WEIR_FLUSH_ROWS_MAX 8192u      /* … and nothing is handed out */
#define WEIR_FLUSH_LEASED_MAX 8192u    /* leases made durable in one flush, in messages */
#define WEIR_COPIED_BYTES_MAX (256u << 20) /* payloads copied out of the log */
#define WEIR_COPY_ROWS_MAX 256u            /* copied in one transaction */
#define WEIR_DYING_MAX 512u                /* dead letters on their way to the collector */
#define WEIR_DYING_BATCH_BYTES (1u << 20)  /* a target for a batch of them */
#define WEIR_REPLAYS_MAX 64u               /* replayed batches waiting for their turn */
#define WEIR_JOINS_MAX 1024u               /* dynamic groups waiting to be durable */
#define WEIR_ASKED_MAX 64u                 /* admin requests that wait for storage */
#define WEIR_STASH_MESSAGES_MAX 4096u      /* frames that came before recovery was over */
#define WEIR_STASH_BYTES_MAX (64u << 20)
#define WEIR_DYNAMIC_BACKLOG_MAX 1000000u /* messages, of a group that joined at run time */
#define WEIR_TOMBSTONES_MAX 100000u       /* a group */
#define WEIR_ENDED_RANGES_MAX 256u /* lost or dropped sequences that are still told of; a group */
#define WEIR_STORE_REQUESTS_MAX 4096u
#define WEIR_QUERY_BYTES_MAX (16u << 20)  /* payloads and histories in one QUERY's answer */
#define WEIR_SEGMENT_BYTES (64u << 20)    /* of the log */
#define WEIR_SEGMENT_BYTES_MIN (1u << 13) /* where tests or a small `max` ask for less */
#define WEIR_SPOOL_BYTES_MIN (2u << 20)   /* the least `max` of a spool */
#define WEIR_SPARE_SEGMENTS_MAX 4u        /* freed ones kept for reuse */
#define WEIR_OPEN_SEGMENTS_MAX 8u         /* files that reading keeps open */
#define WEIR_INDEX_STEP_BYTES (1u << 20)  /* of log for one entry of a segment's index */
#define WEIR_READ_BLOCK_BYTES (1u << 20)  /* read at once; one larger record goes alone */
#define WEIR_READ_CURSORS 16u             /* places where reading is expected to go on */
#define WEIR_SYNC_INTERVAL_MS 100         /* fsync: interval */
#define WEIR_RESERVE_BYTES (4u << 20)     /* kept back for the state, for when the disk is full */
#define WEIR_STATE_CACHE_KIB 8192         /* SQLite's page cache */
#define WEIR_DATABASE_BUSY_MS 10000       /* how long another process that writes is waited for */
#define WEIR_WAL_BYTES (4u << 20)         /* SQLite's WAL is taken in from this size on */
#define WEIR_WAL_BYTES_WARN (64u << 20)   /* somebody's reading keeps it from being taken in */
#define WEIR_WAL_BYTES_MAX (1u << 30)     /* nothing is written until the reader is gone */
#define WEIR_MEMORY_SEGMENT_BYTES (16u << 10) /* of the store in memory */
#define WEIR_MEMORY_RECORD_BYTES 64u          /* what a record takes there beside its frames */
#define WEIR_INTAKE_BYTES_MAX (64u << 20)     /* batches on their way to the disk */
#define WEIR_UNSYNCED_MESSAGES_MAX 131072u    /* fsync: interval, never: readable before a sync */
#define WEIR_PRODUCER_WINDOW_MAX 16u          /* PUTs of one producer without an answer */
#define WEIR_PRODUCER_WINDOW 8u               /* the same, as our own producers do it */
#define WEIR_ACKS_KEPT_MAX 16384u             /* sent and not known to have arrived, an upstream */
#define WEIR_RESULTS_BYTES_MAX (64u << 20)    /* not taken by the sink yet; then no job starts */
#define WEIR_RESULTS_AHEAD_MAX                                                                     \
    16384u /* messages beyond the prefetch, whose results are on the way */
#define WEIR_DUPLICATES_KEPT_MAX (1u << 20) /* in answers that may have to be repeated */
#define WEIR_ADMIN_LIST_MAX 1000u           /* rows of one listing */
#define WEIR_ROUTES_MAX 65536u              /* workers behind routers whose way is remembered */
#define WEIR_OFFER_SHARE_MIN 64u /* an offer is not cut below this to be fair to others */
#define WEIR_ALONE_ROUTER_MAX 4u /* suspects out at one router, a group */
#define WEIR_ASKS_MAX 16u        /* sets of topics that workers JOIN one group with, at a router */
#define WEIR_HELD_ACKS_MAX 4096u /* frames a router keeps for an upstream that is away … */
#define WEIR_HELD_ACKS_BYTES_MAX (16u << 20) /* … and their size */

/* Sockets, handlers. */
#define WEIR_SERVE_WINDOW 32u                     /* messages in work at one coprocess */
#define WEIR_FRAME_BYTES_MAX WEIR_BATCH_BYTES_MAX /* larger ones cut the sender off */
#define WEIR_RECEIVE_QUEUE_MESSAGES_MAX                                                            \
    128 /* unread, of one connection; then TCP holds it back                                       \
         */
#define WEIR_SEND_QUEUE_MESSAGES_MAX (1 << 17) /* to one connection; then it counts as gone */
#define WEIR_UPSTREAMS_MAX 1024u
#define WEIR_LISTEN_BACKLOG 1024
#define WEIR_TURN_MESSAGES_MAX 128u    /* of one port, before the others have their turn */
#define WEIR_TURN_COMPLETIONS_MAX 512u /* of the store or the executor, likewise */

/* libweir: what include/weir.h states as defaults and bounds. */
#define WEIR_CLIENT_WINDOW WEIR_PRODUCER_WINDOW
#define WEIR_CLIENT_BATCH_MESSAGES 4096u
#define WEIR_CLIENT_BATCH_BYTES (512u << 10)
#define WEIR_CLIENT_QUEUE_MESSAGES 65536u
#define WEIR_CLIENT_QUEUE_BYTES (64u << 20)
#define WEIR_CLIENT_TIMEOUT_MS 30000
#define WEIR_FUNCTION_THREADS_MAX 256u   /* handlers at once of one worker */
#define WEIR_FUNCTION_JOB_MESSAGES 4096u /* handled in turn by one thread */
#define WEIR_FUNCTION_PREFETCH_MESSAGES 65536u
#define WEIR_FUNCTION_PREFETCH_BYTES (16u << 20)

/* Sinks and dead-letter collectors. */
#define WEIR_HOLD_GROUP_MAX 256u             /* batches written together */
#define WEIR_HOLD_GROUP_BYTES_MAX (4u << 20) /* of them; a larger batch goes alone */
#define WEIR_REMOVED_DEATHS_MAX 1000000u     /* removed dead letters that are remembered */

/* Times. */
#define WEIR_LINGER_MS 1000 /* for what was sent, when a process ends */
#define WEIR_RECONNECT_MS 50
#define WEIR_RECONNECT_MAX_MS 1000
#define WEIR_CONNECT_TIMEOUT_MS 5000
#define WEIR_FLUSH_MS 50
#define WEIR_HEARTBEAT_MS 2000
#define WEIR_PEER_SILENCE_MS 10000 /* nothing is sent to a peer that was silent this long */
#define WEIR_LEASE_MS 30000
#define WEIR_LEASE_DURABLE_MS 1000 /* older leases are part of the state */
#define WEIR_PRODUCER_EXPIRE_MS (24 * 3600 * 1000)
#define WEIR_DRAIN_MS 30000
#define WEIR_LEAVE_MS 10000        /* then, until the last acks are confirmed */
#define WEIR_LOSS_GRACE_MS 250     /* an unreachable worker may be back on another connection */
#define WEIR_LOSS_DOUBT_MS 3000    /* the same, where it had a second way all the time */
#define WEIR_WAITING_AGAIN_MS 1000 /* WAITING is repeated to a peer that still got nothing */
#define WEIR_ALONE_WAIT_MS 5000    /* a worker is drained for a suspect at most this long … */
#define WEIR_ALONE_AGAIN_MS 20000  /* … and then left in peace this long */
#define WEIR_LEND_IDLE_MS 100      /* an upstream with credit that sends nothing has no work */
#define WEIR_ROUTE_MS 30000        /* a worker behind a router is forgotten after this silence */
#define WEIR_DYNAMIC_EXPIRE_MS (24 * 3600 * 1000) /* a dynamic group without a worker */
#define WEIR_TIMEOUT_GRACE_MS 10000 /* beyond an attempt's timeout, before the ventilator acts */
#define WEIR_RELEASE_WAIT_MS 100    /* for what is given back again and again: doubles up to … */
#define WEIR_RELEASE_WAIT_MAX_MS 15000
#define WEIR_COPYOUT_MS 1000
#define WEIR_HOUSEKEEPING_MS 10000
#define WEIR_RESCAN_REST_NS 250 /* after a rescan for keys, for each message it looked at */
#define WEIR_RATE_BURST_MS 100  /* of a group with a rate */
#define WEIR_PACE_MESSAGES 64u  /* once so many have left, those that come wait together … */
#define WEIR_PACE_BATCH_MS 10   /* … in a producer, this long since the first of them left … */
#define WEIR_PACE_DELIVERY_MS 8 /* … or in a group, which does not wait for a producer's pace … */
#define WEIR_PACE_BATCH_STEP_MS 2    /* … unless none comes for so long … */
#define WEIR_PACE_DELIVERY_STEP_MS 4 /* … or so long, in which there is a commit … */
#define WEIR_PACE_REST_MS 100        /* … after which none waits for this time */
#define WEIR_STUCK_RETRY_MS 100      /* when an offer was too small for the next message */
#define WEIR_DYING_RETRY_MS 1000     /* for a dead letter that was refused: doubles up to … */
#define WEIR_DYING_RETRY_MAX_MS 600000
#define WEIR_BUSY_RETRY_MS 1000    /* told to producers when the spool or a backlog is full */
#define WEIR_SUBMIT_REPEAT_MS 5000 /* a PUT is repeated after this silence, twice that, … */
#define WEIR_SUBMIT_REPEAT_MAX_MS 60000
#define WEIR_TIME_MS_MAX ((INT64_C(1) << 48) - 1) /* what a message id can hold */
#define WEIR_DURATION_MS_MAX (INT64_C(1) << 40)   /* on the wire; in ns it still fits 63 bits */

/* Circuit breaker: opens when so many of at least so many outcomes failed within its window. */
#define WEIR_BREAKER_FAILED_PERCENT 90u
#define WEIR_BREAKER_OUTCOMES_MIN 20u
#define WEIR_BREAKER_FIRST_MS 500  /* to the first probe; doubles with each that fails … */
#define WEIR_BREAKER_LAST_MS 10000 /* … up to this */

/* The topology file. */
#define WEIR_TOPOLOGY_BYTES_MAX (1u << 20)
#define WEIR_NODES_MAX 256u     /* of one topology */
#define WEIR_INSTANCES_MAX 256u /* of one node */
#define WEIR_PROCESSES_MAX 512u /* of one supervisor */
#define WEIR_WORDS_MAX 256u     /* of a handler's command; of a list; variables of an environment */
#define WEIR_PATH_BYTES_MAX 4095u
#define WEIR_IPC_PATH_BYTES_MAX 107u /* what the kernel takes */
#define WEIR_FINDINGS_MAX 1000u      /* errors and warnings told of one file */

#ifdef WEIR_LIMITS_SMALL /* only where the simulator shows that every bound is kept */
#include <limits_small.h>
#endif

_Static_assert(WEIR_MESSAGE_BYTES_MAX + WEIR_ORIGIN_BYTES_MAX + WEIR_BATCH_HEADER_BYTES_MAX <=
                   WEIR_BATCH_BYTES_MAX,
               "a message fits into a batch");
_Static_assert(WEIR_HISTORY_BYTES_MAX + WEIR_TOPIC_BYTES_MAX + WEIR_NAME_BYTES_MAX +
                       WEIR_IDEMPOTENCY_KEY_BYTES_MAX + 1024u <=
                   WEIR_ORIGIN_BYTES_MAX,
               "whatever was accepted can be made a dead letter");
_Static_assert(WEIR_READS_MAX *WEIR_READ_BYTES <= WEIR_READ_CACHE_BYTES_MAX,
               "no group pushes out what another is about to get, unless batches are larger");
_Static_assert(WEIR_FETCHING_MAX >= 4, "a key that waits gets its share of what is fetched");
_Static_assert(WEIR_PACE_DELIVERY_MS < WEIR_PACE_BATCH_MS,
               "what a producer spaced goes on at once");
_Static_assert(WEIR_LEASE_MS > 4 * WEIR_HEARTBEAT_MS, "a lease outlives lost heartbeats");
_Static_assert(2u * WEIR_LEASES_MAX * 48u <= WEIR_CONTROL_BYTES_MAX, "leases fit a control frame");
_Static_assert(WEIR_ACKS_MAX *(WEIR_ERROR_BYTES_MAX + 64u) <= WEIR_CONTROL_BYTES_MAX,
               "acks with errors fit a control frame");
_Static_assert(WEIR_BATCH_MESSAGES_MAX * 32u <= WEIR_CONTROL_BYTES_MAX,
               "an OK may call a whole batch duplicate");
_Static_assert(WEIR_HISTORY_ENTRIES_MAX *(WEIR_ERROR_BYTES_MAX + WEIR_WORKER_NAME_BYTES_MAX +
                                          64u) <= WEIR_HISTORY_BYTES_MAX,
               "a history fits its limit");
_Static_assert(WEIR_LOSS_GRACE_MS < WEIR_HEARTBEAT_MS, "a loss is known before the next heartbeat");
_Static_assert(WEIR_LOSS_DOUBT_MS > WEIR_HEARTBEAT_MS,
               "a living worker beats before it is given up");
_Static_assert(WEIR_ROUTE_MS > WEIR_PEER_SILENCE_MS, "a route outlives its worker's silence");

#endif
