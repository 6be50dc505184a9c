"""Experiments as a manager would have left them, made without one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpx.config.model import ExperimentConfig, TrialConfig, TunerConfig
from mpx.processes import start_of
from mpx.records import ErrorRecord, ExperimentPaths, ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import ExperimentRow, PhaseRow, TrialRow
from mpx.store import Store
from mpx.wire import encode

# 2026-01-02 03:04:05 UTC
MOMENT = 1767323045.0
DEAD_MANAGER = {"pid": 2**22 + 1, "start": "gone"}
T0 = 1_700_000_000.0


def experiment_row(**changes: Any) -> ExperimentRow:
    """Return the row of an experiment that runs."""
    usual = {
        "id": "Exp12345",
        "name": "digits",
        "created_at": T0,
        "multi_phase": True,
        "trial_concurrency": 2,
        "max_trial_num": 4,
        "max_phase_num": None,
        "optimize_mode": "maximize",
        "seed": 7,
        "status": ExperimentStatus.RUNNING,
        "started_at": T0 + 1,
        "running_since": T0 + 1,
    }
    return ExperimentRow(**{**usual, **changes})


def trial_row(number: int = 0, **changes: Any) -> TrialRow:
    """Return the row of trial `number`, by default one that waits."""
    return TrialRow(f"trial{number}", number, T0, **changes)


def phase_row(number: int, trial: int = 0, index: int | None = None, **changes: Any) -> PhaseRow:
    """Return the row of phase `number` (from 0) of the experiment, by default one without parameters."""
    usual = {
        "id": number + 1,
        "sequence_id": trial,
        "phase_index": number if index is None else index,
        "parameter_id": number,
        "requested_at": T0 + number,
    }
    return PhaseRow(**{**usual, **changes})


def die(store: Store, path: Path) -> None:
    """Leave a store as a process that was killed does: its files as they are, and none of its locks.

    Args:
        store: nothing of it is pending.
        path: its database.
    """
    left = {file: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    store.close()
    for file, content in left.items():
        file.write_bytes(content)


def describe(paths: ExperimentPaths, name: str = "demo", **config: Any) -> None:
    """Write what `mpx create` writes before it starts the manager."""
    paths.trials.mkdir(parents=True)
    trial = TrialConfig("true", "/", grace_period=config.pop("grace_period", 0.2))
    full = ExperimentConfig(name, TunerConfig(builtin_name="Random"), trial, **config)
    about = {"id": paths.id, "created_at": MOMENT, "config": full.to_json()}
    paths.experiment.write_text(json.dumps(about))


def say_who_manages(paths: ExperimentPaths, pid: int) -> None:
    """Write `manager.pid`."""
    paths.manager_pid.write_text(json.dumps({"pid": pid, "start": start_of(pid)}))


def experiment(
    home: Path,
    experiment_id: str = "Ab3dEf12",
    *,
    status: ExperimentStatus = ExperimentStatus.DONE,
    error: ErrorRecord | None = None,
    phases: Iterable[dict[str, Any]] = (),
    trial_status: TrialStatus = TrialStatus.SUCCEEDED,
    exit_status: int | None = 0,
    name: str = "demo",
    **config: Any,
) -> ExperimentPaths:
    """Make an experiment with one trial, `trialA`, and return its paths.

    Args:
        home: $MPX_HOME.
        experiment_id: its id.
        status: of the experiment.
        error: of the experiment.
        phases: for each phase, fields of its row; `parameters` and `value` as values,
            `intermediates` as a list of them.
        trial_status: of the trial.
        exit_status: of the trial.
        name: of the experiment.
        config: further fields of its configuration.
    """
    paths = ExperimentPaths(home / "experiments" / experiment_id)
    describe(paths, name, **config)
    paths.manager_pid.write_text(json.dumps(DEAD_MANAGER))
    running = status in (ExperimentStatus.RUNNING, ExperimentStatus.STOPPING)
    store = Store(paths.store)
    row = ExperimentRow(
        paths.id, name, MOMENT, True, 1, config.get("max_trial_num"), config.get("max_phase_num"),
        config.get("optimize_mode") or "maximize", 7, status, "maxTrialNum (1) is reached",
        started_at=MOMENT + 1, ended_at=None if running else MOMENT + 10, duration=9.0,
        running_since=MOMENT + 1 if running else None, error=error,
    )  # fmt: skip
    trial = TrialRow(
        "trialA", 0, MOMENT, trial_status, None, MOMENT + 1, MOMENT + 9, exit_status, 123
    )
    store.put_trial(trial)
    for number, fields in enumerate(phases):
        _add_phase(store, row, number, {**fields})
    store.put_experiment(row)
    store.close()
    return paths


def _add_phase(store: Store, row: ExperimentRow, number: int, fields: dict[str, Any]) -> None:
    parameters, value = fields.pop("parameters", {"n": number}), fields.pop("value", float(number))
    intermediates = fields.pop("intermediates", ())
    moments = {"started_at": MOMENT + 2 + number, "ended_at": MOMENT + 3 + number}
    defaults = {
        "status": PhaseStatus.SUCCEEDED,
        "score": value,
        "requested_at": MOMENT + 1 + number,
    }
    phase = PhaseRow(
        id=number + 1,
        sequence_id=0,
        phase_index=number,
        parameter_id=number,
        parameters=None if parameters is None else encode(parameters),
        value=None if value is None else encode(value),
        **{**moments, **defaults, **fields},
    )
    store.add_phase(phase)
    for each in intermediates:
        store.add_intermediate(phase, encode(each), 0, MOMENT)
    if phase.status is PhaseStatus.SUCCEEDED:
        row.best_phase = phase.id
