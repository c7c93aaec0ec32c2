"""libweir as others find it: installed to an empty prefix, examples/embed built against it by pkg-config and by
find_package, and run: signups answered at once, greeted by the worker, the malformed one a dead letter."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tests", "process"))

import harness
from harness import Topology, wait_for

BUILD = os.environ["WEIR_BUILD"]
SANITIZE = os.environ.get("WEIR_SANITIZE", "")


def run(*command, cwd=None, env=None):
    answer = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, text=True, capture_output=True)
    if answer.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: status {answer.returncode}\n{answer.stdout}{answer.stderr}")
    return answer.stdout


class Install(harness.unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        cls.prefix = os.path.join(cls.dir, "prefix")
        run("cmake", "--install", BUILD, "--component", "libweir", "--prefix", cls.prefix)
        cls.source = os.path.join(cls.dir, "embed")
        shutil.copytree(os.path.join(ROOT, "examples", "embed"), cls.source,
                        ignore=shutil.ignore_patterns("build", "service", "worker"))
        cls.cflags = "-g -Wall -Wextra -Werror" + (f" -fsanitize={SANITIZE}" if SANITIZE else "")
        pc = [root for root, _, files in os.walk(cls.prefix) if "weir.pc" in files]
        cls.environment = {"PKG_CONFIG_PATH": pc[0], "LD_LIBRARY_PATH": os.path.dirname(pc[0])}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def build_make(self):
        run("make", f"CFLAGS={self.cflags}", cwd=self.source, env=self.environment)
        return self.source

    def build_cmake(self):
        build = os.path.join(self.dir, "cmake-build")
        run("cmake", "-S", self.source, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_FLAGS={self.cflags}")
        run("cmake", "--build", build)
        return build

    def test_only_the_api_is_exported(self):
        library = os.path.join(self.environment["LD_LIBRARY_PATH"], "libweir.so")
        exported = set(re.findall(r" T (\w+)", run("nm", "-D", "--defined-only", library).replace("@@WEIR_0", "")))
        declared = set()
        for header in "weir.h", "weir/errors.h":
            with open(os.path.join(self.prefix, "include", header)) as file:
                declared |= set(re.findall(r"^WEIR_API [^(]*?(\w+) ?\(", file.read(), re.M))
        self.assertEqual(exported, declared)
        self.assertGreater(len(declared), 50)

    def test_header_is_c_and_cpp(self):
        source = os.path.join(self.dir, "header.c")
        with open(source, "w") as file:
            file.write("#include <weir.h>\nint main(void) { return weir_version() == 0; }\n")
        flags = run("pkg-config", "--cflags", "--libs", "weir", env=self.environment).split()
        strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"] + ([f"-fsanitize={SANITIZE}"] if SANITIZE else [])
        for command in (["cc", "-std=c99"], ["c++", "-std=c++11", "-x", "c++"]):
            program = os.path.join(self.dir, "header")
            run(*command, *strict, source, "-x", "none", *flags, "-o", program)
            run(program, env=self.environment)

    def test_make(self):
        self.service(self.build_make())

    def test_cmake(self):
        self.service(self.build_cmake())

    def test_static(self):
        flags = run("pkg-config", "--cflags", "--libs", "--static", "weir", env=self.environment).split()
        flags = ["-l:libweir.a" if flag == "-lweir" else flag for flag in flags]
        program = os.path.join(self.dir, "static-worker")
        sanitize = [f"-fsanitize={SANITIZE}"] if SANITIZE else []
        run("cc", *sanitize, os.path.join(self.source, "worker.c"), *flags, "-o", program)
        self.assertEqual(subprocess.run([program], capture_output=True).returncode, 64)

    def topology(self):
        with open(os.path.join(ROOT, "examples", "embed", "embed.yaml")) as file:
            return Topology(file.read().replace("tcp://127.0.0.1:", "ipc://DIR/"))

    def test_readme(self):
        """The program in README.md is whole: it compiles without a warning, sends, and works."""
        with open(os.path.join(ROOT, "README.md")) as file:
            blocks = re.findall(r"^```c\n(.*?)^```$", file.read(), re.M | re.S)
        self.assertEqual(len(blocks), 1)
        source, program = os.path.join(self.dir, "greet.c"), os.path.join(self.dir, "greet")
        with open(source, "w") as file:
            file.write(blocks[0])
        flags = run("pkg-config", "--cflags", "--libs", "weir", env=self.environment).split()
        run("cc", "-std=c17", *self.cflags.split(), source, *flags, "-o", program)
        environment = {**os.environ, **self.environment}
        with self.topology() as t:
            worker = subprocess.Popen([program, "work", f"ipc://{t.dir}/7451"], env=environment,
                                      stdout=subprocess.PIPE, text=True)
            try:
                for address in "anna@example.com", "nonsense":
                    accepted = run(program, "send", f"ipc://{t.dir}/7450", address, env=self.environment)
                    self.assertRegex(accepted, r"^accepted as [0-9A-HJKMNP-TV-Z]{26}\n$")
                letter = wait_for("the dead letter", t.dead)[0]
                self.assertEqual(letter["error"], "no mail address")
            finally:
                worker.terminate()
            self.assertEqual(worker.communicate(timeout=60 * harness.SLOW)[0], "welcome, anna@example.com\n")
            self.assertEqual(worker.returncode, 0)

    def service(self, programs):
        environment = {**os.environ, **self.environment}
        with self.topology() as t:
            worker = subprocess.Popen([os.path.join(programs, "worker"), f"ipc://{t.dir}/7451", f"ipc://{t.dir}/7453"],
                                      env=environment)
            service = subprocess.Popen([os.path.join(programs, "service"), "0", f"ipc://{t.dir}/7450"],
                                       env=environment, stdout=subprocess.PIPE, text=True)
            try:
                port = int(service.stdout.readline().rsplit(":", 1)[1])
                self.talk(t, port)
            finally:
                for process in service, worker:
                    process.terminate()
            self.assertEqual(service.wait(30 * harness.SLOW), 0)
            self.assertEqual(worker.wait(60 * harness.SLOW), 0)
            service.stdout.close()

    def talk(self, t, port):
        addresses = [f"user{i}@example.com" for i in range(50)] + ["nonsense"]
        with socket.create_connection(("127.0.0.1", port), timeout=60 * harness.SLOW) as connection:
            lines = connection.makefile("r")
            connection.sendall("".join(f"signup {address}\n" for address in addresses).encode() + b"what?\n")
            answers = [lines.readline().split(None, 1) for _ in range(len(addresses) + 1)]
        sorry = [text for status, text in answers if status == "sorry"]
        ids = [text.strip() for status, text in answers if status == "welcome"]
        self.assertEqual(len(ids), len(addresses))
        self.assertIn("signup ADDRESS", sorry[0])
        wait_for("every greeting", lambda: len(t.results()) >= len(addresses) - 1)
        greeted = {row["id"]: row["result"] for row in t.results()}
        self.assertEqual(greeted, {id: f"greeted {address}" for id, address in zip(ids, addresses) if "@" in address})
        letter = wait_for("the dead letter", t.dead)[0]
        self.assertEqual((letter["id"], letter["group"], letter["reason"]), (ids[-1], "greetings", "rejected"))


if __name__ == "__main__":
    harness.main()
