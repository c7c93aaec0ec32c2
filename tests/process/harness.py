"""Runs a topology of real processes for a test: in a temporary directory of its own, over ipc sockets in
that directory, started through the command line. Waits for what it waits for, with a deadline; ends
only what it started, by pid."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../build/dev")  # for a test that is run by hand
BIN = os.path.abspath(os.environ.get("WEIR_BIN", os.path.join(BUILD, "bin")))
LINES_SHOWN = 40  # of each node, when a test has failed
SLOW = float(os.environ.get("WEIR_SLOW", "1"))  # sanitizers make everything slower


def wait_for(what, condition, seconds=30):
    """Until the condition holds; fails naming `what`."""
    until = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Process:
    """A process that the supervisor of a topology started. Signals reach it or nobody, though its pid may be used again."""

    def __init__(self, row, supervisor):
        self.node, self.instance, self.pid, self.supervisor = row["node"], row["instance"], row["pid"], supervisor

    def signal(self, number):
        """False when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            with open(f"/proc/{self.pid}/stat") as stat:
                if int(stat.read().rpartition(")")[2].split()[1]) != self.supervisor:
                    return False
            signal.pidfd_send_signal(handle, number)
            return True
        except (FileNotFoundError, ProcessLookupError):
            return False
        finally:
            os.close(handle)


class Topology:
    """`text` is YAML with DIR for the directory; `files` are handlers and the like, by name."""

    def __init__(self, text, files=None):
        self.dir = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        for name, content in (files or {}).items():
            self.write(name, content)
        self.file = os.path.join(self.dir, "topology.yaml")
        with open(self.file, "w") as file:
            file.write(text.replace("DIR", self.dir))
        self.name = re.search(r"^topology: (\S+)", text, re.M).group(1)
        self.up_process = None
        self.log = os.path.join(self.dir, "up.log")

    def write(self, name, content):
        path = os.path.join(self.dir, name)
        temporary = path + ".new"
        with open(temporary, "w") as file:
            file.write(content)
        os.chmod(temporary, 0o755)
        os.rename(temporary, path)

    def weir(self, *arguments, input=None, check=True, timeout=120):
        answer = subprocess.run([os.path.join(BIN, "weir"), *arguments], input=input, cwd=self.dir, text=True,
                                capture_output=True, timeout=timeout * SLOW,
                                env={**os.environ, "WEIR_TOPOLOGY": self.file})
        if check and answer.returncode != 0:
            raise AssertionError(f"weir {' '.join(arguments)}: status {answer.returncode}\n{answer.stdout}{answer.stderr}")
        return answer

    def __enter__(self):
        with open(self.log, "w") as log:
            self.up_process = subprocess.Popen([os.path.join(BIN, "weir"), "up", self.file], cwd=self.dir,
                                               stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            wait_for("every node to be ready", self.ready)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def down(self):
        """End everything; what is on disk stays, for a start() with perhaps another file."""
        self.weir("down", self.file)
        status = self.up_process.wait(60 * SLOW)
        assert status == 0, self.output()

    def start(self):
        self.__enter__()

    def ready(self):
        if self.up_process.poll() is not None:
            raise AssertionError(f"weir up ended with {self.up_process.returncode}:\n{self.output()}")
        return re.search(r"^weir +\| ready: ", self.output(), re.M) is not None

    def output(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def __exit__(self, kind, *_):
        if self.up_process and self.up_process.poll() is None:
            self.up_process.send_signal(signal.SIGTERM)
            try:
                self.up_process.wait(60 * SLOW)
            except subprocess.TimeoutExpired:
                self.up_process.send_signal(signal.SIGTERM)
                self.up_process.wait()
                if kind is None:
                    raise AssertionError(f"weir up did not drain:\n{self.output()[-4000:]}")
        if kind is None:
            output = self.output()
            bad = re.findall(r".*(?:AddressSanitizer|ThreadSanitizer|runtime error|LeakSanitizer|assertion failed).*", output)
            if bad:
                raise AssertionError("\n".join(bad[:5]) + "\n" + output[-6000:])
            shutil.rmtree(self.dir)
        else:
            print(f"--- all of it is kept in {self.dir}; this is the end of each node's output", file=sys.stderr)
            nodes = {}
            for line in self.output().splitlines():
                nodes.setdefault(line.partition("|")[0], []).append(line[:500])
            for lines in nodes.values():
                print("\n".join(lines[-LINES_SHOWN:]), file=sys.stderr)

    # what is going on
    def processes(self):
        """Those that run now, as the supervisor's own file says: quick, and nobody is asked."""
        with open(os.path.join(self.dir, "var", self.name, "state.json")) as file:
            rows = json.load(file)["processes"]
        return [Process(row, self.up_process.pid) for row in rows if row["pid"] and row["state"] in ("starting", "running")]

    def ps(self):
        return [json.loads(line) for line in self.weir("ps", "--json").stdout.splitlines()]

    def pids(self, node):
        return [row["pid"] for row in self.ps() if row["node"] == node and row["pid"]]

    def group(self, name):
        """The counts of a group, as its ventilator tells them."""
        for row in self.ps():
            if name in (row.get("groups") or {}):
                return row["groups"][name]
        return {}

    def kill(self, node, number=signal.SIGKILL):
        """Kill one instance of a node, and wait until the supervisor has another."""
        pid = self.pids(node)[0]
        os.kill(pid, number)
        wait_for(f"{node} to be started again", lambda: self.pids(node) and pid not in self.pids(node))

    def send(self, topic, lines, *options):
        ids = self.weir("send", topic, "--lines", *options, input="".join(line + "\n" for line in lines)).stdout.split()
        assert len(ids) == len(lines), (len(ids), len(lines))
        return ids

    def status(self, id):
        return json.loads(self.weir("status", id, "--json").stdout)

    def state(self, id, group):
        return self.status(id)["groups"].get(group, {}).get("state")

    def results(self, name="results.jsonl"):
        """The sink's rows, complete lines only."""
        try:
            with open(os.path.join(self.dir, "var", self.name, name), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def dead(self, *options):
        return [json.loads(line) for line in self.weir("dlq", "ls", "--json", *options).stdout.splitlines()]


def nodes(groups, workers, extra=""):
    """A topology of one ventilator, one router, a sink and a collector, with these groups and workers."""
    return f"""topology: test
nodes:
  intake:
    role: ventilator
    submit: ipc://DIR/submit
    dispatch: ipc://DIR/dispatch
    spool: {{ dir: var/test/intake, max: 1GiB }}
    dead-letters: dlq
    dynamic-groups: true
    groups:
{groups}
  hub: {{ role: router, from: [intake], dispatch: "ipc://DIR/hub" }}
{workers}
  results: {{ role: sink, submit: "ipc://DIR/results", write: {{ jsonl: var/test/results.jsonl }} }}
  dlq: {{ role: dlq, submit: "ipc://DIR/dlq", store: var/test/dlq.db }}
{extra}"""


def main():
    unittest.main(verbosity=2)
