"""What a message of a number looks like, and what has to become of it. numbered_sender.c makes the same payloads."""

import zlib

KEYS = 500  # a message's key is its number modulo this


def payload(number):
    return b"%d " % number + b"x" * (100_000 if number % 1000 == 0 else number % 200)


def fate(number):
    """done; later: done, but not at the first attempt; rejected and attempts: dead, for that reason."""
    if number % 499 == 3:
        return "rejected"
    if number % 1993 == 5:
        return "attempts"
    return "later" if number % 101 == 7 else "done"


def outcome(number, attempt):
    """What the handler says to this attempt."""
    match fate(number):
        case "rejected":
            return "reject"
        case "attempts":
            return "retry"
        case "later" if attempt == 1:
            return "retry"
    return "done"


def result(number):
    return f"{number} {zlib.crc32(payload(number)):08x}"
