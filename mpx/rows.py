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
    warning: str | None = None
    checkpoint: int | None = None


@dataclass(slots=True, eq=False)
class TrialRow:
    """One trial, as the manager changes it.

    Attributes:
        session: of its last hello.
        resends: that hello promised to send again what is not on record.
        session_start: index of the first phase that the session speaks of.
        seq: number of its last message that no phase records.
        told: number of the tuner call that told of its end.
        attempt: how often its parameters were tried before (`trial.retries`).
        counts: whether limits count it.
        gpus: JSON, the indices of the GPUs it was given; None where it was given none.
        assessed: number of the assessor call that told of its end.
        batch: how many phases its last request asked for; None if that did not say.
    """

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
    resends: bool = False
    session_start: int = 0
    seq: int | None = None
    told: int | None = None
    attempt: int = 0
    counts: bool = True
    gpus: str | None = None
    assessed: int | None = None
    batch: int | None = None

    @property
    def success(self) -> bool:
        """Whether it exited with status 0, and nobody cut it short: what a tuner is told."""
        is_whole = self.counts and self.status is not TrialStatus.EARLY_STOPPED
        return is_whole and self.exit_status == 0


@dataclass(slots=True, eq=False)
class PhaseRow:
    """One phase, as the manager changes it. `parameters` and `value` are JSON texts.

    Attributes:
        request_seq: number of the trial's message that asked for it.
        final_seq: and of the one that ended it.
        asked: number of the tuner call that chose its parameters; None where an earlier phase had them.
        told: and of the one that told of its end.
        counts: whether limits count it; if not, its parameters are offered again.
        assessed: number of the assessor call that told of its end.
        stopped: why the assessor stopped it.
        customized: the user chose its parameters.
        parent: parameter_id of the phase that it goes on from.
        checkpoint: path of what it has saved.
        checkpoint_size: in bytes; None if its trial did not say.
        checkpoint_removed: it is gone, for nobody needed it; `REMOVE_CHECKPOINT` alone sets it.
        intermediates: how many intermediate results it has.
        last_intermediate: the newest of them, as JSON.
        intermediate_seq: and the number of the trial's message.
    """

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
    counts: bool = True
    assessed: int | None = None
    stopped: str | None = None
    customized: bool = False
    parent: int | None = None
    checkpoint: str | None = None
    checkpoint_size: int | None = None
    checkpoint_removed: bool = False
    intermediates: int = 0
    last_intermediate: str | None = None
    intermediate_seq: int | None = None
    in_store: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """Parameters whose phase was LOST through no fault of theirs: they are tried again.

    Attributes:
        parameter_id: stays theirs.
        parameters: as JSON.
        attempt: how often trials failed with them (`trial.retries`).
        customized: the user chose them.
        parent: parameter_id of the phase that they go on from.
    """

    parameter_id: int
    parameters: str
    attempt: int = 0
    customized: bool = False
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """What a phase that has ended has saved, and nobody has removed.

    Attributes:
        phase: id of its row.
        parameter_id: its own.
        trial_id: its trial's.
        path: the file or directory.
        score: of a phase that SUCCEEDED with a number.
        has_result: others may go on from it.
    """

    phase: int
    parameter_id: int
    trial_id: str
    path: str
    score: float | None = None
    has_result: bool = True


_EXPERIMENT_COLUMNS = """id, name, status, reason, created_at, started_at, ended_at, duration,
    running_since, multi_phase, trial_concurrency, max_trial_num, max_phase_num, optimize_mode, seed,
    best_phase, error_type, error_message, error_traceback, warning, checkpoint"""
_TRIAL_COLUMNS = """sequence_id, trial_id, status, reason, created_at, started_at, ended_at,
    exit_status, pid, process_start, session, resends, session_start, seq, told, attempt, counts,
    gpus, assessed, batch"""
_PHASE_COLUMNS = """id, sequence_id, phase_index, parameter_id, status, reason, traceback, parameters,
    value, score, request_seq, final_seq, asked, told, requested_at, started_at, ended_at, counts,
    assessed, stopped, customized, parent, checkpoint, checkpoint_size,
    checkpoint_removed"""


def _places(columns: str) -> str:
    return ",".join("?" * (columns.count(",") + 1))


INSERT_PHASE = f"INSERT INTO phases ({_PHASE_COLUMNS}) VALUES ({_places(_PHASE_COLUMNS)})"
# COALESCE: parameters are handed over once, and then need not be written again.
UPDATE_PHASE = """UPDATE phases SET status=?, reason=?, traceback=?,
    parameters=COALESCE(parameters, ?), value=?, score=?, request_seq=?, final_seq=?, asked=?, told=?,
    started_at=?, ended_at=?, counts=?, assessed=?, stopped=?, parent=?, checkpoint=?,
    checkpoint_size=? WHERE id=?"""
REMOVE_CHECKPOINT = "UPDATE phases SET checkpoint_removed=1 WHERE id=?"
PUT_TRIAL = f"INSERT OR REPLACE INTO trials ({_TRIAL_COLUMNS}) VALUES ({_places(_TRIAL_COLUMNS)})"
PUT_EXPERIMENT = (
    f"INSERT OR REPLACE INTO experiment ({_EXPERIMENT_COLUMNS})"
    f" VALUES ({_places(_EXPERIMENT_COLUMNS)})"
)
PUT_COUNTS = """INSERT OR REPLACE INTO phase_counts (sequence_id, waiting, running, succeeded, failed,
    early_stopped, abandoned, lost) VALUES (?,?,?,?,?,?,?,?)"""
INSERT_INTERMEDIATE = """INSERT INTO intermediates (phase, number, value, seq, reported_at,
    assessed, is_awaited) VALUES (?,?,?,?,?,?,?)"""
INSERT_OFFERED = "INSERT INTO offered (parameter_id, parameters, customized) VALUES (?,?,?)"
INSERT_LETTER = "INSERT INTO inbox (name, told, data, received_at) VALUES (?,?,?,?)"
INSERT_UNANSWERED = """INSERT INTO unanswered (asked, parameter_id, trial_id, first)
    VALUES (?,?,?,?)"""

# When a manager that died wrote last, in seconds since the epoch.
LAST_SIGN_OF_LIFE = """SELECT max(at) FROM (
    SELECT running_since AS at FROM experiment
    UNION ALL SELECT max(coalesce(ended_at, started_at, created_at)) FROM trials
    UNION ALL SELECT max(coalesce(ended_at, started_at, requested_at)) FROM phases
    UNION ALL SELECT max(reported_at) FROM intermediates)"""


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
        row.warning,
        row.checkpoint,
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
        row.resends,
        row.session_start,
        row.seq,
        row.told,
        row.attempt,
        row.counts,
        row.gpus,
        row.assessed,
        row.batch,
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
        row.counts,
        row.assessed,
        row.stopped,
        row.customized,
        row.parent,
        row.checkpoint,
        row.checkpoint_size,
        row.checkpoint_removed,
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
        row.counts,
        row.assessed,
        row.stopped,
        row.parent,
        row.checkpoint,
        row.checkpoint_size,
        row.id,
    )


def experiment_row(stored: dict[str, Any]) -> ExperimentRow:
    """Return the experiment as PUT_EXPERIMENT wrote it, given the columns by name."""
    values = {**stored}
    kind, message, traceback = (
        values.pop(f"error_{part}") for part in ("type", "message", "traceback")
    )
    return ExperimentRow(
        **{
            **values,
            "multi_phase": bool(values["multi_phase"]),
            "status": ExperimentStatus(values["status"]),
            "error": ErrorRecord(kind, message, traceback) if kind else None,
        }
    )


def trial_row(stored: dict[str, Any]) -> TrialRow:
    """Return a trial as PUT_TRIAL wrote it, given the columns by name."""
    return TrialRow(
        **{
            **stored,
            "status": TrialStatus(stored["status"]),
            "resends": bool(stored["resends"]),
            "counts": bool(stored["counts"]),
        }
    )


def phase_row(
    stored: dict[str, Any],
    intermediates: int = 0,
    last_intermediate: str | None = None,
    intermediate_seq: int | None = None,
) -> PhaseRow:
    """Return a phase as INSERT_PHASE wrote it, given the columns by name.

    Args:
        stored: the columns.
        intermediates: how many intermediate results it has.
        last_intermediate: the newest of them, as JSON.
        intermediate_seq: and the number of the trial's message.
    """
    return PhaseRow(
        **{
            **stored,
            "status": PhaseStatus(stored["status"]),
            "counts": bool(stored["counts"]),
            "customized": bool(stored["customized"]),
            "checkpoint_removed": bool(stored["checkpoint_removed"]),
            "intermediates": intermediates,
            "last_intermediate": last_intermediate,
            "intermediate_seq": intermediate_seq,
            "in_store": True,
        }
    )
