"""Storage that fails in the ways it does in life: each is said clearly, nothing that was accepted is lost, and
when the cause is gone work goes on."""

import json
import os
import re
import shutil
import sqlite3
import subprocess

import harness
from harness import BIN, SLOW, Topology, nodes, wait_for

WORK = nodes("      work: { topics: [work], attempts: 2 }",
             "  worker: { role: worker, from: [hub], group: work, to: results, run: [./handler] }")
HANDLER = "#!/bin/sh\n[ -e closed ] && exit 69\nhead -c 20\n"


class Storage(harness.unittest.TestCase):
    def topology(self, text=WORK):
        topology = Topology(text, {"handler": HANDLER})
        self.addCleanup(shutil.rmtree, topology.dir, True)
        self.spool = os.path.join(topology.dir, "var/test/intake")
        return topology

    def ventilator(self, topology):
        """One that must not start: its status and its last words."""
        answer = subprocess.run([os.path.join(BIN, "weir-ventilator"), "--topology", topology.file, "--node", "intake"],
                                cwd=topology.dir, capture_output=True, text=True, timeout=30 * SLOW)
        return answer.returncode, answer.stderr

    def segment(self):
        log = os.path.join(self.spool, "log")
        return os.path.join(log, max(name for name in os.listdir(log) if re.fullmatch(r"\d{20}\.seg", name)))

    def filled(self, batches):
        """A topology that is down, with a batch of ten messages for each name in its spool."""
        topology, ids = self.topology(), []
        topology.write("closed", "")
        with topology as t:
            for name in batches:
                ids += t.send("work", [f"{name}-{i}" for i in range(10)])
            t.down()
            os.unlink(os.path.join(t.dir, "closed"))
            yield t, ids
            t.down()

    def test_in_use(self):
        with self.topology() as t:
            status, text = self.ventilator(t)
            self.assertEqual(status, 75)
            self.assertIn(f"the spool var/test/intake is in use by process {t.pids('intake')[0]}; stop that one first", text)

    def test_not_a_directory_that_can_be_written_to(self):
        t = self.topology()
        os.makedirs(os.path.dirname(self.spool))
        with open(self.spool, "w"):
            pass
        status, text = self.ventilator(t)
        self.assertEqual(status, 74)
        self.assertIn("var/test/intake/lock: Not a directory; the spool must be a directory that this user may write to", text)

    def test_flipped_byte(self):
        for t, ids in self.filled(("first", "second", "third")):
            with open(self.segment(), "r+b") as file:
                at = file.read().index(b"second-3")
                file.seek(at)
                file.write(b"S")
            t.start()
            # Ten lines may have come in more than one batch; the damaged one is lost as a whole.
            first, last, path = re.search(r"damaged; messages (\d+) to (\d+) can no longer .* kept in (\S+)", t.output()).groups()
            first, last = int(first), int(last)
            self.assertTrue(11 <= first <= 14 <= last <= 20, (first, last))
            left = ids[: first - 1] + ids[last:]
            wait_for("the others to be done", lambda: len(t.results()) >= len(left))
            self.assertEqual(sorted(row["id"] for row in t.results()), left)
            self.assertEqual([t.state(id, "work") for id in ids], ["lost" if id not in left else "done" for id in ids])
            with open(os.path.join(t.dir, path), "rb") as kept:
                self.assertIn(b"Second-3", kept.read())

    def test_segment_cut_off(self):
        for t, ids in self.filled(("first", "second")):
            with open(self.segment(), "r+b") as file:
                file.truncate(file.read().index(b"second-3"))
            t.start()
            last = int(re.search(r"ends after message (\d+), but messages up to 20 were accepted", t.output()).group(1))
            self.assertTrue(10 <= last <= 13, last)
            (later,) = t.send("work", ["later"])
            wait_for("what is left to be done", lambda: len(t.results()) > last)
            self.assertEqual(sorted(row["id"] for row in t.results()), ids[:last] + [later])
            self.assertEqual([t.state(id, "work") for id in ids], ["lost" if i >= last else "done" for i, id in enumerate(ids)])
            self.assertGreater(later, ids[-1])

    def test_oldest_segment_gone(self):
        """Which messages it held is known from the state alone."""
        topology = self.topology(WORK.replace("max: 1GiB", "max: 128MiB"))
        topology.write("closed", "")
        with topology as t:
            ids = t.weir("send", "work", "--lines", input=("x" * (1 << 20) + "\n") * 40).stdout.split()
            t.down()
            log = os.path.join(self.spool, "log")
            oldest, later = sorted(name for name in os.listdir(log) if re.fullmatch(r"\d{20}\.seg", name))
            os.rename(os.path.join(log, oldest), os.path.join(t.dir, oldest))
            os.unlink(os.path.join(t.dir, "closed"))
            t.start()
            first = int(later[:20])
            wait_for("it to be said", lambda: re.search(
                rf"the log begins at message {first}, but up to \d+ messages before it were not finished in group work", t.output()))
            wait_for("what is left to be done", lambda: {row["id"] for row in t.results()} >= set(ids[first - 1:]))
            done = {row["id"] for row in t.results()}
            self.assertEqual([t.state(id, "work") for id in ids], ["done" if id in done else "lost" for id in ids])

    def test_state_damaged_or_gone(self):
        for t, ids in self.filled(("only",)):
            path = os.path.join(self.spool, "state.db")
            with open(path, "rb") as file:
                whole = file.read()
            for content, said in ((b"x" * len(whole), "file is not a database"), (whole[: len(whole) // 2], "malformed"),
                                  (b"", "gone or empty"), (None, "gone or empty")):
                if content is None:
                    os.unlink(path)
                else:
                    with open(path, "wb") as file:
                        file.write(content)
                status, text = self.ventilator(t)
                self.assertEqual(status, 65, text)
                self.assertIn("var/test/intake/state.db", text)
                self.assertIn(said, text)
                if content is None:
                    self.assertFalse(os.path.exists(path))
                else:
                    with open(path, "rb") as file:
                        self.assertEqual(file.read(), content)
            with open(path, "wb") as file:
                file.write(whole)
            t.start()
            wait_for("all to be done", lambda: sorted(row["id"] for row in t.results()) == ids)

    def test_another_spool_under_the_same_tag(self):
        """Its sequences begin anew: the sink would take its results for those that it has."""
        with self.topology() as t:
            ids = t.send("work", ["one", "two"])
            wait_for("the results", lambda: len(t.results()) == 2)
            t.down()
            shutil.rmtree(self.spool)
            t.start()
            (new,) = t.send("work", ["three"])
            wait_for("the result to be refused", t.dead)
            letter = json.loads(t.weir("dlq", "show", new, "--json").stdout)
            self.assertEqual((letter["reason"], letter["group"]), ("rejected", "work"))
            self.assertRegex(letter["error"], r"\(tag\): .* messages of stream \d+ from another spool")
            self.assertIn("begin with a new output and ledger", letter["error"])
            self.assertEqual(sorted(row["id"] for row in t.results()), ids)
            t.down()
            for name in os.listdir(os.path.join(t.dir, "var/test")):
                if name.startswith("results.jsonl"):
                    os.rename(os.path.join(t.dir, "var/test", name), os.path.join(t.dir, name))
            t.start()
            t.weir("dlq", "replay", "--all")
            wait_for("the replayed one", lambda: [row["id"] for row in t.results()] == [new])

    def fill(self, t):
        """Messages of 1 MiB until no more is taken: the ids, and what was said."""
        answer = t.weir("send", "work", "--lines", "--timeout", "500ms", input=("x" * (1 << 20) + "\n") * 200, check=False)
        self.assertEqual(answer.returncode, 75, answer.stderr)
        self.assertIn("Try again later, or with --wait", answer.stderr)
        return answer.stdout.split(), answer.stderr

    def waits_until_there_is_room(self, t, ids):
        sender = subprocess.Popen([os.path.join(BIN, "weir"), "send", "work", "--wait", "it waited"], cwd=t.dir, text=True,
                                  env={**os.environ, "WEIR_TOPOLOGY": t.file}, stdout=subprocess.PIPE)
        t.kill("intake")  # what is full is still full after a crash
        answer = t.weir("send", "work", "x", "--timeout", "500ms", check=False)
        self.assertEqual((answer.returncode, answer.stdout), (75, ""), answer.stderr)
        self.assertIsNone(sender.poll())
        os.unlink(os.path.join(t.dir, "closed"))
        output, _ = sender.communicate(timeout=60 * SLOW)
        self.assertEqual(sender.returncode, 0)
        ids = ids + output.split()
        wait_for("all to be done", lambda: len(t.results()) >= len(ids), 60)
        self.assertEqual(sorted(row["id"] for row in t.results()), ids)
        self.assertEqual([row["restarts"] for row in t.ps() if row["node"] == "intake"], [1])

    def test_full_spool(self):
        topology = self.topology(WORK.replace("max: 1GiB", "max: 128MiB"))
        topology.write("closed", "")
        with topology as t:
            ids, said = self.fill(t)
            self.assertIn("the spool is full", said)
            self.waits_until_there_is_room(t, ids)

    def test_locked_databases(self):
        """A transaction held open in the shell delays; it breaks nothing."""
        with self.topology() as t:
            for path in ("intake/state.db", "results.jsonl.ledger", "dlq.db"):
                database = sqlite3.connect(os.path.join(t.dir, "var/test", path), isolation_level=None)
                database.execute("BEGIN IMMEDIATE")
                (id,) = t.send("work", [path])
                self.assertEqual(t.dead(), [])  # looking is not writing
                database.execute("ROLLBACK")
                database.close()
                wait_for("the result", lambda: [row["id"] for row in t.results()][-1:] == [id])
            self.assertTrue(all(row["restarts"] == 0 for row in t.ps()))

    def test_result_file_cut_off_or_removed(self):
        for damage, said in ((lambda path: os.truncate(path, 10), "was cut off while results are written to it"),
                             (os.unlink, "was removed while results are written to it")):
            with self.topology() as t:
                path = os.path.join(t.dir, "var/test/results.jsonl")
                t.send("work", ["before"])
                wait_for("the result", lambda: t.results())
                with open(path, "rb") as file:
                    whole = file.read()
                damage(path)
                t.send("work", ["one"])
                t.send("work", ["two"])
                wait_for("the sink to see it", lambda: said in t.output())
                with open(path, "wb") as file:
                    file.write(whole)
                wait_for("all results, in the file that was put back",
                         lambda: sorted(row["result"] for row in t.results()) == ["before", "one", "two"])


harness.main()
