"""Ending an experiment and everything it started, whatever state it is in.

A manager that is well is asked, and ends its trials itself. One that does not answer is ended by
force, and one that died is not there to be asked: then the trials' processes are found by the
mark in their environment and ended here, politely first. In every case nothing is left at the return.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil

from mpx.api.control import Control
from mpx.api.home import (
    ManagerProcess,
    describe,
    manager_of,
    processes_of,
)
from mpx.api.reading import list_experiments, show_or_excuse
from mpx.errors import MpxError, NoSuchExperimentError, SurvivorsError, UsageError
from mpx.processes import kill_all, send_signal
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
    """
    stops = [_Stop(paths, drain) for paths in targets]
    for one in stops:
        one.ask()
    failures = []
    for one in stops:
        try:
            yield one.finish()
        except SurvivorsError as error:  # the others are to end all the same
            failures.append(str(error))
    if failures:
        raise SurvivorsError("\n".join(failures))


def kill(paths: ExperimentPaths) -> Stopped:
    """End an experiment and all that it started at once, by SIGKILL.

    Raises:
        SurvivorsError: processes outlived it.
    """
    one = _Stop(paths, drain=False)
    one.kill()
    return one.close("killed, as was asked")


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

    def ask(self) -> None:
        """Ask the manager to end, if one lives and listens."""
        if not self._manager_lives():
            return
        # With nobody there, `finish` takes other ways.
        with suppress(OSError):
            control = Control(self._paths.control_socket, _ANSWER)
            self._connected = True
            if control.ask({"command": "stop", "drain": self._drain}):
                self._control = control
            else:
                control.close()

    def finish(self) -> Stopped:
        """Wait for the end that was asked for; bring it about if it does not come."""
        if self._control is not None:
            with self._control as control:
                control.wait_end(None if self._drain else self._grace + _SLACK)
            self._wait_for_manager(_LAST_CHANCE)
        if self._manager_lives():
            self._terminate_manager()
        self._terminate_trials()
        return self.close(self._reason())

    def kill(self) -> None:
        """SIGKILL the manager, with whatever the tuner started in its process group."""
        if self._manager is not None and self._manager.is_alive():
            self._killed.append(self._manager.pid)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._manager.pid, signal.SIGKILL)
            self._wait_for_manager(_SLACK)

    def close(self, reason: str) -> Stopped:
        """End what is left, check that nothing is, and write the end down where no manager did."""
        left = processes_of(self._paths)
        self._killed += left
        survivors = kill_all(EXPERIMENT_MARK, self._paths.id) if left else []
        if self._manager is not None and self._manager.is_alive():
            survivors.append(self._manager.pid)
        if survivors:
            raise SurvivorsError(_survivors(self._paths, survivors))
        if self._paths.store.exists() and show_or_excuse(self._paths).ended_at is None:
            close_interrupted(self._paths.store, reason, time.time())
        return Stopped(self._before, show_or_excuse(self._paths), tuple(self._killed))

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
            self.kill()

    def _terminate_trials(self) -> None:
        """SIGTERM and the grace period for trials that no manager ends."""
        left = processes_of(self._paths)
        send_signal(left, signal.SIGTERM)
        if left:
            _wait_until(lambda: not processes_of(self._paths), self._grace)

    def _reason(self) -> str:
        if self._before.status is ExperimentStatus.INTERRUPTED:
            return "the manager had died; what was left was ended by `mpx stop`"
        return "the manager did not end by itself; `mpx stop` ended everything by force"


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
