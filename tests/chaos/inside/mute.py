"""A trial that says no hello, as a shell script would: nothing is acknowledged, nothing sent again."""

from __future__ import annotations

import json
import os
import sys

from witness import digest
from work import TRIAL, compute, result, witness_of_this_process


def main():
    """Report one result after another, until there are no more parameters or no manager."""
    witness = witness_of_this_process()
    witness.say("start", TRIAL, os.getpid())
    witness.say("mute")
    for number, wanted in iter(_ask, None):
        witness.say("began", number, digest(wanted))
        compute(wanted["seconds"])
        value = result(number, wanted["size"])
        witness.say("reporting", number, digest(value))
        _say({"type": "final", "value": value})
    witness.say("done")


def _ask():
    _say({"type": "request"})
    for line in sys.stdin:
        answer = json.loads(line) if line.startswith("{") else {}
        if answer.get("type") == "parameters":
            return answer["parameter_id"], answer["parameters"]
        if answer.get("type") == "no_more":
            return None
    raise EOFError("the manager is gone")


def _say(message):
    """Write the whole line at once: what is over PIPE_BUF the system may cut apart."""
    os.write(1, b"\n@mpx %s\n" % json.dumps(message).encode())


if __name__ == "__main__":
    main()
