"""A trial: does as its parameters say, and writes down what it got and what was acknowledged."""

from __future__ import annotations

import os
import random
import sys
import traceback
from itertools import islice

import steps
from batches import Batches
from fault_points import FaultPoints
from work import DIRECTORY, TRIAL, witness_of_this_process

import mpx
from mpx.trial_pipes import TrialPipes

_LONELY = DIRECTORY / "lonely"

_witness = witness_of_this_process()
_points = FaultPoints(DIRECTORY, "trial")


def main(most, n):
    """Do phases, and leave the rest to another process.

    Args:
        most: how often this process asks; 0: until there are no more.
        n: how many phases it has open at a time, at most.
    """
    _watch_writes()
    _watch_copies()
    _lose_patience_when_lonely()
    steps.install(_witness, _points)
    _witness.say("start", TRIAL, os.getpid())
    try:
        if n == 1:
            _one_by_one(most)
        else:
            Batches(n, random.choice(["turns", "threads", "together"]), _witness).run(most)
    except BaseException as error:  # noqa: BLE001 (this process ends)
        _witness.say("crashed", f"{type(error).__name__}: {error}".replace("\n", " "))
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # for phases that were cut short would be reported as failed
    _points.passing("leave")
    _witness.say("done")


def _one_by_one(most):
    for phase in islice(mpx.phases(on_error="continue"), most or None):
        steps.begin(phase)
        for _ in steps.work(phase):
            pass


def _watch_writes():
    """Pass `write` behind each write of a message, `piece` behind those of one that takes several, and
    `final` where a result of a batch is in it.
    """
    original = os.write

    def write(fd, data):
        written = original(fd, data)
        if data.startswith(b"\n@mpx"):
            if data.startswith(b"\n@mpx:"):
                _points.passing("piece")
            if b'"type":"request"' in data:
                _points.passing("request")
            if b'"type":"final"' in data and b'"phase_index"' in data:
                _points.passing("final")
            _points.passing("write")
        return written

    os.write = write


def _watch_copies():
    """Pass `copy` within the copying of what a phase saves."""
    original = os.fsync

    def fsync(fd):
        _points.passing("copy")
        original(fd)

    os.fsync = fsync


def _lose_patience_when_lonely():
    """Wait for another manager no longer when `lonely` is there."""
    TrialPipes._orphan_timeout = property(
        lambda pipes: 0.1 if _LONELY.exists() else pipes.__dict__["_orphan_timeout"],
        lambda pipes, seconds: pipes.__dict__.update(_orphan_timeout=seconds),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
