"""A trial that says no hello, as a shell script would: nothing is acknowledged, nothing sent again."""

from __future__ import annotations

import json
import os
import random
import sys

from weights import name_of
from witness import digest
from work import TRIAL, compute, result, witness_of_this_process


def main(n):
    """Report one result after another, until there are no more parameters or no manager.

    Args:
        n: how many phases it has open at a time.
    """
    witness = witness_of_this_process()
    witness.say("start", TRIAL, os.getpid())
    witness.say("mute")
    witness.say("manner", "turns")
    for batch, phases in enumerate(iter(lambda: _ask(n), None)):
        for phase in phases:
            witness.say("began", phase["parameter_id"], digest(phase["parameters"]), batch)
            if "parent" in phase:
                name = name_of(phase["checkpoint"]) if "checkpoint" in phase else "-"
                witness.say("parent", phase["parameter_id"], phase["parent"], name)
        random.shuffle(phases)
        for phase in phases:
            _do(witness, phase, n)
    witness.say("done")


def _do(witness, phase, n):
    number, wanted = phase["parameter_id"], phase["parameters"]
    compute(wanted["seconds"])
    value = result(number, wanted["size"])
    witness.say("reporting", number, digest(value))
    name = {"phase_index": phase["phase_index"]} if n > 1 else {}
    _say({"type": "final", **name, "value": value})


def _ask(n):
    _say({"type": "request", **({"count": n} if n > 1 else {})})
    for line in sys.stdin:
        answer = json.loads(line) if line.startswith("{") else {}
        if answer.get("type") == "parameters":
            return answer.get("phases", [answer])
        if answer.get("type") == "no_more":
            return None
    raise EOFError("the manager is gone")


def _say(message):
    """Write the whole line at once: what is over PIPE_BUF the system may cut apart."""
    os.write(1, b"\n@mpx %s\n" % json.dumps(message).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
