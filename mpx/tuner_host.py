"""Hosts the tuner: calls go into a mailbox, answers come out. Only this module knows where it runs.

The tuner lives on one thread from import to exit (some libraries tie state to their thread), and its
calls run there in the order they were posted, one at a time. That order is the promise that a phase's
result reaches the tuner before the trial's next phase is chosen: the controller posts the one before
the other.

After the first exception that a tuner lets out, it is not called again, but for `_on_error`.

After a crash or a stop the tuner is rebuilt: its calls on record are made again, in order, from the
start or from a checkpoint. What it answered then wins over what it answers now.
"""

from __future__ import annotations

import copy
import os
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mpx import generators
from mpx.adapted_tuner import AdaptedTuner
from mpx.checkpoints import Checkpoints
from mpx.errors import ClassLoadError, MessageError, TunerError
from mpx.records import ErrorRecord
from mpx.wake_up import WakeUp
from mpx.wire import decode, encode

# A call that takes longer holds the interpreter against the manager's loop, unless it is asked for
# more often than every 5 ms; trivial tuners are better off without.
_SLOW_CALL = 0.001
_SWITCH_INTERVAL = 0.0002


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tuner is imported, constructed, has its search space and knows what it knew.

    Attributes:
        optimize_mode: its own, if it has one.
        saves: it can save its state, and load it again.
    """

    optimize_mode: str | None
    saves: bool = False


@dataclass(frozen=True, slots=True)
class Parameters:
    """Answers one ask. `text` is the parameters as JSON; None: there are no more (now)."""

    parameter_id: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Saved:
    """The tuner's state behind the call of this number is kept."""

    number: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something went wrong that the user should know of, and that ends nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The tuner let an exception out."""

    error: ErrorRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """The tuner's last call returned."""


Answer = Loaded | Parameters | Saved | Warned | Failed | Finished


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
class Tell:
    """A phase ended with a final result."""

    parameter_id: int
    value: Any
    trial_id: str


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """A phase ended without a result."""

    parameter_id: int
    trial_id: str


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """A trial ended; `parameter_id` is its first phase's."""

    parameter_id: int
    success: bool
    trial_id: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that the tuner of an earlier manager took, and its answers on record.

    Attributes:
        call: the call.
        answers: parameter_id → parameters as JSON, None where there were none; nothing for an ask
            whose answer is not on record.
    """

    call: AskFirst | Ask | Tell | PhaseEnd | TrialEnd
    answers: Mapping[int, str | None]


class History(Protocol):
    """The calls on record, numbered from 1. Asked on the tuner's thread."""

    def calls(self, after: int) -> Iterable[Recorded]:
        """Yield, in order, the calls behind the one of this number."""

    def parameters(self, after: int) -> Mapping[int, str]:
        """Return the parameters, by parameter_id, that were chosen no later than that call, or in no
        call at all, and whose end the tuner is told of later.
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
    """

    load_class: Callable[[], Any]
    construct: Callable[[Any], Any]
    search_space: Any
    seed: int
    history: History | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True)
class SaveCheckpoint:
    """Have the tuner save its state; `number` is the last call before this."""

    number: int


@dataclass(frozen=True, slots=True)
class ForgetCheckpoints:
    """The checkpoint of this number is on record: no older one is needed."""

    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The experiment ends; nothing is posted after."""

    well: bool


Call = (
    Load | AskFirst | Ask | Tell | PhaseEnd | TrialEnd | SaveCheckpoint | ForgetCheckpoints | Finish
)


class TunerHost:
    """Runs a tuner on its own thread.

    `fileno()` is readable when there are answers for `collect`.

    Args:
        checkpoints: where the tuner's state is kept.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._mailbox: queue.SimpleQueue[list[Call]] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        self._wake = WakeUp()
        self._tuner: AdaptedTuner | None = None
        self._parameters: dict[int, Any] = {}
        self._on_record: Mapping[int, str | None] = {}  # answers to the call that is made again
        self._differs = False
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="tuner", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, calls: list[Call]) -> None:
        """Have the tuner called, in this order, after all that was posted before."""
        self._mailbox.put(calls)

    def fileno(self) -> int:
        return self._wake.fileno()

    def collect(self) -> list[Answer]:
        """Return the answers that have come since the last time."""
        self._wake.clear()
        answers = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers

    def _work(self) -> None:
        while True:
            calls = self._mailbox.get()
            began = time.monotonic()
            for call in calls:
                self._run(call)
                now = time.monotonic()
                if now - began > _SLOW_CALL:
                    sys.setswitchinterval(_SWITCH_INTERVAL)
                    self._wake_loop()
                    began = now
            self._wake_loop()

    def _wake_loop(self) -> None:
        if self._answers:  # most calls tell, and have no answer
            self._wake.set()

    def _run(self, call: Call) -> None:
        # The border around the user's tuner: whatever it raises, SystemExit included, is an answer.
        try:
            if isinstance(call, Finish):
                self._finish(call)
            elif not self._failed:
                self._ACTIONS[type(call)](self, call)
        except BaseException as error:  # noqa: BLE001
            self._failed = True
            record = describe_error(error)
            print(record.traceback, file=sys.stderr, flush=True)
            self._answers.append(Failed(record))

    def _load(self, call: Load) -> None:
        generators.seed(call.seed)
        tuner = call.construct(call.load_class())
        self._tuner = AdaptedTuner(tuner)
        restored = self._restore(call.checkpoint)
        self._tuner.call("update_search_space", copy.deepcopy(call.search_space))
        if restored:
            self._checkpoints.restore_random(restored)
        if call.history is not None:
            self._replay(call.history, restored)
        mode = getattr(tuner, "optimize_mode", None)
        mode = str(getattr(mode, "value", mode)).lower()  # NNI's is an enumeration
        self._answers.append(
            Loaded(mode if mode in ("maximize", "minimize") else None, self._tuner.saves)
        )

    def _restore(self, checkpoint: int | None) -> int:
        """Have the tuner load its checkpoint; return the number of the last call that is in it."""
        assert self._tuner is not None
        if checkpoint is None or not self._checkpoints.restore(checkpoint):
            return 0  # all calls are on record
        self._tuner.call("load_checkpoint")
        return checkpoint

    def _replay(self, history: History, after: int) -> None:
        for parameter_id, text in history.parameters(after).items():
            self._parameters[parameter_id] = decode(text)
        for recorded in history.calls(after):
            self._on_record = recorded.answers
            self._ACTIONS[type(recorded.call)](self, recorded.call)
        self._on_record = {}

    def _save(self, call: SaveCheckpoint) -> None:
        assert self._tuner is not None
        # What cannot be saved can be replayed, so this ends nothing.
        try:
            self._tuner.call("save_checkpoint")
            if self._checkpoints.keep(call.number):
                self._answers.append(Saved(call.number))
        except Exception as error:  # noqa: BLE001 (the user's code)
            record = describe_error(error)
            print(record.traceback, file=sys.stderr, flush=True)
            self._answers.append(Warned(f"save_checkpoint failed: {record.type}: {record.message}"))

    def _forget(self, call: ForgetCheckpoints) -> None:
        self._checkpoints.forget_older(call.number)

    def _ask_first(self, call: AskFirst) -> None:
        assert self._tuner is not None
        found = dict(self._tuner.generate_first(call.parameter_ids, call.trial_ids))
        for parameter_id in call.parameter_ids:
            self._answer(parameter_id, found.get(parameter_id))

    def _ask(self, call: Ask) -> None:
        assert self._tuner is not None
        self._answer(call.parameter_id, self._tuner.generate_next(call.parameter_id, call.trial_id))

    def _answer(self, parameter_id: int, parameters: Any) -> None:
        text = None if parameters is None else _as_json(parameters)
        if parameter_id in self._on_record:
            recorded = self._on_record[parameter_id]
            if text != recorded:
                self._warn_of_difference(parameter_id, recorded, text)
                parameters = None if recorded is None else decode(recorded)
        else:
            self._answers.append(Parameters(parameter_id, text))
        if parameters is not None:
            # The tuner gets back the very object it returned.
            self._parameters[parameter_id] = parameters

    def _warn_of_difference(self, parameter_id: int, recorded: str | None, now: str | None) -> None:
        if not self._differs:
            self._differs = True
            self._answers.append(
                Warned(
                    "when its calls were made again, the tuner answered otherwise than before, first"
                    f" for parameter_id {parameter_id}: {now or 'no parameters':.200} instead of"
                    f" {recorded or 'no parameters':.200}. What was recorded stays; what it chooses"
                    " from now on may differ from what it would have chosen"
                )
            )

    def _tell(self, call: Tell) -> None:
        assert self._tuner is not None
        parameters = self._parameters.pop(call.parameter_id)
        self._tuner.receive(call.parameter_id, parameters, call.value, call.trial_id)
        self._tuner.phase_end(call.parameter_id, True, call.trial_id)

    def _phase_end(self, call: PhaseEnd) -> None:
        assert self._tuner is not None
        # A phase for which the tuner had no parameters never was.
        if self._parameters.pop(call.parameter_id, None) is not None:
            self._tuner.phase_end(call.parameter_id, False, call.trial_id)

    def _trial_end(self, call: TrialEnd) -> None:
        assert self._tuner is not None
        self._tuner.trial_end(call.parameter_id, call.success, call.trial_id)

    def _finish(self, call: Finish) -> None:
        try:
            if self._tuner is not None:
                self._tuner.call("_on_exit" if call.well and not self._failed else "_on_error")
        finally:
            self._answers.append(Finished())

    _ACTIONS: dict[type, Callable[[TunerHost, Any], None]] = {
        Load: _load,
        AskFirst: _ask_first,
        Ask: _ask,
        Tell: _tell,
        PhaseEnd: _phase_end,
        TrialEnd: _trial_end,
        SaveCheckpoint: _save,
        ForgetCheckpoints: _forget,
    }


def _as_json(parameters: Any) -> str:
    try:
        return encode(parameters)
    except MessageError as error:
        raise TunerError(f"generate_parameters returned {_shown(parameters)}: {error}") from None


def _shown(parameters: Any) -> str:
    try:
        return f"{parameters!r:.200}"
    except Exception:  # noqa: BLE001 (a user's __repr__, or one that goes too deep)
        return f"a {type(parameters).__name__}"


def describe_error(error: BaseException) -> ErrorRecord:
    """Return the exception as a record, its traceback from the first frame outside this package."""
    cause = error.__cause__ if isinstance(error, ClassLoadError) and error.__cause__ else error
    frames = cause.__traceback__
    while frames and frames.tb_next and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(cause), cause, frames))
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  (the user's own class)
        message = "no message: its __str__ failed"
    return ErrorRecord(type(cause).__name__, message, text)


_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def _is_ours(file: str) -> bool:
    return file.startswith((_PACKAGE, "<frozen importlib"))
