"""What an experiment does to its tuner: trials that ask, report, fail and die."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any

from mpx.testing.hosted_tuner import NO_MORE, HostedTuner
from mpx.testing.promise import BrokenPromiseError


class Ending(Enum):
    """How a phase ends that has no result."""

    FAILED = auto()
    TRIAL_DIED = auto()


# Called with the number of phases that ended before, and the phase's parameters; returns its final result,
# or how else it ends.
Outcome = Callable[[int, Any], Any]


@dataclass(slots=True)
class _Trial:
    id: str
    first: int
    open: list[int] = field(default_factory=list)
    begun: int = 1


class Workload:
    """Runs phases in trials, and makes the tuner's calls in the order that `mpx.tuner` promises.

    Who is next to end is drawn at random, always alike.

    Args:
        tuner: is called.
        outcome: says how a phase ends.
        may_have_none: the tuner may answer that it has no (more) parameters; the argument says whether
            a phase is open.
        phases: that begin in all.
        trials: that run at a time.
        open_phases: of a trial at a time.
        phases_per_trial: at most.

    Attributes:
        begun: phases that have begun.
    """

    def __init__(
        self,
        tuner: HostedTuner,
        outcome: Outcome,
        may_have_none: Callable[[bool], bool],
        *,
        phases: int,
        trials: int = 1,
        open_phases: int = 1,
        phases_per_trial: int = 8,
    ) -> None:
        self._tuner = tuner
        self._outcome = outcome
        self._may_have_none = may_have_none
        self._phases = phases
        self._most_trials = trials
        self._open_phases = open_phases
        self._phases_per_trial = phases_per_trial
        self._rng = Random(0)
        self._ids = itertools.count()
        self._names = (f"t{number}" for number in itertools.count())
        self._trials: list[_Trial] = []
        self._ended = 0
        self._is_empty = False
        self.begun = 0

    def run(self) -> None:
        """Run until all phases have ended, or the tuner has no more.

        Raises:
            BrokenPromiseError: the tuner failed, or has no more and may not say so.
        """
        self._start_trials()
        while self._trials:
            self._end_a_phase()
            self._start_trials()

    def _start_trials(self) -> None:
        """Start trials, one by one, where there is room."""
        while self._tuner.launched and self.begun < self._phases:
            self._start(self._tuner.launched.pop(0), next(self._names))
        while self._room() and not self._is_empty:
            number, name = next(self._ids), next(self._names)
            if self._tuner.ask_first([number], [name]):
                self._start(number, name)
            else:
                self._take_none(f"first phase {number} of a new trial")

    def _room(self) -> bool:
        return len(self._trials) < self._most_trials and self.begun < self._phases

    def _start(self, parameter_id: int, name: str) -> None:
        self._trials.append(_Trial(name, parameter_id, [parameter_id]))
        self.begun += 1

    def _end_a_phase(self) -> None:
        trial = self._rng.choice(self._trials)
        parameter_id = trial.open.pop(self._rng.randrange(len(trial.open)))
        outcome = self._outcome(self._ended, self._tuner.parameters[parameter_id])
        self._ended += 1
        self._is_empty = False  # what it is told now, it did not know when it had no more
        if outcome is Ending.TRIAL_DIED:
            for number in (parameter_id, *trial.open):
                self._tuner.end_phase(number, trial.id)
            self._end_trial(trial, success=False)
            return
        if outcome is Ending.FAILED:
            self._tuner.end_phase(parameter_id, trial.id)
        else:
            self._tuner.tell(parameter_id, outcome, trial.id)
        if not trial.open or self._rng.random() < 0.3:
            self._ask(trial)
        if not trial.open:
            self._end_trial(trial, success=True)

    def _ask(self, trial: _Trial) -> None:
        room = self._open_phases - len(trial.open)
        left = min(self._phases - self.begun, self._phases_per_trial - trial.begun)
        numbers = list(itertools.islice(self._ids, max(0, min(room, left))))
        if not numbers:
            return
        found = self._tuner.ask(numbers, trial.id)
        trial.open += found
        trial.begun += len(found)
        self.begun += len(found)
        if len(found) < len(numbers):
            self._take_none(f"{len(numbers)} phases {numbers} of trial {trial.id}")

    def _end_trial(self, trial: _Trial, success: bool) -> None:
        self._trials.remove(trial)
        self._tuner.end_trial(trial.first, success, trial.id)

    def _take_none(self, asked: str) -> None:
        self._is_empty = True
        still_open = sum(len(trial.open) for trial in self._trials)
        if not self._may_have_none(still_open > 0):
            raise BrokenPromiseError(
                f"asked for {asked}, with {still_open} other phases open and {self._ended} ended, it had"
                " no parameters (None, a short list or NoMoreTrialError)",
                NO_MORE,
            )
