"""Check a model of docs/model/ with spin: generate the verifier, build it, search all of it.

  check_model.py MODEL DIR [--finds TEXT] [-DNAME[=VALUE] …]

Without --finds the search must come to its end and find nothing. With it an error is planted, and
the verifier must report a violation with TEXT in it. Everything generated goes to DIR.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

MEMORY_MIB = 900
DEPTH = 100000


def run(command, directory):
    done = subprocess.run(command, cwd=directory, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def must(command, directory):
    status, text = run(command, directory)
    if status != 0:
        sys.exit(f"{' '.join(command)}: exit {status}\n{text}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("directory")
    parser.add_argument("--finds", metavar="TEXT")
    arguments, defines = parser.parse_known_args()
    model, directory = os.path.abspath(arguments.model), arguments.directory
    unknown = [word for word in defines if not word.startswith("-D")]
    if unknown:
        parser.error(f"not a -D…: {unknown}")

    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    shutil.copy(model, directory)
    must(["spin", *defines, "-a", os.path.basename(model)], directory)
    # Without reduction: it saves nothing here, every step is on what all can see.
    optimise = "-O0" if arguments.finds else "-O1"
    must(["cc", "-w", optimise, "-DNOREDUCE", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c"],
         directory)
    _, text = run(["./pan", "-a", f"-m{DEPTH}"], directory)

    counted = re.search(r"(\d+) states, stored", text)
    errors = re.search(r"errors: (\d+)", text)
    if not counted or not errors:
        sys.exit(f"the verifier did not come to a result:\n{text}")
    violation = re.search(r"^pan:1: (.*?)(?: \(at depth \d+\))?$", text, re.M)
    print(f"{os.path.basename(model)} {' '.join(defines)}: {counted[1]} states;",
          violation[1] if violation else "no violation")
    if arguments.finds:
        if not violation or arguments.finds not in violation[1]:
            sys.exit(f"the planted error was not found as: {arguments.finds}\n{text}")
        return
    if errors[1] != "0" or violation:
        status, trail = run(["spin", *defines, "-t", "-p", "-g", os.path.basename(model)], directory)
        sys.exit(f"{text}\nThe last steps to it:\n{trail[-20000:]}")
    for incomplete in ("Search not completed", "max search depth too small", "out of memory",
                       "memory limit", "truncated"):
        if incomplete in text:
            sys.exit(f"not all of it was searched ({incomplete}):\n{text}")


main()
