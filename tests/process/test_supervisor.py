"""`weir up` keeps processes running, gives up where it is hopeless, and ends when it is told to; on a
topology of holders alone."""

import os
import shutil
import signal
import subprocess

import harness
from harness import BIN, SLOW, Topology, wait_for

HOLDERS = """topology: test
nodes:
  results: { role: sink, submit: "ipc://DIR/results", write: { jsonl: var/test/results.jsonl } }
  dlq: { role: dlq, submit: "ipc://DIR/dlq", store: var/test/dlq.db }
"""


class Supervisor(harness.unittest.TestCase):
    def test_killed_process_is_started_again(self):
        with Topology(HOLDERS) as t:
            before = {row["node"]: row for row in t.ps()}
            os.kill(before["results"]["pid"], signal.SIGKILL)
            wait_for("the sink to run again", lambda: any(
                row["node"] == "results" and row["state"] == "running" and row["pid"] != before["results"]["pid"]
                for row in t.ps()))
            after = {row["node"]: row for row in t.ps()}
            self.assertEqual(after["results"]["restarts"], 1)
            self.assertEqual((after["dlq"]["pid"], after["dlq"]["restarts"]), (before["dlq"]["pid"], 0))
            self.assertIn("was killed by signal 9 (Killed); starting it again in 100 ms", t.output())
            (id,) = t.send("a.b", ["after the kill"], "--node", "results")
            self.assertEqual([(row["id"], row["result"]) for row in t.results()], [(id, "after the kill")])

    def test_the_supervisor_dies_and_takes_its_processes_along(self):
        with Topology(HOLDERS) as t:
            pids = [row["pid"] for row in t.ps()]
            t.up_process.kill()
            t.up_process.wait()
            wait_for("its processes to end", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
            answer = t.weir("ps", "--json", check=False)
            self.assertEqual((answer.returncode, answer.stdout), (69, ""))
            self.assertIn("is not up", answer.stderr)
            # No lock is left behind: the next one starts.
            t.weir("up", t.file, "--detach")
            self.assertEqual(t.weir("down", t.file).stdout, "'test' is down\n")

    def test_second_up_is_refused_and_down_is_repeatable(self):
        with Topology(HOLDERS) as t:
            for detach in ([], ["--detach"]):
                second = t.weir("up", t.file, *detach, check=False)
                self.assertEqual(second.returncode, 75)
                self.assertIn(f"process {t.up_process.pid};", second.stderr)
            t.weir("down", t.file)
            self.assertEqual(t.up_process.wait(30), 0)
            self.assertIn("'test' is not up here", t.weir("down", t.file).stderr)
            self.assertEqual([name for name in os.listdir(os.path.join(t.dir, "var/test")) if name.endswith("state.json")], [])

    def test_second_signal_ends_at_once(self):
        with Topology(HOLDERS) as t:
            pids = {row["node"]: row["pid"] for row in t.ps()}
            os.kill(pids["dlq"], signal.SIGSTOP)  # it cannot drain
            t.up_process.send_signal(signal.SIGTERM)
            wait_for("the draining to begin", lambda: "draining" in t.output())
            answer = t.weir("down", t.file, "--timeout", "100ms", check=False)
            self.assertEqual(answer.returncode, 75)
            self.assertIn(f"dlq ({pids['dlq']})", answer.stderr)
            t.up_process.send_signal(signal.SIGINT)
            self.assertEqual(t.up_process.wait(30 * SLOW), 128 + signal.SIGINT)
            self.assertFalse(os.path.exists(f"/proc/{pids['dlq']}"))

    def test_errors_in_the_file_start_nothing(self):
        t = Topology(HOLDERS.replace("jsonl:", "jason:").replace("role: dlq", "role: dlg"))
        self.addCleanup(shutil.rmtree, t.dir)
        for detach in ([], ["--detach"]):
            answer = t.weir("up", t.file, *detach, check=False)
            self.assertEqual(answer.returncode, 78)
            self.assertIn("did you mean 'jsonl'?", answer.stderr)
            self.assertIn("did you mean 'dlq'?", answer.stderr)
        self.assertFalse(os.path.exists(os.path.join(t.dir, "var")))

    def test_storage_that_cannot_work_is_given_up(self):
        t = Topology(HOLDERS.replace("var/test/results.jsonl", "a-file/results.jsonl"), {"a-file": ""})
        self.addCleanup(shutil.rmtree, t.dir)
        answer = t.weir("up", t.file, "--detach", check=False)
        self.assertEqual(answer.returncode, 74, answer.stderr)
        self.assertIn("results ended with status 74", answer.stderr)
        self.assertIn("var/test/log/results.log says why", answer.stderr)
        with open(os.path.join(t.dir, "var/test/log/results.log")) as log:
            self.assertIn("a-file/results.jsonl", log.read())
        wait_for("everything to end", lambda: t.weir("down", t.file).stderr.endswith("is not up here\n"))

    def test_send_tells_what_is_wrong(self):
        with Topology(HOLDERS) as t:
            for words, status, text in (
                    (["not a topic", "x", "--node", "results"], 64, "is not a topic"),
                    (["a.b", "x"], 64, "has no ventilator"),
                    (["a.b", "x", "--node", "nobody"], 64, "has no node 'nobody'"),
                    (["a.b", "x", "--header", "novalue", "--node", "results"], 64, "expected NAME=VALUE"),
                    (["a.b", "--lines", "--idempotency-key", "k", "--node", "results"], 64, "a repeat"),
                    (["a.b", "--file", "/nonexistent", "--node", "results"], 66, "cannot open /nonexistent"),
                    (["a.b", "x", "--to", f"ipc://{t.dir}/nobody", "--timeout", "200ms"], 69, "no connection"),
                    (["a.b", "x", "--to", "nonsense"], 64, "nonsense")):
                answer = t.weir("send", *words, check=False)
                self.assertEqual((answer.returncode, answer.stdout), (status, ""), words)
                self.assertIn(text, answer.stderr)
            answer = t.weir("send", "a.b", "--node", "results", input="x" * (9 << 20), check=False)
            self.assertEqual((answer.returncode, answer.stdout), (65, ""))
            self.assertIn("limit of a message", answer.stderr)

    def test_send_answers_line_by_line(self):
        with Topology(HOLDERS) as t:
            sender = subprocess.Popen([os.path.join(BIN, "weir"), "send", "a.b", "--lines", "--node", "results"], cwd=t.dir,
                                      env={**os.environ, "WEIR_TOPOLOGY": t.file}, text=True, bufsize=1,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            ids = []
            for line in ("one", "", "three"):
                sender.stdin.write(line + "\n")
                ids.append(sender.stdout.readline().strip())
            sender.stdin.write("no newline")
            sender.stdin.close()
            ids.append(sender.stdout.read().strip())
            self.assertEqual(sender.wait(), 0)
            sender.stdout.close()
            self.assertEqual([(row["id"], row["result"]) for row in t.results()],
                             list(zip(ids, ["one", "", "three", "no newline"])))


harness.main()
