"""A handler that kills its own worker process for one message: that message becomes a dead letter with
its history, and everything else is done."""

import json

import harness
from harness import Topology, nodes, wait_for

HANDLER = """#!/bin/sh
line=$(cat)
[ "$line" = poison ] && kill -9 $PPID
echo "did $line"
"""


class Poison(harness.unittest.TestCase):
    def test_poison(self):
        topology = Topology(nodes("      work: { topics: [work], attempts: 3 }",
                                  "  worker: { role: worker, from: [hub], group: work, to: results, "
                                  "run: [./handler.sh], count: 2, concurrency: 2, prefetch: 8 }"),
                            {"handler.sh": HANDLER})
        with topology as t:
            lines = [f"line {i}" for i in range(30)] + ["poison"] + [f"line {i}" for i in range(30, 60)]
            ids = t.send("work", lines)
            poison = ids[lines.index("poison")]
            wait_for("the poison to be dead", lambda: t.dead(), 120)
            wait_for("the others to be done", lambda: len(t.results()) == len(lines) - 1, 60)
            self.assertEqual({row["id"]: row["result"] for row in t.results()},
                             {id: f"did {line}\n" for id, line in zip(ids, lines) if line != "poison"})
            dead = t.dead()
            self.assertEqual([(row["id"], row["group"], row["reason"]) for row in dead], [(poison, "work", "attempts")])
            letter = json.loads(t.weir("dlq", "show", poison, "--json").stdout)
            self.assertEqual(letter["payload"], "poison")
            self.assertEqual(letter["attempts"], 3)
            lost = [note for note in letter["history"] if note["outcome"] == "lost"]
            self.assertEqual(len(lost), 3, letter["history"])


harness.main()
