#!/usr/bin/python3
"""A producer for Weir, written from docs/protocol.md alone (the numbers are its sections). As a program:

    producer.py SUBMIT-ENDPOINT TOPIC < LINES        sends each line as a message and prints its id"""
import hashlib, secrets, struct, sys, time
import msgpack, zmq

def id_text(number):  # 1.3
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number >> 5 * i & 31] for i in range(25, -1, -1))

class Producer:
    def __init__(self, endpoint):
        self.id, self.number = secrets.token_bytes(16), 0  # 4.1
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 1000
        self.socket.connect(endpoint)

    def send(self, topic, payload, headers=None, once=None, origin=None, spool=None, idle=lambda: None):
        """Send one message and wait for what becomes of it: (verb, fields) of OK, or of REFUSED for good.
        `idle` is called every now and then."""
        self.number += 1
        body = msgpack.packb([payload, None, headers or None, once, origin])  # 3
        index = struct.pack("<I", len(body)) + (hashlib.sha256(once.encode()).digest()[:16] if once else b"")
        header = msgpack.packb(dict(version=1, topic=topic, count=1, created=int(time.time() * 1000), producer=self.id,
                                    number=self.number, flags=2 if once else 0, **({"spool": spool} if spool else {})))
        again = 0
        while True:
            if time.monotonic() >= again:  # 4.5: at first, and again after silence
                self.socket.send_multipart([msgpack.packb(["PUT", {"first": self.number}]), header, index, body])
                again = time.monotonic() + 5
            idle()
            if not self.socket.poll(100):
                continue
            control = self.socket.recv()
            if not control:  # a probe: 1.1
                continue
            verb, fields = msgpack.unpackb(control)
            for_now = fields.get("code") in ("order", "draining", "storage") and fields.get("first", 0) <= self.number
            if verb == "BUSY" or for_now:  # 4.4
                again = time.monotonic() + fields.get("retry_ms", 1000) / 1000
            elif fields.get("number") == self.number:
                return verb, fields

if __name__ == "__main__":
    producer = Producer(sys.argv[1])
    for line in sys.stdin.buffer:
        verb, fields = producer.send(sys.argv[2], line.rstrip(b"\n"))
        if verb != "OK":
            sys.exit(f"producer.py: refused: {fields['text']}")
        print(id_text(fields["time"] << 80 | fields["tag"] << 64 | fields["first"]), flush=True)
