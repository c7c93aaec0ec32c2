"""A network that fails: links cut for seconds, slow and lossy ones, connections that are open on one side only. Producer,
ventilator, routers, workers, sink and collector are on hosts of their own (network namespaces). Nothing is missing, nothing is
there twice, and what is half open is found and gone around.

    test_network.py [--storm SECONDS --seed N]        links fail at random, for so long

Where namespaces are not allowed it says so and ends with status 77."""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import namespaces
import verifier
from harness import BIN, SLOW, wait_for
from verifier import Account, Sender

HERE = os.path.dirname(os.path.abspath(__file__))
HOSTS = ("producer", "intake", "north", "south", "work1", "work2", "results", "dlq")
ROLE = {"intake": "ventilator", "north": "router", "south": "router", "work1": "worker", "work2": "worker",
        "results": "sink", "dlq": "dlq"}

TOPOLOGY = """topology: network
nodes:
  intake:
    role: ventilator
    submit: tcp://INTAKE:7400
    dispatch: tcp://INTAKE:7401
    spool: { dir: var/intake }
    dead-letters: dlq
    groups:
      plain: { topics: [storm.number], attempts: 10, lease: 9s, backoff: { first: 10ms, max: 200ms } }
  north: { role: router, from: [intake], dispatch: "tcp://NORTH:7402" }
  south: { role: router, from: [intake], dispatch: "tcp://SOUTH:7402" }
  work1: &work
    role: worker
    from: [north, south]
    group: plain
    to: results
    serve: [/usr/bin/python3, HERE/numbered_handler.py, DIR/handled]
    prefetch: 64
  work2: *work
  results: { role: sink, submit: "tcp://RESULTS:7403", write: { jsonl: var/results.jsonl } }
  dlq: { role: dlq, submit: "tcp://DLQ:7404", store: var/dlq.db }
"""


class Hosts:
    """Every node on its host, and a sender on the producer's."""

    def __init__(self, network):
        self.network, self.processes, self.senders = network, {}, []
        self.dir = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        text = TOPOLOGY.replace("HERE", HERE).replace("DIR", self.dir)
        for name, address in network.address.items():
            text = text.replace(f"//{name.upper()}:", f"//{address}:")
        self.file = os.path.join(self.dir, "topology.yaml")
        with open(self.file, "w") as file:
            file.write(text)

    def __enter__(self):
        for node, role in ROLE.items():
            with open(os.path.join(self.dir, node + ".log"), "w") as log:
                self.processes[node] = subprocess.Popen(
                    [*self.network.on(node), os.path.join(BIN, f"weir-{role}"), "--topology", self.file, "--node", node],
                    cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, kind, *_):
        for host in HOSTS:
            self.network.heal(host)
        for sender in self.senders:
            sender.end()
        # In the order of `weir up`: each ends while those it needs are still there.
        for nodes in (("work1", "work2"), ("north", "south"), ("intake",), ("results", "dlq")):
            self.end(*nodes)
        if kind is None:
            assert all(process.returncode == 0 for process in self.processes.values()), \
                {node: process.returncode for node, process in self.processes.items()}
            shutil.rmtree(self.dir)
            return
        print(f"--- all of it is kept in {self.dir}; this is the end of each node's output", file=sys.stderr)
        for node in ROLE:
            with open(os.path.join(self.dir, node + ".log"), errors="replace") as log:
                print(f"{node}:\n" + "".join(log.readlines()[-40:]), file=sys.stderr)

    def end(self, *nodes):
        for node in nodes:
            self.processes[node].send_signal(signal.SIGTERM)
        for node in nodes:
            try:
                self.processes[node].wait(60 * SLOW)
            except subprocess.TimeoutExpired:
                self.processes[node].kill()
                self.processes[node].wait()

    def send(self, **load):
        sender = Sender(self.dir, f"tcp://{self.network.address['intake']}:7400", prefix=self.network.on("producer"), **load)
        self.senders.append(sender)
        return sender

    def account(self):
        return Account(self.senders, ("plain",), os.path.join(self.dir, "var/results.jsonl"), os.path.join(self.dir, "var/dlq.db"),
                       lambda group: os.path.join(self.dir, "handled"))

    def confirmed(self):
        return sum(verifier.lines_in(sender.path)[0] for sender in self.senders)

    def ended(self):
        return self.account().ended()

    def settle(self):
        """Everything is confirmed, ends, and is there once."""
        for sender in self.senders:
            sender.finish()
        account = self.account()
        account.wait_until_all_ended()
        summary = account.account()
        verifier.print_summary(summary)
        assert not account.problems, "\n".join(account.problems)


def each_link_is_cut(hosts):
    """Under load, one link after another, without a word to either side. Work goes on when it is whole again."""
    network = hosts.network
    sender = hosts.send(rate=300 / SLOW, seconds=3600)
    wait_for("work to begin", lambda: hosts.ended() > 0)
    for host, other in (("producer", "intake"), ("intake", "north"), ("intake", "south"), ("north", "work1"),
                        ("south", "work2"), ("work1", "results"), ("work2", "results"), ("intake", "dlq")):
        network.cut(host, other)
        time.sleep(0.5)  # as long as the link is to be cut
        network.heal(host)
    before = hosts.ended()
    wait_for("work to go on", lambda: hosts.ended() > before)
    sender.stop()
    hosts.settle()


def half_open(hosts):
    """A router and a worker fall silent while their connections stay open, as when a cable breaks: all that they hold goes other
    ways while they are still away. What they say when they are back changes nothing."""
    network = hosts.network
    sender = hosts.send(rate=1000 / SLOW, seconds=3600)
    wait_for("work to begin", lambda: hosts.ended() > 100)
    network.cut("north")
    network.cut("work1", directions=("out",))  # it is sent messages, and nobody hears what became of them
    before = hosts.confirmed()
    wait_for("more messages", lambda: hosts.confirmed() > before + 500)
    sender.stop()
    hosts.settle()
    network.heal("north")
    network.heal("work1")
    # Both serve again: without the other ones everything goes through them.
    hosts.end("work2")
    hosts.end("south")
    hosts.send(first=1_000_001, rate=2000 / SLOW, count=500)
    hosts.settle()


def no_more_confirmations(hosts):
    """True when there was none for a second: what was on its way when the ventilator went away has come. A condition to wait for,
    as a busy machine takes its time for it."""
    last, since = -1, 0

    def none_for_a_second():
        nonlocal last, since
        now = hosts.confirmed()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1

    return none_for_a_second


def holders_away(hosts):
    """The ventilator, then sink and collector, are unreachable for a while; those who need them wait and repeat."""
    network = hosts.network
    sender = hosts.send(rate=1000 / SLOW, seconds=3600)
    wait_for("work to begin", lambda: hosts.ended() > 100)
    network.cut("intake")
    wait_for("confirmations to end", no_more_confirmations(hosts))
    confirmed = hosts.confirmed()
    network.heal("intake")
    wait_for("confirmations to go on", lambda: hosts.confirmed() > confirmed)
    network.cut("results")
    network.cut("dlq")
    confirmed = hosts.confirmed()
    wait_for("confirmations to go on all the same", lambda: hosts.confirmed() > confirmed + 1000)
    sender.stop()
    network.heal("results")
    network.heal("dlq")
    hosts.settle()


def slow_and_lossy(hosts):
    for host in HOSTS:
        hosts.network.lossy(host, 5)
    hosts.network.slow("intake", "2mbit")
    hosts.network.slow("results", "1mbit")
    hosts.send(rate=500 / SLOW, count=1200)
    hosts.settle()


def storm(hosts, seconds, seed):
    """Faults of every kind on random hosts, several at once, short ones and some longer than a lease; then quiet."""
    network, chance = hosts.network, random.Random(seed)
    sender = hosts.send(rate=1000 / SLOW, seconds=seconds)
    ill, faults = {}, 0
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        for host in [host for host, end in ill.items() if end <= now]:
            network.heal(host)
            del ill[host]
        host = chance.choice(HOSTS)
        if host not in ill and len(ill) < 3:
            match chance.randrange(6):
                case 0:
                    network.cut(host)
                case 1:
                    network.cut(host, chance.choice([other for other in HOSTS if other != host]))
                case 2:
                    network.cut(host, directions=(chance.choice(("in", "out")),))
                case 3:
                    network.lossy(host, chance.choice((5, 30, 70)))
                case 4:
                    network.slow(host, chance.choice(("256kbit", "4mbit")))
                case 5:
                    network.cut(host, directions=("in",), how="reject with tcp reset")
            ill[host] = now + (chance.uniform(10, 20) if chance.random() < 0.1 else chance.uniform(0.1, 4))
            faults += 1
        time.sleep(0.2)
    for host in ill:
        network.heal(host)
    print(f"faults: {faults}; confirmed when they ended: {hosts.confirmed():,}", flush=True)
    sender.finish(300)
    hosts.settle()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--storm", type=float, metavar="SECONDS", help="random faults for so long instead of the scenarios")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("scenarios", nargs="*", default=["each_link_is_cut", "half_open", "holders_away", "slow_and_lossy"])
    options = parser.parse_args()
    namespaces.enter_network()
    network = namespaces.Network(HOSTS)
    if options.storm:
        print(f"seed {options.seed}", flush=True)
        with Hosts(network) as hosts:
            storm(hosts, options.storm, options.seed)
        return
    for name in options.scenarios:
        start = time.monotonic()
        with Hosts(network) as hosts:
            globals()[name](hosts)
        print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)


main()
