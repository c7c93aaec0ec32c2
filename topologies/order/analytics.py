#!/usr/bin/python3
"""Counts what happens to orders; every 31st step fails the first time it is tried."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    answer = {"id": message["id"], "outcome": "done", "result": message["payload"]}
    if json.loads(message["payload"])["step"] % 31 == 0 and message["attempt"] == 1:
        answer = {"id": message["id"], "outcome": "retry", "error": "the warehouse is busy", "delay_ms": 50}
    print(json.dumps(answer), flush=True)
