"""The store's rows: the values that the manager changes, and the SQL that writes each.

A statement and the tuple of values for it stand together, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpx.records import ErrorRecord, ExperimentStatus, PhaseStatus, TrialStatus

# In `phase_counts`, where a trial's sequence_id would be.
WHOLE_EXPERIMENT = -1
STATUSES = tuple(PhaseStatus)


@dataclass(slots=True, eq=False)
class ExperimentRow:
    """The experiment, as the manager changes it. `duration` excludes the run since `running_since`."""

    id: str
    name: str
    created_at: float
    multi_phase: bool
    trial_concurrency: int
    max_trial_num: int | None
    max_phase_num: int | None
    optimize_mode: str
    seed: int
    status: ExperimentStatus = ExperimentStatus.INITIALIZING
    reason: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    duration: float = 0.0
    running_since: float | None = None
    best_phase: int | None = None
    error: ErrorRecord | None = None


@dataclass(slots=True, eq=False)
class TrialRow:
    """One trial, as the manager changes it."""

    trial_id: str
    sequence_id: int
    created_at: float
    status: TrialStatus = TrialStatus.WAITING
    reason: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    exit_status: int | None = None
    pid: int | None = None
    process_start: str | None = None
    session: str | None = None


@dataclass(slots=True, eq=False)
class PhaseRow:
    """One phase, as the manager changes it. `parameters` and `value` are JSON texts."""

    id: int
    sequence_id: int
    phase_index: int
    parameter_id: int
    requested_at: float
    status: PhaseStatus = PhaseStatus.WAITING
    reason: str | None = None
    traceback: str | None = None
    parameters: str | None = None
    value: str | None = None
    score: float | None = None
    request_seq: int | None = None
    final_seq: int | None = None
    asked: int | None = None
    told: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    intermediates: int = 0
    in_store: bool = False


INSERT_PHASE = """INSERT INTO phases (id, sequence_id, phase_index, parameter_id, status, reason,
    traceback, parameters, value, score, request_seq, final_seq, asked, told, requested_at, started_at,
    ended_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
# COALESCE: parameters are handed over once, and then need not be written again.
UPDATE_PHASE = """UPDATE phases SET status=?, reason=?, traceback=?,
    parameters=COALESCE(parameters, ?), value=?, score=?, request_seq=?, final_seq=?, asked=?, told=?,
    started_at=?, ended_at=? WHERE id=?"""
PUT_TRIAL = """INSERT OR REPLACE INTO trials (sequence_id, trial_id, status, reason, created_at,
    started_at, ended_at, exit_status, pid, process_start, session) VALUES (?,?,?,?,?,?,?,?,?,?,?)"""
PUT_EXPERIMENT = """INSERT OR REPLACE INTO experiment (id, name, status, reason, created_at,
    started_at, ended_at, duration, running_since, multi_phase, trial_concurrency, max_trial_num,
    max_phase_num, optimize_mode, seed, best_phase, error_type, error_message, error_traceback)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
PUT_COUNTS = """INSERT OR REPLACE INTO phase_counts (sequence_id, waiting, running, succeeded, failed,
    early_stopped, abandoned, lost) VALUES (?,?,?,?,?,?,?,?)"""
INSERT_INTERMEDIATE = """INSERT INTO intermediates (phase, number, value, seq, reported_at)
    VALUES (?,?,?,?,?)"""


def experiment_values(row: ExperimentRow) -> tuple[Any, ...]:
    """Return the values for PUT_EXPERIMENT."""
    error = row.error
    return (
        row.id,
        row.name,
        row.status.value,
        row.reason,
        row.created_at,
        row.started_at,
        row.ended_at,
        row.duration,
        row.running_since,
        row.multi_phase,
        row.trial_concurrency,
        row.max_trial_num,
        row.max_phase_num,
        row.optimize_mode,
        row.seed,
        row.best_phase,
        error and error.type,
        error and error.message,
        error and error.traceback,
    )


def trial_values(row: TrialRow) -> tuple[Any, ...]:
    """Return the values for PUT_TRIAL."""
    return (
        row.sequence_id,
        row.trial_id,
        row.status.value,
        row.reason,
        row.created_at,
        row.started_at,
        row.ended_at,
        row.exit_status,
        row.pid,
        row.process_start,
        row.session,
    )


def phase_values(row: PhaseRow) -> tuple[Any, ...]:
    """Return the values for INSERT_PHASE."""
    return (
        row.id,
        row.sequence_id,
        row.phase_index,
        row.parameter_id,
        row.status.value,
        row.reason,
        row.traceback,
        row.parameters,
        row.value,
        row.score,
        row.request_seq,
        row.final_seq,
        row.asked,
        row.told,
        row.requested_at,
        row.started_at,
        row.ended_at,
    )


def phase_changes(row: PhaseRow) -> tuple[Any, ...]:
    """Return the values for UPDATE_PHASE."""
    return (
        row.status.value,
        row.reason,
        row.traceback,
        row.parameters,
        row.value,
        row.score,
        row.request_seq,
        row.final_seq,
        row.asked,
        row.told,
        row.started_at,
        row.ended_at,
        row.id,
    )
