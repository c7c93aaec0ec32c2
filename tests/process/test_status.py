"""`weir status` tells the truth in each state; `weir dlq replay` after mending a handler brings every dead
letter of the group to done, under its old id, in no other group."""

import os

import harness
from harness import Topology, nodes, wait_for

HANDLER = """#!/bin/sh
line=$(cat)
case $line in
hold) read -r _ < gate; echo held ;;
fail) echo "not today" >&2; exit 75 ;;
bad) [ -e mended ] || { echo "cannot be read" >&2; exit 65; }; echo mended ;;
*) echo "did $line" ;;
esac
"""


class Status(harness.unittest.TestCase):
    def test_states_and_replay(self):
        groups = ("      main: { topics: [job], attempts: 2, timeout: 5m, backoff: { first: 1h, factor: 1, max: 1h } }\n"
                  "      other: { topics: [job] }\n      idle: { topics: [job], external: true }")
        topology = Topology(nodes(groups, "  main: { role: worker, from: [hub], group: main, to: results, run: [./handler.sh], concurrency: 2 }\n"
                                          "  other: { role: worker, from: [hub], group: other, to: results, run: [cat] }"),
                            {"handler.sh": HANDLER})
        os.mkfifo(os.path.join(topology.dir, "gate"))
        with topology as t:
            hold, fail, fine, bad, bad2 = t.send("job", ["hold", "fail", "fine", "bad", "bad"], "--key", "k1")
            wait_for("all states", lambda: [t.state(id, "main") for id in (hold, fail, fine, bad, bad2)]
                     == ["in-flight", "deferred", "done", "dead", "dead"])
            answer = t.status(fail)
            self.assertEqual((answer["id"], answer["topic"]), (fail, "job"))
            self.assertEqual(answer["groups"]["main"]["attempt"], 1)
            self.assertEqual(answer["groups"]["idle"]["state"], "waiting")
            wait_for("the other group", lambda: t.state(bad, "other") == "done")
            with open(os.path.join(t.dir, "gate"), "w") as gate:
                gate.write("go\n")
            wait_for("the held one", lambda: t.state(hold, "main") == "done")
            # an unknown id is told so, plainly
            unknown = t.weir("status", "0" * 26, check=False)
            self.assertNotEqual(unknown.returncode, 0)
            (nobodys,) = t.send("nobody.takes", ["x"])
            self.assertIn("No group has it: none takes its topic.", t.weir("status", nobodys).stdout)

            wait_for("both dead letters at the collector", lambda: len(t.dead()) == 2)
            self.assertEqual({(row["id"], row["group"], row["reason"]) for row in t.dead()},
                             {(bad, "main", "rejected"), (bad2, "main", "rejected")})
            before = len([row for row in t.results() if row["group"] == "other"])
            t.write("mended", "")
            t.weir("dlq", "replay", "--group", "main")
            wait_for("the replayed ones", lambda: t.state(bad, "main") == t.state(bad2, "main") == "done")
            self.assertEqual(t.dead(), [])
            self.assertEqual(sorted(row["id"] for row in t.results() if row["result"] == "mended\n"), sorted([bad, bad2]))
            self.assertEqual(len([row for row in t.results() if row["group"] == "other"]), before)


harness.main()
