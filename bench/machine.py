"""What the figures were measured on. Durable ones are as good as the disk's sync, so that is measured, too."""

import os
import platform
import re
import statistics
import subprocess
import tempfile
import time

SYNCS = 200


def sync_us(directory):
    """The median of syncs of 4 KiB that replace what a file has there, as a log in recycled files does."""
    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(bytes(4096 * SYNCS))
        os.fsync(file.fileno())
        for at in range(SYNCS):
            os.pwrite(file.fileno(), b"\1" * 4096, 4096 * at)
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return round(statistics.median(times) * 1e6)


def describe_machine(directory):
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    filesystem = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", directory], capture_output=True, text=True)
    return {"cores": len(os.sched_getaffinity(0)), "processor": model.group(1) if model else platform.machine(),
            "kernel": platform.release(), "filesystem": (filesystem.stdout.split() or ["unknown"])[-1], "fdatasync_us": sync_us(directory)}
