"""Disks that fill up under load, of the ventilator, of the sink and of the collector, each a small file system of its own: what
cannot be kept is not confirmed, and it is said why; what was confirmed goes on; a crash while the disk is full changes nothing;
and when there is room again everything ends, once.

Where nothing can be mounted, even in a mount namespace of the test's own, it says so and ends with status 77."""

import os
import signal
import subprocess

import harness
import namespaces
import verifier
from harness import SLOW, Topology, nodes, wait_for
from verifier import Account, Sender

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ("plain",)
LARGE = 1000  # every message whose number is a multiple of it has 100,000 bytes


class FullDisk(harness.unittest.TestCase):
    def mount(self, size):
        """A directory that is a file system of this size; DISK in what is put into the topology."""
        disk = namespaces.small_disk(size)
        self.addCleanup(os.rmdir, disk)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        self.disk = disk
        return disk

    def topology(self, replace, by):
        text = nodes("      plain: { topics: [storm.number], attempts: 10, backoff: { first: 10ms, max: 200ms } }",
                     "  worker: { role: worker, from: [hub], group: plain, to: results, prefetch: 64, "
                     f"serve: [/usr/bin/python3, {HERE}/numbered_handler.py, DIR/handled] }}")
        self.assertIn(replace, text)
        return Topology(text.replace(replace, by.replace("DISK", self.disk)))

    def begin(self, t, results="var/test/results.jsonl", collector="var/test/dlq.db", **load):
        self.sender = Sender(t.dir, f"ipc://{t.dir}/submit", **load)
        self.addCleanup(self.sender.end)
        self.account = Account([self.sender], GROUPS, os.path.join(t.dir, results), os.path.join(t.dir, collector),
                               lambda group: os.path.join(t.dir, "handled"))
        wait_for("work to begin", lambda: self.account.ended() > 0)

    def confirmed(self):
        return len(self.sender.confirmed())

    def said(self, t, text="free some space"):
        return t.output().count(text)

    def fill(self, t, *text):
        """Somebody else takes all the room that is left, and it is said."""
        with open(os.path.join(self.disk, "foreign"), "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        wait_for("it to be said", lambda: self.said(t, *text))

    def make_room(self):
        os.unlink(os.path.join(self.disk, "foreign"))

    def finish(self, t):
        """All that was confirmed ends, once, and nothing had an attempt more for it."""
        self.sender.finish()
        self.account.wait_until_all_ended()
        t.down()
        summary = self.account.account()
        verifier.print_summary(summary)
        self.assertEqual(self.account.problems, [])
        self.assertEqual(summary["groups"]["plain"]["later attempts than needed"], 0)

    def test_spool(self):
        self.mount("80m")  # a segment, the state and the reserve
        with self.topology("var/test/intake, max: 1GiB", "DISK/intake") as t:
            self.begin(t, first=LARGE, step=LARGE, count=1500, rate=1000 / SLOW)
            self.fill(t, "the disk is full")
            answer = t.weir("send", "storm.other", "x", "--timeout", "500ms", check=False)
            self.assertEqual((answer.returncode, answer.stdout), (75, ""))
            self.assertIn("the disk is full", answer.stderr)
            # What was confirmed is done, and the ventilator knows it and keeps it through a crash.
            self.account.wait_until_all_ended()
            wait_for("the ventilator to know", lambda: t.group("plain").get("in-flight") == 0)
            t.kill("intake")
            self.assertLess(self.confirmed(), 1500)
            self.assertIsNone(self.sender.process.poll())
            self.make_room()
            self.finish(t)

    def fill_results(self, size, *output):
        """The disk under a sink's output fills up, and the sink is killed while it is full."""
        disk = self.mount(size)
        with self.topology(*output) as t:
            self.begin(t, results=f"{disk}/results.jsonl", count=3000, rate=1000 / SLOW)
            self.fill(t)
            self.sender.finish()  # a sink that is full keeps no producer waiting
            before = self.said(t)
            # Where lines of the ledger have no room in the file, the next one says so and ends, time after time.
            os.kill(t.pids("results")[0], signal.SIGKILL)
            wait_for("it to be said again", lambda: self.said(t) > before)
            self.assertLess(self.account.ended(), 3000)
            self.make_room()
            self.finish(t)

    def test_sink(self):
        self.fill_results("16m", "var/test/results.jsonl", "DISK/results.jsonl")

    def test_results_apart_from_their_ledger(self):
        """The ledger still has room, and so holds the lines that the file has none for."""
        self.fill_results("1m", "jsonl: var/test/results.jsonl", "jsonl: DISK/results.jsonl, ledger: var/test/ledger")

    def test_collector(self):
        disk = self.mount("2m")
        with self.topology("var/test/dlq.db", "DISK/dlq.db") as t:
            self.begin(t, collector=f"{disk}/dlq.db", count=6000, rate=3000 / SLOW)
            self.fill(t)
            self.sender.finish()
            t.kill("dlq")
            wait_for("dead letters to wait", lambda: t.group("plain").get("dying", 0) > 0)
            self.make_room()
            self.finish(t)


namespaces.enter_mounts()
harness.main()
