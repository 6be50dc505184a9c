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
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mpx.durability import sync
from mpx.errors import StoreError
from mpx.lifecycle import (
    EXPERIMENT_TRANSITIONS,
    PHASE_TRANSITIONS,
    TRIAL_TRANSITIONS,
    check_transition,
)
from mpx.migrations import check_version, migrate
from mpx.records import ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import (
    INSERT_INTERMEDIATE,
    INSERT_LETTER,
    INSERT_OFFERED,
    INSERT_PHASE,
    INSERT_UNANSWERED,
    LAST_SIGN_OF_LIFE,
    PUT_COUNTS,
    PUT_EXPERIMENT,
    PUT_TRIAL,
    REMOVE_CHECKPOINT,
    STATUSES,
    UPDATE_PHASE,
    WHOLE_EXPERIMENT,
    ExperimentRow,
    Offer,
    PhaseRow,
    TrialRow,
    experiment_values,
    phase_changes,
    phase_values,
    trial_values,
)

# A checkpoint holds up the loop for two fsyncs: every 4 MB.
_CHECKPOINT_PAGES = 4000
# A reader looks for some milliseconds; one that looks for longer than this, in seconds, is not waited for.
_READER_PATIENCE = 2.0
# Nobody but a manager writes; a stranger's lock is waited for in pauses that leave the loop free.
_LOCK_PATIENCE = 0.1
_POSITION = {status: position for position, status in enumerate(STATUSES)}
# For each None and each bool the module looks for an adapter, which takes long where there is none: a
# twelfth of all that the controller does in a phase. These change nothing.
sqlite3.register_adapter(type(None), {None: None}.__getitem__)
sqlite3.register_adapter(bool, int)

# In this order: which phases were open is seen by their trials. What ends so is offered again, and
# counts for no limit; where the tuner had not answered, nothing began.
_CLOSE_INTERRUPTED = (
    """DELETE FROM phases WHERE parameters IS NULL AND status = 'WAITING' AND sequence_id IN
        (SELECT sequence_id FROM trials WHERE status IN ('WAITING', 'RUNNING'))""",
    """DELETE FROM trials WHERE status = 'WAITING'
        AND sequence_id NOT IN (SELECT sequence_id FROM phases)""",
    """UPDATE phases SET status = 'EARLY_STOPPED', reason = stopped, ended_at = :now
        WHERE status = 'RUNNING' AND stopped IS NOT NULL AND sequence_id IN
        (SELECT sequence_id FROM trials WHERE status IN ('WAITING', 'RUNNING'))""",
    """UPDATE phases SET status = 'LOST', reason = 'its trial ended: ' || :reason, ended_at = :now,
        counts = 0 WHERE status IN ('WAITING', 'RUNNING') AND sequence_id IN
        (SELECT sequence_id FROM trials WHERE status IN ('WAITING', 'RUNNING'))""",
    """INSERT OR REPLACE INTO phase_counts (sequence_id, waiting, running, succeeded, failed,
        early_stopped, abandoned, lost) SELECT sequence_id, sum(p.status = 'WAITING'),
        sum(p.status = 'RUNNING'), sum(p.status = 'SUCCEEDED'), sum(p.status = 'FAILED'),
        sum(p.status = 'EARLY_STOPPED'), sum(p.status = 'ABANDONED'), sum(p.status = 'LOST')
        FROM phases p JOIN trials t USING (sequence_id) WHERE t.status IN ('WAITING', 'RUNNING')
        GROUP BY sequence_id""",
    """UPDATE trials SET status = 'USER_CANCELED', reason = :reason, ended_at = :now, counts = 0
        WHERE status IN ('WAITING', 'RUNNING')""",
    "DELETE FROM phase_counts WHERE sequence_id >= 0"
    " AND sequence_id NOT IN (SELECT sequence_id FROM phases)",
    """INSERT OR REPLACE INTO phase_counts (sequence_id, waiting, running, succeeded, failed,
        early_stopped, abandoned, lost) SELECT -1, total(waiting), total(running), total(succeeded),
        total(failed), total(early_stopped), total(abandoned), total(lost)
        FROM phase_counts WHERE sequence_id >= 0""",
    """UPDATE experiment SET status = CASE status WHEN 'ERROR' THEN status ELSE 'STOPPED' END,
        reason = CASE status WHEN 'ERROR' THEN reason ELSE :reason END, ended_at = :now,
        duration = duration + coalesce(:last - running_since, 0), running_since = NULL
        WHERE ended_at IS NULL""",
)
# What another try may not meet again.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


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
        self._counts: dict[int, list[int]] = {}
        self._unanswered: list[tuple[int, int, str, bool]] = []
        self._offered: dict[int, Offer] = {}
        self._letters: list[tuple[str, int | None, str, float]] = []
        self._changed_counts: set[int] = set()
        self._removals: list[tuple[str, int]] = []
        try:
            self._connection = _connect(path)
            # Synced here rather than by SQLite's FULL, which would hold up the writer meanwhile. SQLite
            # takes no locks on this file, so closing it frees none of them.
            self._wal_fd = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC)
            sync(path.parent)
            self._inodes = [(name, os.stat(name).st_ino) for name in (str(path), f"{path}-wal")]  # noqa: PTH116
            self._load_counts(WHOLE_EXPERIMENT)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error

    def _load_counts(self, sequence_id: int) -> None:
        columns = ", ".join(status.value.lower() for status in STATUSES)
        row = self._connection.execute(
            f"SELECT {columns} FROM phase_counts WHERE sequence_id = ?", (sequence_id,)
        ).fetchone()
        self._counts[sequence_id] = list(row) if row else [0] * len(STATUSES)

    @property
    def pending(self) -> bool:
        """Whether something changed since the last commit."""
        return bool(
            self._phases
            or self._intermediates
            or self._trials
            or self._removals
            or self._unanswered
            or self._offered
            or self._letters
            or self._experiment is not None
        )

    def put_experiment(self, row: ExperimentRow) -> None:
        """Write the experiment's row with the next commit."""
        self._experiment = row

    def set_experiment_status(self, row: ExperimentRow, status: ExperimentStatus) -> None:
        check_transition(EXPERIMENT_TRANSITIONS, row.status, status)
        row.status = status
        self._experiment = row

    def reopen(self, row: ExperimentRow) -> None:
        """Let an experiment run again, however it was left."""
        row.status = ExperimentStatus.RUNNING
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
        self._counts[row.sequence_id] = [0] * len(STATUSES)  # another may be given its number
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
        if row.sequence_id not in self._counts:  # a new trial, or one that an earlier manager began
            self._load_counts(row.sequence_id)
        self._counts[row.sequence_id][position] += change
        self._counts[WHOLE_EXPERIMENT][position] += change
        self._changed_counts.add(row.sequence_id)

    def remove_checkpoint(self, phase: int) -> None:
        """Record that what a phase, known by its row's id, has saved is removed."""
        self._removals.append((REMOVE_CHECKPOINT, phase))

    def add_intermediate(
        self,
        row: PhaseRow,
        value: str,
        seq: int,
        reported_at: float,
        assessed: int | None = None,
        is_awaited: bool = False,
    ) -> None:
        """Append an intermediate result, a JSON text, to a phase.

        Args:
            row: the phase.
            value: the result.
            seq: number of the trial's message.
            reported_at: seconds since the epoch.
            assessed: number of the assessor call that judges it.
            is_awaited: the trial waits for that.
        """
        number = row.intermediates
        self._intermediates.append((row.id, number, value, seq, reported_at, assessed, is_awaited))
        row.intermediates, row.last_intermediate = number + 1, value
        row.intermediate_seq = seq

    def add_unanswered(self, asked: int, parameter_id: int, trial_id: str, first: bool) -> None:
        """Append a call of the tuner for which it had no parameters.

        Args:
            asked: the call's number.
            parameter_id: for which it was made.
            trial_id: and for which trial.
            first: for that trial's first phase.
        """
        self._unanswered.append((asked, parameter_id, trial_id, first))

    def add_offer(self, offer: Offer) -> None:
        """Keep parameters that wait for a phase."""
        self._offered[offer.parameter_id] = offer

    def remove_offer(self, parameter_id: int) -> None:
        """Forget such parameters: they have a phase by now. It is no error if they had one before."""
        if self._offered.pop(parameter_id, None) is None:
            self._removals.append(("DELETE FROM offered WHERE parameter_id=?", parameter_id))

    def add_letter(self, name: str, told: int | None, data: str, received_at: float) -> None:
        """Append what the user sent.

        Args:
            name: of the letter.
            told: number of the tuner call that tells of the results in it.
            data: JSON.
            received_at: seconds since the epoch.
        """
        self._letters.append((name, told, data, received_at))

    def commit(self) -> None:
        """Write everything that changed, in one transaction.

        Raises:
            StoreError: nothing of it was written; the rows stay changed in memory.
        """
        self._check_place()
        try:
            self._write()
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreError(f"cannot write to the store: {error}", _may_pass(error)) from error
        self._forget_changes()

    def _check_place(self) -> None:
        """Raise StoreError if what would be written is in no file that a reader finds.

        SQLite goes on writing into files that were removed or replaced.
        """
        for path, inode in self._inodes:
            try:
                found = os.stat(path).st_ino  # noqa: PTH116 (twice a phase, and a Path is dearer)
            except OSError:
                found = None
            if found != inode:
                raise StoreError(f"{path} was removed or replaced: put it back", may_pass=True)

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
            execute(PUT_EXPERIMENT, experiment_values(self._experiment))
        if self._trials:
            executemany(PUT_TRIAL, [trial_values(row) for row in self._trials])
        if self._phases:
            new = [phase_values(row) for row in self._phases if not row.in_store]
            if new:
                executemany(INSERT_PHASE, new)
            if len(new) < len(self._phases):
                executemany(
                    UPDATE_PHASE, [phase_changes(row) for row in self._phases if row.in_store]
                )
        if self._changed_counts or self._removals:
            self._write_counts()
        self._append()
        execute("COMMIT")

    def _append(self) -> None:
        """Write what is written once and never changed."""
        executemany = self._connection.executemany
        if self._intermediates:
            executemany(INSERT_INTERMEDIATE, self._intermediates)
        if self._unanswered:
            executemany(INSERT_UNANSWERED, self._unanswered)
        if self._offered:
            offered = [(o.parameter_id, o.parameters, o.customized) for o in self._offered.values()]
            executemany(INSERT_OFFERED, offered)
        if self._letters:
            executemany(INSERT_LETTER, self._letters)

    def _write_counts(self) -> None:
        changed = [*self._changed_counts, WHOLE_EXPERIMENT]
        values = [(sequence_id, *self._counts[sequence_id]) for sequence_id in changed]
        self._connection.executemany(PUT_COUNTS, values)

    def _forget_changes(self) -> None:
        for row in self._phases:
            row.in_store = True
        self._phases.clear()
        self._changed_counts.clear()
        self._intermediates.clear()
        self._unanswered.clear()
        self._offered.clear()
        self._letters.clear()
        self._trials.clear()
        self._removals.clear()
        self._experiment = None

    def close(self) -> None:
        """Commit, leave WAL mode and close; all is durable then."""
        if self.pending:
            self.commit()
        os.close(self._wal_fd)
        _leave_wal_mode(self._connection)
        self._connection.close()


def close_interrupted(path: Path, reason: str, now: float) -> None:
    """Close the store of an experiment whose manager died, when its trials are gone too.

    The experiment is then STOPPED, unless it had failed before, its trials USER_CANCELED and their open
    phases LOST. Of the last run, what counts as duration ends with the last that was recorded.

    Args:
        path: the database.
        reason: for the experiment and its trials.
        now: seconds since the epoch.

    Raises:
        StoreError: the file cannot be opened or written, or is no database.
    """
    try:
        connection = _connect(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            (last,) = connection.execute(LAST_SIGN_OF_LIFE).fetchone()
            for statement in _CLOSE_INTERRUPTED:
                connection.execute(statement, {"reason": reason, "now": now, "last": last})
            connection.execute("COMMIT")
            _leave_wal_mode(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"cannot close the store {path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database for writing, at the version of this mpx."""
    with ExitStack() as on_failure:
        connection = sqlite3.connect(path, timeout=_READER_PATIENCE, isolation_level=None)
        on_failure.callback(connection.close)
        check_version(connection)
        # A phase changes a few hundred bytes on a handful of pages, and each is written whole.
        connection.execute("PRAGMA page_size=1024")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        migrate(connection)
        connection.execute(f"PRAGMA busy_timeout={int(_LOCK_PATIENCE * 1000)}")
        on_failure.pop_all()
    return connection


def _may_pass(error: Exception) -> bool:
    """Say whether to try again what failed so."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING  # the primary code


def _leave_wal_mode(connection: sqlite3.Connection) -> None:
    """Move everything into the database's one file, and do without the others if no reader stays."""
    connection.execute("PRAGMA synchronous=FULL")
    deadline = time.monotonic() + _READER_PATIENCE
    while True:
        try:
            connection.execute("PRAGMA wal_checkpoint")
            connection.execute("PRAGMA journal_mode=DELETE")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                return
        time.sleep(0.01)
