"""The workers in examples/, written in Python from docs/protocol.md alone, take part in the shipped topology
`signup`: each serves the group slack, through the router, beside the workers in C."""

import os
import re
import subprocess

import harness
from harness import Topology, wait_for
from test_idle import ROOT, signup

WORKERS = os.path.join(ROOT, "examples", "python-worker")


class PythonWorker(harness.unittest.TestCase):
    def test_worker(self):
        self.take_part_in_signup("worker.py")

    def test_small_worker(self):
        self.take_part_in_signup("small_worker.py")

    def take_part_in_signup(self, program):
        text = re.sub(r"^  slack: \{.*\n", "", signup(), flags=re.M)
        with open(os.path.join(ROOT, "topologies", "signup", "events.jsonl")) as file:
            events = file.read().splitlines()[:40]
        with Topology(text) as t:
            worker = subprocess.Popen([os.path.join(WORKERS, program), f"ipc://{t.dir}/7402", "slack", f"ipc://{t.dir}/7403"], cwd=t.dir)
            try:
                ids = t.send("user.signed_up", events)
                wait_for("all groups to have reacted", lambda: len(t.results()) == 4 * len(events))
            finally:
                worker.terminate()
                worker.wait()
            self.assertEqual({row["id"]: row["result"] for row in t.results() if row["group"] == "slack"},
                             {id: f"python saw {event}" for id, event in zip(ids, events)})
            for group in ("email", "fraud", "crm"):
                self.assertEqual({row["id"] for row in t.results() if row["group"] == group}, set(ids))
            wait_for("status to say so", lambda: all(t.state(id, "slack") == "done" for id in ids))
            self.assertEqual(t.dead(), [])


if __name__ == "__main__":
    harness.main()
