"""What a tuner is called with and what comes back, as values that `tuner_host` takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mpx.host import Finish, Finished
from mpx.records import ErrorRecord


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tuner is imported, constructed, has its search space and knows what it knew.

    Attributes:
        optimize_mode: its own, if it has one.
        saves: it can save its state, and load it again.
        in_use: parameter_ids of the phases from whose checkpoints it may go on; None: it cannot say.
    """

    optimize_mode: str | None
    saves: bool = False
    in_use: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """Answers one ask.

    Attributes:
        parameter_id: the ask's.
        text: the parameters as JSON; None: there are no more (now).
        is_promised: there are none now, but the tuner kept the `st_callback` by which it can launch a
            phase for this `parameter_id` later.
        parent: parameter_id of the phase that this one goes on from.
        reason: why there are no more, in the tuner's words; empty if it said nothing.
    """

    parameter_id: int
    text: str | None
    is_promised: bool = False
    parent: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Launched:
    """The tuner has parameters that it was not asked for just now (NNI's `st_callback`)."""

    parameter_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """The tuner's state behind the call of this number is kept."""

    number: int


@dataclass(frozen=True, slots=True)
class InUse:
    """Follows each checkpoint that a tuner was told of which can say from which ones it may go on.

    Attributes:
        told: parameter_id of the phase whose checkpoint that is.
        parameter_ids: of the phases that it may name as parents; None: it cannot say.
    """

    told: int
    parameter_ids: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Warned:
    """Something went wrong that the user should know of, and that ends nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The tuner let an exception out."""

    error: ErrorRecord


Answer = Loaded | Parameters | Launched | Saved | InUse | Warned | Failed | Finished


@dataclass(frozen=True, slots=True)
class AskFirst:
    """Ask for the first phases of trials that are about to start; one `Parameters` answers each."""

    parameter_ids: Sequence[int]
    trial_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for the next phase of a running trial."""

    parameter_id: int
    trial_id: str


@dataclass(frozen=True, slots=True)
class AskBatch:
    """Ask for several phases that a running trial is to have open at a time; one `Parameters` answers
    each.
    """

    parameter_ids: Sequence[int]
    trial_id: str


@dataclass(frozen=True, slots=True)
class Tell:
    """A phase ended with a final result.

    Attributes:
        parameter_id: the phase's.
        value: as reported.
        trial_id: the phase's trial.
        customized: the user chose its parameters.
        checkpoint: path of what it has saved.
    """

    parameter_id: int
    value: Any
    trial_id: str
    customized: bool = False
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """A phase ended without a result."""

    parameter_id: int
    trial_id: str
    customized: bool = False


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """A trial ended; `parameter_id` is its first phase's."""

    parameter_id: int
    success: bool
    trial_id: str


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The user has chosen parameters for a phase."""

    parameter_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Import:
    """Tell of results from elsewhere; `text` is a list of dicts of `parameter` and `value` as JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that the tuner of an earlier manager took, and its answers on record.

    Attributes:
        call: the call.
        answers: parameter_id → parameters as JSON, None where there were none; nothing for an ask
            whose answer is not on record.
    """

    call: AskFirst | Ask | AskBatch | Tell | PhaseEnd | TrialEnd | Import
    answers: Mapping[int, str | None]


class History(Protocol):
    """The calls on record, numbered from 1. Asked on the tuner's thread."""

    def calls(self, after: int) -> Iterable[Recorded]:
        """Yield, in order, the calls behind the one of this number."""

    def parameters(self, after: int) -> Mapping[int, str]:
        """Return the parameters, by parameter_id, that were chosen no later than that call, or in no
        call at all, and whose end the tuner is told of later.
        """

    def unanswered(self, until: int) -> Iterable[int]:
        """Return the parameter_ids for which the tuner had nothing when it was asked, in the calls up
        to the one of this number.
        """


@dataclass(frozen=True, slots=True)
class Load:
    """Import and construct the tuner, give it its search space, and rebuild what it knew.

    Attributes:
        load_class: returns its class.
        construct: returns the tuner, given the class.
        search_space: as the configuration says it.
        seed: for the random generators.
        history: what an earlier manager left; None for a new experiment.
        checkpoint: number of the last call in the checkpoint on record.
        multi_thread: calls for different trials may run at the same time.
    """

    load_class: Callable[[], Any]
    construct: Callable[[Any], Any]
    search_space: Any
    seed: int
    history: History | None = None
    checkpoint: int | None = None
    multi_thread: bool = False


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Have the tuner save its state; `number` is the last call before this."""

    number: int


@dataclass(frozen=True, slots=True)
class ForgetCheckpoints:
    """The checkpoint of this number is on record: no older one is needed."""

    number: int


Call = (
    Load
    | AskFirst
    | Ask
    | AskBatch
    | Tell
    | PhaseEnd
    | TrialEnd
    | Enqueued
    | Import
    | SaveCheckpoint
    | ForgetCheckpoints
    | Finish
)
