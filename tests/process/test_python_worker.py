"""The workers in examples/, written in Python from docs/protocol.md alone, take part in the shipped topology
`signup`: each serves the group slack, through the router, beside the workers in C."""

import os
import re
import subprocess

import harness
from harness import Topology, wait_for
from test_idle import ROOT, signup

WORKERS = os.path.join(ROOT, "examples", "python-worker")
WORK = '    return b"python saw " + payload\n'
# User 1's event fails once, user 2's can never work, user 3's is held until the router was lost under it.
TROUBLE = '''    import os
    if b"user1@" in payload and not os.path.exists("tried"):
        open("tried", "w").close()
        raise RuntimeError("not today")
    if b"user2@" in payload:
        raise ValueError("no such user")
    while b"user3@" in payload and not os.path.exists("router-lost"):
        open("held", "w").close()
        time.sleep(0.02)
'''


class PythonWorker(harness.unittest.TestCase):
    def test_worker(self):
        with Topology(self.without_slack()) as t:
            self.take_part(t, os.path.join(WORKERS, "worker.py"))

    def test_small_worker(self):
        with open(os.path.join(WORKERS, "small_worker.py")) as file:
            source = file.read()
        self.assertEqual(source.count(WORK), 1)
        with Topology(self.without_slack(), {"worker.py": source.replace(WORK, TROUBLE + WORK)}) as t:
            self.take_part(t, "./worker.py", trouble=True)

    def without_slack(self):
        return re.sub(r"^  slack: \{.*\n", "", signup(), flags=re.M)

    def take_part(self, t, program, trouble=False):
        with open(os.path.join(ROOT, "topologies", "signup", "events.jsonl")) as file:
            events = file.read().splitlines()[:40]
        rejected = [1] if trouble else []
        worker = subprocess.Popen([program, f"ipc://{t.dir}/7402", "slack", f"ipc://{t.dir}/7403"], cwd=t.dir)
        try:
            ids = t.send("user.signed_up", events)
            if trouble:
                wait_for("a message to be held", lambda: os.path.exists(os.path.join(t.dir, "held")))
                t.kill("hub")
                t.write("router-lost", "")
            wait_for("all groups to have reacted", lambda: len(t.results()) == 4 * len(events) - len(rejected), 90)
            wait_for("status to say so", lambda: all(
                t.state(id, "slack") == ("dead" if i in rejected else "done") for i, id in enumerate(ids)))
        finally:
            worker.terminate()
            worker.wait()
        slack = [row for row in t.results() if row["group"] == "slack"]
        self.assertEqual({row["id"]: row["result"] for row in slack},
                         {id: f"python saw {event}" for i, (id, event) in enumerate(zip(ids, events)) if i not in rejected})
        # The failure was an attempt, the loss of the router was none.
        self.assertEqual({row["id"] for row in slack if row["attempt"] != 1}, {ids[0]} if trouble else set())
        for group in ("email", "fraud", "crm"):
            self.assertEqual({row["id"] for row in t.results() if row["group"] == group}, set(ids))
        self.assertEqual([(row["id"], row["group"], row["reason"]) for row in t.dead()],
                         [(ids[i], "slack", "rejected") for i in rejected])


if __name__ == "__main__":
    harness.main()
