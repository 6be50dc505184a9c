"""The frozen values that travel between modules, and the names of every file of an experiment."""

from __future__ import annotations

import secrets
import signal
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

# How lines begin that the manager writes into a trial's log.
LOG_MARK = "[mpx "
# The variables by which a trial's processes are known wherever they go.
EXPERIMENT_MARK = "MPX_EXPERIMENT_ID"
TRIAL_MARK = "MPX_TRIAL_ID"
# Of how many of the best phases what they saved is kept, where nothing is removed.
KEEP_ALL = "all"
_ID_LENGTH = 8


def new_id() -> str:
    """Return the id of a new experiment or trial: letters and digits, a letter first."""
    rest = string.ascii_letters + string.digits
    return secrets.choice(string.ascii_letters) + "".join(
        secrets.choice(rest) for _ in range(_ID_LENGTH - 1)
    )


class ExperimentStatus(StrEnum):
    """Where an experiment stands. INTERRUPTED is never stored: it is what a reader sees when the
    manager died.
    """

    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    DONE = "DONE"
    STOPPED = "STOPPED"
    ERROR = "ERROR"
    INTERRUPTED = "INTERRUPTED"


class TrialStatus(StrEnum):
    """Where a trial stands. USER_CANCELED: by `mpx stop`; SYS_CANCELED: by mpx itself."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EARLY_STOPPED = "EARLY_STOPPED"
    USER_CANCELED = "USER_CANCELED"
    SYS_CANCELED = "SYS_CANCELED"


class PhaseStatus(StrEnum):
    """Where a phase stands.

    WAITING: its trial does not have the parameters yet. ABANDONED: the trial asked for the next
    without a final result. LOST: the trial ended.
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EARLY_STOPPED = "EARLY_STOPPED"
    ABANDONED = "ABANDONED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """The failure that ended an experiment: the user's own exception where there is one."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class BestPhase:
    """The best SUCCEEDED phase so far, by the number its final result optimises."""

    trial_id: str
    sequence_id: int
    phase_index: int
    parameter_id: int
    value: Any
    parameters: Any


@dataclass(frozen=True, slots=True)
class CheckpointsRecord:
    """What phases have saved.

    Attributes:
        kept: how many checkpoints there are.
        bytes: their size, as far as trials said it.
        removed: how many there were that nobody needed.
    """

    kept: int = 0
    bytes: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """One experiment as its store tells it. Times are seconds since the epoch, UTC.

    Attributes:
        warning: what went wrong and ended nothing.
        trouble: why the manager waits, or died, where the store cannot say it.
        checkpoints: what its phases have saved.
    """

    id: str
    name: str
    status: ExperimentStatus
    reason: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    duration: float
    multi_phase: bool
    trial_concurrency: int
    max_trial_num: int | None
    max_phase_num: int | None
    optimize_mode: str
    trials: dict[str, int]
    phases: dict[str, int]
    best: BestPhase | None
    error: ErrorRecord | None
    directory: Path
    manager_pid: int | None = None
    manager_alive: bool = False
    warning: str | None = None
    trouble: str | None = None
    checkpoints: CheckpointsRecord = CheckpointsRecord()


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial.

    Attributes:
        exit_status: its command's, 128 + n if signal n ended it, None while it runs.
        process_start: what tells its process from others of that pid.
        gpus: those that it was given.
    """

    trial_id: str
    sequence_id: int
    status: TrialStatus
    reason: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    exit_status: int | None
    pid: int | None
    phases: dict[str, int]
    last_lines: tuple[str, ...] = ()
    process_start: str | None = None
    gpus: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One phase: a row of the export.

    Attributes:
        value: the final result as reported.
        parent: parameter_id of the phase whose weights it went on from.
        checkpoint: path of what it has saved.
    """

    experiment_id: str
    trial_id: str
    sequence_id: int
    phase_index: int
    parameter_id: int
    status: PhaseStatus
    reason: str | None
    parameters: Any
    value: Any
    intermediates: tuple[Any, ...]
    requested_at: float
    started_at: float | None
    ended_at: float | None
    traceback: str | None = None
    parent: int | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a trial's command ended, and which of its processes could not be ended (pids)."""

    code: int | None
    survivors: tuple[int, ...] = ()

    @staticmethod
    def code_of(returncode: int) -> int:
        """Return what a shell calls a child that `subprocess` says ended with this returncode."""
        return returncode if returncode >= 0 else 128 - returncode

    def describe(self) -> str:
        """Say it in words: `exit status 3`, `killed by SIGSEGV`."""
        if self.code is None:
            return "killed, exit status unknown"
        if self.code > 128:
            try:
                return f"killed by {signal.Signals(self.code - 128).name}"
            except ValueError:
                pass
        return f"exit status {self.code}"


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What a training service needs to start a trial."""

    trial_id: str
    sequence_id: int
    command: str
    code_dir: str
    environment: dict[str, str] = field(repr=False)
    grace_period: float


@dataclass(frozen=True, slots=True)
class ExperimentPaths:
    """Owns every file name inside an experiment's directory."""

    root: Path

    @property
    def id(self) -> str:
        return self.root.name

    @property
    def config(self) -> Path:
        """The configuration as the user gave it."""
        return self.root / "config.yml"

    @property
    def experiment(self) -> Path:
        """The resolved configuration, host and versions, as JSON."""
        return self.root / "experiment.json"

    @property
    def store(self) -> Path:
        return self.root / "experiment.db"

    @property
    def manager_log(self) -> Path:
        return self.root / "manager.log"

    @property
    def manager_pid(self) -> Path:
        """The manager's identity as JSON; the manager holds a lock on it while it lives."""
        return self.root / "manager.pid"

    @property
    def control_socket(self) -> Path:
        return self.root / "control.sock"

    @property
    def checkpoint(self) -> Path:
        """Where the tuner saves its state, and loads it from."""
        return self.root / "checkpoint"

    @property
    def kept_checkpoints(self) -> Path:
        """Copies of that, each called by the number of the last tuner call in it."""
        return self.root / "checkpoints"

    @property
    def inbox(self) -> Path:
        """Letters from the user that no manager has taken in yet."""
        return self.root / "inbox"

    @property
    def sdk(self) -> Path:
        """First on the trials' PYTHONPATH: links to the packages `mpx` and `nni`."""
        return self.root / "sdk"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def trial(self, trial_id: str) -> TrialPaths:
        return TrialPaths(self.trials / trial_id)


@dataclass(frozen=True, slots=True)
class TrialPaths:
    """Owns every file name inside a trial's directory."""

    root: Path

    @property
    def log(self) -> Path:
        """stdout and stderr, with a mark where each phase begins."""
        return self.root / "trial.log"

    @property
    def stdin(self) -> Path:
        """Named pipe, manager → trial."""
        return self.root / "stdin"

    @property
    def stdout(self) -> Path:
        """Named pipe, trial → manager."""
        return self.root / "stdout"

    @property
    def exit_status(self) -> Path:
        """Written by the keeper when the command has ended."""
        return self.root / "exit_status"

    def unsent(self, session: str) -> Path:
        """Messages of a session that no manager took in before it gave up waiting for one."""
        return self.root / f"unsent.{session}"

    @property
    def output(self) -> Path:
        """The user's: models, plots, event files."""
        return self.root / "output"


def ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers in few characters: `3, 5 to 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
