"""Ending an experiment and everything it started, whatever state it is in.

A manager that is well is asked, and ends its trials itself. One that does not answer is ended by
force, and one that died is not there to be asked: then the trials' processes are found by the
mark in their environment and ended here, politely first. In every case nothing is left at the return.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from mpx.api.control import Control
from mpx.api.home import (
    ManagerProcess,
    describe,
    manager_of,
    processes_of,
)
from mpx.api.reading import has_ended, list_experiments, show_or_excuse
from mpx.errors import MpxError, NoSuchExperimentError, SurvivorsError, UsageError
from mpx.processes import descendants, is_alive, kill_all, send_signal
from mpx.records import EXPERIMENT_MARK, ExperimentPaths, ExperimentRecord, ExperimentStatus
from mpx.store import close_interrupted

_ANSWER = 5.0  # seconds in which a manager that is well answers
_SLACK = 15.0  # seconds it may take beyond the trials' grace period, for the tuner to say goodbye
_LAST_CHANCE = 2.0  # seconds between the SIGTERM and the SIGKILL of a manager that hangs
_DEFAULT_GRACE = 10.0
_PATIENCE = 0.02  # seconds between two looks at processes that are no children of ours
_OPEN = ("RUNNING", "WAITING")


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `stop` did to one experiment.

    Attributes:
        before: the experiment as it was.
        after: the experiment, now that it has ended.
        killed: pids of processes that this command had to end by force.
    """

    before: ExperimentRecord
    after: ExperimentRecord
    killed: tuple[int, ...]

    @property
    def had_ended(self) -> bool:
        """Whether there was nothing to stop."""
        return self.before.ended_at is not None

    @property
    def trials(self) -> int:
        """How many of its trials had not ended."""
        return sum(self.before.trials.get(status, 0) for status in _OPEN)

    @property
    def phases(self) -> int:
        """How many phases were LOST by it."""
        return self.after.phases.get("LOST", 0) - self.before.phases.get("LOST", 0)


def running_experiments() -> list[ExperimentPaths]:
    """Return the experiments that have a living manager, or processes that outlived theirs."""
    return [ExperimentPaths(record.directory) for record in list_experiments() if _runs(record)]


def the_running_experiment() -> ExperimentPaths:
    """Return the one experiment that runs.

    Raises:
        NoSuchExperimentError: none runs.
        UsageError: several do.
    """
    found = running_experiments()
    if not found:
        raise NoSuchExperimentError("no experiment runs; `mpx status` lists all")
    if len(found) > 1:
        names = "\n".join(f"  {paths.id}  {show_or_excuse(paths).name}" for paths in found)
        raise UsageError(f"several experiments run; name one, or stop them with --all:\n{names}")
    return found[0]


def stop(targets: Iterable[ExperimentPaths], drain: bool = False) -> Iterator[Stopped]:
    """End experiments and all that they started, and yield what was done to each when it is gone.

    All are asked to end before the first is waited for.

    Args:
        targets: the experiments; one that has ended already is checked to have left nothing.
        drain: let open phases finish; this may take as long as they do.

    Raises:
        SurvivorsError: processes outlived SIGKILL.
        MpxError: all is gone, but that cannot be written down.
    """
    stops = [_Stop(paths, drain) for paths in targets]
    for one in stops:
        one.ask()
    failures: list[MpxError] = []
    for one in stops:
        try:
            yield one.finish()
        except MpxError as error:  # the others are to end all the same
            failures.append(error)
    if failures:
        survived = any(isinstance(error, SurvivorsError) for error in failures)
        raise (SurvivorsError if survived else MpxError)("\n".join(map(str, failures)))


def kill(paths: ExperimentPaths) -> Stopped:
    """End an experiment and all that it started at once, by SIGKILL.

    Raises:
        SurvivorsError: processes outlived it.
    """
    return _Stop(paths, drain=False).kill()


def wait(paths: ExperimentPaths, timeout: float | None = None) -> bool:
    """Wait until an experiment's manager has ended; say whether it has.

    Args:
        paths: the experiment.
        timeout: seconds to wait; None for as long as it takes.
    """
    manager = manager_of(paths)
    if manager is None or not manager.is_alive():
        return True
    with suppress(OSError), Control(paths.control_socket, _ANSWER) as control:
        return control.wait_end(timeout) and _wait_until(_is_gone(manager), _LAST_CHANCE)
    return _wait_until(_is_gone(manager), timeout)


class _Stop:
    """One experiment on its way to its end."""

    def __init__(self, paths: ExperimentPaths, drain: bool) -> None:
        self._paths = paths
        self._drain = drain
        self._before = show_or_excuse(paths)
        self._grace = _grace_period(paths)
        self._manager = _manager_soon(paths, self._before)
        self._connected = False
        self._control: Control | None = None
        self._killed: list[int] = []
        self._family: dict[int, str] = {}  # pid → start, of what its trials' processes have started

    def ask(self) -> None:
        """Ask the manager to end, if one lives and listens."""
        if not self._manager_lives():
            return
        # With nobody there, `finish` takes other ways.
        with suppress(OSError):
            # A tuner that holds the interpreter is waited for where open phases are to finish.
            control = Control(self._paths.control_socket, None if self._drain else _ANSWER)
            self._connected = True
            if control.ask({"command": "stop", "drain": self._drain}):
                self._control = control
            else:
                control.close()

    def finish(self) -> Stopped:
        """Wait for the end that was asked for; bring it about if it does not come."""
        self._end_manager()
        deadline = time.monotonic() + _SLACK
        while not self._end_trials(whatever_comes=time.monotonic() > deadline):
            self._take_on_manager()
        return self._done()

    def _end_manager(self) -> None:
        if self._control is not None:
            with self._control as control:
                control.wait_end(None if self._drain else self._grace + _SLACK)
            self._wait_for_manager(_LAST_CHANCE)
        if self._manager_lives():
            self._terminate_manager()

    def _take_on_manager(self) -> None:
        """Ask the manager that another command has started meanwhile, and wait for its end."""
        time.sleep(_PATIENCE)  # it may not have said yet who it is
        self._manager, self._control, self._connected = manager_of(self._paths), None, False
        self.ask()
        self._end_manager()

    def _end_trials(self, whatever_comes: bool) -> bool:
        """End what no manager ends, and see that none begins; False if one has."""
        with _no_manager(self._paths) as alone:
            if alone or whatever_comes:
                self._terminate_trials()
                self._clear_up(self._reason())
            return alone or whatever_comes

    def kill(self) -> Stopped:
        """End everything without grace."""
        self._kill_manager()
        self._clear_up("killed, as was asked")
        return self._done()

    def _kill_manager(self) -> None:
        """SIGKILL the manager, with whatever the tuner started in its process group."""
        if self._manager is not None and self._manager.is_alive():
            self._killed.append(self._manager.pid)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._manager.pid, signal.SIGKILL)
            self._wait_for_manager(_SLACK)

    def _done(self) -> Stopped:
        return Stopped(self._before, show_or_excuse(self._paths), tuple(self._killed))

    def _clear_up(self, reason: str) -> None:
        """End what is left, check that nothing is, and write the end down where no manager did."""
        left = self._left()
        self._killed += left
        survivors = kill_all(EXPERIMENT_MARK, self._paths.id) if left else []
        survivors += self._kill_family()
        if self._manager is not None and self._manager.is_alive():
            survivors.append(self._manager.pid)
        if survivors:
            raise SurvivorsError(_survivors(self._paths, survivors))
        try:
            if self._paths.store.exists() and not has_ended(self._paths):
                close_interrupted(self._paths.store, reason, time.time())
        except MpxError as error:
            gone = f"nothing of experiment {self._paths.id} runs any more"
            raise MpxError(f"{gone}, but that cannot be written down: {error}") from error

    def _manager_lives(self) -> bool:
        return self._manager is not None and self._manager.is_alive()

    def _wait_for_manager(self, timeout: float) -> bool:
        return self._manager is None or _wait_until(_is_gone(self._manager), timeout)

    def _terminate_manager(self) -> None:
        """SIGTERM, which a manager that is well takes like a stop; then SIGKILL."""
        assert self._manager is not None
        send_signal([self._manager.pid], signal.SIGTERM)
        # One that could be asked has had its time.
        patience = _LAST_CHANCE if self._connected else self._grace + _SLACK
        if not self._wait_for_manager(patience):
            self._kill_manager()

    def _terminate_trials(self) -> None:
        """SIGTERM and the grace period for trials that no manager ends."""
        left = self._left()
        send_signal(left, signal.SIGTERM)
        send_signal(left, signal.SIGCONT)  # a stopped process acts on no other signal
        if left:
            _wait_until(lambda: not self._left(), self._grace)

    def _left(self) -> list[int]:
        """Return the processes of trials that live: by their mark, or as offspring of marked ones."""
        marked = processes_of(self._paths)
        # Now, for the death of its parent hides whose child a process was.
        self._family.update(descendants([*marked, *self._living_family()]))
        return sorted({*marked, *self._living_family()})

    def _kill_family(self) -> list[int]:
        """SIGKILL what carries no mark; return what outlived that."""
        deadline = time.monotonic() + _LAST_CHANCE
        while (living := self._living_family()) and time.monotonic() < deadline:
            self._family.update(descendants(living))
            send_signal(self._living_family(), signal.SIGKILL)
            time.sleep(_PATIENCE)
        return living

    def _living_family(self) -> list[int]:
        return [pid for pid, start in self._family.items() if is_alive(pid, start)]

    def _reason(self) -> str:
        if self._before.status is ExperimentStatus.INTERRUPTED:
            return "the manager had died; what was left was ended by `mpx stop`"
        if self._manager is not None and self._manager.pid in self._killed:
            return "the manager did not end by itself; `mpx stop` ended everything by force"
        return "mpx stop"  # of a manager that had not taken over yet what an earlier one left


def _runs(record: ExperimentRecord) -> bool:
    if record.manager_alive:
        return True
    # A manager that died may have left its trials.
    return record.ended_at is None and bool(processes_of(ExperimentPaths(record.directory)))


def _manager_soon(paths: ExperimentPaths, record: ExperimentRecord) -> ManagerProcess | None:
    """Return the manager; where one was started a moment ago, wait for it to say who it is."""
    if record.status is ExperimentStatus.INITIALIZING:
        _wait_until(lambda: manager_of(paths) is not None, _ANSWER)
    return manager_of(paths)


@contextmanager
def _no_manager(paths: ExperimentPaths) -> Iterator[bool]:
    """Let no manager begin; yields False if one has.

    What is done meanwhile must not open `manager.pid`: closing it again would free the lock.
    """
    try:
        fd = os.open(paths.manager_pid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # where that cannot be written none begins
        yield True
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _grace_period(paths: ExperimentPaths) -> float:
    try:
        return describe(paths).config.trial.grace_period
    except MpxError:  # what cannot be read can be ended all the same
        return _DEFAULT_GRACE


def _is_gone(manager: ManagerProcess) -> Callable[[], bool]:
    return lambda: not manager.is_alive()


def _wait_until(condition: Callable[[], bool], timeout: float | None) -> bool:
    deadline = None if timeout is None else time.monotonic() + timeout
    while not condition():
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(_PATIENCE)
    return True


def _survivors(paths: ExperimentPaths, pids: Iterable[int]) -> str:
    lines = [f"  {pid}  {_command_of(pid)}" for pid in pids]
    return "\n".join([f"these processes of experiment {paths.id} could not be ended:", *lines])


def _command_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return "(command unknown)"
