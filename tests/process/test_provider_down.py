"""A provider is down while messages wait: no dead letters from it, and all is done soon after it returns."""

import os
import time

import harness
from harness import Topology, nodes, wait_for

DOWN_S = float(os.environ.get("WEIR_DOWN_S", "3"))
COUNT = int(os.environ.get("WEIR_DOWN_COUNT", "300"))
HANDLER = """#!/usr/bin/python3
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    up = os.path.exists("provider-is-up")
    print(json.dumps({"id": message["id"], "outcome": "done" if up else "unavailable", "result": message["payload"]}), flush=True)
"""


class ProviderDown(harness.unittest.TestCase):
    def test_backlog_and_no_dead_letters(self):
        topology = Topology(nodes("      mail: { topics: [mail], attempts: 3 }",
                                  "  mail: { role: worker, from: [hub], group: mail, to: results, "
                                  "serve: [./mail.py], count: 2, prefetch: 64 }"), {"mail.py": HANDLER})
        with topology as t:
            ids = t.send("mail", [f"letter {i}" for i in range(COUNT)])
            time.sleep(DOWN_S)  # the provider is down for so long: this is the scenario, not a wait
            self.assertEqual(t.results(), [])
            group = t.group("mail")
            self.assertEqual(group["waiting"] + group["deferred"] + group["in-flight"], COUNT, group)
            back = time.monotonic()
            t.write("provider-is-up", "")
            wait_for("everything to be done", lambda: len(t.results()) == COUNT, 120)
            print(f"{COUNT} messages done {time.monotonic() - back:.1f} s after the provider came back")
            self.assertEqual({row["id"]: row["result"] for row in t.results()},
                             {id: f"letter {i}" for i, id in enumerate(ids)})
            self.assertEqual(t.dead(), [])


harness.main()
