"""Small disks, and a network of hosts that can be cut, made slow and made lossy (network namespaces on one bridge). All of it is
within mount and network namespaces of the test's own, so nothing is left behind however the test ends."""

import os
import subprocess
import sys
import tempfile

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
RULES = """table inet cut {{
    chain in {{ type filter hook input priority 0;
{input}
    }}
    chain out {{ type filter hook output priority 0;
{output}
    }}
}}
"""


def skip(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(SKIPPED)


def enter(kinds, trial, input=""):
    """Go on within namespaces of our own, as root or as a user who may have a namespace to be root in: starts this program anew
    there. Does not return where that is not allowed, or where `trial`, a shell's line, fails in them."""
    if os.environ.get("WEIR_IN_NAMESPACES") == "1":
        return
    for words in (["unshare", *kinds], ["unshare", *kinds, "--user", "--map-root-user"]):
        tried = subprocess.run([*words, "sh", "-c", trial], input=input, text=True, capture_output=True, env=environment())
        if tried.returncode == 0:
            os.execvpe("unshare", [*words, sys.executable, *sys.argv], environment(WEIR_IN_NAMESPACES="1"))
    skip(f"not allowed or not there: {trial}: {tried.stderr.strip()}")


def enter_mounts():
    enter(["--mount"], "mount -t tmpfs tmpfs /mnt")


def enter_network():
    enter(["--net", "--mount"],
          "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add trial && ip netns exec trial true && "
          "ip link add trial type bridge && tc qdisc add dev trial root tbf rate 1mbit burst 16kb latency 100ms && nft -f -",
          RULES.format(input="tcp dport 1 numgen random mod 100 < 50 drop", output=""))
    run("mount", "-t", "tmpfs", "tmpfs", "/run")  # where `ip netns` keeps names
    os.mkdir("/run/netns")


def small_disk(size):
    directory = tempfile.mkdtemp(prefix="weir-disk-", dir="/tmp")
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory)
    return directory


def environment(**more):
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **more}


def run(*words, input=None):
    subprocess.run(words, input=input, text=True, check=True)


class Network:
    """Hosts by name. A rule holds for one host's packets; what is cut is dropped without a word, as by a broken cable. Losses are
    the packet filter's and slowness is a token bucket's doing, since many kernels come without netem."""

    def __init__(self, names):
        self.address, self.rules = {}, {}
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "link", "set", "bridge", "up")
        for number, name in enumerate(names, 1):
            self.address[name] = f"10.77.0.{number}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", f"port{number}", "master", "bridge", "up")
            run("ip", "-n", name, "address", "add", self.address[name] + "/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def on(self, name):
        """The words before a command that is to run on this host."""
        return ("ip", "netns", "exec", name)

    def apply(self, name):
        rules = self.rules.get(name, [])
        text = RULES.format(input="\n".join(rule for where, rule in rules if where == "in"),
                            output="\n".join(rule for where, rule in rules if where == "out"))
        run(*self.on(name), "nft", "-f", "-", input="table inet cut {}\ndelete table inet cut\n" + text)

    def add(self, name, where, rule):
        self.rules.setdefault(name, []).append((where, rule))

    def cut(self, name, other=None, directions=("in", "out"), how="drop"):
        """No packet between this host and another one, or any; in one direction only, if so told."""
        for where in directions:
            to = "" if other is None else f"ip {'saddr' if where == 'in' else 'daddr'} {self.address[other]} "
            self.add(name, where, to + how)
        self.apply(name)

    def lossy(self, name, percent):
        self.add(name, "in", f"numgen random mod 100 < {percent} drop")
        self.apply(name)

    def slow(self, name, rate):
        run("tc", "-n", name, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "2s")

    def heal(self, name):
        self.rules.pop(name, None)
        self.apply(name)
        subprocess.run(["tc", "-n", name, "qdisc", "del", "dev", "eth0", "root"], stderr=subprocess.DEVNULL)
