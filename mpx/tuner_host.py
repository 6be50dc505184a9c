"""Hosts the tuner: calls go into a mailbox, answers come out. Only this module knows where it runs.

The tuner lives on one thread from import to exit (some libraries tie state to their thread), and its
calls run there in the order they were posted, one at a time. That order is the promise that a phase's
result reaches the tuner before the trial's next phase is chosen: the controller posts the one before
the other.

After the first exception that a tuner lets out, it is not called again, but for `_on_error`.
"""

from __future__ import annotations

import copy
import inspect
import os
import queue
import random
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpx.errors import ClassLoadError, MessageError, NoMoreTrialError, TunerError
from mpx.protocol import encode
from mpx.records import ErrorRecord
from mpx.tuner import Tuner
from mpx.wake_up import WakeUp

# A call that takes longer holds the interpreter against the manager's loop, unless it is asked for
# more often than every 5 ms; trivial tuners are better off without.
_SLOW_CALL = 0.001
_SWITCH_INTERVAL = 0.0002


@dataclass(frozen=True, slots=True)
class Loaded:
    """The tuner is imported, constructed and has its search space."""

    optimize_mode: str | None


@dataclass(frozen=True, slots=True)
class Parameters:
    """Answers one ask. `text` is the parameters as JSON; None: there are no more (now)."""

    parameter_id: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The tuner let an exception out."""

    error: ErrorRecord


@dataclass(frozen=True, slots=True)
class Finished:
    """The tuner's last call returned."""


Answer = Loaded | Parameters | Failed | Finished


@dataclass(frozen=True, slots=True)
class Load:
    """Import and construct the tuner and give it its search space."""

    load_class: Callable[[], Any]
    construct: Callable[[Any], Any]
    search_space: Any
    seed: int


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
class Finish:
    """The experiment ends; nothing is posted after."""

    well: bool


Call = Load | AskFirst | Ask | Tell | PhaseEnd | TrialEnd | Finish


class AdaptedTuner:
    """A tuner of any age behind one calling convention.

    NNI's tuners differ by version in whether they take `trial_job_id`, by name or by position, and
    whether they take more by `**kwargs`. Each method's signature is read once.
    """

    def __init__(self, tuner: Any) -> None:
        self.tuner = tuner
        generate = self._own("generate_parameters")
        self._generate_many = self._own("generate_multiple_parameters")
        if generate is None and self._generate_many is None:
            raise ClassLoadError(
                f"{type(tuner).__name__} is no tuner: it has no `generate_parameters` method"
            )
        self._wants_trial_ids = _names(self._generate_many, "trial_job_ids")
        self.generate = self._generate_one if generate is None else adapt(generate, 1)
        self.receive = self._adapted("receive_trial_result", 3)
        self.phase_end = self._adapted("phase_end", 2)
        self.trial_end = self._adapted("trial_end", 2)

    def call(self, name: str, *args: Any) -> Any:
        """Call a method that takes just these arguments, if the tuner has it."""
        method = getattr(self.tuner, name, None)
        return None if method is None else method(*args)

    def generate_first(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> list[tuple[int, Any]]:
        """Return (parameter_id, parameters) of as many first phases as the tuner has."""
        if self._generate_many is None:
            return self._generate_each(parameter_ids, trial_ids)
        try:
            found = self._generate_list(parameter_ids, trial_ids)
        except NoMoreTrialError:
            return []
        return [pair for pair in zip(parameter_ids, found, strict=False) if pair[1] is not None]

    def _generate_list(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> Sequence[Any]:
        assert self._generate_many is not None
        more = {"trial_job_ids": list(trial_ids)} if self._wants_trial_ids else {}
        found = self._generate_many(list(parameter_ids), **more)
        if found is None:
            return []
        if not isinstance(found, (list, tuple)) or len(found) > len(parameter_ids):
            raise TunerError(
                f"generate_multiple_parameters was asked for {len(parameter_ids)} and returned"
                f" {_describe(found)}; it may return a list of as many, or fewer"
            )
        return found

    def _generate_each(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> list[tuple[int, Any]]:
        found = []
        for parameter_id, trial_id in zip(parameter_ids, trial_ids, strict=True):
            parameters = self.generate_next(parameter_id, trial_id)
            if parameters is None:
                break
            found.append((parameter_id, parameters))
        return found

    def generate_next(self, parameter_id: int, trial_id: str) -> Any:
        """Return the parameters of one phase; None if there are no more."""
        try:
            return self.generate(parameter_id, trial_id)
        except NoMoreTrialError:
            return None

    def _generate_one(self, parameter_id: int, trial_id: str) -> Any:
        found = self._generate_list([parameter_id], [trial_id])
        return found[0] if found else None

    def _own(self, name: str) -> Callable[..., Any] | None:
        """Return the method unless the tuner has only the base class's."""
        if getattr(type(self.tuner), name, None) is getattr(Tuner, name):
            return None
        return getattr(self.tuner, name, None)

    def _adapted(self, name: str, leading: int) -> Callable[..., Any]:
        method = self._own(name)
        return _nothing if method is None else adapt(method, leading)


def adapt(method: Callable[..., Any], leading: int) -> Callable[..., Any]:
    """Return a callable that takes `leading` positional arguments and a trial's id.

    The id is passed on by the name `trial_job_id` if the method knows it (or takes any keyword), else as
    one more positional argument if there is room for one, else not at all. NNI's `customized` is passed
    as False where it is known.
    """
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return method
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    more = {"customized": False} if "customized" in named else {}
    if any_name or "trial_job_id" in named:
        return lambda *args: method(*args[:leading], trial_job_id=args[leading], **more)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    room = sum(p.name != "customized" for p in positional)
    if room > leading or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return lambda *args: method(*args, **more)
    return lambda *args: method(*args[:leading], **more)


def _names(method: Callable[..., Any] | None, argument: str) -> bool:
    """Say whether a method has an argument of this name."""
    try:
        return method is not None and argument in inspect.signature(method).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def _nothing(*_: Any) -> None:
    """Stand in for a method the tuner does not have."""


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


class TunerHost:
    """Runs a tuner on its own thread.

    `fileno()` is readable when there are answers for `collect`.
    """

    def __init__(self) -> None:
        self._mailbox: queue.SimpleQueue[list[Call]] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        self._wake = WakeUp()
        self._tuner: AdaptedTuner | None = None
        self._parameters: dict[int, Any] = {}
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
        random.seed(call.seed)
        tuner_class = call.load_class()
        numpy_is_seeded = _seed_numpy(call.seed)
        tuner = call.construct(tuner_class)
        if not numpy_is_seeded:
            _seed_numpy(call.seed)
        self._tuner = AdaptedTuner(tuner)
        self._tuner.call("update_search_space", copy.deepcopy(call.search_space))
        mode = getattr(tuner, "optimize_mode", None)
        mode = str(getattr(mode, "value", mode)).lower()  # NNI's is an enumeration
        self._answers.append(Loaded(mode if mode in ("maximize", "minimize") else None))

    def _ask_first(self, call: AskFirst) -> None:
        assert self._tuner is not None
        found = dict(self._tuner.generate_first(call.parameter_ids, call.trial_ids))
        for parameter_id in call.parameter_ids:
            self._answer(parameter_id, found.get(parameter_id))

    def _ask(self, call: Ask) -> None:
        assert self._tuner is not None
        self._answer(call.parameter_id, self._tuner.generate_next(call.parameter_id, call.trial_id))

    def _answer(self, parameter_id: int, parameters: Any) -> None:
        if parameters is None:
            self._answers.append(Parameters(parameter_id, None))
            return
        try:
            text = encode(parameters)
        except MessageError as error:
            raise TunerError(f"generate_parameters returned {parameters!r:.200}: {error}") from None
        # The tuner gets back the very object it returned.
        self._parameters[parameter_id] = parameters
        self._answers.append(Parameters(parameter_id, text))

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
    }


def _seed_numpy(seed: int) -> bool:
    """Seed numpy's global generator, if the tuner imported numpy."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    numpy.random.seed(seed % 2**32)
    return True


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
