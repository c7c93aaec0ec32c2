#!/usr/bin/python3
"""Puts a contact into the CRM. The provider is down until the time that the file crm-down-until names:
then a handler says `unavailable`, which gives the message back and tells the breaker."""

import json
import sys
import time

DOWN_UNTIL = "var/signup/crm-down-until"


def down():
    try:
        with open(DOWN_UNTIL) as file:
            return time.time() < float(file.read())
    except FileNotFoundError:
        return False


for line in sys.stdin:
    message = json.loads(line)
    answer = {"id": message["id"], "outcome": "done"}
    if down():
        answer.update(outcome="unavailable", error="the CRM does not answer")
    else:
        try:
            event = json.loads(message["payload"])
            time.sleep(0.002)
            answer["result"] = f"contact {event['user']}"
        except (ValueError, KeyError, TypeError) as error:
            answer.update(outcome="reject", error=f"not a signup event: {error!r}")
    print(json.dumps(answer), flush=True)
