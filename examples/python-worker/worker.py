#!/usr/bin/python3
"""A worker for Weir, written from docs/protocol.md alone (the numbers are its sections).

    worker.py DISPATCH-ENDPOINT GROUP [RESULTS-ENDPOINT]

It holds one message at a time. Needs python3-zmq and python3-msgpack; change handle() and it is yours."""
import concurrent.futures as futures, secrets, signal, sys, time
from types import SimpleNamespace
import msgpack, zmq
from producer import Producer, id_text

def handle(topic, payload, key, headers):
    """The work. What it returns is the result; when it raises, the message comes again later."""
    return b"python saw " + payload

GROUP, WORKER, now = sys.argv[2], secrets.randbits(63) + 1, time.monotonic
server = zmq.Context.instance().socket(zmq.DEALER)
my = SimpleNamespace(job=None, running=False, session=False, messages=0, bytes=0, every=2, beat=0, ready=0, heard=now())

def say(verb, **fields):  # 2
    server.send(msgpack.packb([verb, fields]))

def ready():  # 5.1: begin a session, and say what is held
    my.session, my.ready = False, now()
    my.heard = my.ready
    say("READY", version=1, role="worker", name="python", worker=WORKER, leases=[my.job.lease] if my.job else [])

def beat():  # 5.6: the serial is the time in ms, so the echo says by itself when the beat was sent
    my.beat, leases = now(), [my.job.lease] if my.job else []
    say("HEARTBEAT", serial=int(my.beat * 1000), worker=WORKER, leases=leases, running=leases if my.running else [])
    if my.job and not my.job.go:
        say("BEGIN", worker=WORKER, leases=leases)  # 5.4
    credit()

def credit():
    if my.session:  # what is left of an old session's credit must not count in the next
        say("CREDIT", group=GROUP, messages=my.messages + (not my.job), bytes=my.bytes + (1 << 20))  # 5.3: one more

def deliver(fields, header, index, body):  # 5.4
    first, _, sequence, time_ms, attempt, death, *_ = fields["slices"][0]
    payload, key, headers, *_ = msgpack.unpackb(body) + [None] * 2
    my.messages, my.bytes, incarnation = my.messages + 1, my.bytes + len(index) + len(body), fields["incarnation"]
    my.job = SimpleNamespace(
        lease=[incarnation, fields["delivery"], first, 1], id=time_ms << 80 | (incarnation & 0xFFFF) << 64 | sequence,
        attempt=attempt, death=death, spool=fields.get("uuid"), since=now(),
        lasts=fields["lease_ms"] / 1000, until=now() + fields["lease_ms"] / 1000,
        go=not fields.get("alone"), work=(msgpack.unpackb(header)["topic"], payload, key, headers or {}))
    if not my.job.go:
        beat()

def pump(ms=0):
    """Take what has come, waiting at most so long, and keep the session and the lease alive."""
    while server.poll(min(ms, my.every * 1000)):
        control, *frames = server.recv_multipart()
        if not control:  # a probe: 1.1
            continue
        (verb, fields), my.heard, job, ms = msgpack.unpackb(control), now(), my.job, 0
        if verb == "WELCOME":  # credit begins at zero
            my.session, my.messages, my.bytes, my.every = True, 0, 0, fields["heartbeat_ms"] / 1000
            beat()
        elif verb == "DELIVER":
            deliver(fields, *frames)
        elif verb == "GO" and job:
            job.go = job.go or job.lease in fields["leases"]
        elif verb == "HEARTBEAT" and job and job.since < fields["serial"] / 1000 and \
                fields.get("incarnation", ~job.lease[0]) & 0xFFFF == job.lease[0] & 0xFFFF:
            job.until = fields["serial"] / 1000 + job.lasts if job.lease in fields.get("leases", []) else 0
        elif verb == "ERROR" and fields["code"] == "not-ready" and now() - my.ready > 1:  # 5.7
            ready()
    if now() - my.heard > 10:
        ready()
    elif now() - my.beat >= my.every:
        beat()

def outcome(job, pool, results):  # 5.5: 0 done, 1 retry, 2 reject
    my.running, running = True, pool.submit(handle, *job.work)
    while not futures.wait([running], 0.1).done:  # on a thread apart, so that the beats go on
        pump()
    my.running = False
    if running.exception():
        return 1, None, repr(running.exception())
    if results and running.result() is not None:  # 6
        trace = {name: value for name, value in job.work[3].items() if name in ("traceparent", "tracestate")}
        verb, fields = results.send(
            job.work[0], running.result(), trace, once=f"{id_text(job.id)}/{GROUP}/{job.death}", idle=pump,
            spool=job.spool, origin=[job.id.to_bytes(16, "big"), job.work[0], GROUP, job.death, job.attempt, 0, None])
        return (0,) if verb == "OK" else (2, None, fields["text"])
    return (0,)

def main():
    server.linger = 1000
    server.connect(sys.argv[1])
    results = Producer(sys.argv[3]) if len(sys.argv) > 3 else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready()
    try:
        with futures.ThreadPoolExecutor(1) as pool:
            while True:
                pump(500)
                if my.job and now() >= my.job.until:
                    my.job = None  # its lease ended before it was started
                elif my.job and my.job.go:
                    say("ACK", group=GROUP, acks=[[*my.job.lease, *outcome(my.job, pool, results)]])
                    my.job = None
                    credit()
    finally:
        say("BYE")

main()
