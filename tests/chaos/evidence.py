"""What trials and the tuner wrote down themselves, and what mpx says, in one form."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tests.chaos.inside.witness import digest

Named = tuple[int, str]  # a parameter_id, and the name of a value (`witness.digest`)


@dataclass
class TrialEvidence:
    """What one process of a trial wrote down.

    Attributes:
        began: the phases whose parameters it got.
        said: everything it reported, acknowledged or not.
        acked: the finals that were acknowledged.
        failed: the phases whose failure was acknowledged.
        stopped: the phases that it was told to stop.
        deaf: the phases in which it does not wait to be told.
        computing: it has parameters and has not begun to report a result.
        mute: it says no hello, so nothing is acknowledged to it, and it ends with its manager.
        end: its last word, if it is one: `done`, or `crashed …`.
    """

    trial_id: str
    pid: int
    began: list[Named] = field(default_factory=list)
    intermediates: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    said: list[Named] = field(default_factory=list)
    acked: list[Named] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    deaf: list[int] = field(default_factory=list)
    computing: bool = False
    mute: bool = False
    end: str | None = None

    @property
    def gave_up(self):
        """Whether it waited for another manager in vain."""
        return self.end is not None and "the manager is gone" in self.end

    def is_excused(self, killed):
        """Say whether it need not come to its own end: it is among the `killed`, or may be ended."""
        is_deaf_now = bool(self.began) and self.began[-1][0] in self.deaf
        return self.mute or self.pid in killed or is_deaf_now


@dataclass
class Life:
    """What the tuner or the assessor was called with in one manager, in order: the words of a line each."""

    pid: int
    calls: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One phase as `mpx export` tells it, values by their names."""

    trial_id: str
    phase_index: int
    parameter_id: int
    status: str
    n: int
    parameters: str
    value: str
    score: float | None
    intermediates: tuple[str, ...]


def read_trial(text):
    """Read the file of one process; a line that is not whole was not said."""
    found = None
    for line in whole_lines(text):
        word, *rest = line.split(" ")
        if word == "start":
            found = TrialEvidence(rest[0], int(rest[1]))
        else:
            _READERS[word](found, *rest)
    return found


def whole_lines(text):
    return text.split("\n")[:-1]


def _began(trial, number, name):
    trial.began.append((int(number), name))
    trial.computing = True


def _intermediate(trial, number, name):
    trial.intermediates[int(number)].append(name)


def _reporting(trial, number, name):
    trial.said.append((int(number), name))
    trial.computing = False


def _acked(trial, number, name):
    trial.acked.append((int(number), name))


def _failing(trial, number):
    trial.computing = False


def _failed(trial, number):
    trial.failed.append(int(number))


def _stopped(trial, number):
    trial.stopped.append(int(number))


def _deaf(trial, number):
    trial.deaf.append(int(number))


def _crashed(trial, *words):
    trial.end = " ".join(["crashed", *words])


def _mute(trial):
    trial.mute = True


def _done(trial):
    trial.end = "done"


_READERS = {
    "began": _began,
    "intermediate": _intermediate,
    "reporting": _reporting,
    "acked": _acked,
    "failing": _failing,
    "failed": _failed,
    "stopped": _stopped,
    "deaf": _deaf,
    "crashed": _crashed,
    "mute": _mute,
    "done": _done,
}


def read_lives(text):
    """Read the tuner's file, or the assessor's, in which each line begins with its manager's pid."""
    lives = []
    for line in whole_lines(text):
        pid, *words = line.split(" ")
        if words == ["life"]:
            lives.append(Life(int(pid)))
        else:
            life = next(life for life in reversed(lives) if life.pid == int(pid))
            life.calls.append(tuple(words))
    return lives


def row_of(exported):
    """Return a phase of `mpx export`."""
    value, parameters = exported["value"], exported["parameters"]
    return Row(
        exported["trial_id"],
        exported["phase_index"],
        exported["parameter_id"],
        exported["status"],
        parameters["n"] if parameters else -1,
        digest(parameters) if parameters else "",
        digest(value) if value is not None else "",
        value["default"] if value is not None else None,
        tuple(digest(step) for step in exported["intermediates"]),
    )
