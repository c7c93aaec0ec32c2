"""The peers: how the server of each is started, what it promises with a confirmation, and its client."""

import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

READY_S = 300  # a deadline, not a wait: RabbitMQ takes five on an idle machine
CLIENT_S = 900
LOG_LINES = 15  # of a server's output, when it fails


NATS = "/usr/sbin/nats-server"  # where not everybody's PATH leads


class Failure(Exception):
    """Something that a person has to see to; the text says what."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port):
    """As the kernel has it: a connection to find it out could meet itself, or count as a client."""
    with open("/proc/net/tcp") as file:
        sockets = [line.split() for line in file]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in sockets)


class Server:
    """A process of its own group that accepts connections on a port of loopback. It ends, and whatever it
    has started, with the `with` block, and by the kernel's hand if this process is killed."""

    def __init__(self, command, port, directory, environment=None):
        self.command, self.port, self.directory = command, port, directory
        self.environment = {**os.environ, **(environment or {})}
        self.log = os.path.join(directory, os.path.basename(command[0]) + ".log")

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.command], cwd=self.directory,
                                            env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)
        self.ended = os.pidfd_open(self.process.pid)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_until_ready(self):
        ended = select.poll()
        ended.register(self.ended)
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if listens(self.port):
                return
            if ended.poll(20):
                raise Failure(f"{self.command[0]} ended instead of listening:\n{self.last_lines()}")
        raise Failure(f"{self.command[0]} does not listen after {READY_S} s:\n{self.last_lines()}")

    def last_lines(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-LOG_LINES:])

    def __exit__(self, *_):
        # Nothing that it holds is wanted any more. Nobody has waited for it yet, so the pid is its own.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.ended)


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def redis(directory, size):
    port = free_port()
    return [Server(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory,
                    "--appendonly", "yes", "--appendfsync", "always",
                    # neither snapshots nor rewrites of the log in between: both would only cost it
                    "--save", "", "--auto-aof-rewrite-percentage", "0"], port, directory)]


def nats_configuration(directory, port, sync_always):
    return write(directory, "nats.conf", f"""listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{directory}/store"{', sync_interval: always' if sync_always else ''} }}
""")


def nats_syncs_always(directory):
    """Whether this server can be told to sync before it acknowledges: from 2.10 on."""
    file = nats_configuration(directory, free_port(), True)
    return subprocess.run([NATS, "-t", "-c", file], capture_output=True).returncode == 0


def nats(directory, size):
    port = free_port()
    file = nats_configuration(directory, port, nats_syncs_always(directory))
    return [Server([NATS, "-c", file], port, directory)]


def rabbitmq(directory, size):
    port, names_port, node_port = free_port(), free_port(), free_port()
    environment = {
        "HOME": directory,  # where Erlang keeps the cookie of its nodes
        "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(names_port),
        "RABBITMQ_NODENAME": "bench@localhost", "RABBITMQ_DIST_PORT": str(node_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONFIG_FILE": write(directory, "rabbitmq.conf", f"listeners.tcp.1 = 127.0.0.1:{port}\n"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": os.path.join(directory, "none.config"),
        "RABBITMQ_CONF_ENV_FILE": write(directory, "rabbitmq-env.conf", ""),
        "RABBITMQ_ENABLED_PLUGINS_FILE": write(directory, "plugins", "[].\n"),
        "RABBITMQ_MNESIA_BASE": os.path.join(directory, "mnesia"),
        "RABBITMQ_GENERATED_CONFIG_DIR": os.path.join(directory, "generated"),
        "RABBITMQ_PID_FILE": os.path.join(directory, "pid"),
        "RABBITMQ_LOG_BASE": directory, "RABBITMQ_LOGS": "-",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server instead of waiting for it
    }
    # Debian's command changes the user; the script behind it does not. Without a name server of its own it
    # would start one that stays.
    return [Server(["epmd"], names_port, directory, environment),
            Server(["/usr/lib/rabbitmq/bin/rabbitmq-server"], port, directory, environment)]


def beanstalkd(directory, size):
    port = free_port()
    return [Server(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", directory, "-f", "0", "-z", str(size)],
                   port, directory)]


@dataclass
class Peer:
    label: str
    package: str  # whose version is measured
    share: float  # of Weir's messages, so that a run takes a few seconds
    least: int  # but not fewer than these
    durable: bool  # what is confirmed is synced
    durability: str
    servers: Callable  # the one that is measured comes last


PEERS = {
    "redis": Peer("Redis Streams", "redis-server", 1 / 20, 20_000, True,
                  "fsync before the reply (appendfsync always)", redis),
    "nats": Peer("NATS JetStream", "nats-server", 1 / 20, 20_000, False,
                 "written to a file, synced a minute or two later", nats),
    "rabbitmq": Peer("RabbitMQ quorum queue", "rabbitmq-server", 1 / 50, 10_000, True,
                     "fsync before the confirm", rabbitmq),
    "beanstalkd": Peer("beanstalkd", "beanstalkd", 1 / 1000, 2_000, True,
                       "fsync of each message before its reply (-f 0)", beanstalkd),
}


def version(package):
    """As upstream counts: without Debian's epoch and revision."""
    answer = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return answer.stdout.rpartition(":")[2].partition("-")[0]
