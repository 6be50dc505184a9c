"""What an assessor is called with and what comes back, as values that `assessor_host` takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mpx.host import Finish
from mpx.records import ErrorRecord


@dataclass(frozen=True, slots=True)
class LoadAssessor:
    """Import and construct the assessor, and rebuild what it knew.

    Attributes:
        load_class: returns its class.
        construct: returns the assessor, given the class.
        history: what it judges as one, `phase` or `trial`; None: what its class says.
        calls: those on record.
    """

    load_class: Callable[[], Any]
    construct: Callable[[Any], Any]
    history: str | None = None
    calls: Iterable[Assess | PhaseOver | TrialOver] = ()


@dataclass(frozen=True, slots=True)
class Assess:
    """A phase has a new intermediate result.

    Attributes:
        trial_id: the trial.
        phase_index: and its phase.
        value: the result.
        number: of the result in its phase, from 1.
        seq: number of the trial's message.
        is_awaited: the trial waits for the verdict.
    """

    trial_id: str
    phase_index: int
    value: Any
    number: int
    seq: int
    is_awaited: bool


@dataclass(frozen=True, slots=True)
class PhaseOver:
    """A phase ended."""

    trial_id: str
    phase_index: int
    success: bool


@dataclass(frozen=True, slots=True)
class TrialOver:
    """A trial ended, after all its phases."""

    trial_id: str
    success: bool


AssessorCall = LoadAssessor | Assess | PhaseOver | TrialOver | Finish


@dataclass(frozen=True, slots=True)
class AssessorLoaded:
    """The assessor is imported, constructed and knows what it knew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to go on with a curve.

    Attributes:
        call: the result that was judged.
        is_good: go on.
        is_of_trial: the curve is a trial's, and not a phase's.
    """

    call: Assess
    is_good: bool
    is_of_trial: bool = False


@dataclass(frozen=True, slots=True)
class AssessorFailed:
    """The assessor let an exception out."""

    error: ErrorRecord


AssessorAnswer = AssessorLoaded | Verdict | AssessorFailed
