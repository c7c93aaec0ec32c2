"""Rolling restarts: every process gets SIGTERM in turn, under load, as in an update. Each drains, ends well and is started again;
nothing is missing, nothing is handled again, and no message has an attempt more because of it."""

import os
import signal

import harness
import verifier
from harness import SLOW, Topology, nodes, wait_for
from verifier import Account, Sender

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = f"""role: worker, from: [hub, side], group: GROUP, to: results, count: 2, prefetch: 64, \
serve: [/usr/bin/python3, {HERE}/numbered_handler.py, DIR/handled.GROUP]"""


class Rolling(harness.unittest.TestCase):
    def test_every_role_in_turn(self):
        group = "attempts: 10, backoff: { first: 10ms, max: 200ms }"
        topology = Topology(
            nodes(f"      plain: {{ topics: [storm.number], {group} }}\n      keyed: {{ topics: ['storm.*'], order: key, {group} }}",
                  "".join(f"  {name}: {{ {WORKER.replace('GROUP', name)} }}\n" for name in ("plain", "keyed")),
                  '  side: { role: router, from: [intake], dispatch: "ipc://DIR/side" }\n'))
        with topology as t:
            sender = Sender(t.dir, f"ipc://{t.dir}/submit", rate=400 / SLOW, seconds=3600)
            self.addCleanup(sender.end)
            account = Account([sender], ("plain", "keyed"), os.path.join(t.dir, "var/test/results.jsonl"),
                              os.path.join(t.dir, "var/test/dlq.db"), lambda group: os.path.join(t.dir, f"handled.{group}"),
                              ordered=("keyed",))
            wait_for("work to begin", lambda: account.ended() > 0)
            for process in t.processes():
                before = account.ended()
                self.assertTrue(process.signal(signal.SIGTERM))
                wait_for(f"{process.node} to end well and be started again", lambda: any(
                    row.node == process.node and row.instance == process.instance and row.pid != process.pid
                    for row in t.processes()))
                wait_for(f"work to go on after {process.node} was started again", lambda: account.ended() > before + 100)
            sender.stop()
            account.wait_until_all_ended()
            t.down()
            summary = account.account()
            verifier.print_summary(summary)
            self.assertEqual(account.problems, [])
            for name, counts in summary["groups"].items():
                self.assertEqual((counts["handled more often than needed"], counts["later attempts than needed"]), (0, 0), name)
            restarts = [line for line in t.output().splitlines() if "starting it again" in line]
            self.assertEqual([line for line in restarts if "status 0" not in line], [], "one did not end well")


harness.main()
