#!/usr/bin/python3
"""The smallest whole worker for Weir, written from docs/protocol.md (the numbers are its sections): one
message at a time, handled in the loop itself, so handle() must end well within the lease (30 s).

    small_worker.py DISPATCH-ENDPOINT GROUP RESULTS-ENDPOINT"""
import hashlib, secrets, struct, sys, time
import msgpack, zmq

def handle(topic, payload):
    """The work. What it returns is the result; when it raises, the message comes again later."""
    return b"python saw " + payload

DISPATCH, GROUP, RESULTS = sys.argv[1:4]
server, sink = (zmq.Context.instance().socket(zmq.DEALER) for _ in range(2))
server.connect(DISPATCH), sink.connect(RESULTS)
WORKER, PRODUCER = secrets.randbits(63) + 1, secrets.token_bytes(16)
number, used, held, beaten = 0, [0, 0], [], 0.0

def say(socket, verb, *frames, **fields):  # 2
    socket.send_multipart([msgpack.packb([verb, fields]), *frames])

def hear(socket):
    """One message, or None after a while without; keeps session and lease alive (5.6)."""
    global beaten
    if time.monotonic() - beaten > 1.5:
        beaten = time.monotonic()
        say(server, "HEARTBEAT", serial=int(beaten * 1000), worker=WORKER, leases=held, running=held)
    if socket.poll(500):
        control, *frames = socket.recv_multipart()
        return (*msgpack.unpackb(control), frames) if control else None  # an empty one is a probe: 1.1

def credit():  # 5.3: room for one more message
    say(server, "CREDIT", group=GROUP, messages=used[0] + 1, bytes=used[1] + (1 << 20))

def hand_on(topic, result, origin, once):
    """Have the sink keep the result, once, however often it is told (4, 6). Returns its last word."""
    global number
    number += 1
    body = msgpack.packb([result, None, None, once, origin])  # 3
    header = msgpack.packb(dict(version=1, topic=topic, count=1, created=int(time.time() * 1000),
                                producer=PRODUCER, number=number, flags=2))
    index = struct.pack("<I", len(body)) + hashlib.sha256(once.encode()).digest()[:16]
    sent = -9.0
    while True:
        if time.monotonic() - sent > 2:  # at first, and again after silence or BUSY
            sent = time.monotonic()
            say(sink, "PUT", header, index, body, first=number)
        verb, fields, _ = hear(sink) or (None, {}, [])
        if fields.get("number") == number and (verb == "OK" or verb == "REFUSED" and
                                               fields["code"] not in ("order", "draining", "storage")):
            return verb, fields

def work(fields, header, index, body):  # 5.4
    first, _, sequence, time_ms, attempt, death, *_ = fields["slices"][0]
    topic, payload = msgpack.unpackb(header)["topic"], msgpack.unpackb(body)[0]
    used[0], used[1] = used[0] + 1, used[1] + len(index) + len(body)
    lease, id = [fields["incarnation"], fields["delivery"], first, 1], time_ms << 80 | (fields["incarnation"] & 0xFFFF) << 64 | sequence
    held[:], told, word = [lease], 0.0, None
    while fields.get("alone") and (not word or word[0] != "GO"):  # a suspect is begun only when told so
        if time.monotonic() - told > 2:
            told = time.monotonic()
            say(server, "BEGIN", leases=held, worker=WORKER)
        word = hear(server)
        if word and word[0] == "ERROR":
            return
    try:
        text = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[id >> 5 * i & 31] for i in range(25, -1, -1))  # 1.3
        verb, answer = hand_on(topic, handle(topic, payload), [id.to_bytes(16, "big"), topic, GROUP, death, attempt, 0, None], f"{text}/{GROUP}/{death}")
        outcome = [0, None, None] if verb == "OK" else [2, None, answer["text"]]  # done, reject
    except Exception as error:
        outcome = [1, None, repr(error)]  # retry
    say(server, "ACK", group=GROUP, acks=[[*lease, *outcome]])  # 5.5

while True:
    verb, fields, frames = hear(server) or (None, {}, [])
    if verb == "ERROR" and fields["code"] == "not-ready":  # 5.7: at first, and after each new connection
        say(server, "READY", version=1, role="worker", name="python", worker=WORKER, leases=held)
    elif verb == "WELCOME":  # a new session: credit begins at zero
        used[:] = [0, 0]
        credit()
    elif verb == "DELIVER":
        work(fields, *frames)
        held.clear()
        credit()
