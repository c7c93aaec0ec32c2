#!/usr/bin/python3
# The smallest whole worker for Weir, written from docs/protocol.md alone (the numbers are its sections). It has one message at a
# time and handles it in the loop itself, so handle() must end well within the lease (30 s). To be started as
#     small_worker.py DISPATCH-ENDPOINT GROUP RESULTS-ENDPOINT
import hashlib, msgpack, secrets, struct, sys, time, types, zmq

def handle(topic, payload):  # gives the result; ValueError: this can never work; any other error: it comes again later
    return b"python saw " + payload

GROUP, WORKER, PRODUCER, now, NEVER = sys.argv[2], secrets.randbits(63) + 1, secrets.token_bytes(16), time.monotonic, float("-inf")
server, sink = (zmq.Context.instance().socket(zmq.DEALER) for _ in range(2))
server.connect(sys.argv[1]), sink.connect(sys.argv[3])
my = types.SimpleNamespace(session=False, held=[], acks=[], number=0, messages=0, bytes=0, every=2, ready=NEVER, beat=NEVER, heard=NEVER)

def say(socket, verb, *frames, **fields):  # 2
    socket.send_multipart([msgpack.packb([verb, fields]), *frames])

def hear():  # what comes next from either side, if it comes soon; keeps session, lease and credit alive
    if now() - my.heard > 10 and now() - my.ready > 1:  # 5.7: at first, after "not-ready", in silence
        my.session, my.ready = False, now()
        say(server, "READY", version=1, role="worker", name="python", worker=WORKER, leases=my.held)
    if my.session and now() - my.beat > my.every / 2:  # 5.6, and 5.3: room for one message in all
        my.beat = now()
        say(server, "HEARTBEAT", serial=int(my.beat * 1000), worker=WORKER, leases=my.held)
        say(server, "CREDIT", group=GROUP, messages=my.messages + (not my.held), bytes=my.bytes + (1 << 20))
    for socket in zmq.select([server, sink], [], [], my.every / 4)[0]:
        control, *frames = socket.recv_multipart()
        verb, fields = msgpack.unpackb(control) if control else ("", {})  # an empty one is a probe: 1.1
        my.heard = NEVER if fields.get("code") == "not-ready" else now()
        if verb == "WELCOME":  # 5.1: all use is zero again
            my.session, my.messages, my.bytes, my.every, my.beat = True, 0, 0, fields["heartbeat_ms"] / 1000, NEVER
            my.acks and say(server, "ACK", group=GROUP, acks=my.acks)  # 5.5: it may be lost with the old session
        return verb, fields, frames
    return "", {}, []

def ask(end, answers, *message, **fields):  # say it, and say it again, until `answers` takes what is heard
    while now() < end:
        say(*message, **fields)
        again = now() + 5
        while now() < min(again, end):
            verb, answer, _ = hear()
            if answers(verb, answer):
                return answer
            again = now() + answer.get("retry_ms", 1000) / 1000 if verb in ("BUSY", "REFUSED") else again  # 4.4: not now

def work(fields, header, index, body):  # 5.4: what an ACK is to say of this message: 5.5
    first, _, sequence, accepted, attempt, death, *_ = fields["slices"][0]
    lease, topic = [fields["incarnation"], fields["delivery"], first, 1], msgpack.unpackb(header)["topic"]
    (payload, _, headers, *_), id = msgpack.unpackb(body) + [None] * 2, accepted << 80 | (lease[0] & 0xFFFF) << 64 | sequence
    my.held, my.messages, my.bytes, my.number = [lease], my.messages + 1, my.bytes + len(index) + len(body), my.number + 1
    told = lambda verb, go: verb == "GO" and lease in go["leases"]
    if fields.get("alone") and not ask(now() + fields["lease_ms"] / 1000, told, server, "BEGIN", worker=WORKER, leases=[lease]):
        return [*lease, 3]  # a suspect starts only when told so: given back
    try:
        result = handle(topic, payload)
    except Exception as error:
        return [*lease, 2 if isinstance(error, ValueError) else 1, None, repr(error)]
    once = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[id >> 5 * i & 31] for i in range(25, -1, -1)) + f"/{GROUP}/{death}"  # 1.3, 6
    trace = {name: value for name, value in (headers or {}).items() if name in ("traceparent", "tracestate")}
    body = msgpack.packb([result, None, trace, once, [id.to_bytes(16, "big"), topic, GROUP, death, attempt, 0, None]])  # 3
    index = struct.pack("<I", len(body)) + hashlib.sha256(once.encode()).digest()[:16]
    header = dict(version=1, topic=topic, count=1, created=int(time.time() * 1000), producer=PRODUCER, number=my.number, flags=2)
    final = lambda _, it: it.get("number") == my.number and "retry_ms" not in it and it.get("code") not in ("order", "draining", "storage")
    kept = ask(float("inf"), final, sink, "PUT", msgpack.packb(header), index, body, first=my.number)  # 4
    return [*lease, 2, None, kept["text"]] if "text" in kept else [*lease, 0]

while True:
    verb, fields, frames = hear()
    if verb == "DELIVER":
        my.acks, my.held, my.beat = [work(fields, *frames)], [], NEVER
        say(server, "ACK", group=GROUP, acks=my.acks)
