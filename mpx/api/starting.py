"""Starting an experiment: its directory, its manager, and the wait for its first trial."""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import mpx
from mpx.api.home import home
from mpx.api.logs import tail
from mpx.api.tracebacks import user_frame
from mpx.config.model import ExperimentConfig
from mpx.errors import MpxError, StartError
from mpx.inbox import RESULTS, Inbox
from mpx.records import ErrorRecord, ExitStatus, ExperimentPaths, ExperimentStatus, new_id

_PACKAGE = Path(mpx.__file__).resolve().parent
_LAST_LINES = 10
_PATIENCE = 15.0  # seconds, beyond the grace period, for a manager that is to end
_NO_BEGINNING = (ExperimentStatus.ERROR, ExperimentStatus.STOPPED, ExperimentStatus.INTERRUPTED)

# What `python -m mpx.manager` does, but mpx is found where this process found it: a shell in a source
# tree may have it on no path that a fresh interpreter looks at. Through PYTHONPATH the manager would
# hand that path on to its trials. `-P`: no module in the current directory gets in the way.
_BOOTSTRAP = (
    "import sys; place = sys.argv.pop(1); sys.path.insert(0, place); import mpx;"
    " sys.path.append(sys.path.pop(0)); import runpy;"
    " runpy.run_module('mpx.manager', run_name='__main__', alter_sys=True)"
)

# A manager outlives who started it. Held here, its Popen neither warns of that nor leaves a zombie.
_managers: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a manager says once: its first trial runs, or why none does."""

    status: ExperimentStatus
    reason: str | None = None
    error: ErrorRecord | None = None


class Launch:
    """An experiment whose manager was just started.

    Attributes:
        paths: the experiment.
        config: its resolved configuration.
        beginning: what the manager said; None until then.
        is_resume: another manager was there before.
    """

    def __init__(
        self,
        paths: ExperimentPaths,
        config: ExperimentConfig,
        process: subprocess.Popen[bytes],
        ready: int,
        is_resume: bool = False,
    ) -> None:
        self.is_resume = is_resume
        self.paths = paths
        self.config = config
        self.beginning: Beginning | None = None
        self._process = process
        self._ready = ready
        self._received = b""

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._ready)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `read` has something to tell."""
        return self._ready

    def read(self) -> bool:
        """Take in what the manager said, waiting for it; say whether the manager still runs."""
        data = os.read(self._ready, 65536)
        self._received += data
        if b"\n" in self._received:
            self.beginning = _beginning(self._received)
        if not data and self._process in _managers:
            self._process.wait()
            _managers.remove(self._process)
        return bool(data)

    def wait_ready(self) -> None:
        """Wait until the first trial runs, or everything has ended already.

        Raises:
            StartError: no trial ran; the message says why.
        """
        while self.beginning is None:
            if not self.read():
                raise StartError(self._death(), self.paths.id)
        self.check()

    @property
    def has_changed_nothing(self) -> bool:
        """Whether this is a resume that, as far as is known here, has taken over nothing yet."""
        return self.is_resume and self.beginning is None

    def withdraw(self) -> bool:
        """End the manager of a resume, and nothing else; False if it has taken over meanwhile.

        One that does not end by itself is killed: what an earlier manager left stays as it was.
        """
        self._process.terminate()
        deadline = time.monotonic() + self.config.trial.grace_period + _PATIENCE
        while select.select([self], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not self.read():
                return True
            if self.beginning and self.beginning.status not in _NO_BEGINNING:
                return False
        self.kill_manager()
        return True

    def kill_manager(self) -> None:
        """SIGKILL the manager, and whatever the tuner started in its process group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        while self.read():
            pass

    def check(self) -> None:
        """Raise StartError if the manager said that no trial runs."""
        said = self.beginning
        if said is None or said.status not in _NO_BEGINNING:
            return
        while said.status is ExperimentStatus.INTERRUPTED and self.read():
            pass  # it ends now; then all is as it was
        traceback = said.error.traceback if said.error else None
        raise StartError(self._failure(said), self.paths.id, traceback)

    def _failure(self, said: Beginning) -> str:
        name = f"experiment {self.paths.id}"
        if said.status is ExperimentStatus.STOPPED:
            what = "it went on" if self.is_resume else "its first trial ran"
            return f"{name} was stopped before {what}"
        untouched = said.status is ExperimentStatus.INTERRUPTED
        how = "cannot go on, and is left as it was" if untouched else "failed"
        lines = [f"{name} {how}: {said.reason or 'no reason given'}"]
        if said.error:
            what = f"{said.error.type}: {said.error.message}"
            lines += user_frame(said.error.traceback or "", self.config.tuner.code_dir)
            lines += [] if what in lines[0] else [f"    {what}"]
        if said.error and said.error.traceback:
            # What a resume that changed nothing has found is on no record.
            place = f"logs {self.paths.id} --manager" if untouched else f"status {self.paths.id}"
            lines.append(f"the whole traceback: mpx {place}")
        return "\n".join(lines)

    def _death(self) -> str:
        code = self._process.returncode
        how = ExitStatus(ExitStatus.code_of(code)).describe()
        lines = tail(self.paths.manager_log, _LAST_LINES) or ("(nothing)",)
        return (
            f"the manager of experiment {self.paths.id} died before the first trial ran ({how})."
            f" The end of {self.paths.manager_log}:\n" + "\n".join(f"    {line}" for line in lines)
        )


def launch(config_path: Path, results: Sequence[dict[str, Any]] = ()) -> Launch:
    """Check a configuration, make the experiment's directory and start its manager.

    Args:
        config_path: the configuration.
        results: from elsewhere; the tuner is told of them before it chooses anything.

    Raises:
        ConfigError: the configuration has mistakes; nothing was made.
        MpxError: the directory cannot be made.
    """
    # Of all that uses this module, creating alone needs yaml and jsonschema, which load slowly.
    from mpx.config.validation import read_config

    config = read_config(config_path)
    try:
        paths = _make_directory(config.log_dir)
        _fill(paths, config_path, config)
        if results:
            Inbox(paths.inbox).put(RESULTS, results)
    except OSError as error:
        raise MpxError(f"cannot make the experiment's directory: {error}") from error
    return start_manager(paths, config)


def create(config_path: Path) -> ExperimentPaths:
    """Start an experiment; return when its first trial runs.

    Raises:
        ConfigError: the configuration has mistakes.
        StartError: no trial ran; the message says why.
    """
    with launch(config_path) as started:
        started.wait_ready()
        return started.paths


def _make_directory(log_dir: str | None) -> ExperimentPaths:
    experiments = home() / "experiments"
    for directory in (*reversed(experiments.parents), experiments):
        directory.mkdir(mode=0o700, exist_ok=True)
    place = experiments if log_dir is None else Path(log_dir)
    place.mkdir(exist_ok=True)
    while True:
        paths = ExperimentPaths(experiments / new_id())
        try:
            _make_in(place, paths)
            return paths
        except FileExistsError:
            continue


def _make_in(place: Path, paths: ExperimentPaths) -> None:
    """Make the experiment's directory in `place`, and a link to it where it is looked for.

    Raises:
        FileExistsError: another experiment is called so; nothing was made.
    """
    directory = place / paths.id
    directory.mkdir(mode=0o700)
    if place.samefile(paths.root.parent):
        return
    try:
        paths.root.symlink_to(directory, target_is_directory=True)
    except OSError:
        directory.rmdir()
        raise


def _fill(paths: ExperimentPaths, config_path: Path, config: ExperimentConfig) -> None:
    paths.config.write_bytes(config_path.read_bytes())
    for directory in (paths.checkpoint, paths.trials, paths.sdk):
        directory.mkdir(mode=0o700)
    link_sdk(paths)
    description = {
        "id": paths.id,
        "created_at": time.time(),
        "config": config.to_json(),
        "config_path": str(config_path.absolute()),
        "host": socket.gethostname(),
        "versions": {"mpx": mpx.__version__, "python": platform.python_version()},
    }
    # Renamed last: an experiment exists once it has this file.
    draft = paths.experiment.with_suffix(".draft")
    draft.write_text(json.dumps(description, indent=2) + "\n")
    draft.rename(paths.experiment)


def link_sdk(paths: ExperimentPaths) -> None:
    """Point the experiment's links at the packages of this mpx."""
    for name, package in (("mpx", _PACKAGE), ("nni", _PACKAGE / "compat" / "nni")):
        draft = paths.sdk / f".{name}-{new_id()}"  # two resumes may be at it
        draft.symlink_to(package)
        draft.replace(paths.sdk / name)


def start_manager(
    paths: ExperimentPaths, config: ExperimentConfig, limits: dict[str, Any] | None = None
) -> Launch:
    """Start a manager.

    Args:
        paths: the experiment.
        config: its configuration.
        limits: fields of the configuration to raise; None for a new experiment.

    Raises:
        MpxError: the system starts no process.
    """
    ready, manager_side = os.pipe()
    try:
        with open(paths.manager_log, "ab", opener=_private) as log:
            process = subprocess.Popen(
                _manager_command(paths, manager_side, limits),
                # A replay of the tuner's calls walks its sets and dicts in the same order.
                env={**os.environ, "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(manager_side,),
                start_new_session=True,
            )
    except OSError as error:
        os.close(ready)
        raise MpxError(f"cannot start the manager of experiment {paths.id}: {error}") from error
    finally:
        os.close(manager_side)
    _managers[:] = [*(manager for manager in _managers if manager.poll() is None), process]
    return Launch(paths, config, process, ready, limits is not None)


def _manager_command(
    paths: ExperimentPaths, ready: int, limits: dict[str, Any] | None
) -> list[str]:
    bootstrap = [sys.executable, "-P", "-c", _BOOTSTRAP, str(_PACKAGE.parent)]
    options = {"limits": limits, "hash_seed": os.environ.get("PYTHONHASHSEED")}
    return [*bootstrap, str(paths.root), str(ready), json.dumps(options)]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _beginning(received: bytes) -> Beginning:
    data = json.loads(received.partition(b"\n")[0])
    error = data.get("error") and ErrorRecord(**data["error"])
    return Beginning(ExperimentStatus(data["status"]), data.get("reason"), error or None)
