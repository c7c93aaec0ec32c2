"""What people do to a running system, and what they send it: processes stopped and continued, groups that are full,
a topology that was edited, payloads of every size and kind."""

import base64
import os
import signal
import subprocess

import harness
from harness import BIN, Topology, nodes, wait_for

CAT = "  worker: { role: worker, from: [hub], group: work, to: results, run: [cat], count: 2, prefetch: 4 }"


def send_bytes(t, payload, *options):
    """The status, the ids and the complaint of a `weir send` with arguments and input as bytes."""
    answer = subprocess.run([os.path.join(BIN, "weir"), "send", "work", *options], input=payload, cwd=t.dir, capture_output=True,
                            env={**os.environ, "WEIR_TOPOLOGY": t.file})
    return answer.returncode, answer.stdout.decode().split(), answer.stderr.decode()


class Operator(harness.unittest.TestCase):
    def assert_once(self, t, ids):
        wait_for("all results", lambda: len(t.results()) >= len(ids))
        self.assertEqual(sorted(row["id"] for row in t.results()), sorted(ids))

    def test_worker_stopped_for_longer_than_its_lease(self):
        """What it held goes elsewhere; what it says when it goes on comes too late, and is in the sink once."""
        slow = "  worker: { role: worker, from: [hub], group: work, to: results, run: [./slow.sh], count: 2, prefetch: 4 }"
        with Topology(nodes("      work: { topics: [work], lease: 9s }", slow),
                      {"slow.sh": "#!/bin/sh\necho >>started\nuntil [ -e go ]; do sleep 0.02; done\ncat\n"}) as t:
            ids = t.send("work", [str(i) for i in range(20)])
            started = os.path.join(t.dir, "started")
            wait_for("both workers to work", lambda: os.path.exists(started) and os.path.getsize(started) == 2)
            pid = t.pids("worker")[0]
            os.kill(pid, signal.SIGSTOP)
            t.write("go", "")
            self.assert_once(t, ids)
            os.kill(pid, signal.SIGCONT)

            def late():  # the worker itself may find that its lease is over, or else the ventilator does
                return t.group("work")["stale"] + sum(row["stats"]["late"] for row in t.ps() if row["role"] == "worker")

            wait_for("the late ack to be counted", late)
            ids += t.send("work", ["another"])
            self.assert_once(t, ids)
            self.assertEqual((t.group("work")["done"], t.group("work")["dead"]), (21, 0))

    def test_ventilator_stopped_and_worker_told_to_end(self):
        with Topology(nodes("      work: { topics: [work] }", CAT)) as t:
            ids = t.send("work", [str(i) for i in range(200)])
            pid = t.pids("intake")[0]
            os.kill(pid, signal.SIGSTOP)
            answer = t.weir("send", "work", "x", "--timeout", "200ms", check=False)
            self.assertEqual((answer.returncode, answer.stdout), (69, ""))
            self.assertIn("not confirmed: 1", answer.stderr)
            row = next(row for row in t.ps() if row["node"] == "intake")
            self.assertEqual((row["pid"], row["state"]), (pid, "silent"))
            t.kill("worker", signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
            # The sender that gave up may have been heard or not: it said that it does not know.
            wait_for("all to be done", lambda: {row["id"] for row in t.results()} >= set(ids))
            found = [row["id"] for row in t.results()]
            self.assertEqual(len(found), len(set(found)))
            self.assertLessEqual(len(found), 201)

    def test_times_that_make_no_sense(self):
        """Each is refused before anything is sent, with the option's name and what was expected."""
        for option, value, said in (("--ttl", "0", "it would be dead at once"), ("--ttl", "12726d", "expected at most 12725d"),
                                    ("--delay", "5", "expected a whole number and one of ms, s, m, h, d")):
            answer = subprocess.run([os.path.join(BIN, "weir"), "send", "--to", "ipc:///nobody", "x", "y", option, value],
                                    text=True, capture_output=True)
            self.assertEqual((answer.returncode, answer.stdout), (64, ""), answer.stderr)
            self.assertTrue(answer.stderr.startswith(f"weir send: {option}: "), answer.stderr)
            self.assertIn(said, answer.stderr)

    def test_options_that_are_none(self):
        for arguments, said in ((("-t", "x.yaml", "ps"), "weir: '-t' is no command; options come behind one"),
                                (("ps", "--jsn"), "weir ps: unrecognized option '--jsn'")):
            answer = subprocess.run([os.path.join(BIN, "weir"), *arguments], text=True, capture_output=True)
            self.assertEqual((answer.returncode, answer.stdout), (64, ""), answer.stderr)
            self.assertTrue(answer.stderr.startswith(said), answer.stderr)

    def test_full_groups(self):
        groups = "\n".join(f"      {name}: {{ topics: [{name}], max-backlog: 10, on-full: {name}, external: true }}"
                           for name in ("refuse", "dead-letter", "drop"))
        with Topology(nodes(groups, "")) as t:
            for name in ("refuse", "dead-letter", "drop"):
                t.send(name, [str(i) for i in range(10)])
            answer = t.weir("send", "refuse", "x", "--timeout", "200ms", check=False)
            self.assertEqual((answer.returncode, answer.stdout), (75, ""))
            self.assertIn("group refuse has 10 messages waiting, its max-backlog is 10", answer.stderr)
            self.assertEqual(t.group("refuse")["waiting"], 10)
            new = []
            for name in ("dead-letter", "drop"):
                ids = t.send(name, ["new"] * 5)
                wait_for("what comes to be turned away", lambda: t.group(name)["dropped"] == 5)
                self.assertEqual(t.group(name)["waiting"], 10)
                new += ids
            self.assertEqual({t.state(id, "drop") for id in new[5:]}, {"dropped"})
            wait_for("the dead letters", lambda: len(t.dead()) == 5)
            self.assertEqual([(row["id"], row["group"], row["reason"]) for row in t.dead()],
                             [(id, "dead-letter", "backlog") for id in new[:5]])

    def test_edited_topology(self):
        old = "      old: { topics: [work], external: true }"
        new = "      new: { topics: [work], external: true }"
        with Topology(nodes(old, "")) as t:
            (before,) = t.send("work", ["before"])
            t.down()
            with open(t.file) as file:
                text = file.read()
            with open(t.file, "w") as file:
                file.write(text.replace(old, new))
            t.start()
            self.assertIn("group old is no longer in the topology and holds 1 messages", t.output())
            (after,) = t.send("work", ["after"])
            self.assertEqual(set(t.status(before)["groups"]), {"old"})
            self.assertEqual((t.state(after, "new"), t.group("new")["waiting"]), ("waiting", 1))
            self.assertFalse(t.group("old")["listed"])
            answer = t.weir("group", "rm", "old", check=False)
            self.assertNotEqual(answer.returncode, 0)
            self.assertIn("say --force", answer.stderr)
            self.assertNotEqual(t.weir("group", "rm", "new", "--force", check=False).returncode, 0)
            t.weir("group", "rm", "old", "--force")
            self.assertEqual(t.group("old"), {})

    def test_payloads_of_every_size_and_kind(self):
        limit = 8 << 20
        with Topology(nodes("      work: { topics: [work] }", CAT)) as t:
            expected = {}
            for payload, options, key in (
                    (b"", (), None), (b"\0", (), None), (b"\xff\xfe\0", (), None), (b"x", ("--key", b"\xff\x01"), b"\xff\x01"),
                    (b"x", ("--header", b"name=\xfe"), None), (b"\xf0\x9f\x90\x9f", ("--key", "\u00fc"), "\u00fc".encode()),
                    (b"y" * (1 << 20), (), None)):
                status, ids, said = send_bytes(t, payload, *options)
                self.assertEqual((status, len(ids)), (0, 1), said)
                expected[ids[0]] = (payload, key)
            for payload, options, text in (
                    (b"z" * limit, (), "the limit is 8388608 together"), (b"z" * (limit + 1), (), "the limit of a message"),
                    (b"", ("--key", "k" * 1025), "the limit is 1024"), (b"", ("--header", "a=" + "v" * 8193), "the limit is 8192"),
                    (b"", ("--header", b"\xff=v"), "the name of header 1 is not valid")):
                status, ids, said = send_bytes(t, payload, *options)
                self.assertEqual((status, ids), (65, []))
                self.assertIn(text, said)
            status, ids, said = send_bytes(t, b"first\n" + b"z" * (limit + 1) + b"\nlast\n", "--lines")
            self.assertEqual((status, len(ids)), (65, 2))
            self.assertIn("line 2: message: a payload of 8388609 bytes", said)
            expected.update(zip(ids, ((b"first", None), (b"last", None))))

            def part(row, name):
                coded = row.get(name + "_base64")
                text = row.get(name)
                return base64.b64decode(coded) if coded is not None else text.encode() if text is not None else None

            wait_for("all results", lambda: len(t.results()) >= len(expected))
            self.assertEqual({row["id"]: (part(row, "result"), part(row, "key")) for row in t.results()}, expected)

    def test_the_largest_message_can_die_and_come_back(self):
        """Its origin and history come on top of the limit."""
        handler = "#!/bin/sh\n[ -e mended ] || exit 65\nwc -c\n"
        with Topology(nodes("      work: { topics: [work] }",
                            "  worker: { role: worker, from: [hub], group: work, to: results, run: [./handler] }"),
                      {"handler": handler}) as t:
            size = (8 << 20) - 30
            status, ids, said = send_bytes(t, b"x" * size)
            self.assertEqual((status, len(ids)), (0, 1), said)
            wait_for("the dead letter", lambda: [row["id"] for row in t.dead()] == ids)
            t.write("mended", "")
            t.weir("dlq", "replay", "--all")
            wait_for("the result", lambda: [(row["id"], row["result"]) for row in t.results()] == [(ids[0], f"{size}\n")])
            self.assertEqual(t.dead(), [])

    def test_a_hundred_thousand_lines(self):
        with Topology(nodes("      work: { topics: [work], external: true }", "")) as t:
            ids = t.send("work", [str(i) for i in range(100000)])
            self.assertEqual(len(set(ids)), 100000)
            self.assertEqual(ids, sorted(ids))
            self.assertEqual((t.group("work")["waiting"], t.state(ids[77777], "work")), (100000, "waiting"))

    def test_a_new_subscriber_with_other_topics(self):
        """It is told so, with the group's topics and what to do; whoever serves the group goes on, through routers in a row
        and whatever starts anew."""
        low = '  low: { role: router, from: [hub], dispatch: "ipc://DIR/low" }\n'
        with Topology(nodes("      work: { topics: [work] }", CAT, low)) as t:
            def worker(name, topics):
                with open(os.path.join(t.dir, name), "w") as log:
                    return subprocess.Popen([os.path.join(BIN, "weir-worker"), "--from", f"ipc://{t.dir}/low", "--group", "slack",
                                             "--topics", topics, "--to", f"ipc://{t.dir}/results", "--run", "cat"],
                                            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

            def said(name):
                with open(os.path.join(t.dir, name)) as log:
                    return log.read()

            ids = []

            def more():
                ids.extend(t.send("user.signed_up", [str(len(ids) + i) for i in range(3)]))
                wait_for("all results", lambda: {row["id"] for row in t.results()} >= set(ids))

            right = worker("right", "user.*")
            wrong = None
            try:
                wait_for("the group to be there", lambda: t.group("slack"))
                more()
                wrong = worker("wrong", "order.*")
                wait_for("the refusal", lambda: "gets no work" in said("wrong"))
                self.assertRegex(said("wrong"), r"group slack gets no work from \S+: group slack is served here with the topics user\.\*: "
                                                r"join it with these, or use another name\. Asking again in 1 s")
                more()
                for node in ("hub", "intake", "low"):
                    t.kill(node)
                    more()
                self.assertNotIn("gets no work", said("right"))
                self.assertEqual({row["group"] for row in t.results()}, {"slack"})
            finally:
                for process in (right, wrong):
                    if process:
                        process.terminate()
                        process.wait()


harness.main()
