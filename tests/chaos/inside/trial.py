"""A trial: does as its parameters say, and writes down what it got and what was acknowledged."""

from __future__ import annotations

import os
import sys

from fault_points import FaultPoints
from witness import digest
from work import DIRECTORY, TRIAL, compute, result, witness_of_this_process

import mpx
from mpx.trial_pipes import TrialPipes

_LONELY = DIRECTORY / "lonely"
# In one phase of so many no verdict is waited for.
_DEAF = 12

_witness = witness_of_this_process()
_points = FaultPoints(DIRECTORY, "trial")


def main(most):
    """Do phases, one after another, and leave the rest to another process.

    Args:
        most: how many phases this process does.
    """
    _watch_writes()
    _lose_patience_when_lonely()
    _witness.say("start", TRIAL, os.getpid())
    try:
        for count, phase in enumerate(mpx.phases(on_error="continue"), 1):
            work(phase)
            if count == most:
                break
    except BaseException as error:
        _witness.say("crashed", f"{type(error).__name__}: {error}".replace("\n", " "))
        raise
    _points.passing("leave")
    _witness.say("done")


def work(phase):
    """Do one phase."""
    wanted, number = phase.parameters, phase.parameter_id
    _witness.say("began", number, digest(wanted))
    print(f"text of phase {number}")
    _points.passing("begin")
    with phase:
        if any(_mention(phase, step) for step in range(wanted["intermediates"])):
            _witness.say("stopped", number)
            if number % 2:
                _report(phase, result(number, wanted["size"]))
            return
        compute(wanted["seconds"])
        if wanted["fails"]:
            _witness.say("failing", number)
            raise ValueError("this phase is to fail")
        _report(phase, result(number, wanted["size"]))
    if wanted["fails"]:
        _witness.say("failed", number)


def _mention(phase, step):
    """Report an intermediate result; say whether the phase was stopped, in those that wait for that."""
    number = phase.parameter_id
    value = [number, step, TRIAL, "i" * phase.parameters["step_size"]]
    if number % _DEAF == _DEAF - 1:
        if step == 0:
            _witness.say("deaf", number)
        stopped = mpx.report_intermediate_result(value, wait=False)
    else:
        stopped = phase.report_intermediate(value)
    _witness.say("intermediate", number, digest(value))
    return stopped


def _report(phase, value):
    name = digest(value)
    _witness.say("reporting", phase.parameter_id, name)
    _points.passing("report:before")
    phase.report_final(value)
    _points.passing("report:after")
    _witness.say("acked", phase.parameter_id, name)


def _watch_writes():
    """Pass `write` behind each write of a message, and `piece` behind those of one that takes several."""
    original = os.write

    def write(fd, data):
        written = original(fd, data)
        if data.startswith(b"\n@mpx"):
            if data.startswith(b"\n@mpx:"):
                _points.passing("piece")
            if b'"type":"request"' in data:
                _points.passing("request")
            _points.passing("write")
        return written

    os.write = write


def _lose_patience_when_lonely():
    """Wait for another manager no longer when `lonely` is there."""
    TrialPipes._orphan_timeout = property(
        lambda pipes: 0.1 if _LONELY.exists() else pipes.__dict__["_orphan_timeout"],
        lambda pipes, seconds: pipes.__dict__.update(_orphan_timeout=seconds),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
