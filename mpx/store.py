"""The experiment's database: one writer (the manager), any number of readers.

Rows change in memory as events arrive; `Store.commit` writes all that one turn of the manager's loop
changed in one transaction. What a crash may cost:

- A SIGKILL of any process: nothing that was committed.
- A loss of power: the commits since the last `sync` (an fsync). The manager, with
  `durability: power`, syncs before it acknowledges anything. What it does not wait for are phases
  handed out but not reported, whose trials a loss of power ends too. With `durability: process` it
  never syncs: the last commits may be lost, never the order of what remains.

While the manager runs the database is in WAL mode; a clean end leaves that mode, so `experiment.db` alone
is complete and opens on a read-only disk.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mpx.errors import StoreError
from mpx.lifecycle import (
    EXPERIMENT_TRANSITIONS,
    PHASE_TRANSITIONS,
    TRIAL_TRANSITIONS,
    check_transition,
)
from mpx.migrations import check_version, migrate
from mpx.protocol import decode
from mpx.records import (
    BestPhase,
    ErrorRecord,
    ExperimentRecord,
    ExperimentStatus,
    PhaseRecord,
    PhaseStatus,
    TrialRecord,
    TrialStatus,
)

# A checkpoint holds up the loop for two fsyncs: every 16 MB.
_CHECKPOINT_PAGES = 4000
_WHOLE_EXPERIMENT = -1
_STATUSES = tuple(PhaseStatus)
_POSITION = {status: position for position, status in enumerate(_STATUSES)}


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


_INSERT_PHASE = """INSERT INTO phases (id, sequence_id, phase_index, parameter_id, status, reason,
    traceback, parameters, value, score, request_seq, final_seq, asked, told, requested_at, started_at,
    ended_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
# COALESCE: parameters are handed over once, and then need not be written again.
_UPDATE_PHASE = """UPDATE phases SET status=?, reason=?, traceback=?,
    parameters=COALESCE(parameters, ?), value=?, score=?, request_seq=?, final_seq=?, asked=?, told=?,
    started_at=?, ended_at=? WHERE id=?"""
_PUT_TRIAL = """INSERT OR REPLACE INTO trials (sequence_id, trial_id, status, reason, created_at,
    started_at, ended_at, exit_status, pid, process_start, session) VALUES (?,?,?,?,?,?,?,?,?,?,?)"""
_PUT_EXPERIMENT = """INSERT OR REPLACE INTO experiment (id, name, status, reason, created_at,
    started_at, ended_at, duration, running_since, multi_phase, trial_concurrency, max_trial_num,
    max_phase_num, optimize_mode, seed, best_phase, error_type, error_message, error_traceback)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
_PUT_COUNTS = """INSERT OR REPLACE INTO phase_counts (sequence_id, waiting, running, succeeded, failed,
    early_stopped, abandoned, lost) VALUES (?,?,?,?,?,?,?,?)"""
_INSERT_INTERMEDIATE = """INSERT INTO intermediates (phase, number, value, seq, reported_at)
    VALUES (?,?,?,?,?)"""


class Store:
    """The manager's side: changes rows, and writes what changed.

    Args:
        path: the database; it is created, or brought up to date.

    Raises:
        StoreError: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._experiment: ExperimentRow | None = None
        self._trials: dict[TrialRow, None] = {}
        self._phases: dict[PhaseRow, None] = {}
        self._intermediates: list[tuple[Any, ...]] = []
        self._counts: dict[int, list[int]] = {_WHOLE_EXPERIMENT: [0] * len(_STATUSES)}
        self._changed_counts: set[int] = set()
        self._removals: list[tuple[str, int]] = []
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
            migrate(self._connection)
            # Synced here rather than by SQLite's FULL, which would hold up the writer meanwhile. SQLite
            # takes no locks on this file, so closing it frees none of them.
            self._wal_fd = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC)
            _sync_directory(path.parent)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error

    @property
    def pending(self) -> bool:
        """Whether something changed since the last commit."""
        return bool(
            self._phases
            or self._intermediates
            or self._trials
            or self._removals
            or self._experiment is not None
        )

    def count(self, status: PhaseStatus) -> int:
        """Return how many phases of the experiment are in this status."""
        return self._counts[_WHOLE_EXPERIMENT][_POSITION[status]]

    def put_experiment(self, row: ExperimentRow) -> None:
        """Write the experiment's row with the next commit."""
        self._experiment = row

    def set_experiment_status(self, row: ExperimentRow, status: ExperimentStatus) -> None:
        check_transition(EXPERIMENT_TRANSITIONS, row.status, status)
        row.status = status
        self._experiment = row

    def put_trial(self, row: TrialRow) -> None:
        """Write a trial's row with the next commit."""
        self._trials[row] = None

    def set_trial_status(self, row: TrialRow, status: TrialStatus) -> None:
        check_transition(TRIAL_TRANSITIONS, row.status, status)
        row.status = status
        self._trials[row] = None

    def add_phase(self, row: PhaseRow) -> None:
        """Take in a new phase, WAITING; its trial's and the experiment's counts include it from now."""
        self._counts.setdefault(row.sequence_id, [0] * len(_STATUSES))
        self._count(row, _POSITION[row.status], 1)
        self._phases[row] = None

    def remove_phase(self, row: PhaseRow) -> None:
        """Take a phase back: there were no parameters for it."""
        self._count(row, _POSITION[row.status], -1)
        self._phases.pop(row, None)
        self._removals.append(("DELETE FROM phases WHERE id=?", row.id))

    def remove_trial(self, row: TrialRow) -> None:
        """Take a trial back whose phases are taken back: it never started."""
        self._trials.pop(row, None)
        self._counts.pop(row.sequence_id, None)
        self._changed_counts.discard(row.sequence_id)
        for table in ("phase_counts", "trials"):
            self._removals.append((f"DELETE FROM {table} WHERE sequence_id=?", row.sequence_id))

    def put_phase(self, row: PhaseRow) -> None:
        """Write a phase's row with the next commit."""
        self._phases[row] = None

    def set_phase_status(self, row: PhaseRow, status: PhaseStatus) -> None:
        check_transition(PHASE_TRANSITIONS, row.status, status)
        self._count(row, _POSITION[row.status], -1)
        self._count(row, _POSITION[status], 1)
        row.status = status
        self._phases[row] = None

    def _count(self, row: PhaseRow, position: int, change: int) -> None:
        self._counts[row.sequence_id][position] += change
        self._counts[_WHOLE_EXPERIMENT][position] += change
        self._changed_counts.add(row.sequence_id)

    def add_intermediate(self, row: PhaseRow, value: str, seq: int, reported_at: float) -> None:
        """Append an intermediate result, a JSON text, to a phase."""
        self._intermediates.append((row.id, row.intermediates, value, seq, reported_at))
        row.intermediates += 1

    def commit(self) -> None:
        """Write everything that changed, in one transaction.

        Raises:
            StoreError: nothing of it was written; the rows stay changed in memory.
        """
        try:
            self._write()
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreError(f"cannot write to the store: {error}") from error
        self._forget_changes()

    def sync(self) -> None:
        """Make all commits so far survive a loss of power. May be called from any thread.

        Raises:
            StoreError: the disk did not take them.
        """
        try:
            if sys.platform == "darwin":  # its fsync does not reach the platter
                fcntl.fcntl(self._wal_fd, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(self._wal_fd)
        except OSError as error:
            raise StoreError(f"cannot write the store to disk: {error}") from error

    def _write(self) -> None:
        execute, executemany = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        for statement, key in self._removals:
            execute(statement, (key,))
        if self._experiment is not None:
            execute(_PUT_EXPERIMENT, _experiment_values(self._experiment))
        if self._trials:
            executemany(_PUT_TRIAL, [_trial_values(row) for row in self._trials])
        if self._phases:
            new = [_phase_values(row) for row in self._phases if not row.in_store]
            if new:
                executemany(_INSERT_PHASE, new)
            if len(new) < len(self._phases):
                executemany(
                    _UPDATE_PHASE, [_phase_changes(row) for row in self._phases if row.in_store]
                )
        if self._changed_counts:
            self._write_counts()
        if self._intermediates:
            executemany(_INSERT_INTERMEDIATE, self._intermediates)
        execute("COMMIT")

    def _write_counts(self) -> None:
        changed = [*self._changed_counts, _WHOLE_EXPERIMENT]
        values = [(sequence_id, *self._counts[sequence_id]) for sequence_id in changed]
        self._connection.executemany(_PUT_COUNTS, values)

    def _forget_changes(self) -> None:
        for row in self._phases:
            row.in_store = True
        self._phases.clear()
        self._changed_counts.clear()
        self._intermediates.clear()
        self._trials.clear()
        self._removals.clear()
        self._experiment = None

    def close(self) -> None:
        """Commit, leave WAL mode and close; all is durable then."""
        if self.pending:
            self.commit()
        os.close(self._wal_fd)
        try:
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError:
            pass  # a reader is looking; the next one to close cleans up
        self._connection.close()


def _sync_directory(directory: Path) -> None:
    """Make the names of new files durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _experiment_values(row: ExperimentRow) -> tuple[Any, ...]:
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


def _trial_values(row: TrialRow) -> tuple[Any, ...]:
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


def _phase_values(row: PhaseRow) -> tuple[Any, ...]:
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


def _phase_changes(row: PhaseRow) -> tuple[Any, ...]:
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


_PHASE_QUERY = """SELECT p.id, e.id AS experiment_id, t.trial_id, p.sequence_id, p.phase_index,
    p.parameter_id, p.status, p.reason, p.traceback, p.parameters, p.value, p.requested_at, p.started_at,
    p.ended_at FROM phases p JOIN trials t USING (sequence_id), experiment e"""


_PACE_QUERY = """SELECT count(*) AS phases, avg(started_at - requested_at) AS waited,
    avg(ended_at - started_at) AS computed FROM (SELECT * FROM phases
    WHERE phase_index > 0 AND ended_at IS NOT NULL AND started_at IS NOT NULL
    ORDER BY id DESC LIMIT ?)"""


class Pace(NamedTuple):
    """What a number of phases spent their time on: mean seconds a phase."""

    phases: int
    waited: float
    computed: float


class StoreReader:
    """A reader's side: looks at the experiment while the manager runs, or after.

    All that is read inside one `with` block is of one moment.

    Args:
        path: the database.

    Raises:
        StoreError: it does not exist, is no database, or was written by a newer mpx.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            check_version(self._connection)
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store {path}: {error}") from error
        self._connection.row_factory = sqlite3.Row

    def __enter__(self) -> StoreReader:
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def experiment(self, now: float) -> ExperimentRecord | None:
        """Return the experiment; None if the manager has not written it yet.

        Args:
            now: seconds since the epoch, for the duration of a run that goes on.
        """
        row = self._one("SELECT * FROM experiment") if self._has_tables() else None
        if row is None:
            return None
        running = now - row["running_since"] if row["running_since"] is not None else 0.0
        error = row["error_type"] and ErrorRecord(
            row["error_type"], row["error_message"], row["error_traceback"]
        )
        return ExperimentRecord(
            id=row["id"],
            name=row["name"],
            status=ExperimentStatus(row["status"]),
            reason=row["reason"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            duration=row["duration"] + running,
            multi_phase=bool(row["multi_phase"]),
            trial_concurrency=row["trial_concurrency"],
            max_trial_num=row["max_trial_num"],
            max_phase_num=row["max_phase_num"],
            optimize_mode=row["optimize_mode"],
            trials=self._trial_counts(),
            phases=self._phase_counts(_WHOLE_EXPERIMENT),
            best=self._best(row["best_phase"]),
            error=error or None,
            directory=self._path.parent,
        )

    def trials(self) -> list[TrialRecord]:
        """Return all trials in the order of starting."""
        return [self._trial(row) for row in self._all("SELECT * FROM trials ORDER BY sequence_id")]

    def newest_trials(self, status: TrialStatus, most: int) -> list[TrialRecord]:
        """Return the trials started last of those in this status, newest first."""
        query = "SELECT * FROM trials WHERE status = ? ORDER BY sequence_id DESC LIMIT ?"
        return [self._trial(row) for row in self._all(query, [status.value, most])]

    def last_phase(self, sequence_id: int) -> PhaseRecord | None:
        """Return the phase a trial began last; None if it has begun none."""
        query = f"{_PHASE_QUERY} WHERE p.sequence_id = ? ORDER BY p.phase_index DESC LIMIT 1"
        row = self._one(query, [sequence_id])
        return self._phase(row) if row else None

    def pace(self, most: int) -> Pace | None:
        """Return what the newest phases spent their time on; None before there is one to tell.

        A trial's first phase is left out: its parameters wait for the trial's process to start.

        Args:
            most: how many phases to look at.
        """
        row = self._one(_PACE_QUERY, [most])
        return (
            Pace(row["phases"], row["waited"], row["computed"]) if row and row["phases"] else None
        )

    def phases(
        self, trial_id: str | None = None, top: int | None = None, optimize_mode: str = "maximize"
    ) -> Iterator[PhaseRecord]:
        """Yield phases in the order of asking; or the `top` best SUCCEEDED ones, best first.

        Args:
            trial_id: of this trial only.
            top: how many of the best.
            optimize_mode: which is better, "maximize" or "minimize".
        """
        query, arguments = _PHASE_QUERY, []
        if trial_id is not None:
            query, arguments = f"{query} WHERE t.trial_id = ?", [trial_id]
        if top is None:
            query += " ORDER BY p.id"
        else:
            query += " AND " if arguments else " WHERE "
            query += "p.status = 'SUCCEEDED' AND p.score IS NOT NULL ORDER BY p.score "
            query += "DESC" if optimize_mode == "maximize" else "ASC"
            query += f", p.id LIMIT {int(top)}"
        for row in self._execute(query, arguments):
            yield self._phase(row)

    def _phase(self, row: sqlite3.Row) -> PhaseRecord:
        return PhaseRecord(
            experiment_id=row["experiment_id"],
            trial_id=row["trial_id"],
            sequence_id=row["sequence_id"],
            phase_index=row["phase_index"],
            parameter_id=row["parameter_id"],
            status=PhaseStatus(row["status"]),
            reason=row["reason"],
            parameters=_json(row["parameters"]),
            value=_json(row["value"]),
            intermediates=self._intermediates(row["id"]),
            requested_at=row["requested_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            traceback=row["traceback"],
        )

    def _intermediates(self, phase: int) -> tuple[Any, ...]:
        rows = self._all("SELECT value FROM intermediates WHERE phase=? ORDER BY number", [phase])
        return tuple(decode(row["value"]) for row in rows)

    def _trial(self, row: sqlite3.Row) -> TrialRecord:
        return TrialRecord(
            trial_id=row["trial_id"],
            sequence_id=row["sequence_id"],
            status=TrialStatus(row["status"]),
            reason=row["reason"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            exit_status=row["exit_status"],
            pid=row["pid"],
            phases=self._phase_counts(row["sequence_id"]),
        )

    def _best(self, phase: int | None) -> BestPhase | None:
        row = phase and self._one(_PHASE_QUERY + " WHERE p.id = ?", [phase])
        if not row:
            return None
        return BestPhase(
            trial_id=row["trial_id"],
            sequence_id=row["sequence_id"],
            phase_index=row["phase_index"],
            parameter_id=row["parameter_id"],
            value=_json(row["value"]),
            parameters=_json(row["parameters"]),
        )

    def _has_tables(self) -> bool:
        row = self._one("PRAGMA user_version")
        return row is not None and row["user_version"] > 0

    def _trial_counts(self) -> dict[str, int]:
        rows = self._all("SELECT status, count(*) AS n FROM trials GROUP BY status")
        return {row["status"]: row["n"] for row in rows}

    def _phase_counts(self, sequence_id: int) -> dict[str, int]:
        row = self._one("SELECT * FROM phase_counts WHERE sequence_id = ?", [sequence_id])
        if row is None:
            return {}
        counts = {status.value: row[status.value.lower()] for status in _STATUSES}
        return {status: count for status, count in counts.items() if count}

    def _one(self, query: str, arguments: list[Any] | None = None) -> sqlite3.Row | None:
        rows = self._all(query, arguments)
        return rows[0] if rows else None

    def _all(self, query: str, arguments: list[Any] | None = None) -> list[sqlite3.Row]:
        return list(self._execute(query, arguments))

    def _execute(self, query: str, arguments: list[Any] | None = None) -> Iterator[sqlite3.Row]:
        try:
            yield from self._connection.execute(query, arguments or [])
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store {self._path}: {error}") from error


def _json(text: str | None) -> Any:
    return None if text is None else decode(text)
