"""Account for every message of a run from the outside: what was put in, what the sink wrote, what the
collector keeps. Links nothing of Weir; it reads a JSON-lines file and an SQLite file, and starts the
command line as a person would."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

QUIET_S = 120  # give up after this long without any progress


def fail(text, status=1):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr)
    sys.exit(status)


class Run:
    """One run of a topology: started afresh, fed, awaited, accounted for, drained."""

    def __init__(self, name, groups, sink="results.jsonl", collector="dlq.db"):
        self.name = name
        self.file = os.environ["WEIR_TOPOLOGY"]
        self.directory = os.path.join("var", name)
        self.groups = list(groups)
        self.sink = os.path.join(self.directory, sink)
        self.collector = os.path.join(self.directory, collector)
        self.inputs = {}  # message id -> what was sent
        self.results = {}  # (id, group) -> the sink's lines
        self.dead = {}  # (id, group) -> the collector's rows
        self.retried = 0
        self.sink_offset = 0
        self.started = None

    def __enter__(self):
        if shutil.which("weir") is None:
            fail("the program `weir` is not in PATH; start this through ./launch")
        if os.path.isdir(self.directory):
            if subprocess.run(["weir", "ps", "-t", self.file, "--json"],
                              capture_output=True, text=True).stdout.strip().startswith('{"'):
                fail(f"{self.name} is running already; `weir down {self.file}` first", 75)
            print(f"starting afresh: {self.directory} of an earlier run is removed", flush=True)
            shutil.rmtree(self.directory)
        os.makedirs(self.directory)
        self.prepare()
        if subprocess.run(["weir", "up", self.file, "--detach"]).returncode != 0:
            fail(f"`weir up {self.file}` failed")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.started = time.monotonic()
        return self

    def __exit__(self, *error):
        subprocess.run(["weir", "down", self.file])

    def prepare(self):
        """What a topology needs in its directory before it starts."""

    def send(self, topic, lines, *options):
        """Send each line as a message through one `weir send`; note the ids."""
        lines = list(lines)
        sender = subprocess.run(["weir", "send", topic, "--lines", "-t", self.file, *options],
                                input="".join(line + "\n" for line in lines), text=True,
                                stdout=subprocess.PIPE)
        ids = sender.stdout.split()
        if sender.returncode != 0 or len(ids) != len(lines):
            fail(f"weir send confirmed {len(ids)} of {len(lines)} messages, status {sender.returncode}")
        self.inputs.update(zip(ids, lines))
        return ids

    def key_of(self, row):
        """Which (message id, group) of what was put in a result or dead letter stands for."""
        return row["id"], row["group"]

    def read_sink(self):
        """Take in the complete lines that are new."""
        try:
            with open(self.sink, "rb") as file:
                file.seek(self.sink_offset)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self.sink_offset += end
        for line in data[:end].splitlines():
            row = json.loads(line)
            self.results.setdefault(self.key_of(row), []).append(row)
            self.retried += row["attempt"] > 1

    def read_collector(self):
        if not os.path.exists(self.collector):
            return
        database = sqlite3.connect(f"file:{self.collector}?mode=ro", uri=True, timeout=10)
        database.row_factory = sqlite3.Row
        self.dead = {}
        for row in database.execute('SELECT id, "group", death, reason, attempts, payload FROM dead_letters'):
            self.dead.setdefault(self.key_of(row), []).append(dict(row))
        database.close()

    def expected(self):
        """Every (id, group) that must end as a result or as a dead letter."""
        return {(id, group) for id in self.inputs for group in self.groups}

    def wait(self):
        """Until everything is accounted for, or nothing has moved for long."""
        progress, moved = None, time.monotonic()
        expected = self.expected()
        while True:
            self.read_sink()
            self.read_collector()
            open_ = len(expected - self.results.keys() - self.dead.keys())
            if sys.stdout.isatty():
                print(f"\r{len(expected) - open_:7d} of {len(expected)} ended ", end="", flush=True)
            if open_ == 0:
                break
            now = (len(self.results), len(self.dead), open_)
            if now != progress:
                progress, moved = now, time.monotonic()
            elif time.monotonic() - moved > QUIET_S:
                break
            time.sleep(0.1)
        self.seconds = time.monotonic() - self.started
        if sys.stdout.isatty():
            print("\r" + " " * 40 + "\r", end="")

    def summary(self, extra=(), problems=()):
        """Print the account; return the exit status."""
        expected = self.expected()
        done = expected & self.results.keys()
        dead = expected & self.dead.keys() - done
        lost = expected - done - dead
        duplicates = sum(len({(row.get("death", 0)) for row in rows}) != len(rows)
                         for rows in self.results.values())
        duplicates += sum(key not in expected for key in self.results)
        reasons = {}
        for key in dead:
            reason = f"{key[1]}: {self.dead[key][-1]['reason']}"
            reasons[reason] = reasons.get(reason, 0) + 1
        rows = [("accepted", f"{len(self.inputs)} messages for {len(self.groups)} group(s)"),
                ("done", len(done)),
                ("retried", f"{self.retried} done after more than one attempt"),
                ("dead", f"{len(dead)}" + "".join(f", {n} {r}" for r, n in sorted(reasons.items()))),
                ("lost", len(lost)), ("duplicates", duplicates), ("time", f"{self.seconds:.1f} s")]
        print(f"\n{self.name}")
        for name, value in [*rows, *extra]:
            print(f"  {name:<12} {value}")
        for id, group in sorted(lost)[:10]:
            print(f"  lost: {id} in {group}: {str(self.inputs[id])[:60]}")
        for problem in problems:
            print(f"  problem: {problem}")
        return 1 if lost or duplicates or problems else 0
