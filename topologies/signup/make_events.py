#!/usr/bin/python3
"""Wrote events.jsonl: a thousand signups, every fiftieth malformed in one of three ways."""

for user in range(1, 1001):
    event = f'{{"user": {user}, "email": "user{user}@example.org", "plan": "{("free", "team", "pro")[user % 3]}"}}'
    if user % 150 == 50:
        event = event[: len(event) // 2]
    elif user % 150 == 100:
        event = f'{{"user": {user}, "plan": "free"}}'
    elif user % 150 == 0:
        event = "not an event at all"
    print(event)
