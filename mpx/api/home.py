"""Where experiments are kept, and which one a user means."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mpx.config.model import ExperimentConfig
from mpx.config.suggestions import closest
from mpx.errors import MpxError, NoSuchExperimentError, UsageError
from mpx.processes import find_by_environment, is_alive
from mpx.records import EXPERIMENT_MARK, ExperimentPaths


@dataclass(frozen=True, slots=True)
class ManagerProcess:
    """The process that writes an experiment, or wrote it last.

    Attributes:
        pid: its number.
        start: what tells it from others of that number.
        trouble: what it waits for, or what it died of, in words; None if nothing.
        is_resuming: it rebuilds the tuner, and has taken over nothing of an earlier manager's.
    """

    pid: int
    start: str | None
    trouble: str | None = None
    is_resuming: bool = False

    def is_alive(self) -> bool:
        return is_alive(self.pid, self.start)


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of an experiment before its manager has written anything."""

    id: str
    created_at: float
    config: ExperimentConfig
    host: str | None


def home() -> Path:
    """Return the directory that holds everything mpx keeps: `$MPX_HOME`, or `~/.mpx`."""
    return Path(os.environ.get("MPX_HOME") or "~/.mpx").expanduser().absolute()


def experiments() -> list[ExperimentPaths]:
    """Return all experiments of this home, in the order of their ids.

    One whose directory lies elsewhere (`logDir`) and is gone from there is among them.
    """
    # What begins with a dot is being removed.
    found = sorted((home() / "experiments").glob("[!.]*"))
    return [
        paths
        for paths in map(ExperimentPaths, found)
        if paths.experiment.exists() or not paths.root.exists()
    ]


def describe(paths: ExperimentPaths) -> Description:
    """Return what an experiment was created with.

    Raises:
        MpxError: it cannot be read, or another version of mpx wrote it otherwise.
    """
    try:
        data = json.loads(paths.experiment.read_bytes())
        config = ExperimentConfig.from_json(data["config"])
        return Description(data["id"], data["created_at"], config, data.get("host"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not paths.root.exists() and paths.root.is_symlink():
            place = paths.root.readlink()
            raise MpxError(f"its directory is gone, or not mounted: {place}") from error
        raise MpxError(f"cannot read {paths.experiment}: {error}") from error


def made_at(paths: ExperimentPaths) -> float:
    """Return when the experiment was created, as far as its files tell that."""
    known = paths.experiment if paths.experiment.exists() else paths.root
    return known.lstat().st_mtime


def manager_of(paths: ExperimentPaths) -> ManagerProcess | None:
    """Return the experiment's manager, alive or not; None if none has begun."""
    try:
        data = json.loads(paths.manager_pid.read_bytes())
        return ManagerProcess(
            data["pid"], data["start"], data.get("trouble"), data.get("is_resuming", False)
        )
    except (OSError, ValueError, KeyError):
        return None


def processes_of(paths: ExperimentPaths) -> list[int]:
    """Return the pids of all living processes of the experiment's trials."""
    return find_by_environment(EXPERIMENT_MARK, paths.id)


def find(text: str) -> ExperimentPaths:
    """Return the experiment that a user means.

    Args:
        text: its id, its name, or the beginning of its id; whichever of these fits first.

    Raises:
        UsageError: several fit.
        NoSuchExperimentError: none does.
    """
    names = {paths: _name(paths) for paths in experiments()}
    fits = (
        [paths for paths in names if paths.id == text],
        [paths for paths, name in names.items() if name == text],
        [paths for paths in names if text and paths.id.startswith(text)],
    )
    found = next(filter(None, fits), [])
    if len(found) > 1:
        several = "\n".join(f"  {paths.id}  {names[paths]}" for paths in found)
        raise UsageError(f"{text!r} may mean any of these experiments:\n{several}")
    if not found:
        raise NoSuchExperimentError(_none_such(text, names.items()))
    return found[0]


def delete(paths: ExperimentPaths) -> None:
    """Remove an experiment with everything its trials wrote into its directory.

    Where `logDir` had its directory made elsewhere, that is removed, and what leads there.

    Raises:
        UsageError: its manager or one of its trials still runs.
        MpxError: the directory cannot be removed.
    """
    manager = manager_of(paths)
    if (manager and manager.is_alive()) or processes_of(paths):
        raise UsageError(f"experiment {paths.id} still runs; end it first: mpx stop {paths.id}")
    # Renamed first: no reader ever meets half an experiment.
    remains = paths.root.with_name(f".deleted-{paths.id}")
    try:
        paths.root.rename(remains)
        if remains.exists():
            shutil.rmtree(remains.resolve())
        if remains.is_symlink():
            remains.unlink()
    except OSError as error:
        raise MpxError(f"cannot remove experiment {paths.id}: {error}") from error


def _name(paths: ExperimentPaths) -> str:
    try:
        return describe(paths).config.name
    except MpxError:  # it can still be meant by its id
        return ""


def _none_such(text: str, names: Iterable[tuple[ExperimentPaths, str]]) -> str:
    known = [word for paths, name in names for word in (paths.id, name) if word]
    if not known:
        return f"no experiment {text!r}: there are none in {home()}"
    near = closest(text, known)
    hint = f"did you mean {near!r}?" if near else "`mpx status` lists all"
    return f"no experiment {text!r} in {home()}; {hint}"
