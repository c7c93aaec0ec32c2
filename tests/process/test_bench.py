"""weir bench: what it tells adds up, and it leaves nothing behind, however it ends. Never how fast anything is."""

import json
import os
import shutil
import signal
import subprocess
import tempfile

import harness
from harness import BIN, SLOW, wait_for

QUANTILES = ["p50", "p99", "p999"]
KEYS = {"size", "messages", "rounds", "producers", "groups", "workers", "keys", "rate", "sink", "direct", "fsync", "cpus",
        "handlers", "at_once", "pipeline_msgs_per_s", "deliveries_per_s", "cpu_us_per_message", "log_syncs", "state_writes",
        "rss_max_bytes", "spread", "counts"}
BARE_KEYS = {"function": ["raw_msgs_per_s", "ratio"], "run": ["spawns_per_s", "spawn_ratio"], "serve": []}
BACKLOG_KEYS = ["burst", "waiting", "burst_ms", "burst_drained_per_s", "burst_rss_before_bytes", "burst_rss_max_bytes",
                "fill_msgs_per_s", "waiting_msgs_per_s", "waiting_acked_per_s", "waiting_ratio"]
PACED_KEYS = {"latency_us", "latency_ratio", "cpu_percent_at_rate"}


def children(pid):
    """Pids and names of what descends from a process."""
    found, parents = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    head, _, tail = file.read().rpartition(")")
            except OSError:
                continue
            parents.setdefault(int(tail.split()[1]), []).append((int(name), head.partition("(")[2]))
    open_ = [pid]
    while open_:
        for child, name in parents.get(open_.pop(), []):
            found[child] = name
            open_.append(child)
    return found


class Bench(harness.unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.dir)

    def start(self, *options):
        return subprocess.Popen([os.path.join(BIN, "weir"), "bench", "--dir", self.dir, *options], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def run_bench(self, *options):
        process = self.start(*options)
        output, errors = process.communicate(timeout=300 * SLOW)
        said = [line for line in errors.splitlines() if "is memory, where a sync costs nothing" not in line]
        self.assertEqual((process.returncode, said), (0, []), (options, output))
        self.assertEqual(os.listdir(self.dir), [])
        return output

    def figures(self, messages, rounds, rate, duration_ms, *options, handlers="function", extra=0):
        """What it tells; what holds whatever the options is held here."""
        output = self.run_bench("--json", "--messages", str(messages), "--rounds", str(rounds), "--rate", str(rate),
                                "--duration", f"{duration_ms}ms", *options)
        self.assertEqual(output.count("\n"), 1)
        told = json.loads(output)
        bare = BARE_KEYS[handlers]
        self.assertEqual(told["handlers"], handlers)
        self.assertEqual(set(told), KEYS | set(bare) | (PACED_KEYS if rate else set()) | set(BACKLOG_KEYS if extra else []))
        self.assertEqual((told["messages"], told["rounds"], told["rate"]), (messages, rounds, rate))

        counts = told["counts"]
        warm, paced = min(messages, 10000), rate * duration_ms // 1000
        sent = warm + rounds * (messages + 2 * paced + extra)
        self.assertEqual((counts["sent"], counts["accepted"], counts["acked"]), (sent, sent, sent))
        self.assertEqual(counts["handled"], sent * told["groups"])
        self.assertEqual(counts["disordered"], 0)
        self.assertEqual(counts["results"], counts["handled"] if told["sink"] else 0)

        processes = {"producer", "ventilator", "worker"}
        processes |= (set() if told["direct"] else {"router"}) | ({"sink"} if told["sink"] else set())
        self.assertEqual(set(told["rss_max_bytes"]), processes)
        self.assertEqual(set(told["cpu_us_per_message"]), processes | {"all"} | ({"raw"} if handlers == "function" else set()))
        for name in processes:
            self.assertGreater(told["rss_max_bytes"][name], 4096, name)
            self.assertGreater(told["cpu_us_per_message"][name], 0, name)
        self.assertAlmostEqual(told["cpu_us_per_message"]["all"], sum(told["cpu_us_per_message"][name] for name in processes),
                               delta=0.01)

        for name in ["pipeline_msgs_per_s"] + bare:
            least, most = told["spread"][name]
            self.assertTrue(0 <= least <= told[name] <= most, (name, least, told[name], most))
        self.assertGreater(told["pipeline_msgs_per_s"], 0)
        for rate_key in bare[:1]:
            self.assertGreater(told[rate_key], 0)
        self.assertAlmostEqual(told["deliveries_per_s"], told["pipeline_msgs_per_s"] * told["groups"], delta=0.01 * told["groups"])
        if rate:
            self.check_latencies(told, processes)
        return told

    def check_latencies(self, told, processes):
        self.assertEqual(set(told["latency_us"]), {"ok", "handler", "acked", "chain", "fdatasync"})
        for name, quantiles in told["latency_us"].items():
            self.assertEqual(list(quantiles), QUANTILES)
            values = [quantiles[quantile] for quantile in QUANTILES]
            self.assertTrue(0 < values[0] <= values[1] <= values[2], (name, values))
            for quantile in QUANTILES:
                least, most = told["spread"]["latency_us"][name][quantile]
                self.assertTrue(least <= quantiles[quantile] <= most, (name, quantile, least, most))
        self.assertEqual(set(told["cpu_percent_at_rate"]), processes | {"all"})
        for quantile in QUANTILES:
            floor = told["latency_us"]["chain"][quantile]
            floor += told["latency_us"]["fdatasync"][quantile] if told["fsync"] == "always" else 0
            self.assertAlmostEqual(told["latency_ratio"][quantile], told["latency_us"]["handler"][quantile] / floor, delta=0.01)

    def test_figures(self):
        told = self.figures(3000, 2, 500, 400)
        self.assertEqual((told["size"], told["fsync"], told["groups"], told["workers"], told["keys"]), (100, "always", 1, 1, 0))
        self.assertGreaterEqual(told["log_syncs"], 1)

    def test_many(self):
        """Several of each, order by key, and a sink that has a result of every message and group."""
        told = self.figures(2000, 1, 400, 300, "--producers", "2", "--groups", "2", "--workers", "2", "--keyed", "--keys", "7",
                            "--sink", "--size", "1KiB")
        self.assertEqual((told["size"], told["producers"], told["groups"], told["workers"], told["keys"]), (1024, 2, 2, 2, 7))

    def test_direct_and_never(self):
        told = self.figures(2000, 1, 0, 100, "--direct", "--fsync", "never", "--size", "16")
        self.assertEqual((told["direct"], told["fsync"]), (True, "never"))

    def test_backlogs(self):
        told = self.figures(1000, 2, 0, 200, "--burst", "700", "--waiting", "3000", "--groups", "2", "--workers", "2", extra=700 + 4000)
        self.assertEqual((told["burst"], told["waiting"]), (700, 3000))
        for name in BACKLOG_KEYS[2:]:
            least, most = told["spread"][name]
            self.assertTrue(0 < least <= told[name] <= most, (name, least, told[name], most))
        self.assertGreaterEqual(told["waiting_acked_per_s"], told["waiting_msgs_per_s"])
        self.assertLess(told["burst_drained_per_s"], 2 * 700 / 0.2)
        self.assertGreaterEqual(told["burst_rss_max_bytes"], told["burst_rss_before_bytes"])

    def test_run(self):
        told = self.figures(60, 2, 0, 100, "--run", "--at-once", "3", "--groups", "2", handlers="run")
        self.assertEqual((told["at_once"], told["groups"]), (3, 2))

    def test_serve(self):
        """Each message has been through the coprocess: the sink has its result."""
        told = self.figures(500, 1, 0, 100, "--serve", "--sink", "--workers", "2", "--direct", handlers="serve")
        self.assertEqual((told["at_once"], told["counts"]["results"]), (2, 1000))

    def test_run_table(self):
        lines = self.run_bench("--messages", "30", "--rounds", "1", "--run").splitlines()
        self.assertIn("1 worker, run 8 at once in each", lines[0])
        self.assertTrue(any(line.startswith("posix_spawn of /bin/true, processes/s") for line in lines), lines)
        self.assertFalse(any("libzmq" in line for line in lines), lines)

    def test_table(self):
        lines = self.run_bench("--messages", "1000", "--rounds", "1", "--rate", "200", "--duration", "200ms").splitlines()
        self.assertEqual(lines[0].split(",")[0], "1000 messages of 100 bytes")
        self.assertEqual(lines[-1], "2080 sent, 2080 handled, 0 more than once, 0 lost")
        for start in ("confirmed and acked", "libzmq PUSH", "ratio", "producer", "ventilator", "router", "worker", "send → OK",
                      "send → handler", "send → acked", "bare libzmq", "bare fdatasync", "handler ÷ (libzmq + fdatasync)"):
            self.assertTrue(any(line.startswith(start) for line in lines), (start, lines))

    def misused(self, status, text, *options):
        process = self.start(*options)
        output, errors = process.communicate(timeout=60 * SLOW)
        self.assertEqual((process.returncode, output), (status, ""), options)
        self.assertIn(text, errors)

    def test_misuse(self):
        self.misused(64, "--fsync: expected always, interval or never, not 'now'", "--fsync", "now")
        self.misused(64, "--size: expected 16 to 4194304 bytes", "--size", "15")
        self.misused(64, "--groups: expected a number from 1 to 128, not '0'", "--groups", "0")
        self.misused(64, "--rate is not for --run", "--run", "--rate", "10")
        self.misused(64, "--burst: expected a number from 1 to", "--burst", "0")
        self.misused(64, "--burst and --waiting are not for --serve", "--serve", "--waiting", "10")
        self.misused(64, "--at-once is for --run and --serve", "--at-once", "3")
        self.misused(64, "unexpected argument 'fast'", "fast")
        self.misused(64, "take less of --messages", "--rate", "1000000", "--duration", "1h")
        self.misused(73, "cannot make a directory in /nonexistent", "--dir", "/nonexistent")

    def started(self):
        """A bench that would go on for long, and its processes, of which each kind is there."""
        process = self.start("--messages", "2000", "--rate", "200", "--duration", "10m")
        wait_for("all processes", lambda: {"supervisor", "weir-ventilator", "weir-router", "worker", "producer"}
                 <= set(children(process.pid).values()))
        return process, children(process.pid)

    def gone(self, pids):
        wait_for("all processes to be gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))

    def test_ends_with_all_it_started(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
            process, pids = self.started()
            process.send_signal(number)
            process.communicate(timeout=60 * SLOW)
            self.assertEqual(process.returncode, status)
            self.gone(pids)
            self.assertEqual(os.listdir(self.dir), [], number)

    def test_a_process_ends(self):
        """No figures then, and the place where its log is."""
        for name, text in (("weir-ventilator", "ventilator"), ("weir-router", "router"), ("worker", "worker was killed by signal 9")):
            process, pids = self.started()
            os.kill(next(pid for pid, known in pids.items() if known == name), signal.SIGKILL)
            output, errors = process.communicate(timeout=60 * SLOW)
            self.assertEqual((process.returncode, output), (70, ""), errors)
            self.assertIn(f"weir bench: the {text}", errors)
            kept = os.path.join(self.dir, os.listdir(self.dir)[0])
            self.assertIn(f"are kept in {kept}", errors)
            self.assertTrue(os.path.exists(os.path.join(kept, "var/bench/log/ventilator.log")))
            shutil.rmtree(kept)
            self.gone(pids)


harness.main()
