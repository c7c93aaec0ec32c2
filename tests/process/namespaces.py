"""Small disks, and a network of hosts that can be cut, made slow and made lossy (network namespaces on one bridge). All of it is
within mount and network namespaces of the test's own, so nothing is left behind however the test ends."""

import os
import subprocess
import sys
import tempfile

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
RULES = "table inet cut {{\n chain in {{ type filter hook input priority 0;\n{input}\n }}\n chain out {{ type filter hook output priority 0;\n{output}\n }}\n}}\n"


def skip(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(SKIPPED)


def enter():
    """Go on within namespaces of our own: starts this program anew in them. Does not return where they are not allowed."""
    if os.environ.get("WEIR_IN_NAMESPACES") == "1":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)  # where `ip netns` keeps names
        return
    for tool in ("unshare", "ip", "tc", "nft"):
        if subprocess.run(["sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; command -v {tool}"], stdout=subprocess.DEVNULL).returncode != 0:
            skip(f"no {tool} on this machine")
    trial = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add trial type bridge && "
                            "tc qdisc add dev trial root tbf rate 1mbit burst 16kb latency 100ms && nft -f -"],
                           input=RULES.format(input="tcp dport 1 numgen random mod 100 < 50 drop", output=""),
                           text=True, capture_output=True, env=environment())
    if trial.returncode != 0:
        skip(f"no namespaces, bridges, traffic shaping or packet filters here: {trial.stderr.strip()}")
    os.execvpe("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv], environment(WEIR_IN_NAMESPACES="1"))


def enter_mounts():
    """The same, for a test that only mounts: as root, or as a user who may have a namespace to be root in."""
    if os.environ.get("WEIR_IN_NAMESPACES") == "1":
        return
    for words in (["unshare", "--mount"], ["unshare", "--mount", "--user", "--map-root-user"]):
        trial = subprocess.run([*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
        if trial.returncode == 0:
            os.execvpe("unshare", [*words, sys.executable, *sys.argv], environment(WEIR_IN_NAMESPACES="1"))
    skip(f"nothing may be mounted here: {trial.stderr.strip()}")


def small_disk(size):
    directory = tempfile.mkdtemp(prefix="weir-disk-", dir="/tmp")
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory)
    return directory


def environment(**more):
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", **more}


def run(*words, input=None):
    subprocess.run(words, input=input, text=True, check=True)


class Network:
    """Hosts by name. A rule holds for one host's packets; what is cut is dropped without a word, as by a broken cable."""

    def __init__(self, names):
        self.address, self.rules = {}, {}
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "link", "set", "bridge", "up")
        os.makedirs("/run/netns", exist_ok=True)
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
