"""The report of bench/compare on figures that are made up: what it computes, and what people read."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench"))
import report  # noqa: E402

MACHINE = {"cores": 2, "processor": "a processor", "kernel": "6.1.0", "filesystem": "ext4", "fdatasync_us": 512}
ENTRANTS = [
    {"name": "weir", "label": "Weir 0.1.0", "messages": 4000000, "durable": True, "durability": "fdatasync before the OK"},
    {"name": "raw", "label": "raw libzmq", "messages": 4000000, "durable": False, "durability": "nothing is kept"},
    {"name": "redis", "label": "Redis Streams 7.0.15", "messages": 200000, "durable": True, "durability": "fsync first"},
]
FIGURES = {"weir": [2000000, 2400000, 1900000], "raw": [2200000.4, 2500000, 2100000], "redis": [50000, 49000.6, 60000]}

TABLE = """\
100 bytes, one producer, one consumer, the median of 3 rounds; 2 cores of a processor, Linux 6.1.0, ext4, \
a bare fdatasync of 4 KiB takes 512 µs

|                      |    msgs/s |          least – most | Weir is × as fast | messages a round | a confirmed message is on disk |
| -------------------- | --------: | --------------------: | ----------------: | ---------------: | ------------------------------ |
| Weir 0.1.0           | 2,000,000 | 1,900,000 – 2,400,000 |                   |        4,000,000 | yes: fdatasync before the OK   |
| raw libzmq           | 2,200,000 | 2,100,000 – 2,500,000 |              0.91 |        4,000,000 | **no**: nothing is kept        |
| Redis Streams 7.0.15 |    50,000 |       49,001 – 60,000 |                40 |          200,000 | yes: fsync first               |"""


def runs(names=FIGURES):
    return [{"round": number + 1, "name": name, "msgs_per_s": FIGURES[name][number]} for number in range(3) for name in names]


class Report(unittest.TestCase):
    def setUp(self):
        self.outcome = report.outcome(100, MACHINE, ENTRANTS, runs())

    def test_medians_spread_and_ratios(self):
        self.assertEqual([(row["msgs_per_s"], row["least"], row["most"]) for row in self.outcome["entrants"]],
                         [(2000000, 1900000, 2400000), (2200000.4, 2100000, 2500000), (50000, 49000.6, 60000)])
        self.assertEqual([round(row["weir_is_times"], 3) for row in self.outcome["entrants"]], [1.0, 0.909, 40.0])
        self.assertEqual((self.outcome["rounds"], self.outcome["size"], len(self.outcome["runs"])), (3, 100, 9))

    def test_an_even_number_of_rounds(self):
        outcome = report.outcome(100, MACHINE, ENTRANTS[2:], [run for run in runs(["redis"]) if run["round"] < 3])
        self.assertEqual(outcome["entrants"][0]["msgs_per_s"], 49500.3)

    def test_table(self):
        self.assertEqual(report.table(self.outcome), TABLE)

    def test_without_weir_there_is_no_ratio(self):
        outcome = report.outcome(100, MACHINE, ENTRANTS[2:], runs(["redis"]))
        self.assertIsNone(outcome["entrants"][0]["weir_is_times"])
        self.assertEqual([cell.strip() for cell in report.table(outcome).splitlines()[-1].split("|")],
                         ["", "Redis Streams 7.0.15", "50,000", "49,001 – 60,000", "", "200,000", "yes: fsync first", ""])

    def test_chart(self):
        text = report.gnuplot(self.outcome, "/somewhere/compare.png")
        self.assertIn('set output "/somewhere/compare.png"\n', text)
        self.assertIn('"100 bytes, one producer, one consumer, the median of 3 rounds, 2 cores;', text)
        self.assertIn('set ytics ("Redis Streams 7.0.15" 0, "raw libzmq" 1, "Weir 0.1.0" 2)', text)
        data = text.partition("$data << END\n")[2].partition("\nEND\n")[0]
        self.assertEqual(data.splitlines(), ['0 50000 49001 60000 0x4d4d4d "50,000"', '1 2200000 2100000 2500000 0xbdbdbd "2,200,000"',
                                             '2 2000000 1900000 2400000 0x1f77b4 "2,000,000"'])
        self.assertIn("set xrange [5000:20000000]\n", text)  # below the least, so that every bar has a length


if __name__ == "__main__":
    unittest.main(verbosity=2)
