"""Bytes that nobody should send, on every socket of every node: each is answered or dropped, counted, and
the nodes go on with their work."""

import os
import random

import harness
import msgpack
import zmq
from harness import Topology, nodes, wait_for


def garbage(dice):
    verbs = ["PUT", "READY", "CREDIT", "ACK", "HEARTBEAT", "LOST", "BYE", "DELIVER", "JOIN", "BEGIN", "STATS", "NOSUCH"]
    frames = [bytes(dice.randrange(256) for _ in range(dice.randrange(40))) for _ in range(dice.randrange(1, 5))]
    kind = dice.randrange(4)
    if kind == 0:
        frames[0] = msgpack.packb([dice.choice(verbs), {}])
    elif kind == 1:
        frames[0] = msgpack.packb([dice.choice(verbs), {"group": "work", "messages": 2**63, "bytes": -1, "number": "x",
                                                        "leases": [[1, 2, 2**32 - 1, 2**32 - 1]] * 3}])
    elif kind == 2:
        frames[0] = b"\xdd\xff\xff\xff\xff" + frames[0]
    return frames


class Garbage(harness.unittest.TestCase):
    def test_nodes_go_on(self):
        topology = Topology(nodes("      work: { topics: [work] }",
                                  "  worker: { role: worker, from: [hub], group: work, to: results, run: [cat] }"))
        with topology as t:
            before = {row["node"]: row["pid"] for row in t.ps()}
            context = zmq.Context()
            dice = random.Random(1)
            for name in ("submit", "dispatch", "hub", "results", "dlq"):
                socket = context.socket(zmq.DEALER)
                socket.linger = 1000
                socket.connect(f"ipc://{t.dir}/{name}")
                for _ in range(300):
                    socket.send_multipart(garbage(dice))
                # an answer names what was wrong
                socket.send_multipart([msgpack.packb(["NOSUCH", {}])])
                self.assertTrue(socket.poll(10000 * harness.SLOW), f"{name} answers nothing")
                verb, fields = msgpack.unpackb(socket.recv_multipart()[0])
                self.assertIn(verb, ("ERROR", "REFUSED"))
                self.assertTrue(fields["text"])
                socket.close()
            context.term()
            ids = t.send("work", ["still here"])
            wait_for("work to be done", lambda: [row["id"] for row in t.results()] == ids)
            self.assertEqual({row["node"]: row["pid"] for row in t.ps()}, before)
            self.assertTrue(all(row["restarts"] == 0 for row in t.ps()))


harness.main()
