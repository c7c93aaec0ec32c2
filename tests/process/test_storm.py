"""The kill storm: processes of every role are killed with SIGKILL, and stopped and continued, again and again, while numbered
messages go through; then it is quiet, everything has to drain, and the verifier accounts for each message.

    test_storm.py [--seconds 600 --kills 500] [--rate MESSAGES-A-SECOND] [--seed N] [--json]

The seed decides who is struck and how; when a blow lands is up to the machine."""

import argparse
import json
import os
import random
import signal
import sys
import time

import verifier
from harness import SLOW, Topology
from verifier import Account, Sender

HERE = os.path.dirname(os.path.abspath(__file__))
VENTILATORS = ("east", "west")
GROUPS = ("plain", "keyed")
STOPPED_SHORT_S = (0.05, 2.5)  # a heartbeat or none is missed
STOPPED_LONG_S = (10, 16)      # longer than a peer's silence and a lease


def ventilator(name):
    return f"""
  {name}:
    role: ventilator
    submit: ipc://DIR/{name}.submit
    dispatch: ipc://DIR/{name}.dispatch
    spool: {{ dir: var/storm/{name} }}
    dead-letters: dlq
    groups:
      plain: {{ topics: [storm.number], attempts: 10, lease: 9s, backoff: {{ first: 10ms, max: 200ms }} }}
      keyed: {{ topics: [storm.*], order: key, attempts: 10, lease: 9s, backoff: {{ first: 10ms, max: 200ms }} }}"""


def worker(group):
    return f"""
  {group}:
    role: worker
    from: [north, south]
    group: {group}
    to: results
    serve: [/usr/bin/python3, {HERE}/numbered_handler.py, DIR/handled.{group}]
    count: 2
    prefetch: 256"""


TOPOLOGY = "topology: storm\nnodes:" + "".join(map(ventilator, VENTILATORS)) + """
  north: { role: router, from: [east, west], dispatch: "ipc://DIR/north" }
  south: { role: router, from: [east, west], dispatch: "ipc://DIR/south" }""" + "".join(map(worker, GROUPS)) + """
  results: { role: sink, submit: "ipc://DIR/results", write: { jsonl: var/storm/results.jsonl } }
  dlq: { role: dlq, submit: "ipc://DIR/dlq", store: var/storm/dlq.db }
"""


class Storm:
    """Strikes the processes of a topology, one after another. Every process has its turn before any is struck again."""

    def __init__(self, topology, seed):
        self.topology, self.random = topology, random.Random(seed)
        self.deck, self.stopped = [], []  # the latter: (when to continue, process)
        self.kills, self.stops, self.by_node = 0, 0, {}

    def next_victim(self):
        """A running process, as (node, Process), or None when there is none now."""
        running = {(process.node, process.instance): process for process in self.topology.processes()}
        for _ in range(2):
            for place in self.deck:
                if place in running:
                    self.deck.remove(place)
                    return running[place]
            self.deck = sorted(running)
            self.random.shuffle(self.deck)
        return None

    def kill(self):
        victim = self.next_victim()
        if victim and victim.signal(signal.SIGKILL):
            self.kills += 1
            self.by_node[victim.node] = self.by_node.get(victim.node, 0) + 1

    def stop(self, long):
        victim = self.next_victim()
        if victim and victim.signal(signal.SIGSTOP):
            self.stops += 1
            until = time.monotonic() + self.random.uniform(*(STOPPED_LONG_S if long else STOPPED_SHORT_S))
            self.stopped.append((until, victim))

    def continue_stopped(self, all=False):
        for entry in self.stopped[:]:
            if all or entry[0] <= time.monotonic():
                entry[1].signal(signal.SIGCONT)
                self.stopped.remove(entry)

    def rage(self, seconds, kills, each_second=lambda: None):
        """`kills` kills within `seconds`, and half as many stops. On a machine that cannot keep up it takes longer."""
        start = time.monotonic()
        at = [("kill", self.random.uniform(0, seconds)) for _ in range(kills)]
        at += [("stop", self.random.uniform(0, seconds)) for _ in range(kills // 2)]
        at += [("long stop", self.random.uniform(0, seconds)) for _ in range(int(seconds // 60))]
        for what, when in sorted(at, key=lambda blow: blow[1]):
            while (left := start + when - time.monotonic()) > 0:
                time.sleep(min(left, 0.02))
                self.continue_stopped()
                each_second()
            before = self.kills
            while what == "kill" and self.kills == before:
                self.kill()
                self.continue_stopped()
            if what != "kill":
                self.stop(long=what == "long stop")


class Progress:
    """A line every ten seconds, for long storms."""

    def __init__(self, storm, account, seconds):
        self.storm, self.account, self.shown = storm, account, seconds >= 30
        self.start = self.last = time.monotonic()

    def __call__(self):
        now = time.monotonic()
        if not self.shown or now - self.last < 10:
            return
        self.last = now
        confirmed = sum(verifier.lines_in(sender.path)[0] for sender in self.account.senders)
        print(f"{now - self.start:6.0f} s: {confirmed:,} confirmed, {self.account.ended():,} ended, {self.storm.kills} kills, "
              f"{self.storm.stops} stops", file=sys.stderr, flush=True)


def run(options):
    with Topology(TOPOLOGY) as t:
        senders = [Sender(t.dir, f"ipc://{t.dir}/{name}.submit", first, len(VENTILATORS),
                          rate=options.rate / len(VENTILATORS), seconds=options.seconds)
                   for first, name in enumerate(VENTILATORS, 1)]
        account = Account(senders, GROUPS, os.path.join(t.dir, "var/storm/results.jsonl"),
                          os.path.join(t.dir, "var/storm/dlq.db"), lambda group: os.path.join(t.dir, f"handled.{group}"),
                          ordered=("keyed",))
        storm = Storm(t, options.seed)
        start = time.monotonic()
        try:
            storm.rage(options.seconds, options.kills, Progress(storm, account, options.seconds))
            storm.continue_stopped(all=True)
            for sender in senders:
                sender.finish()
            quiet = time.monotonic()
            account.wait_until_all_ended()
        finally:
            storm.continue_stopped(all=True)
            for sender in senders:
                sender.end()
        drained = time.monotonic()
        t.down()
        summary = {"seed": options.seed, "kills": storm.kills, "stops": storm.stops, "kills by node": storm.by_node,
                   "storm seconds": round(quiet - start, 1), "drained after seconds": round(drained - quiet, 1)}
        summary.update(account.account())
        if options.json:
            print(json.dumps(summary))
        else:
            print(f"kills: {storm.kills} ({', '.join(f'{node} {count}' for node, count in sorted(storm.by_node.items()))})"
                  f"; stops: {storm.stops}; storm: {summary['storm seconds']} s, then everything ended within "
                  f"{summary['drained after seconds']} s")
            verifier.print_summary(summary)
        assert not account.problems, "\n".join(account.problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=8, help="how long the storm lasts")
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2000 / SLOW, help="messages a second, over all ventilators")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    run(options)


main()
