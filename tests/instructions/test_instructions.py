"""How many instructions a message takes from a producer through ventilator, router and worker until it is acked: as many
as are stated here, and no more with more producers, more workers, or millions that wait."""

import glob
import os
import platform
import re
import subprocess
import sys
import tempfile
import unittest

# Messages of 100 bytes on x86-64: without libzmq, the disk and the kernel, and with what the test itself does. In batches of
# 1000 it is most of all what is done for each message, in batches of 10 what is done for each batch. Who makes it cheaper
# states it anew.
STATED = {"one": 821, "small batches": 7463}
MARGIN = 0.05
FLAT = ["4 producers", "8 workers", "2 million waiting"]  # as many as "one" …
FLAT_MARGIN = 0.15  # … more or less

PROGRAM = sys.argv.pop(1)


def count():
    """Instructions a message, by the scenario's name."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        out = os.path.join(directory, "callgrind")
        # The C library's copying and comparing as the oldest CPU has it, so that all count the same.
        environment = dict(os.environ, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-AVX2,-AVX")
        ran = subprocess.run(["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", PROGRAM],
                             capture_output=True, text=True, check=False, env=environment)
        if ran.returncode != 0:
            raise AssertionError(f"{PROGRAM}: status {ran.returncode}: {ran.stderr}")
        messages = {name: int(number) for number, _, name in (line.partition(" ") for line in ran.stdout.splitlines())}
        counted = {}
        for path in glob.glob(f"{out}.*"):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
            counted[name[1]] = int(total[1]) / messages[name[1]]
        return counted


class Instructions(unittest.TestCase):
    def test_instructions(self):
        counted = count()
        self.assertEqual(set(counted), set(STATED) | set(FLAT))
        for name, instructions in counted.items():
            print(f"{name}: {instructions:.1f} instructions a message", file=sys.stderr)
        for name in FLAT:
            with self.subTest(name):
                self.assertAlmostEqual(counted[name], counted["one"], delta=FLAT_MARGIN * counted["one"])
        for name, stated in STATED.items() if platform.machine() == "x86_64" else []:
            with self.subTest(name):
                self.assertLessEqual(counted[name], stated * (1 + MARGIN), "the hot path has grown: callgrind_annotate says where")
                self.assertGreaterEqual(counted[name], stated * (1 - MARGIN), "it is cheaper than stated: state it anew")


unittest.main(verbosity=2)
