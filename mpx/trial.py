"""The SDK: what a trial calls. Import it as `mpx`.

Under a manager, the first process of a trial to ask *owns* the trial, by a lock that its death
frees, so a script may start several one after another. In any other process of the trial (forks,
data-loader workers, ranks of one training) reports are dropped with one line in the log, and asking
raises. With no manager the same code runs alone: parameters come from MPX_PARAMETERS (JSON) or
are `{}`, results are printed, and after ten asks there are no more.

`import mpx` moves the protocol away from fds 0 and 1 to private ones, if these are the trial's pipes
(else the first ask opens the pipes by name), and points fd 0 at /dev/null and fd 1 at the trial's
log. From then on nothing that the process or its children print or read can touch the protocol.

A trial outlives its manager. What it says is kept until the manager has it on record; when the manager
is gone, the next call that needs an answer waits for another one (`mpx resume`) and says the rest again.

Standard library alone, Python ≥ 3.7.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Sequence

from mpx.errors import LocalProtocolError, MessageError, PhaseStopped, ProtocolError, UsageError
from mpx.protocol import ASKED, LARGEST_BATCH, TrialConnection
from mpx.trial_pipes import DEFAULT_ORPHAN_TIMEOUT, TrialPipes, log
from mpx.wire import DEFAULT_MAX_LINE, decode, encode

if TYPE_CHECKING:
    from types import TracebackType

_SDK = "mpx-python"
_STANDALONE_ASKS = 10


class _Wishes:
    """What a loop over phases wants to be done when one ends unlike others.

    Args:
        on_error: `"raise"` or `"continue"`.
        on_stop: `"return"` or `"raise"`.

    Raises:
        UsageError: either is something else.
    """

    def __init__(self, on_error: str = "raise", on_stop: str = "return") -> None:
        if on_error not in ("raise", "continue"):
            raise UsageError(f"on_error is {on_error!r}; it may be 'raise' or 'continue'")
        if on_stop not in ("return", "raise"):
            raise UsageError(f"on_stop is {on_stop!r}; it may be 'return' or 'raise'")
        self.go_on = on_error == "continue"
        self.raise_stop = on_stop == "raise"


class Phase:
    """One parameters → result round, as `phases` and `batches` yield it.

    Use it as a context manager: an exception in the body marks the phase FAILED, with its traceback.

    Attributes:
        parameters: what the tuner chose, as JSON gave it.
        index: number of the phase in this trial, from 0.
        parameter_id: number of the phase in the whole experiment.
        parent: parameter_id of the phase whose weights this one goes on from; None: it starts afresh.
        checkpoint: path of what the parent saved, to be loaded first; None: nothing is to be loaded, for
            the weights are in this process, or there is no parent.
        stopped: the assessor has stopped it: nothing more need be computed for it.
    """

    def __init__(
        self,
        parameters: Any,
        index: int,
        parameter_id: int,
        parent: int | None = None,
        checkpoint: str | None = None,
        wishes: _Wishes | None = None,
        in_batch: bool = False,
    ) -> None:
        self.parameters = parameters
        self.index = index
        self.parameter_id = parameter_id
        self.parent = parent
        self.checkpoint = checkpoint
        self.stopped = False
        self._wishes = wishes or _Wishes()
        self._in_batch = in_batch
        self._copy: str | None = None  # of what it has saved

    @property
    def _name(self) -> int | None:
        """What its messages call it; one that is open alone needs no name."""
        return self.index if self._in_batch else None

    def report_intermediate(self, value: Any) -> bool:
        """Report a result on the way, such as the accuracy after an epoch.

        Args:
            value: a number, or a dict whose `default` is one, or anything else JSON can say.

        Returns:
            Whether the assessor stopped the phase. Then leave the `with` block, with or without a final
            result; the trial goes on with its next phase.

        Raises:
            PhaseStopped: it was stopped, and `phases(on_stop="raise")` was asked for.
            ProtocolError: this phase is not open.
        """
        stopped = _session().report_intermediate(value, self)
        if stopped and self._wishes.raise_stop:
            raise PhaseStopped(f"the assessor has stopped phase {self.index}")
        return stopped

    def report_final(self, value: Any) -> None:
        """Report the phase's result; it is on disk when this returns.

        Args:
            value: a number, or a dict whose `default` is one, or anything else JSON can say.

        Raises:
            ProtocolError: this phase is not open.
        """
        _session().report_final([value], [self])

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Keep what the phase has trained, so that other phases can go on from it.

        It is copied into the trial's directory, and both the copy and the word of it are on disk when
        this returns: what is done to `path` afterwards does no harm. Other phases may go on from it as
        soon as this one has its final result. Saved again, the last copy alone is kept.

        Args:
            path: a file or a directory.

        Raises:
            ProtocolError: this phase is not open.
            OSError: it cannot be copied.
            UsageError: it is the trial's own directory, or one of those it is in.
        """
        _session().save_checkpoint(os.fspath(path), self)

    def __enter__(self) -> Phase:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if isinstance(error, PhaseStopped) or (error is None and self.stopped):
            _session().report_failed(error or PhaseStopped("it was stopped"), self)
            return True
        if error is not None:
            _session().report_failed(error, self)
        if not self._wishes.go_on or not isinstance(error, Exception) or _session().has_given_up:
            return False
        _print_traceback(error)
        return True

    def __repr__(self) -> str:
        return f"Phase(index={self.index}, parameters={self.parameters!r})"


class Batch(Sequence[Phase]):
    """Phases that are open at the same time; each has its own parameters and takes its own result.

    They may be reported in any order, and from any thread of the process.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = phases

    def report_final(self, values: Iterable[Any]) -> None:
        """Report the results of all phases that are open, in their order; cheaper than one by one.

        Args:
            values: one for each open phase; all of them are on disk when this returns.

        Raises:
            UsageError: there are more, or fewer, values than open phases (of which there are none once
                the trial has asked for others), or they have no order. Nothing was reported.
            ProtocolError: JSON cannot say one of them. Nothing was reported.
        """
        if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
            raise UsageError(
                f"the results of a batch are in a {type(values).__name__}; allowed: a list with one for"
                " each open phase, in their order"
            )
        values = [*values]
        for number, value in enumerate(values, 1):
            _check_value(value, f"result {number} of {len(values)}")
        _session().report_batch(values, self._phases)

    def __len__(self) -> int:
        return len(self._phases)

    def __getitem__(self, index: Any) -> Any:
        return self._phases[index]

    def __repr__(self) -> str:
        return f"Batch({[*self._phases]})"


def phases(on_error: str = "raise", on_stop: str = "return") -> Iterator[Phase]:
    """Yield one phase after another until there are no more parameters.

    Write `with phase:` around the body, or an exception cannot be told from the end of the loop.

    Args:
        on_error: what happens after an exception in a `with phase:` body has marked the phase
            FAILED: `"raise"` lets it go on up, `"continue"` prints it and begins the next phase.
        on_stop: what `Phase.report_intermediate` does when the assessor stopped the phase: `"return"`
            returns True, `"raise"` raises `PhaseStopped`, which ends the `with phase:` body and no more.
    """
    wishes = _Wishes(on_error, on_stop)
    while True:
        found = _session().ask(None, wishes)
        if not found:
            return
        yield found[0]


def batches(n: int, on_error: str = "raise", on_stop: str = "return") -> Iterator[Batch]:
    """Yield one batch of phases after another until there are no more parameters.

    The phases of a batch are open at the same time: train their models together, or in threads. What is
    still open when the next batch is asked for is ABANDONED.

    Args:
        n: phases in a batch. There are fewer where a limit or the tuner has no more.
        on_error: as in `phases`, for each phase's `with phase:` body.
        on_stop: as in `phases`.

    Raises:
        UsageError: `n` is no number from 1 to 10,000.
    """
    wishes = _Wishes(on_error, on_stop)
    while True:
        batch = Batch(_session().ask(_checked(n), wishes))
        if not batch:
            return
        yield batch


def get_next_parameters(n: int) -> Batch:
    """Ask for the parameters of the next `n` phases, which are then open at the same time.

    Args:
        n: how many; there are fewer where a limit or the tuner has no more.

    Returns:
        The phases; none when there are no more parameters.

    Raises:
        UsageError: `n` is no number from 1 to 10,000.
        ProtocolError: another process speaks for this trial, or the manager is gone.
    """
    return Batch(_session().ask(_checked(n)))


def _check_value(value: Any, name: str) -> None:
    try:
        encode(value)
    except MessageError as error:
        raise MessageError(f"{name}: {error}") from None


def _checked(n: int) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= LARGEST_BATCH:
        raise UsageError(f"a batch has from 1 to {LARGEST_BATCH} phases; found {n!r}")
    return n


def get_next_parameter() -> Any:
    """Ask for the parameters of the next phase, and wait for them.

    Returns:
        What the tuner chose; `None` when there are no more.

    Raises:
        ProtocolError: another process speaks for this trial, or the manager is gone.
    """
    found = _session().ask()
    return found[0].parameters if found else None


def get_current_parameter(tag: str | None = None) -> Any:
    """Return the parameters last asked for, or the one called `tag`; `None` before any.

    Raises:
        ProtocolError: a batch was asked for last; its phases have their own.
    """
    session = _session()
    if len(session.last) > 1:
        raise LocalProtocolError(
            f"{len(session.last)} phases were asked for together: each has its own `parameters`"
        )
    parameters = session.last[0].parameters if session.last else None
    return parameters if tag is None or parameters is None else parameters[tag]


def report_intermediate_result(value: Any, wait: bool = True) -> bool:
    """Report a result on the way to the open phase's final one.

    Args:
        value: a number, or a dict whose `default` is one, or anything else JSON can say.
        wait: wait for the verdict, where the experiment has an assessor. A trial that does not wait
            cannot be told to stop a phase: it is ended.

    Returns:
        Whether the assessor stopped the phase: ask for the next one, with or without a final result.

    Raises:
        ProtocolError: no phase is open.
    """
    return _session().report_intermediate(value, wait=wait)


def report_final_result(value: Any) -> None:
    """Report the open phase's result, which ends the phase; it is on disk when this returns.

    Args:
        value: a number, or a dict whose `default` is one, or anything else JSON can say.

    Raises:
        ProtocolError: no phase is open.
    """
    _session().report_final([value])


def get_experiment_id() -> str:
    """Return the experiment's id; `STANDALONE` with no manager."""
    return os.environ.get("MPX_EXPERIMENT_ID", "STANDALONE")


def get_trial_id() -> str:
    """Return the trial's id; `STANDALONE` with no manager."""
    return os.environ.get("MPX_TRIAL_ID", "STANDALONE")


def get_sequence_id() -> int:
    """Return the trial's number in the order of starting, from 0."""
    return int(os.environ.get("MPX_SEQUENCE_ID", "0"))


class _Session:
    """What the functions above stand on.

    Attributes:
        last: the phases of the last ask.
        asker: the thread that asked for them.
        open: those of them that have no result yet, by index.
    """

    def __init__(self) -> None:
        self.last: list[Phase] = []
        self.asker = threading.current_thread()
        self.open: dict[int, Phase] = {}

    @property
    def has_given_up(self) -> bool:
        """Whether no manager came in time; what is open, another one will see to."""
        return False

    def ask(self, count: int | None = None, wishes: _Wishes | None = None) -> list[Phase]:
        """Ask for the next phase, or a batch of so many, and return what there is."""
        raise NotImplementedError

    def report_intermediate(
        self, value: Any, phase: Phase | None = None, wait: bool = True
    ) -> bool:
        """Report on a phase; None: the only one that is open."""
        raise NotImplementedError

    def report_final(self, values: Sequence[Any], phases: Sequence[Phase] | None = None) -> None:
        """End some phases; None: the only one that is open."""
        raise NotImplementedError

    def report_batch(self, values: Sequence[Any], phases: Sequence[Phase]) -> None:
        """End those of some phases that are open, in their order."""
        raise NotImplementedError

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        raise NotImplementedError

    def save_checkpoint(self, path: str, phase: Phase) -> None:
        raise NotImplementedError

    def _only_open(self) -> Phase | None:
        """Return the open phase, which a report means that names none; None if there is none.

        Raises:
            LocalProtocolError: there are several.
        """
        if len(self.open) > 1:
            raise LocalProtocolError(
                f"a result was reported, but {len(self.open)} phases are open: report it by the"
                " methods of its own phase"
            )
        return next(iter(self.open.values()), None)

    def _waiting(self, values: Sequence[Any], phases: Sequence[Phase]) -> list[Phase]:
        """Return those of some phases that are open: as many as there are values."""
        waiting = [phase for phase in phases if self.open.get(phase.index) is phase]
        if len(values) != len(waiting):
            raise UsageError(f"{len(values)} results for {len(waiting)} open phases of this batch")
        return waiting

    def _begin(self, phases: list[Phase]) -> list[Phase]:
        self.last, self.asker = phases, threading.current_thread()
        self.open = {phase.index: phase for phase in phases}
        return phases

    def _check_asker(self) -> None:
        """Raise if this thread would abandon what another one is at work on."""
        if not self.open or self.asker is threading.current_thread() or not self.asker.is_alive():
            return
        numbers = ", ".join(map(str, sorted(self.open)))
        raise LocalProtocolError(
            f"thread {threading.current_thread().name!r} asked for parameters while thread"
            f" {self.asker.name!r}, which asked before, has phase {numbers} open: one thread asks. Several"
            " models are trained at the same time in `mpx.batches(n)`"
        )

    def _check_open(self, phase: Phase | None) -> Phase:
        if phase is None:
            raise LocalProtocolError(
                "a result was reported, but no phase is open: a phase takes one final result;"
                " ask for the next parameters before reporting again"
            )
        if self.open.get(phase.index) is not phase:
            raise LocalProtocolError(
                f"phase {phase.index} is over: it has its result, or a later phase was asked for"
            )
        return phase


class _ManagedSession(_Session):
    """Speaks with the manager through the trial's pipes."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        self._lock = threading.RLock()
        self._pid = 0  # of the process that owns the trial; a fork inherits it and so is not it
        self._connection = TrialConnection(
            int(os.environ.get("MPX_MAX_LINE_LENGTH", DEFAULT_MAX_LINE)), select.PIPE_BUF
        )
        self._pipes = TrialPipes(
            directory,
            self._connection,
            float(os.environ.get("MPX_ORPHAN_TIMEOUT", DEFAULT_ORPHAN_TIMEOUT)),
        )
        self._told = False

    @property
    def has_given_up(self) -> bool:
        return self._pipes.has_given_up

    def ask(self, count: int | None = None, wishes: _Wishes | None = None) -> list[Phase]:
        if self._pid not in (0, os.getpid()):  # a fork, where another thread's lock stays taken
            raise _not_the_owner()
        with self._lock:
            if not self._pid:
                self._own()
            _flush_prints()
            self._check_asker()
            if self._connection.state is not ASKED:  # else Ctrl-C cut the last wait for it short
                self._begin([])
                self._connection.request(count)
            reply = self._pipes.wait("parameters", "no_more")
            if reply["type"] == "no_more":
                return self._begin([])
            in_batch = "phases" in reply
            given = reply["phases"] if in_batch else [reply]
            return self._begin([_phase(each, wishes, in_batch) for each in given])

    def report_intermediate(
        self, value: Any, phase: Phase | None = None, wait: bool = True
    ) -> bool:
        if not self._is_mine("an intermediate result"):
            return False
        phase = phase or self._only_open()
        with self._lock:
            phase = self._check_open(phase)
            connection = self._connection
            if wait and connection.has_assessor:
                connection.intermediate(value, phase._name, verdict=True)
                phase.stopped = self._pipes.wait("verdict")["stop"] is True
            else:
                must_wait = connection.holds_much
                connection.intermediate(value, phase._name, ack=must_wait)
                self._pipes.flush()
                if must_wait:
                    self._pipes.wait("ack")
            return phase.stopped

    def report_final(self, values: Sequence[Any], phases: Sequence[Phase] | None = None) -> None:
        if self._is_mine("a final result"):
            whose = [self._only_open()] if phases is None else phases
            with self._lock:
                self._send_finals(values, whose)

    def report_batch(self, values: Sequence[Any], phases: Sequence[Phase]) -> None:
        if self._is_mine("a final result"):
            with self._lock:
                self._send_finals(values, self._waiting(values, phases))

    def _send_finals(self, values: Sequence[Any], phases: Sequence[Phase | None]) -> None:
        connection = self._connection
        checked = [self._check_open(phase) for phase in phases]
        before = connection.seq
        try:
            for value, phase in zip(values, checked):
                connection.final(value, phase._name)
                del self.open[phase.index]
        finally:  # a value that JSON cannot say holds up none before it
            if connection.seq > before:
                self._pipes.wait("ack")

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        if self.open.get(phase.index) is not phase or not self._is_mine("a failed phase"):
            return
        if isinstance(error, ProtocolError) and self.has_given_up:
            return  # that no manager came is not the phase's failure
        name, text, traceback = type(error).__name__, _message_of(error), _format_traceback(error)
        with self._lock:
            try:
                self._check_open(phase)
                self._connection.failed(name, text, traceback, phase._name)
                del self.open[phase.index]
                self._pipes.wait("ack")
            except ProtocolError as reason:  # it must not hide the error that ended the phase
                log(f"the failure of phase {phase.index} could not be reported: {reason}")

    def save_checkpoint(self, path: str, phase: Phase) -> None:
        if not self._is_mine("a checkpoint"):
            return
        from mpx.kept import (
            drop,
            keep,
            size_of,
        )  # what it needs is slow to load, and few trials save

        self._check_open(phase)
        copy = keep(path, self._directory, phase.index)  # which hinders no other thread
        size = size_of(copy)
        with self._lock:
            self._check_open(phase)
            self._connection.checkpoint(copy, phase._name, size)
            self._pipes.wait("ack")
            former, phase._copy = phase._copy, copy
        if former is not None:
            drop(former)

    def _is_mine(self, what: str) -> bool:
        """Say whether this process owns the trial; if not, log once that `what` is dropped.

        Raises:
            LocalProtocolError: no process owns it yet, so nobody has asked.
        """
        if self._pid == os.getpid():
            return True
        lock = -1 if self._pid else self._pipes.try_lock()
        if lock >= 0:
            os.close(lock)
            self._check_open(None)
        if not self._told:
            self._told = True
            log(f"{what} from process {os.getpid()} is dropped: it did not ask for parameters")
        return False

    def _own(self) -> None:
        """Become the process that speaks for the trial, if none does."""
        if self._pipes.try_lock() < 0:
            raise _not_the_owner()
        self._pipes.open()
        self._connection.hello(_SDK, os.getpid(), session=os.urandom(8).hex())
        self._pipes.wait("welcome")
        self._pid = os.getpid()

    def step_aside(self) -> None:
        """Take the pipes away from fds 0 and 1, where they are there."""
        _flush_prints()
        self._pipes.step_aside()
        _show_prints_at_once()


class _StandaloneSession(_Session):
    """Stands in for the manager when there is none: the trial runs by hand."""

    def __init__(self) -> None:
        super().__init__()
        self._asks = self._phases = 0

    def ask(self, count: int | None = None, wishes: _Wishes | None = None) -> list[Phase]:
        self._check_asker()
        self._asks += 1
        if self._asks > _STANDALONE_ASKS:
            log(f"no manager: no more parameters after {_STANDALONE_ASKS} asks")
            return self._begin([])
        first, self._phases = self._phases, self._phases + (count or 1)
        indexes = range(first, self._phases)
        return self._begin([Phase(_given_parameters(), i, i, wishes=wishes) for i in indexes])

    def report_intermediate(
        self, value: Any, phase: Phase | None = None, wait: bool = True
    ) -> bool:
        phase = phase or self._only_open()
        log(f"phase {self._check_open(phase).index}: intermediate result: {encode(value)}")
        return False

    def report_final(self, values: Sequence[Any], phases: Sequence[Phase] | None = None) -> None:
        whose = [self._only_open()] if phases is None else phases
        for value, phase in zip(values, [self._check_open(phase) for phase in whose]):
            log(f"phase {phase.index}: final result: {encode(value)}")
            del self.open[phase.index]

    def report_batch(self, values: Sequence[Any], phases: Sequence[Phase]) -> None:
        self.report_final(values, self._waiting(values, phases))

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        if self.open.get(phase.index) is phase:
            del self.open[phase.index]
            log(f"phase {phase.index}: failed: {type(error).__name__}: {_message_of(error)}")

    def save_checkpoint(self, path: str, phase: Phase) -> None:
        self._check_open(phase)
        os.stat(path)  # a manager would not find it either
        log(f"phase {phase.index}: checkpoint: {path}")


def _phase(given: dict[str, Any], wishes: _Wishes | None, in_batch: bool) -> Phase:
    return Phase(
        given["parameters"],
        given["phase_index"],
        given["parameter_id"],
        given.get("parent"),
        given.get("checkpoint"),
        wishes,
        in_batch,
    )


def _given_parameters() -> Any:
    text = os.environ.get("MPX_PARAMETERS", "{}")
    try:
        return decode(text)
    except ValueError as error:
        raise UsageError(f"MPX_PARAMETERS is not JSON: {error}; found: {text[:80]}") from None


def _not_the_owner() -> ProtocolError:
    return ProtocolError(
        f"process {os.getpid()} cannot ask for parameters: another process of this trial does."
        " Ask in one process (rank 0, the parent) and hand the parameters on"
    )


_the_session: _Session | None = None


_creation = threading.Lock()


def _session() -> _Session:
    global _the_session
    if _the_session is None:
        with _creation:
            if _the_session is None:
                directory = os.environ.get("MPX_TRIAL_DIR")
                _the_session = _ManagedSession(directory) if directory else _StandaloneSession()
    return _the_session


def step_aside() -> None:
    """Leave stdin and stdout to the user's code, if a manager speaks through them.

    What hinders it, the first ask tells.
    """
    session = _session()
    if isinstance(session, _ManagedSession):
        try:
            session.step_aside()
        except (OSError, ProtocolError):
            pass


def _flush_prints() -> None:
    """What was printed so far belongs before the phase that begins."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001  (whatever the user put there, or closed)
            pass


def _show_prints_at_once() -> None:
    """Let `mpx logs --follow` show each line as it is printed."""
    try:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001  (whatever the user put there, or closed)
        pass


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (the user's own class)
        return "no message: its __str__ failed"


def _format_traceback(error: BaseException) -> str:
    import traceback  # slow to load, and most trials never fail

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _print_traceback(error: BaseException) -> None:
    print(_format_traceback(error), end="", file=sys.stderr, flush=True)
