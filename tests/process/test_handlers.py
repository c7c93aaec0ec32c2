"""Handlers that misbehave in every way a program can: each costs its own message its attempts and nobody else anything."""

import os
import shutil
import signal

import harness
from harness import Topology, nodes, wait_for

RUN = {
    "endless": ("exec yes", "dead", "larger than 8388608 bytes"),
    "large": ("head -c 20971520 /dev/zero", "dead", "larger than 8388608 bytes"),
    "chatty": ("head -c 20971520 /dev/zero | tr '\\0' e >&2; exit 3", "dead", "e" * 2000),
    "hangs": ("exec sleep 1000", "dead", "timed out after 500 ms"),
    "deaf": ("exec echo ok", "done", None),
    "closes": ("exec 0<&-; echo ok", "done", None),
    "leaves": ("sleep 1000 & echo $! >>left; echo ok", "done", None),
    "killed": ("kill -KILL $$", "dead", "signal 9"),
}
SERVE = {
    "garbage": ("while read line; do echo nonsense; done", "not a JSON object in one line: nonsense"),
    "unknown": ("while read line; do echo '{\"id\":\"x\",\"outcome\":\"done\"}'; done", "has the id x, which it has not in work"),
    "silent": ("while read line; do :; done", "timed out after 500 ms"),
    "mute": ("exec 1>&-; while read line; do :; done", "closed its stdin or stdout"),
    "quits": ("read line; exit 3", "exit status 3"),
}


def group(name, attempts):
    return f"      {name}: {{ topics: [{name}], attempts: {attempts}, timeout: 500ms, backoff: {{ first: 1ms, max: 1ms }} }}"


def worker(name, handler):
    return f"  {name}: {{ role: worker, from: [hub], group: {name}, to: results, {handler}: [./{name}.sh] }}"


class Handlers(harness.unittest.TestCase):
    def assert_fate(self, t, id, name, state, said):
        wait_for(f"{name} to be {state}", lambda: t.state(id, name) == state)
        if said:
            self.assertIn(said, t.status(id)["groups"][name]["error"])

    def test_run(self):
        files = {f"{name}.sh": f"#!/bin/sh\n{body}\n" for name, (body, _, _) in RUN.items()}
        with Topology(nodes("\n".join(group(name, 2) for name in RUN), "\n".join(worker(name, "run") for name in RUN)), files) as t:
            large = "x" * (4 << 20)
            ids = {name: t.weir("send", name, input=large if name in ("deaf", "closes") else "x").stdout.strip() for name in RUN}
            for name, (_, state, said) in RUN.items():
                self.assert_fate(t, ids[name], name, state, said)
            self.assertEqual(sorted((row["group"], row["result"]) for row in t.results()),
                             [("closes", "ok\n"), ("deaf", "ok\n"), ("leaves", "ok\n")])
            self.assertTrue(all(row["restarts"] == 0 for row in t.ps()))
            with open(os.path.join(t.dir, "left")) as left:
                for pid in left.read().split():
                    os.kill(int(pid), signal.SIGKILL)

    def test_serve(self):
        files = {f"{name}.sh": f"#!/bin/sh\n{body}\n" for name, (body, _) in SERVE.items()}
        with Topology(nodes("\n".join(group(name, 1) for name in SERVE), "\n".join(worker(name, "serve") for name in SERVE)), files) as t:
            ids = {name: t.send(name, ["x"])[0] for name in SERVE}
            for name, (_, said) in SERVE.items():
                self.assert_fate(t, ids[name], name, "dead", said)
            self.assertTrue(all(row["restarts"] == 0 for row in t.ps()))

    def test_a_coprocess_that_never_works_is_not_started_in_a_loop(self):
        with Topology(nodes(group("loop", 9), worker("loop", "serve")),
                      {"loop.sh": "#!/bin/sh\necho start >>starts\nexit 1\n"}) as t:
            (id,) = t.send("loop", ["x"])

            def starts():
                with open(os.path.join(t.dir, "starts")) as file:
                    return len(file.readlines())

            wait_for("four starts", lambda: starts() >= 4)  # after 100, 200 and 400 ms
            self.assertLess(starts(), 7)
            self.assertIn(t.state(id, "loop"), ("waiting", "in-flight", "deferred"))
            self.assertEqual(t.dead(), [])

    def test_no_such_handler_is_said_before_anything_starts(self):
        for name, content, said in (("absent.sh", None, "No such file or directory"), ("plain.sh", "#!/bin/sh\n", "not executable")):
            topology = Topology(nodes(group("work", 1), f"  worker: {{ role: worker, from: [hub], group: work, run: [./{name}] }}"))
            self.addCleanup(shutil.rmtree, topology.dir)
            if content:
                topology.write(name, content)
                os.chmod(os.path.join(topology.dir, name), 0o644)
            answer = topology.weir("up", topology.file, check=False)
            self.assertEqual(answer.returncode, 78, answer.stderr)
            self.assertRegex(answer.stderr, rf"topology.yaml:\d+:\d+: error: run: ./{name}: {said}")
            self.assertFalse(os.path.exists(os.path.join(topology.dir, "var")))


harness.main()
