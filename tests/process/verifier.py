"""The verifier: sends numbered messages from outside of the system, keeps which were confirmed, and accounts for each at the
sink and the collector. It believes nothing that Weir says of itself: it goes by the confirmations that a producer got, the
sink's file, the collector's database, and what the handlers wrote down."""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter

import numbered
from harness import BIN, SLOW, wait_for

SENDER = os.path.join(BIN, "../tests/numbered_sender")
PROBLEMS_SHOWN = 20


class Sender:
    """Sends to one ventilator, as a process of its own: messages `first`, `first` + `step`, …; no two senders share a number."""

    def __init__(self, directory, endpoint, first=1, step=1, count=0, rate=1000, seconds=0, prefix=()):
        self.path = os.path.join(directory, f"confirmed.{first}")
        self.errors = os.path.join(directory, f"sender.{first}.log")
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [*prefix, SENDER, endpoint, str(first), str(step), str(count), str(rate), str(seconds), self.path],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def finish(self, seconds=120):
        """Until everything that was sent is confirmed."""
        wait_for("every message to be confirmed", lambda: self.process.poll() is not None, seconds)
        with open(self.errors) as errors:
            assert self.process.returncode == 0, errors.read()

    def stop(self):
        """Send nothing new, and wait for the confirmations of what is on its way."""
        self.process.send_signal(signal.SIGTERM)
        self.finish()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def confirmed(self):
        """By number: the id. Complete lines only, so it may be asked at any time."""
        with open(self.path) as file:
            return dict(line.split() for line in file if line.endswith("\n"))


def lines_in(path, known=(0, 0)):
    """(how many lines, up to where they were counted); `known` is the last answer for that file, so only what is new is read."""
    count, at = known
    try:
        with open(path, "rb") as file:
            file.seek(at)
            while block := file.read(1 << 20):
                count, at = count + block.count(b"\n"), at + len(block)
    except FileNotFoundError:
        pass
    return count, at


class Account:
    """What became of the confirmed messages of `senders` in each of `groups`. `handled` gives a group's handlers' notes."""

    def __init__(self, senders, groups, sink, collector, handled, ordered=()):
        self.senders, self.groups, self.sink, self.collector = senders, groups, sink, collector
        self.handled, self.ordered = handled, ordered
        self.problems, self.kinds = [], Counter()
        self.known = (0, 0)

    def problem(self, kind, text):
        self.kinds[kind] += 1
        if self.kinds[kind] <= PROBLEMS_SHOWN:
            self.problems.append(f"{kind}: {text}")

    def ended(self):
        """How many messages have ended, over all groups: a quick look while things run."""
        self.known = lines_in(self.sink, self.known)
        return self.known[0] + self.count_dead()

    def count_dead(self):
        try:
            database = sqlite3.connect(f"file:{self.collector}?mode=ro", uri=True, timeout=30)
        except sqlite3.OperationalError:
            return 0
        try:
            return database.execute("SELECT count(*) FROM letters").fetchone()[0]
        except sqlite3.OperationalError:  # it is just being made, or its disk is full
            return 0
        finally:
            database.close()

    def wait_until_all_ended(self, seconds=90):
        """Everything confirmed, in every group. `seconds` is how long nothing at all may move."""
        self.confirm()
        wanted, last = len(self.ids) * len(self.groups), -1
        while last < wanted:
            now = last

            def moved():
                nonlocal now
                now = self.ended()
                return now > last

            try:
                wait_for("", moved, seconds)
            except AssertionError:
                raise AssertionError(f"stuck: {last} of {wanted} messages have ended (of {len(self.ids)} confirmed, in "
                                     f"{len(self.groups)} groups), and no other one for {seconds * SLOW} s") from None
            last = now

    def confirm(self):
        self.ids = {int(number): id for sender in self.senders for number, id in sender.confirmed().items()}
        self.numbers = {id: number for number, id in self.ids.items()}
        if len(self.numbers) != len(self.ids):
            self.problem("one id for two messages", f"{len(self.ids)} messages, {len(self.numbers)} ids")

    def read_sink(self):
        """By group: the numbers that are done; and the largest attempt there."""
        self.done = {group: {} for group in self.groups}
        with open(self.sink, "rb") as file:
            for line in file:
                row = json.loads(line)
                number, group = self.numbers.get(row["id"]), row["group"]
                if number is None:
                    self.problem("at the sink, never confirmed", f"{row['id']} of {group}")
                elif number in self.done[group]:
                    self.problem("twice at the sink", f"{number} of {group}, {row['id']}")
                else:
                    self.done[group][number] = row["attempt"]
                    if row["result"] != numbered.result(number):
                        self.problem("wrong result", f"{number} of {group}: {row['result'][:80]!r}")

    def read_collector(self):
        self.dead = {group: {} for group in self.groups}
        if not os.path.exists(self.collector):
            return
        database = sqlite3.connect(f"file:{self.collector}?mode=ro", uri=True, timeout=30)
        for id, group, death, reason, attempts, history, body in database.execute(
                'SELECT id, "group", death, reason, attempts, history, payload FROM dead_letters'):
            number = self.numbers.get(id)
            if number is None:
                self.problem("at the collector, never confirmed", f"{id} of {group}")
                continue
            if number in self.dead[group] or death != 1:
                self.problem("twice at the collector", f"{number} of {group}, death {death}")
            self.dead[group][number] = reason
            if bytes(body) != numbered.payload(number):
                self.problem("wrong payload", f"{number} of {group}, at the collector")
            if reason != numbered.fate(number) or not json.loads(history):
                self.problem("dead without cause",
                             f"{number} of {group}, {id}: {reason} after {attempts} attempts: {history}")
        database.close()

    def read_handled(self, group):
        """By number: how often it was handled; in `ordered` groups each key's messages must have ended in their order."""
        times, ended, newest = Counter(), set(), {}
        with open(self.handled(group)) as file:
            for line in file:
                number, _, outcome = line.split()
                number = int(number)
                times[number] += 1
                if outcome == "retry" or number in ended or group not in self.ordered:
                    continue
                ended.add(number)
                key = number % numbered.KEYS
                if newest.get(key, -1) > number:
                    self.problem("out of order", f"{number} of {group} ended after {newest[key]}, key k{key}")
                newest[key] = max(number, newest.get(key, -1))
        return times

    def account(self):
        """The summary, after everything has ended: a dict for --json. `problems` is empty when all is well."""
        self.confirm()
        self.read_sink()
        self.read_collector()
        summary = {"confirmed": len(self.ids), "groups": {}}
        for group in self.groups:
            done, dead = self.done[group], self.dead[group]
            missing = [number for number in self.ids if number not in done and number not in dead]
            for number in missing:
                self.problem("missing", f"{number} of {group}, {self.ids[number]}")
            for number in done.keys() & dead.keys():
                self.problem("done and dead", f"{number} of {group}, {self.ids[number]}")
            for number in done:
                if numbered.fate(number) not in ("done", "later"):
                    self.problem("done, but has to fail", f"{number} of {group}, {self.ids[number]}")
            times = self.read_handled(group)
            again = sum(1 for number in self.ids
                        if times[number] > {"later": 2, "attempts": 10}.get(numbered.fate(number), 1))
            summary["groups"][group] = {
                "done": len(done), "dead": len(dead), "missing": len(missing), "handled more often than needed": again,
                "later attempts than needed": sum(1 for number, attempt in done.items()
                                                  if attempt > (2 if numbered.fate(number) == "later" else 1))}
        summary["sink duplicates written"] = self.kinds["twice at the sink"]
        summary["problems"] = dict(self.kinds)
        return summary


def print_summary(summary):
    print(f"confirmed: {summary['confirmed']:,}")
    for group, counts in summary["groups"].items():
        print(f"group {group}: " + ", ".join(f"{what} {count:,}" for what, count in counts.items()))
    print(f"sink duplicates written: {summary['sink duplicates written']}")
