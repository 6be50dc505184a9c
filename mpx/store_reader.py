"""Reading an experiment's database, while its manager writes or after."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from mpx.errors import StoreError
from mpx.migrations import check_version
from mpx.protocol import LARGEST_BATCH
from mpx.records import (
    BestPhase,
    CheckpointsRecord,
    ErrorRecord,
    ExperimentRecord,
    ExperimentStatus,
    PhaseRecord,
    PhaseStatus,
    TrialRecord,
    TrialStatus,
)
from mpx.rows import LAST_SIGN_OF_LIFE, STATUSES, WHOLE_EXPERIMENT
from mpx.wire import decode

_PHASE_QUERY = """SELECT p.*, e.id AS experiment_id, t.trial_id
    FROM phases p JOIN trials t USING (sequence_id), experiment e"""
# Those of one trial; what has not ended is among the newest.
_OPEN_QUERY = f"""{_PHASE_QUERY} WHERE p.sequence_id = ?1 AND p.status IN ('WAITING', 'RUNNING')
    AND p.phase_index > (SELECT max(phase_index) FROM phases WHERE sequence_id = ?1) - {LARGEST_BATCH}
    ORDER BY p.phase_index"""

# Phases of a batch begin at the same time, and share it.
_PACE_QUERY = """SELECT count(*) AS phases, avg((started_at - requested_at) / at_a_time) AS waited,
    avg((ended_at - started_at) / at_a_time) AS computed
    FROM (SELECT *, count(*) OVER (PARTITION BY sequence_id, started_at) AS at_a_time
        FROM (SELECT * FROM phases ORDER BY id DESC LIMIT ?))
    WHERE phase_index > 0 AND ended_at IS NOT NULL AND started_at IS NOT NULL"""

_CHECKPOINTS_QUERY = """SELECT checkpoint_removed AS is_removed, count(*) AS n,
    total(checkpoint_size) AS bytes FROM phases WHERE checkpoint IS NOT NULL GROUP BY checkpoint_removed"""


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
            self._connection = _connect(path)
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store {path}: {error}") from error

    def __enter__(self) -> StoreReader:
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def experiment(self, now: float | None) -> ExperimentRecord | None:
        """Return the experiment; None if the manager has not written it yet.

        Args:
            now: seconds since the epoch, for the duration of a run that goes on; None for one whose
                manager is dead: it went on until the last that was recorded.
        """
        row = self._row()
        if row is None:
            return None
        running = 0.0
        if row["running_since"] is not None:
            until = self._last_sign_of_life() if now is None else now
            running = until - row["running_since"]
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
            phases=self._phase_counts(WHOLE_EXPERIMENT),
            best=self._best(row["best_phase"]),
            error=error or None,
            warning=_of(row, "warning"),
            checkpoints=self._checkpoints(),
            directory=self._path.parent,
        )

    def _last_sign_of_life(self) -> float:
        (row,) = self._all(LAST_SIGN_OF_LIFE)
        return float(row[0])

    def trials(self) -> list[TrialRecord]:
        """Return all trials in the order of starting."""
        return [self._trial(row) for row in self._all("SELECT * FROM trials ORDER BY sequence_id")]

    def unended_trials(self) -> list[TrialRecord]:
        """Return the trials that have not ended, in the order of starting."""
        query = "SELECT * FROM trials WHERE status IN ('WAITING', 'RUNNING') ORDER BY sequence_id"
        return [self._trial(row) for row in self._all(query)]

    def newest_trials(self, status: TrialStatus, most: int) -> list[TrialRecord]:
        """Return the trials started last of those in this status, newest first."""
        query = "SELECT * FROM trials WHERE status = ? ORDER BY sequence_id DESC LIMIT ?"
        return [self._trial(row) for row in self._all(query, [status.value, most])]

    def last_phase(self, sequence_id: int) -> PhaseRecord | None:
        """Return the phase a trial began last; None if it has begun none."""
        query = f"{_PHASE_QUERY} WHERE p.sequence_id = ? ORDER BY p.phase_index DESC LIMIT 1"
        row = self._one(query, [sequence_id])
        return self._phase(row) if row else None

    def open_phases(self, sequence_id: int) -> list[PhaseRecord]:
        """Return the phases of a trial that have not ended, in their order."""
        return [self._phase(row) for row in self._all(_OPEN_QUERY, [sequence_id])]

    def has_lineage(self) -> bool:
        """Say whether any phase went on from the weights of another one."""
        query = "SELECT 1 FROM phases WHERE parent IS NOT NULL LIMIT 1"
        return self._knows("parent") and self._one(query) is not None

    def lineage(self, parameter_id: int) -> list[PhaseRecord]:
        """Return a phase and all that it goes back to, the first one first; nothing if there is none.

        Where a phase was tried again, the last try counts.
        """
        parents, line = self._parents(), [parameter_id]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        query = f"{_PHASE_QUERY} WHERE p.parameter_id = ? ORDER BY p.id DESC LIMIT 1"
        rows = (self._one(query, [number]) for number in reversed(line))
        return [self._phase(row) for row in rows if row is not None]

    def _parents(self) -> dict[int, int]:
        """Return parameter_id → parent, of all phases that have one."""
        if not self._knows("parent"):
            return {}
        query = "SELECT parameter_id, parent FROM phases WHERE parent IS NOT NULL ORDER BY id"
        return {row["parameter_id"]: row["parent"] for row in self._all(query)}

    def _knows(self, column: str) -> bool:
        """Say whether the mpx that wrote this knew such a column of phases."""
        return any(row["name"] == column for row in self._all("PRAGMA table_info(phases)"))

    def _checkpoints(self) -> CheckpointsRecord:
        if not self._knows("checkpoint_removed"):
            return CheckpointsRecord()
        found = {row["is_removed"]: row for row in self._all(_CHECKPOINTS_QUERY)}
        kept, removed = found.get(0), found.get(1)
        return CheckpointsRecord(
            kept=kept["n"] if kept else 0,
            bytes=int(kept["bytes"]) if kept else 0,
            removed=removed["n"] if removed else 0,
        )

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
            parent=_of(row, "parent"),
            checkpoint=None if _of(row, "checkpoint_removed") else _of(row, "checkpoint"),
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
            process_start=row["process_start"],
            gpus=_indices(_of(row, "gpus")),
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

    def is_written(self) -> bool:
        """Say whether the manager has written the experiment."""
        return self._row() is not None

    def _row(self) -> sqlite3.Row | None:
        return self._one("SELECT * FROM experiment") if self._has_tables() else None

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
        counts = {status.value: row[status.value.lower()] for status in STATUSES}
        return {status: count for status, count in counts.items() if count}

    def _one(self, query: str, arguments: list[Any] | None = None) -> sqlite3.Row | None:
        rows = self._all(query, arguments)
        return rows[0] if rows else None

    def _all(self, query: str, arguments: list[Any] | None = None) -> list[sqlite3.Row]:
        return list(self._execute(query, arguments))

    def _execute(self, query: str, arguments: list[Any] | None = None) -> Iterator[sqlite3.Row]:
        try:
            # Not `yield from`, which would close the cursor of a connection that is closed already.
            for row in self._connection.execute(query, arguments or []):  # noqa: UP028
                yield row
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store {self._path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _open(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
    _roll_back(path)
    return _open(path)


def _roll_back(path: Path) -> None:
    """Take back half a transaction of a manager that was killed as it left WAL mode.

    Only a connection that may write can; what it writes is what was there before.
    """
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
        check_version(connection)


def _open(path: Path) -> sqlite3.Connection:
    with ExitStack() as on_failure:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        on_failure.callback(connection.close)
        check_version(connection)
        on_failure.pop_all()
    connection.row_factory = sqlite3.Row
    return connection


def _of(row: sqlite3.Row, column: str) -> Any:
    """Return what a column says that an older mpx did not have."""
    return row[column] if column in row.keys() else None  # noqa: SIM118 (a Row iterates values)


def _indices(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(decode(text))


def _json(text: str | None) -> Any:
    return None if text is None else decode(text)
