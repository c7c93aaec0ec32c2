"""up, ps, send, status, down; a second up is refused; what was in the spool survives down and up."""

import json
import os
import subprocess

import harness
from harness import Topology, nodes, wait_for


class Lifecycle(harness.unittest.TestCase):
    def topology(self):
        return Topology(nodes("      echo: { topics: [echo] }",
                              "  echo: { role: worker, from: [hub], group: echo, to: results, run: [cat] }"))

    def test_lifecycle(self):
        with self.topology() as t:
            self.assertEqual({(row["node"], row["role"], row["state"]) for row in t.ps()},
                             {("intake", "ventilator", "running"), ("hub", "router", "running"), ("echo", "worker", "running"),
                              ("results", "sink", "running"), ("dlq", "dlq", "running")})
            second = t.weir("up", t.file, check=False)
            self.assertNotEqual(second.returncode, 0)
            self.assertIn(str(t.up_process.pid), second.stderr)
            (id,) = t.send("echo", ["hello"], "--key", "k", "--header", "a=b")
            wait_for("the result", lambda: t.results())
            (row,) = t.results()
            self.assertEqual((row["id"], row["topic"], row["group"], row["key"], row["attempt"], row["result"]),
                             (id, "echo", "echo", "k", 1, "hello"))
            wait_for("done", lambda: t.state(id, "echo") == "done")
            again = t.weir("send", "echo", "x", "--idempotency-key", "once").stdout.split()
            self.assertEqual(t.weir("send", "echo", "y", "--idempotency-key", "once").stdout.split(), again)
            t.weir("down", t.file)
            self.assertEqual(t.up_process.wait(30), 0, t.output())

    def test_detach(self):
        t = self.topology()
        t.weir("up", t.file, "--detach")
        try:
            t.send("echo", ["one"])
            wait_for("the result", lambda: t.results())
        finally:
            t.weir("down", t.file)
        self.assertFalse([line for line in subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
                          if t.dir in line])


harness.main()
