"""Every role is killed, one after another, while work is done: nothing is missing, nothing is twice."""

import hashlib
import os

import harness
from harness import Topology, nodes, wait_for

LINES = [f"line {i}" for i in range(int(os.environ.get("WEIR_STORM", "400")))]


class Storm(harness.unittest.TestCase):
    def test_each_role_killed(self):
        topology = Topology(nodes("      hash: { topics: [line.>], attempts: 5 }",
                                  "  hasher: { role: worker, from: [hub], group: hash, to: results, "
                                  "run: [./hash.sh], count: 2, concurrency: 2, prefetch: 16 }"),
                            {"hash.sh": "#!/bin/sh\nsleep 0.01\nhead -c 100 | sha256sum\n"})
        with topology as t:
            ids = t.send("line.in", LINES)
            for node in ("hub", "hasher", "results", "dlq", "intake", "hasher", "hub"):
                before = len(t.results())
                t.kill(node)
                wait_for(f"work to go on after {node} was killed",
                         lambda: len(t.results()) > before or len(t.results()) == len(LINES))
            wait_for("everything to be done", lambda: len({row["id"] for row in t.results()} ) == len(LINES), 120)
            rows = t.results()
            self.assertEqual(len(rows), len(LINES), "a result is there twice")
            wanted = {id: hashlib.sha256(line.encode()).hexdigest() for id, line in zip(ids, LINES)}
            self.assertEqual({row["id"]: row["result"].split()[0] for row in rows}, wanted)
            self.assertEqual(t.dead(), [])


harness.main()
