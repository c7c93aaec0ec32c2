"""An idle topology uses no measurable CPU: all processes of `signup` together, supervisor included."""

import os
import time

import harness
from harness import Topology

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS = 10
TICKS = os.sysconf("SC_CLK_TCK")


def signup():
    """The shipped topology, on sockets of the test's own."""
    with open(os.path.join(ROOT, "topologies", "signup.yaml")) as file:
        text = file.read()
    return text.replace("tcp://127.0.0.1:", "ipc://DIR/").replace("./signup/", os.path.join(ROOT, "topologies", "signup") + "/")


def used(pid):
    """CPU ticks of a process and of all that descend from it."""
    total, children = 0, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append((int(name), int(fields[11]) + int(fields[12])))
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    total, open_ = int(fields[11]) + int(fields[12]), [pid]
    while open_:
        for child, ticks in children.get(open_.pop(), []):
            total += ticks
            open_.append(child)
    return total


class Idle(harness.unittest.TestCase):
    def test_idle(self):
        with Topology(signup()) as t:
            before = used(t.up_process.pid)
            time.sleep(SECONDS)  # the measurement itself
            percent = (used(t.up_process.pid) - before) / TICKS / SECONDS * 100
            print(f"idle: {percent:.2f} % of one core for all processes of signup together")
            self.assertLess(percent, 1.0 * harness.SLOW)


if __name__ == "__main__":
    harness.main()
