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
from typing import TYPE_CHECKING, Any, Iterator

from mpx.errors import LocalProtocolError, PhaseStopped, ProtocolError, UsageError
from mpx.protocol import ASKED, TrialConnection
from mpx.trial_pipes import DEFAULT_ORPHAN_TIMEOUT, TrialPipes, log
from mpx.wire import DEFAULT_MAX_LINE, decode, encode

if TYPE_CHECKING:
    from types import TracebackType

_SDK = "mpx-python"
_STANDALONE_ASKS = 10


class Phase:
    """One parameters → result round, as `phases` yields it.

    Use it as a context manager: an exception in the body marks the phase FAILED, with its traceback.

    Attributes:
        parameters: what the tuner chose, as JSON gave it.
        index: number of the phase in this trial, from 0.
        parameter_id: number of the phase in the whole experiment.
        stopped: the assessor has stopped it: nothing more need be computed for it.
    """

    def __init__(
        self,
        parameters: Any,
        index: int,
        parameter_id: int,
        go_on: bool = False,
        raise_stop: bool = False,
    ) -> None:
        self.parameters = parameters
        self.index = index
        self.parameter_id = parameter_id
        self.stopped = False
        self._go_on = go_on
        self._raise_stop = raise_stop

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
        if stopped and self._raise_stop:
            raise PhaseStopped(f"the assessor has stopped phase {self.index}")
        return stopped

    def report_final(self, value: Any) -> None:
        """Report the phase's result; it is on disk when this returns.

        Args:
            value: a number, or a dict whose `default` is one, or anything else JSON can say.

        Raises:
            ProtocolError: this phase is not open.
        """
        _session().report_final(value, self)

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
        if not self._go_on or not isinstance(error, Exception) or _session().has_given_up:
            return False
        _print_traceback(error)
        return True

    def __repr__(self) -> str:
        return f"Phase(index={self.index}, parameters={self.parameters!r})"


def phases(on_error: str = "raise", on_stop: str = "return") -> Iterator[Phase]:
    """Yield one phase after another until there are no more parameters.

    Write `with phase:` around the body, or an exception cannot be told from the end of the loop.

    Args:
        on_error: what happens after an exception in a `with phase:` body has marked the phase
            FAILED: `"raise"` lets it go on up, `"continue"` prints it and begins the next phase.
        on_stop: what `Phase.report_intermediate` does when the assessor stopped the phase: `"return"`
            returns True, `"raise"` raises `PhaseStopped`, which ends the `with phase:` body and no more.
    """
    if on_error not in ("raise", "continue"):
        raise UsageError(f"on_error is {on_error!r}; it may be 'raise' or 'continue'")
    if on_stop not in ("return", "raise"):
        raise UsageError(f"on_stop is {on_stop!r}; it may be 'return' or 'raise'")
    while _session().ask(on_error == "continue", on_stop == "raise"):
        phase = _session().phase
        assert phase is not None
        yield phase


def get_next_parameter() -> Any:
    """Ask for the parameters of the next phase, and wait for them.

    Returns:
        What the tuner chose; `None` when there are no more.

    Raises:
        ProtocolError: another process speaks for this trial, or the manager is gone.
    """
    session = _session()
    session.ask()
    return session.parameters


def get_current_parameter(tag: str | None = None) -> Any:
    """Return the parameters last asked for, or the one called `tag`; `None` before any."""
    parameters = _session().parameters
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
    session = _session()
    return session.report_intermediate(value, session.phase, wait)


def report_final_result(value: Any) -> None:
    """Report the open phase's result, which ends the phase; it is on disk when this returns.

    Args:
        value: a number, or a dict whose `default` is one, or anything else JSON can say.

    Raises:
        ProtocolError: no phase is open.
    """
    session = _session()
    session.report_final(value, session.phase)


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
        parameters: those of the last ask.
        phase: the open one.
    """

    def __init__(self) -> None:
        self.parameters: Any = None
        self.phase: Phase | None = None

    @property
    def has_given_up(self) -> bool:
        """Whether no manager came in time; what is open, another one will see to."""
        return False

    def ask(self, go_on: bool = False, raise_stop: bool = False) -> bool:
        """Ask for the next phase and say whether there is one."""
        raise NotImplementedError

    def report_intermediate(self, value: Any, phase: Phase | None, wait: bool = True) -> bool:
        raise NotImplementedError

    def report_final(self, value: Any, phase: Phase | None) -> None:
        raise NotImplementedError

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        raise NotImplementedError

    def _begin(self, phase: Phase | None) -> bool:
        self.phase = phase
        self.parameters = phase.parameters if phase else None
        return phase is not None

    def _check_open(self, phase: Phase | None) -> None:
        if phase is None:
            raise LocalProtocolError(
                "a result was reported, but no phase is open: a phase takes one final result;"
                " ask for the next parameters before reporting again"
            )
        if phase is not self.phase:
            raise LocalProtocolError(
                f"phase {phase.index} is over: it has its result, or a later phase was asked for"
            )


class _ManagedSession(_Session):
    """Speaks with the manager through the trial's pipes."""

    def __init__(self, directory: str) -> None:
        super().__init__()
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

    def ask(self, go_on: bool = False, raise_stop: bool = False) -> bool:
        if self._pid not in (0, os.getpid()):  # a fork, where another thread's lock stays taken
            raise _not_the_owner()
        with self._lock:
            if not self._pid:
                self._own()
            _flush_prints()
            if self._connection.state is not ASKED:  # else Ctrl-C cut the last wait for it short
                self._begin(None)
                self._connection.request()
            reply = self._pipes.wait("parameters", "no_more")
            if reply["type"] == "no_more":
                return self._begin(None)
            index, parameter_id = reply["phase_index"], reply["parameter_id"]
            return self._begin(Phase(reply["parameters"], index, parameter_id, go_on, raise_stop))

    def report_intermediate(self, value: Any, phase: Phase | None, wait: bool = True) -> bool:
        if not self._is_mine("an intermediate result"):
            return False
        with self._lock:
            self._check_open(phase)
            assert phase is not None
            connection = self._connection
            if wait and connection.has_assessor:
                connection.intermediate(value, verdict=True)
                phase.stopped = self._pipes.wait("verdict")["stop"] is True
            else:
                must_wait = connection.holds_much
                connection.intermediate(value, ack=must_wait)
                self._pipes.flush()
                if must_wait:
                    self._pipes.wait("ack")
            return phase.stopped

    def report_final(self, value: Any, phase: Phase | None) -> None:
        if self._is_mine("a final result"):
            with self._lock:
                self._check_open(phase)
                self._connection.final(value)
                self._end()

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        if phase is not self.phase or not self._is_mine("a failed phase"):
            return
        if isinstance(error, ProtocolError) and self.has_given_up:
            return  # that no manager came is not the phase's failure
        name, text, traceback = type(error).__name__, _message_of(error), _format_traceback(error)
        with self._lock:
            try:
                self._connection.failed(name, text, traceback)
                self._end()
            except ProtocolError as reason:  # it must not hide the error that ended the phase
                log(f"the failure of phase {phase.index} could not be reported: {reason}")

    def _end(self) -> None:
        self.phase = None
        self._pipes.wait("ack")

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
        self._asks = 0

    def ask(self, go_on: bool = False, raise_stop: bool = False) -> bool:
        self._asks += 1
        if self._asks > _STANDALONE_ASKS:
            log(f"no manager: no more parameters after {_STANDALONE_ASKS} asks")
            return self._begin(None)
        index = self._asks - 1
        return self._begin(Phase(_given_parameters(), index, index, go_on, raise_stop))

    def report_intermediate(self, value: Any, phase: Phase | None, wait: bool = True) -> bool:
        self._check_open(phase)
        log(f"phase {self._asks - 1}: intermediate result: {encode(value)}")
        return False

    def report_final(self, value: Any, phase: Phase | None) -> None:
        self._check_open(phase)
        log(f"phase {self._asks - 1}: final result: {encode(value)}")
        self.phase = None

    def report_failed(self, error: BaseException, phase: Phase) -> None:
        if phase is self.phase:
            self.phase = None
            log(f"phase {phase.index}: failed: {type(error).__name__}: {_message_of(error)}")


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
