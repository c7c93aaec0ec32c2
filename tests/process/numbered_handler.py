"""A coprocess (`serve`) for numbered messages: numbered_handler.py FILE. It notes in FILE, before it answers, each message that
it handled: number, attempt and outcome, one line each. So what was handled more than once is known from outside of Weir."""

import json
import os
import sys
import zlib

import numbered

handled = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
for line in sys.stdin.buffer:
    message = json.loads(line)
    payload = message["payload"]
    number = int(payload[: payload.index(" ")])
    outcome = numbered.outcome(number, message["attempt"])
    os.write(handled, b"%d %d %s\n" % (number, message["attempt"], outcome.encode()))
    answer = {"id": message["id"], "outcome": outcome}
    if outcome == "done":
        answer["result"] = f"{number} {zlib.crc32(payload.encode()):08x}"
    else:
        answer["error"] = f"number {number} fails"
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
