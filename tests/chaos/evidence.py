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
        batches: the phases whose parameters it got, those together that were open together.
        said: everything it reported, acknowledged or not, but for what it was told is over.
        acked: the finals that were acknowledged.
        failed: the phases whose failure was acknowledged.
        stopped: the phases that it was told to stop.
        deaf: the phases in which it does not wait to be told.
        left: the phases that it has not ended when it asks again.
        open: those of its last batch that it has not ended, of whose end it does not speak just now either.
        speaking: the phases whose end it is about to tell, and does not know to be told.
        saving: what phases save, the last of each: its name.
        saved: as much of that as was said to be safe.
        loads: what phases go on from: parameter_id → the parent's, and the name of what was loaded; `-` for
            nothing.
        manner: in which it has several phases open.
        mute: it says no hello, so nothing is acknowledged to it, and it ends with its manager.
        end: its last word, if it is one: `done`, or `crashed …`.
    """

    trial_id: str
    pid: int
    batches: list[list[Named]] = field(default_factory=list)
    intermediates: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    said: list[Named] = field(default_factory=list)
    acked: list[Named] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    deaf: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    speaking: set[int] = field(default_factory=set)
    saving: dict[int, str] = field(default_factory=dict)
    saved: dict[int, str] = field(default_factory=dict)
    loads: dict[int, tuple[int, str]] = field(default_factory=dict)
    manner: str | None = None
    mute: bool = False
    end: str | None = None
    batch: str | None = None

    @property
    def began(self):
        """The phases whose parameters it got."""
        return [named for batch in self.batches for named in batch]

    @property
    def computing(self):
        """Whether it has parameters, and nothing to say."""
        return bool(self.open) and not self.speaking

    @property
    def is_partly_through(self):
        """Whether it has a batch open of which it has reported a part."""
        numbers = {number for number, _ in self.batches[-1]} if self.batches else set()
        return self.computing and any(number in numbers for number, _ in self.acked)

    @property
    def gave_up(self):
        """Whether it waited for another manager in vain."""
        return self.end is not None and "the manager is gone" in self.end

    def is_excused(self, killed, curves):
        """Say whether it need not come to its own end.

        Args:
            killed: pids of those that were killed.
            curves: what an assessor judges as one; it ends a trial that does not listen to it.
        """
        return self.mute or self.pid in killed or self.may_be_stopped(curves)

    def may_be_stopped(self, curves):
        """Say whether the assessor may end it: now, or where it judges trials, for what it did before."""
        batches = self.batches if curves == "trial" else self.batches[-1:]
        return any(number in self.deaf for batch in batches for number, _ in batch)


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
    parent: int | None = None
    checkpoint: str | None = None


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


def _began(trial, number, name, batch=None):
    if batch is None or batch != trial.batch:
        trial.batches.append([])
        trial.open.clear()
        trial.speaking.clear()
    trial.batch = batch
    trial.batches[-1].append((int(number), name))
    trial.open.add(int(number))


def _intermediate(trial, number, name):
    trial.intermediates[int(number)].append(name)


def _reporting(trial, number, name):
    trial.said.append((int(number), name))
    _speaks(trial, number)


def _speaks(trial, number):
    trial.open.discard(int(number))
    if not trial.mute:
        trial.speaking.add(int(number))


def _acked(trial, number, name):
    trial.acked.append((int(number), name))
    trial.speaking.discard(int(number))


def _failed(trial, number):
    trial.failed.append(int(number))
    trial.speaking.discard(int(number))


def _stopped(trial, number):
    trial.stopped.append(int(number))
    trial.open.discard(int(number))


def _deaf(trial, number):
    trial.deaf.append(int(number))


def _left(trial, number):
    trial.left.append(int(number))
    trial.open.discard(int(number))


def _refused(trial, number):
    trial.said = [named for named in trial.said if named[0] != int(number)]
    trial.speaking.discard(int(number))


def _parent(trial, number, parent, name):
    trial.loads[int(number)] = (int(parent), name)


def _saving(trial, number, name):
    trial.saving[int(number)] = name


def _saved(trial, number, name):
    trial.saved[int(number)] = name


def _manner(trial, manner):
    trial.manner = manner


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
    "failing": _speaks,
    "failed": _failed,
    "stopped": _stopped,
    "deaf": _deaf,
    "left": _left,
    "refused": _refused,
    "parent": _parent,
    "saving": _saving,
    "saved": _saved,
    "manner": _manner,
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
        exported["parent"],
        exported["checkpoint"],
    )
