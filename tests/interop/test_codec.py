#!/usr/bin/python3
"""Python's msgpack against Weir's codec, both ways. Usage: test_codec.py CODEC-PEER"""
import hashlib, json, struct, subprocess, sys, unittest
import msgpack

PEER = sys.argv.pop(1)
TEXTS = {"name", "role", "group", "code", "text", "durability", "state", "from", "action"}


def as_hex(value):
    return (value.encode() if isinstance(value, str) else value).hex()


def description(verb, fields):
    """A control frame as the peer describes it: bytes and texts in hex, acks with all their parts."""
    said = {"verb": verb}
    for key, value in fields.items():
        if key in TEXTS or isinstance(value, bytes):
            value = as_hex(value)
        elif key == "topics":
            value = [as_hex(topic) for topic in value]
        elif key == "duplicates":
            value = [[index, as_hex(original)] for index, original in value]
        elif key == "acks":
            value = [[*ack[:5], ack[5] if len(ack) > 5 and ack[5] is not None else -1,
                      as_hex(ack[6]) if len(ack) > 6 and ack[6] is not None else None] for ack in value]
        said[key] = value
    return said


def parts_of(body):
    return (msgpack.unpackb(body) + [None] * 5)[:5]


def batch_description(header, index, body):
    fields, offset, messages = msgpack.unpackb(header), 0, []
    flags = fields.get("flags", 0)
    width = 4 + 8 * (flags & 1) + 8 * (flags & 2)
    assert len(index) == width * fields["count"]
    for i in range(fields["count"]):
        entry = index[i * width:(i + 1) * width]
        length, = struct.unpack_from("<I", entry)
        payload, key, headers, once, origin = parts_of(body[offset:offset + length])
        offset += length
        if origin:
            history = [[*note[:3], as_hex(note[3]), as_hex(note[4])] for note in origin[6] or []]
            origin = [origin[0].hex(), *origin[1:6], history]
        key_hash = struct.unpack_from("<Q", entry, 4)[0] if flags & 1 else 0
        once_hash = entry[-16:] if flags & 2 and any(entry[-16:]) else None
        messages.append({
            "payload": as_hex(payload), "key": key and as_hex(key), "idempotency_key": once and as_hex(once),
            "headers": {name: as_hex(value) for name, value in (headers or {}).items()}, "origin": origin,
            "key_hash": key_hash, "idempotency_hash": once_hash and once_hash.hex()})
    assert offset == len(body)
    return {"topic": fields["topic"], "created": fields["created"], "number": fields["number"],
            "delay": fields.get("delay", 0), "ttl": fields.get("ttl", 0), "flags": flags,
            "producer": fields["producer"].hex(), "messages": messages}


def peer(*lines):
    """What the peer answers to each line."""
    run = subprocess.run([PEER, "read"], input="".join(f"{line}\n" for line in lines), capture_output=True, text=True,
                         check=True, timeout=60)
    return run.stdout.splitlines()


class FromC(unittest.TestCase):
    """What the C encoder writes, python's msgpack reads, and it means the same."""

    def setUp(self):
        run = subprocess.run([PEER, "emit"], capture_output=True, text=True, check=True, timeout=60)
        self.lines = [line.split(" ") for line in run.stdout.splitlines()]

    def test_control_frames(self):
        controls = [(words[1], json.loads(" ".join(words[2:]))) for words in self.lines if words[0] == "control"]
        self.assertGreaterEqual(len(controls), 50)
        for frame, meant in controls:
            verb, fields = msgpack.unpackb(bytes.fromhex(frame))
            self.assertEqual(description(verb, fields), meant)

    def test_batches(self):
        batches = [words for words in self.lines if words[0] == "batch"]
        self.assertEqual(len(batches), 2)
        for _, header, index, body, ok, *meant in batches:
            self.assertEqual(ok, "ok")
            frames = [bytes.fromhex(frame) for frame in (header, index, body)]
            self.assertEqual(batch_description(*frames), json.loads(" ".join(meant)))


class ToC(unittest.TestCase):
    """What python's msgpack writes, the C decoder reads, and it means the same."""

    def exchange(self, *frames):
        answers = peer(*[f"control {msgpack.packb(frame).hex()}" for frame in frames])
        self.assertEqual(len(answers), len(frames))
        return answers

    def test_control_frames(self):
        frames = [
            ["READY", {"version": 1, "role": "worker", "name": "pyth\u00f6n", "worker": 2**64 - 1,
                       "leases": [[2**64 - 1, 2**63, 0, 4096], [1, 2, 4095, 1]]}],
            ["CREDIT", {"group": "e-mail.1", "messages": 2**40, "bytes": 0}],
            ["ACK", {"group": "g", "acks": [[1, 2, 0, 1, 0], [1, 2, 1, 1, 1, 0], [1, 2, 2, 1, 2, None, "no \u20ac"],
                                            [1, 2, 3, 1, 1, 2**40, b"\xff\xfe"]]}],
            ["HEARTBEAT", {"serial": 0, "worker": 7, "leases": [], "running": []}],
            ["JOIN", {"group": "g", "topics": ["user.*", "a.>"], "from": "earliest"}],
            ["OK", {"number": 1, "first": 1, "count": 1, "tag": 65535, "time": 2**48 - 1, "durability": "never",
                    "duplicates": [[0, bytes(range(16))]]}],
            ["DELIVER", {"group": "g", "incarnation": 3, "delivery": 4, "lease_ms": 2**40, "ordered": True,
                         "alone": False, "slices": [[0, 1, 1, 0, 1, 0], [1, 4095, 2, 5, 2, 1]]}],
            ["BYE", {}],
        ]
        for frame, answer in zip(frames, self.exchange(*frames)):
            self.assertEqual(answer[:3], "ok ", answer)
            self.assertEqual(json.loads(answer[3:]), description(*frame))

    def test_unknown_fields_are_skipped(self):
        answer, = self.exchange(["WAITING", {"later": {"deep": [[[1.5, None]]]}, "group": "g", "ext": msgpack.ExtType(5, b"x")}])
        self.assertEqual(json.loads(answer[3:]), {"verb": "WAITING", "group": b"g".hex()})

    def test_refusals_name_what_is_wrong(self):
        wrong = {
            "does not know": ["HELLO", {}],
            '"group" is missing': ["WAITING", {}],
            '"messages" is not valid': ["CREDIT", {"group": "g", "messages": -1, "bytes": 1}],
            '"bytes" is not valid': ["CREDIT", {"group": "g", "messages": 1, "bytes": 1.0}],
            '"group" is not valid': ["WAITING", {"group": b"bin is no str"}],
            '"leases" is not valid': ["BEGIN", {"worker": 1, "leases": [[1, 2, 3]]}],
            "expected [verb": "READY",
        }
        for text, answer in zip(wrong, self.exchange(*wrong.values())):
            self.assertEqual(answer[:8], "refused ", answer)
            self.assertIn(text, answer)

    def test_batches(self):
        bodies = [msgpack.packb(["a str"]), msgpack.packb([b"\0", "key", {"h": "v", "r": b"\xff"}, "once"]),
                  msgpack.packb([b"", None, None, None,
                                 [bytes(16), "t", "g", 1, 2, 3, [[1, 2, 1, "w", b"\xff"]]], "later"])]
        key_hash, once_hash = (hashlib.sha256(text).digest() for text in (b"key", b"once"))
        index = b"".join([struct.pack("<I", len(bodies[0])) + bytes(24),
                          struct.pack("<I", len(bodies[1])) + key_hash[:8] + once_hash[:16],
                          struct.pack("<I", len(bodies[2])) + bytes(24)])
        fields = {"version": 1, "topic": "a.b", "count": 3, "created": 5, "producer": bytes(range(16)), "number": 2**64 - 1,
                  "flags": 3, "ttl": 1, "later": [1]}
        header, body = msgpack.packb(fields), b"".join(bodies)
        answer, = peer(f"batch {header.hex()} {index.hex()} {body.hex()}")
        self.assertEqual(answer[:3], "ok ", answer)
        said = json.loads(answer[3:])
        self.assertEqual(said, batch_description(header, index, body))
        self.assertEqual(said["messages"][1]["key_hash"], int.from_bytes(key_hash[:8], "little"))
        self.assertEqual(said["messages"][1]["idempotency_hash"], once_hash[:16].hex())
        self.assertEqual(said["messages"][2]["origin"], ["00" * 16, "t", "g", 1, 2, 3, [[1, 2, 1, "77", "ff"]]])

        answer, = peer(f"batch {header.hex()} {index[:-1].hex()} {body.hex()}")
        self.assertIn("refused index: 83 bytes, expected 3 entries of 28 bytes", answer)


if __name__ == "__main__":
    unittest.main()
