"""What a ventilator needs for a great backlog: memory while it waits, and time until it accepts again after
kill -9. Small here; WEIR_CAPACITY=full fills it with what is promised, holds it to the promise, and wants a
release build, 5 GB of disk and a few minutes. WEIR_CAPACITY="MESSAGES KEYS RETRIES" measures anything else."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import harness
from harness import BIN, SLOW, Topology, wait_for

WANTED = os.environ.get("WEIR_CAPACITY", "")
FULL = WANTED == "full"
MESSAGES, KEYS, RETRIES = ((10_000_000, 1_000_000, 1_000_000) if FULL else
                           [int(word) for word in WANTED.split()] if WANTED else (100_000, 10_000, 10_000))
HELD = min(RETRIES, 16_384)
ALL = ("waiting", "deferred", "in-flight", "done")
RSS_MAX = 64 << 20
SECONDS_MAX = 2
LOAD = os.path.join(os.path.dirname(BIN), "tests", "load")
TOPOLOGY = """topology: test
nodes:
  intake:
    role: ventilator
    submit: ipc://DIR/submit
    dispatch: ipc://DIR/dispatch
    spool: { dir: var/test/intake, fsync: always, max: unlimited }
    groups:
      plain: { topics: [work], attempts: unlimited, external: true }
      keyed: { topics: [work], attempts: unlimited, order: key, external: true }
"""


class Ventilator:
    """The process under test, and the most anonymous memory it was seen with."""

    def __init__(self, topology):
        self.topology = topology
        self.process = None
        self.watched = threading.Event()

    def start(self):
        """Until it has answered a PUT; how long that took."""
        began = time.monotonic()
        log = open(self.topology.log, "a")
        self.process = subprocess.Popen([os.path.join(BIN, "weir-ventilator"), "--topology", self.topology.file, "--node", "intake"],
                                        cwd=self.topology.dir, stdout=log, stderr=log)
        log.close()
        self.load("probe", "submit")
        seconds = time.monotonic() - began
        self.most = 0
        self.watched.clear()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return seconds

    def anonymous(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        return 0

    def watch(self):
        while not self.watched.wait(0.02):
            self.most = max(self.most, self.anonymous())

    def end(self, number):
        self.watched.set()
        self.watcher.join()
        self.process.send_signal(number)
        return self.process.wait(60 * SLOW)

    def start_load(self, verb, socket, *arguments):
        return subprocess.Popen([LOAD, verb, f"ipc://{self.topology.dir}/{socket}", *map(str, arguments)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def load(self, *arguments):
        process = self.start_load(*arguments)
        output, _ = process.communicate(timeout=900 * SLOW)
        assert (process.returncode, output) == (0, "ok\n"), (arguments, process.returncode, output, self.topology.output())

    @contextlib.contextmanager
    def worker(self, group, count, deed):
        """One that has taken so many; it goes on holding what else it has, and gives it back in the end."""
        # A kill may have taken the last acks before it with it: then what they were for is out until its lease ends.
        wait_for("what a kill left to be back", lambda: self.counts(group)["in-flight"] == 0, 60)
        with self.start_load("work", "dispatch", group, count, deed) as process:
            try:
                assert process.stdout.readline() == "ok\n", (group, count, deed, self.topology.output())
                yield
                process.stdin.close()
                assert process.wait(60 * SLOW) == 0, (group, count, deed)
            except BaseException:
                process.kill()
                raise
        # It ends when it is known that all it said has arrived.
        counts = self.counts(group)
        assert counts["in-flight"] == 0, (group, count, deed, counts, self.topology.output())

    def leased(self):
        path = os.path.join(self.topology.dir, "var/test/intake/state.db")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM messages WHERE group_number = 1 AND state = 3").fetchone()[0]

    def counts(self, group):
        return self.topology.group(group)


class Capacity(harness.unittest.TestCase):
    def said(self, what, ventilator, seconds=None):
        text = f"{what}: {ventilator.most / (1 << 20):.1f} MiB at most, {ventilator.anonymous() / (1 << 20):.1f} now"
        print(text + (f"; accepted after {seconds:.2f} s" if seconds is not None else ""), flush=True)
        if SLOW == 1 and WANTED in ("", "full"):  # sanitizers need more
            self.assertLess(max(ventilator.most, ventilator.anonymous()), RSS_MAX, what)
        if FULL:
            self.assertLess(seconds or 0, SECONDS_MAX, what)

    def again(self, what, ventilator):
        """kill -9, and it goes on with all it had."""
        before = {name: ventilator.counts(name) for name in ("plain", "keyed")}
        ventilator.end(signal.SIGKILL)
        seconds = ventilator.start()
        self.said(what + ", after kill -9", ventilator, seconds)
        for name, counts in before.items():
            now = ventilator.counts(name)
            self.assertEqual(sum(now[what] for what in ALL), sum(counts[what] for what in ALL) + 1, (name, counts, now))

    def test_capacity(self):
        topology = Topology(TOPOLOGY)
        ventilator = Ventilator(topology)
        try:
            ventilator.start()
            ventilator.load("fill", "submit", MESSAGES, KEYS)
            self.said(f"{MESSAGES} messages of {KEYS} keys", ventilator)
            self.assertEqual({name: ventilator.counts(name)["waiting"] for name in ("plain", "keyed")},
                             {"plain": MESSAGES + 1, "keyed": MESSAGES + 1})
            self.again("a backlog", ventilator)

            for name, count in (("plain", RETRIES), ("keyed", min(RETRIES, KEYS // 4))):
                with ventilator.worker(name, count, "retry"):
                    wait_for("all to be noted", lambda: ventilator.counts(name)["retried"] == count)
                self.said(f"{count} of {name} to be tried again", ventilator)
                self.assertEqual(ventilator.counts(name)["retried"], count)
            self.again("retries", ventilator)

            with ventilator.worker("plain", HELD, "hold"):
                wait_for("what is out to be part of the state", lambda: ventilator.leased() >= HELD)
                self.again(f"{HELD} leased", ventilator)

            for name in ("plain", "keyed"):
                before = ventilator.counts(name)
                with ventilator.worker(name, RETRIES, "done"):
                    wait_for("all to be noted", lambda: ventilator.counts(name)["done"] == before["done"] + RETRIES)
                self.said(f"{RETRIES} of {name} done", ventilator)
                now = ventilator.counts(name)
                self.assertEqual(now["done"], before["done"] + RETRIES)
                self.assertEqual(sum(now[what] for what in ALL), sum(before[what] for what in ALL))
            self.assertEqual(ventilator.end(signal.SIGTERM), 0)
        except BaseException:
            print(topology.output()[-4000:])
            raise
        finally:
            if ventilator.process and ventilator.process.poll() is None:
                ventilator.end(signal.SIGKILL)
            shutil.rmtree(topology.dir)


harness.main()
