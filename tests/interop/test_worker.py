#!/usr/bin/python3
"""The programs of examples/python-worker against a server and a sink that this test plays. Every frame that they send must also
pass Weir's own decoder. Usage: test_worker.py CODEC-PEER DIRECTORY-OF-THE-PROGRAMS"""
import hashlib, json, os, signal, struct, subprocess, sys, unittest
import msgpack, zmq

PEER, PROGRAMS = sys.argv.pop(1), sys.argv.pop(1)
PYTHON = "/usr/bin/python3"
INCARNATION, LIMIT_MS = 0x1122334455660007, 20000
ONE = [[INCARNATION, 5, 0, 1]]


class Port:
    """A ROUTER with one peer; what comes is held against the decoder."""

    def __init__(self, peer):
        self.socket, self.codec = zmq.Context.instance().socket(zmq.ROUTER), peer
        self.socket.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def check(self, *frames):
        self.codec.stdin.write(" ".join(frame.hex() if isinstance(frame, bytes) else frame for frame in frames) + "\n")
        self.codec.stdin.flush()
        answer = self.codec.stdout.readline()
        assert answer.startswith("ok "), answer
        return json.loads(answer[3:])

    def receive(self):
        assert self.socket.poll(LIMIT_MS), "the worker says nothing"
        self.id, control, *frames = self.socket.recv_multipart()
        self.check("control", control)
        verb, fields = msgpack.unpackb(control)
        return verb, fields, frames

    def expect(self, verb, **wanted):
        """The next frame of this verb with these values; others are passed over."""
        while True:
            said, fields, frames = self.receive()
            if said == verb and all(fields.get(key) == value for key, value in wanted.items()):
                return fields, frames

    def say(self, verb, *frames, **fields):
        self.socket.send_multipart([self.id, msgpack.packb([verb, fields]), *frames])


def batch(payload):
    """The frames of a slice of one keyed message, cut from a batch of two."""
    body = msgpack.packb([payload, "user-2", {"traceparent": "00-ab-cd-01", "other": "x"}])
    header = msgpack.packb(dict(version=1, topic="user.signed_up", count=2, created=1, producer=bytes(16), number=1, flags=1))
    return header, struct.pack("<I", len(body)) + hashlib.sha256(b"user-2").digest()[:8], body


class Worker:
    """What the protocol asks of any worker."""

    def setUp(self):
        self.codec = subprocess.Popen([PEER, "read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.server, self.sink = Port(self.codec), Port(self.codec)
        self.worker = None

    def tearDown(self):
        if self.worker and self.worker.poll() is None:
            self.worker.kill()
        if self.worker:
            self.worker.wait()
        self.codec.communicate()
        self.server.socket.close()
        self.sink.socket.close()

    def start(self, results=True):
        self.worker = subprocess.Popen([PYTHON, os.path.join(PROGRAMS, self.program), self.server.endpoint, "email"] + [self.sink.endpoint] * results)
        ready, _ = self.server.expect("READY", role="worker", version=1)
        self.assertGreater(ready["worker"], 0)
        self.number = ready["worker"]
        self.welcome()

    def welcome(self, messages=1):
        self.server.say("WELCOME", version=1, heartbeat_ms=100, role="router", name="hub")
        self.server.expect("CREDIT", group="email", messages=messages)

    def deliver(self, payload=b"work", **fields):
        self.server.say("DELIVER", *batch(payload), group="email", incarnation=INCARNATION, delivery=5, lease_ms=30000,
                        slices=[[0, 1, 1001, 1700000000123, 2, 1]], **fields)

    def put(self, number):
        fields, frames = self.sink.expect("PUT")
        said = self.sink.check("batch", *frames)
        self.assertEqual(said["number"], number)
        self.assertLessEqual(fields["first"], number)
        return said

    def ok(self, number):
        self.sink.say("OK", number=number, first=number, count=1, tag=3, time=1, durability="always")

    def acked(self, *wanted):
        fields, _ = self.server.expect("ACK", group="email")
        self.assertEqual(fields["acks"][0][:5], [INCARNATION, 5, 0, 1, wanted[0]])
        return fields["acks"][0]

    def test_a_result_is_at_the_sink_before_the_ack(self):
        self.start()
        self.deliver()
        said = self.put(1)
        message, = said["messages"]
        self.assertEqual(bytes.fromhex(message["payload"]), b"python saw work")
        self.assertEqual(message["headers"], {"traceparent": b"00-ab-cd-01".hex()})
        number = 1700000000123 << 80 | 7 << 64 | 1001
        self.assertEqual(message["origin"], [number.to_bytes(16, "big").hex(), "user.signed_up", "email", 1, 2, 0, []])
        once = bytes.fromhex(message["idempotency_key"])
        self.assertRegex(once.decode(), r"^[0-9A-Z]{26}/email/1$")
        self.assertEqual(message["idempotency_hash"], hashlib.sha256(once).digest()[:16].hex())
        self.assertEqual(self.server.expect("HEARTBEAT", leases=ONE)[0]["worker"], self.number)
        self.ok(1)
        self.acked(0)
        self.server.expect("CREDIT", messages=2)

    def test_a_busy_sink_gets_the_same_batch_again(self):
        self.start()
        self.deliver()
        first = self.put(1)
        self.sink.say("BUSY", number=1, retry_ms=1)
        self.assertEqual(self.put(1), first)
        self.sink.say("REFUSED", number=1, code="order", text="later", first=1)
        self.assertEqual(self.put(1), first)
        self.ok(1)
        self.acked(0)

    def test_a_refused_result_rejects_the_message(self):
        self.start()
        self.deliver()
        self.put(1)
        self.sink.say("REFUSED", number=1, code="limit", text="too large")
        self.assertEqual(self.acked(2)[6], "too large")

    def test_a_handler_that_raises_asks_for_a_retry(self):
        self.start()
        self.deliver(payload="a str, which handle() cannot add to bytes")
        self.assertIn("TypeError", self.acked(1)[6])

    def test_a_suspect_is_not_started_before_go(self):
        self.start()
        self.deliver(alone=True)
        self.server.expect("BEGIN", leases=ONE, worker=self.number)
        self.server.say("GO", leases=[[INCARNATION, 4, 0, 1]], worker=self.number)  # late, for the one before
        for _ in range(3):
            beat, _ = self.server.expect("HEARTBEAT", leases=ONE)
            self.assertEqual(beat.get("running", []), [])
            self.server.say("HEARTBEAT", serial=beat["serial"], worker=self.number, incarnation=INCARNATION, leases=ONE)
        self.assertFalse(self.sink.socket.poll(0))
        self.server.say("GO", leases=ONE, worker=self.number)
        self.put(1)
        self.ok(1)
        self.acked(0)

    def test_a_server_that_forgot_it_is_told_again(self):
        self.start()
        self.deliver()
        self.put(1)
        self.server.expect("HEARTBEAT", leases=ONE)
        while True:
            verb, fields, _ = self.server.receive()
            if verb == "READY":
                break
            self.server.say("ERROR", code="not-ready", text="say READY first")
        self.assertEqual(fields["leases"], ONE)
        self.assertEqual(fields["worker"], self.number)
        signs = 0  # credit of the old session must not reach the new one
        while signs < 2:
            verb, _, _ = self.server.receive()
            self.assertNotEqual(verb, "CREDIT")
            signs += verb == "HEARTBEAT" or 2 * (verb == "READY")
        self.welcome(messages=0)
        self.ok(1)
        self.acked(0)
        self.server.expect("CREDIT", messages=1)


class SmallWorker(Worker, unittest.TestCase):
    program = "small_worker.py"

    def test_it_is_small(self):
        with open(os.path.join(PROGRAMS, self.program)) as file:
            code = [line for line in file if line.strip() and not line.lstrip().startswith("#")]
        self.assertLessEqual(len(code), 60)


class WholeWorker(Worker, unittest.TestCase):
    program = "worker.py"

    def test_without_a_sink_done_is_said_at_once(self):
        self.start(results=False)
        self.deliver()
        self.acked(0)

    def test_what_an_echo_does_not_name_is_lost(self):
        self.start(results=False)
        self.deliver(alone=True)
        # Not yet lost: the echo of another stream, and one that only says that the server is there.
        beat, _ = self.server.expect("HEARTBEAT", leases=ONE)
        self.server.say("HEARTBEAT", serial=beat["serial"], worker=self.number, incarnation=INCARNATION ^ 1)
        self.server.say("HEARTBEAT", serial=beat["serial"], worker=self.number)
        beat, _ = self.server.expect("HEARTBEAT", leases=ONE)
        beat, _ = self.server.expect("HEARTBEAT", leases=ONE)
        self.server.say("HEARTBEAT", serial=beat["serial"], worker=self.number, incarnation=INCARNATION)
        self.server.expect("HEARTBEAT", leases=[])
        self.server.expect("CREDIT", messages=2)

    def test_it_says_bye(self):
        self.start()
        self.worker.send_signal(signal.SIGTERM)
        self.server.expect("BYE")
        self.assertEqual(self.worker.wait(timeout=20), 0)


class Producer(unittest.TestCase):
    def test_lines_become_messages_and_ids(self):
        codec = subprocess.Popen([PEER, "read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holder = Port(codec)
        run = subprocess.Popen([PYTHON, os.path.join(PROGRAMS, "producer.py"), holder.endpoint, "a.b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        run.stdin.write("one\ntwo\n")
        run.stdin.close()
        for number, payload in enumerate((b"one", b"two"), 1):
            _, frames = holder.expect("PUT", first=number)
            said = holder.check("batch", *frames)
            self.assertEqual((said["number"], said["topic"], said["flags"]), (number, "a.b", 0))
            self.assertEqual(bytes.fromhex(said["messages"][0]["payload"]), payload)
            holder.say("OK", number=number, first=31 + number, count=1, tag=1, time=1, durability="always")
        self.assertEqual(run.stdout.read(), "0000000001000G000000000010\n0000000001000G000000000011\n")
        self.assertEqual(run.wait(timeout=20), 0)
        run.stdout.close()
        codec.communicate()
        holder.socket.close()


if __name__ == "__main__":
    unittest.main()
