"""What may follow what, and when nothing more may begin: tables and pure predicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpx.errors import MpxError
from mpx.records import ExperimentStatus, PhaseStatus, TrialStatus

EXPERIMENT_TRANSITIONS = {
    ExperimentStatus.INITIALIZING: {
        ExperimentStatus.RUNNING,
        ExperimentStatus.STOPPING,
        ExperimentStatus.ERROR,
    },
    ExperimentStatus.RUNNING: {
        ExperimentStatus.DONE,
        ExperimentStatus.STOPPING,
        ExperimentStatus.ERROR,
    },
    ExperimentStatus.STOPPING: {ExperimentStatus.STOPPED, ExperimentStatus.ERROR},
    ExperimentStatus.DONE: set[ExperimentStatus](),
    ExperimentStatus.STOPPED: set[ExperimentStatus](),
    ExperimentStatus.ERROR: set[ExperimentStatus](),
}

_TRIAL_ENDS = {
    TrialStatus.SUCCEEDED,
    TrialStatus.FAILED,
    TrialStatus.EARLY_STOPPED,
    TrialStatus.USER_CANCELED,
    TrialStatus.SYS_CANCELED,
}
TRIAL_TRANSITIONS = {
    TrialStatus.WAITING: {TrialStatus.RUNNING, *_TRIAL_ENDS},
    TrialStatus.RUNNING: _TRIAL_ENDS,
    **{end: set[TrialStatus]() for end in _TRIAL_ENDS},
}

_PHASE_ENDS = {
    PhaseStatus.SUCCEEDED,
    PhaseStatus.FAILED,
    PhaseStatus.EARLY_STOPPED,
    PhaseStatus.ABANDONED,
    PhaseStatus.LOST,
}
PHASE_TRANSITIONS = {
    PhaseStatus.WAITING: {PhaseStatus.RUNNING, PhaseStatus.FAILED, PhaseStatus.LOST},
    PhaseStatus.RUNNING: _PHASE_ENDS,
    **{end: set[PhaseStatus]() for end in _PHASE_ENDS},
}

ENDED = {ExperimentStatus.DONE, ExperimentStatus.STOPPED, ExperimentStatus.ERROR}
EXIT_INTERRUPTED = 130


class IllegalTransitionError(MpxError):
    """A mistake of mpx itself: something was to move to a status that its last one does not allow."""


def check_transition(table: dict[Any, Any], before: Any, after: Any) -> None:
    """Raise unless `table` allows `after` to follow `before`.

    Raises:
        IllegalTransitionError: it does not.
    """
    if after not in table[before]:
        raise IllegalTransitionError(f"{before.value} may not become {after.value}")


@dataclass(frozen=True, slots=True)
class Limits:
    """When nothing new may begin, and when what began is ended.

    None is no limit; `max_exec_duration` and the timeouts are in seconds.
    """

    max_trial_num: int | None = None
    max_phase_num: int | None = None
    max_phases_per_trial: int | None = None
    max_exec_duration: float | None = None
    multi_phase: bool = True
    phase_timeout: float | None = None
    trial_timeout: float | None = None

    def why_no_phase(self, phases: int, phases_of_trial: int, duration: float) -> str | None:
        """Return why a trial may begin no further phase; None if it may.

        Args:
            phases: phases of the experiment, open or ended.
            phases_of_trial: those of the trial that asks.
            duration: seconds the experiment has run, over all resumes.
        """
        if not self.multi_phase and phases_of_trial >= 1:
            return "one phase per trial: `multiPhase` is not true in the configuration"
        if self.max_phases_per_trial is not None and phases_of_trial >= self.max_phases_per_trial:
            return f"maxPhasesPerTrial ({self.max_phases_per_trial}) is reached"
        return self.why_end(phases, duration)

    def why_no_trial(self, trials: int, phases: int, duration: float) -> str | None:
        """Return why no further trial may begin; None if one may.

        Args:
            trials: trials begun.
            phases: phases of the experiment, open or ended.
            duration: seconds the experiment has run, over all resumes.
        """
        reason = self.why_end(phases, duration)  # which says more where both are so
        if reason is None and self.max_trial_num is not None and trials >= self.max_trial_num:
            return f"maxTrialNum ({self.max_trial_num}) is reached"
        return reason

    def why_end(self, phases: int, duration: float) -> str | None:
        """Return why nothing at all may begin; None if something may."""
        if self.max_phase_num is not None and phases >= self.max_phase_num:
            return f"maxPhaseNum ({self.max_phase_num}) is reached"
        if self.max_exec_duration is not None and duration >= self.max_exec_duration:
            return f"maxExecDuration ({self.max_exec_duration:g} s) is over"
        return None

    def phases_left(self, phases: int) -> int | None:
        """Return how many phases may still begin; None if there is no limit."""
        return None if self.max_phase_num is None else max(0, self.max_phase_num - phases)

    def room(self, wanted: int, phases: int, phases_of_trial: int) -> int:
        """Return how many phases a trial that may begin one may begin at a time.

        Args:
            wanted: how many it asks for.
            phases: phases of the experiment, open or ended.
            phases_of_trial: those of the trial.
        """
        room = wanted if self.multi_phase else min(wanted, 1)
        if self.max_phases_per_trial is not None:
            room = min(room, self.max_phases_per_trial - phases_of_trial)
        left = self.phases_left(phases)
        return room if left is None else min(room, left)


class EarlyDeaths:
    """Tells when trials die as fast as they start, so that starting more is for nothing.

    That is when several in a row, within a minute of their start each, failed without a result or
    ended without having asked for parameters; several are 3 as long as there was no result at all,
    else 10, for some trials fail in any search.
    """

    _SOON = 60.0  # seconds
    _MOST_AT_FIRST, _MOST = 3, 10

    def __init__(self) -> None:
        self._deaths = 0
        self._most = self._MOST_AT_FIRST

    def note_result(self) -> None:
        """A phase has a final result."""
        self._deaths, self._most = 0, self._MOST

    def note_end(self, status: TrialStatus, lived: float, results: int, asked: bool) -> str | None:
        """A trial ended; return why no further one should begin, None if it may.

        Args:
            status: what it ended with.
            lived: seconds from its start.
            results: how many of its phases have a final result.
            asked: it was given parameters.
        """
        in_vain = not asked if status is TrialStatus.SUCCEEDED else status is TrialStatus.FAILED
        if not in_vain or results or lived > self._SOON:
            self._deaths = 0
            return None
        self._deaths += 1
        if self._deaths < self._most:
            return None
        how = "without a result" if asked else "without asking for parameters"
        return f"{self._deaths} trials in a row ended within a minute of their start, {how}"


def objective(value: Any) -> float | None:
    """Return the number that a final result optimises: itself, or its `default`; None if neither."""
    if isinstance(value, dict):
        value = value.get("default")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return None if value != value else float(value)
    except OverflowError:  # a whole number that no float holds
        return None


def is_better(optimize_mode: str, score: float, best: float | None) -> bool:
    """Say whether `score` beats the best so far; the first of equals stays."""
    if best is None:
        return True
    return score > best if optimize_mode == "maximize" else score < best


def exit_code(status: ExperimentStatus, succeeded_phases: int) -> int:
    """Return the exit code of a command that saw the experiment end."""
    if status is ExperimentStatus.DONE:
        return 0 if succeeded_phases else 1
    return EXIT_INTERRUPTED if status is ExperimentStatus.STOPPED else 1
