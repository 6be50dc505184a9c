"""The assessor: judges by how a curve begins and ends and how long it is; writes down every call."""

from __future__ import annotations

import os
from pathlib import Path

import hooks
from fault_points import FaultPoints
from witness import Witness, digest

import mpx

# One result of so many is bad.
_RARE = 25


class Judge(mpx.Assessor):
    """A replay that leaves a result out, or makes one twice, is seen by the verdicts that follow.

    Args:
        directory: of the evidence.
    """

    def __init__(self, directory):
        self._points = FaultPoints(directory, "manager")
        self._points.on_due = hooks.stop_trials
        self._witness = Witness(Path(directory) / "judged.log")
        self._witness.say(os.getpid(), "life")

    def assess_trial(self, name, history):
        self._points.passing("assess:before")
        seen = digest([len(history), history[0], history[-1]])
        good = int(seen, 16) % _RARE != 0
        verdict = "good" if good else "bad"
        self._witness.say(os.getpid(), "assess", name, digest(history[-1]), verdict)
        self._points.passing("assess:after")
        return good

    def trial_end(self, name, success):
        self._points.passing("over")
        self._witness.say(os.getpid(), "over", name, success)
