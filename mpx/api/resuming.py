"""Going on with an experiment that was stopped, interrupted, has failed, or reached a limit."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from mpx.api.home import describe, manager_of
from mpx.api.reading import other_host, show
from mpx.api.starting import Launch, link_sdk, start_manager
from mpx.config.model import ExperimentConfig
from mpx.errors import MpxError, StoreError, UsageError
from mpx.history import StoredHistory
from mpx.lifecycle import Limits
from mpx.records import ExperimentPaths, ExperimentStatus


def resume(
    paths: ExperimentPaths,
    max_phases: int | None = None,
    max_trials: int | None = None,
    max_duration: float | None = None,
) -> Launch:
    """Start another manager for an experiment that has none.

    It adopts the trials that live, closes what died, rebuilds the tuner and goes on. The user's code
    and the environment are taken anew; the configuration is the one it was created with.

    Args:
        paths: the experiment.
        max_phases: `maxPhaseNum` from now on; None leaves it.
        max_trials: `maxTrialNum`, likewise.
        max_duration: `maxExecDuration` in seconds, likewise.

    Raises:
        UsageError: it runs, it is DONE and no limit is raised far enough, or it ran on another
            machine and may still do so.
        MpxError: it cannot be read, or no manager be started.
    """
    limits: dict[str, Any] = {
        "max_phase_num": max_phases,
        "max_trial_num": max_trials,
        "max_exec_duration": max_duration,
    }
    limits = {name: value for name, value in limits.items() if value is not None}
    config = replace(describe(paths).config, **limits)
    _check_alone(paths)
    _check_host(paths)
    _check_limits(paths, config)
    try:
        link_sdk(paths)
    except OSError as error:
        raise MpxError(f"cannot write to {paths.sdk}: {error.strerror or error}") from error
    return start_manager(paths, config, limits)


def _check_alone(paths: ExperimentPaths) -> None:
    manager = manager_of(paths)
    if manager is not None and manager.is_alive():
        raise UsageError(
            f"experiment {paths.id} has a manager, process {manager.pid}: it runs, or is about to"
            f" (`mpx status {paths.id}`); end it first: mpx stop {paths.id}"
        )


def _check_host(paths: ExperimentPaths) -> None:
    host = other_host(paths)
    if host is not None and show(paths).ended_at is None:
        raise UsageError(
            f"experiment {paths.id} was started on {host}, and this is {socket.gethostname()}: if it"
            f" may still run there, resume it there. If that machine is gone or was renamed, first"
            f" let it end here: mpx stop {paths.id}"
        )


def _check_limits(paths: ExperimentPaths, config: ExperimentConfig) -> None:
    """Refuse what would end at once."""
    record = show(paths)
    if record.status is not ExperimentStatus.DONE:
        return
    try:
        past = StoredHistory(paths.store).read()
    except StoreError:  # of an older mpx, or damaged: the manager sees to it
        return
    if past is None:
        return
    begun = (past.trials_begun, past.phases_begun, past.experiment.duration)
    reached = {
        option: reason
        for option, limit in (
            ("--max-trials N", Limits(max_trial_num=config.max_trial_num)),
            ("--max-phases N", Limits(max_phase_num=config.max_phase_num)),
            ("--max-duration T", Limits(max_exec_duration=config.max_exec_duration)),
        )
        if (reason := limit.why_no_trial(*begun)) is not None
    }
    if reached:
        raise UsageError(
            f"experiment {paths.id} is DONE: {', '.join(reached.values())}. To go on, raise that:"
            f" mpx resume {paths.id} {' '.join(reached)}"
        )
