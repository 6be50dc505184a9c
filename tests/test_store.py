"""The store: what is committed, counted, taken back, read meanwhile, and left behind."""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpx import rows as rows_module
from mpx import store as store_module
from mpx.errors import StoreError
from mpx.history import StoredHistory
from mpx.lifecycle import ENDED, PHASE_TRANSITIONS, IllegalTransitionError
from mpx.migrations import MIGRATIONS
from mpx.records import ErrorRecord, ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import ExperimentRow, Offer, PhaseRow, TrialRow
from mpx.store import Store, close_interrupted
from mpx.store_reader import StoreReader
from mpx.wire import encode
from tests.counts import assert_counts
from tests.stored import T0, die, experiment_row, phase_row, trial_row


@pytest.fixture
def path(tmp_path):
    return tmp_path / "experiment.db"


@pytest.fixture
def store(path):
    """A store that has its experiment and one trial, committed."""
    store = Store(path)
    store.put_experiment(experiment_row())
    store.put_trial(trial_row())
    store.commit()
    yield store
    with contextlib.suppress(StoreError, sqlite3.Error, OSError):
        store.close()


def append(store, *rows):
    for row in rows:
        store.add_phase(row)


def files(path):
    """Return the names of the store's file and of those beside it."""
    return sorted(file.name for file in path.parent.iterdir())


def read(path, look):
    with StoreReader(path) as reader:
        return look(reader)


def read_phases(path, **wanted):
    return read(path, lambda reader: list(reader.phases(**wanted)))


def read_experiment(path, now=T0):
    return read(path, lambda reader: reader.experiment(now))


def read_trials(path):
    return read(path, lambda reader: reader.trials())


# -- writing --------------------------------------------------------------------------------------


def test_a_reader_sees_what_was_committed_and_nothing_before(store, path):
    store.add_phase(phase_row(0, parameters='{"x":1}'))
    assert store.pending
    assert read_phases(path) == []
    store.commit()
    assert not store.pending
    (phase,) = read_phases(path)
    assert (phase.status, phase.parameters, phase.trial_id) == ("WAITING", {"x": 1}, "trial0")


def test_the_experiment_comes_back_as_it_was_written(store, path):
    error = ErrorRecord("ValueError", "no", "Traceback …")
    store.put_experiment(
        experiment_row(reason="why", error=error, duration=5.0, running_since=None, best_phase=1)
    )
    store.add_phase(phase_row(0, parameters="[1]", value='{"default":2}'))
    store.commit()
    found = read_experiment(path)
    assert (found.id, found.name, found.status) == ("Exp12345", "digits", "RUNNING")
    assert (found.reason, found.error, found.duration) == ("why", error, 5.0)
    assert (found.multi_phase, found.trial_concurrency) == (True, 2)
    assert (found.max_trial_num, found.max_phase_num) == (4, None)
    assert (found.created_at, found.started_at, found.ended_at) == (T0, T0 + 1, None)
    assert (found.trials, found.phases) == ({"WAITING": 1}, {"WAITING": 1})
    assert (found.best.trial_id, found.best.parameters) == ("trial0", [1])
    assert found.best.value == {"default": 2}
    assert found.directory == path.parent


def test_a_trial_comes_back_as_it_was_written(store, path):
    row = trial_row(1, reason="exit status 3", started_at=T0 + 1, exit_status=3, pid=42)
    store.set_trial_status(row, TrialStatus.FAILED)
    row.ended_at = T0 + 2
    store.commit()
    _, found = read_trials(path)
    assert (found.trial_id, found.status, found.reason) == ("trial1", "FAILED", "exit status 3")
    assert (found.exit_status, found.pid) == (3, 42)
    assert (found.created_at, found.started_at, found.ended_at) == (T0, T0 + 1, T0 + 2)


def test_a_phase_comes_back_as_it_was_written(store, path):
    row = phase_row(0)
    store.add_phase(row)
    store.commit()
    row.parameters = '{"x":1}'
    store.set_phase_status(row, PhaseStatus.RUNNING)
    row.started_at = T0 + 1
    store.commit()
    row.reason, row.traceback, row.ended_at = "ValueError: no", "Traceback …", T0 + 2
    store.set_phase_status(row, PhaseStatus.FAILED)
    store.commit()
    (found,) = read_phases(path)
    assert (found.experiment_id, found.sequence_id, found.phase_index) == ("Exp12345", 0, 0)
    assert (found.status, found.reason, found.traceback) == (
        "FAILED",
        "ValueError: no",
        "Traceback …",
    )
    assert (found.parameters, found.value) == ({"x": 1}, None)
    assert (found.requested_at, found.started_at, found.ended_at) == (T0, T0 + 1, T0 + 2)


def stored_row(path, table, read_row):
    """Return the one row of a table as another manager reads it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute(f"SELECT * FROM {table}")
        return read_row(dict(row))


EVERY_FIELD = {
    "experiment": (
        rows_module.experiment_row,
        experiment_row(
            max_phase_num=9,
            status=ExperimentStatus.ERROR,
            reason="why",
            ended_at=T0 + 9,
            duration=5.5,
            running_since=T0 + 3,
            best_phase=1,
            error=ErrorRecord("ValueError", "no", "Traceback …"),
            warning="beware",
            checkpoint=17,
        ),
    ),
    "trials": (
        rows_module.trial_row,
        trial_row(
            status=TrialStatus.FAILED,
            reason="why",
            started_at=T0 + 1,
            ended_at=T0 + 2,
            exit_status=3,
            pid=42,
            process_start="boot:7",
            session="abc",
            resends=True,
            session_start=4,
            seq=11,
            told=12,
            attempt=2,
            counts=False,
            gpus="[0]",
            assessed=13,
            batch=8,
        ),
    ),
    "phases": (
        rows_module.phase_row,
        phase_row(
            0,
            index=3,
            status=PhaseStatus.LOST,
            reason="why",
            traceback="Traceback …",
            parameters="[1]",
            value="2",
            score=2.0,
            request_seq=5,
            final_seq=6,
            asked=7,
            told=8,
            started_at=T0 + 1,
            ended_at=T0 + 2,
            counts=False,
            assessed=9,
            stopped="hopeless",
            customized=True,
            parent=2,
            checkpoint="/weights",
            checkpoint_size=10,
            checkpoint_removed=True,
        ),
    ),
}


def put(store, row):
    {ExperimentRow: store.put_experiment, TrialRow: store.put_trial, PhaseRow: store.put_phase}[
        type(row)
    ](row)


@pytest.mark.parametrize("table", EVERY_FIELD)
def test_another_manager_reads_every_field_as_it_was_written(path, table):
    read_row, row = EVERY_FIELD[table]
    defaults = {field.name: field.default for field in dataclasses.fields(row)}
    same = {name for name, default in defaults.items() if getattr(row, name) == default}
    unstored = {"intermediates", "last_intermediate", "intermediate_seq", "in_store"}
    assert same <= unstored, "no field of this test is at its default"
    store = Store(path)
    put(store, dataclasses.replace(row))
    store.commit()
    found = stored_row(path, table, read_row)
    if table == "phases":
        assert found.in_store
        found.in_store = False
    assert dataclasses.asdict(found) == dataclasses.asdict(row)
    store.close()


def test_a_phase_that_changes_is_written_anew_but_for_what_never_does(path):
    _, last = EVERY_FIELD["phases"]
    row = phase_row(0, index=3)
    store = Store(path)
    store.put_phase(row)
    store.commit()
    for field in dataclasses.fields(row):
        if field.name not in ("in_store", "customized", "checkpoint_removed"):
            setattr(row, field.name, getattr(last, field.name))
    store.put_phase(row)
    store.commit()
    assert dataclasses.asdict(
        stored_row(path, "phases", rows_module.phase_row)
    ) == dataclasses.asdict(row)
    store.close()


def test_the_least_that_is_known_of_a_row_is_read_too(store, path):
    store.put_experiment(
        experiment_row(max_trial_num=None, started_at=None, running_since=None, multi_phase=False)
    )
    store.add_phase(phase_row(0))
    store.commit()
    found = stored_row(path, "experiment", rows_module.experiment_row)
    assert (found.error, found.max_trial_num, found.multi_phase) == (None, None, False)
    assert (found.running_since, found.warning, found.checkpoint) == (None, None, None)
    trial = stored_row(path, "trials", rows_module.trial_row)
    assert dataclasses.asdict(trial) == dataclasses.asdict(trial_row())
    assert (trial.resends, trial.counts) == (False, True)
    phase = stored_row(path, "phases", rows_module.phase_row)
    assert (phase.parameters, phase.counts, phase.told) == (None, True, None)


@pytest.mark.parametrize(
    "status", [*sorted(ENDED), ExperimentStatus.STOPPING, ExperimentStatus.RUNNING]
)
def test_an_experiment_is_opened_again_however_it_was_left(store, path, status):
    row = experiment_row(status=status)
    store.reopen(row)
    store.commit()
    assert read_experiment(path).status == "RUNNING"


def test_an_illegal_transition_is_refused_and_not_counted(store, path):
    row = phase_row(0)
    store.add_phase(row)
    with pytest.raises(IllegalTransitionError, match="WAITING may not become SUCCEEDED"):
        store.set_phase_status(row, PhaseStatus.SUCCEEDED)
    store.commit()
    assert read_experiment(path).phases == {"WAITING": 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "ü\x00\ud800", [None, True], {}])
def test_any_value_that_json_can_say_comes_back(store, path, value):
    row = phase_row(0, parameters=encode(value), value=encode(value))
    store.add_phase(row)
    store.add_intermediate(row, encode(value), 1, T0)
    store.commit()
    (found,) = read_phases(path)
    assert [repr(found.parameters), repr(found.value)] == [repr(value)] * 2
    assert repr(found.intermediates) == repr((value,))


def test_large_parameters_and_results_come_back(store, path):
    large = encode({"weights": [0.125] * 40_000})
    assert len(large) > 200_000
    row = phase_row(0, parameters=large)
    store.add_phase(row)
    store.commit()
    row.value = large
    store.put_phase(row)
    store.commit()
    (found,) = read_phases(path)
    assert encode(found.parameters) == encode(found.value) == large


def test_intermediates_keep_their_order_over_commits(store, path):
    rows = [phase_row(0), phase_row(1)]
    append(store, *rows)
    for turn in range(3):
        for number in range(5):
            for row in rows:
                store.add_intermediate(row, encode([row.id, turn, number]), 1, T0)
        store.commit()
    expected = [(turn, number) for turn in range(3) for number in range(5)]
    for row, found in zip(rows, read_phases(path), strict=True):
        assert list(found.intermediates) == [[row.id, *pair] for pair in expected]


def test_the_run_that_goes_on_counts_as_duration(store, path):
    store.put_experiment(experiment_row(duration=100.0, running_since=T0))
    store.commit()
    assert read_experiment(path, now=T0 + 5).duration == 105.0


def test_a_run_whose_manager_died_counts_up_to_its_last_sign_of_life(store, path):
    store.put_experiment(experiment_row(duration=100.0, running_since=T0 + 10))
    store.add_phase(phase_row(0, requested_at=T0 + 12, started_at=T0 + 17))
    store.commit()
    assert read_experiment(path, now=None).duration == 107.0
    store.put_experiment(experiment_row(duration=100.0, running_since=None))
    store.commit()
    assert read_experiment(path, now=None).duration == 100.0


# -- counting and taking back ---------------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False])
def test_a_phase_taken_back_was_never_there(store, path, committed):
    row = phase_row(0)
    store.add_phase(row)
    if committed:
        store.commit()
        assert read_experiment(path).phases == {"WAITING": 1}
    store.remove_phase(row)
    again = phase_row(1, index=0)  # takes its place in the trial
    store.add_phase(again)
    store.commit()
    assert [phase.parameter_id for phase in read_phases(path)] == [1]
    assert_counts(path)


@pytest.mark.parametrize("committed", [True, False])
def test_a_trial_taken_back_was_never_there(store, path, committed):
    trial, phase = trial_row(1), phase_row(0, trial=1)
    store.put_trial(trial)
    store.add_phase(phase)
    if committed:
        store.commit()
    store.remove_phase(phase)
    store.remove_trial(trial)
    store.commit()
    assert [found.trial_id for found in read_trials(path)] == ["trial0"]
    assert_counts(path)


def test_a_sequence_id_can_be_used_again_in_the_turn_that_took_it_back(store, path):
    trial, phase = trial_row(1), phase_row(0, trial=1)
    store.put_trial(trial)
    store.add_phase(phase)
    store.commit()
    store.remove_phase(phase)
    store.remove_trial(trial)
    store.put_trial(TrialRow("another", 1, T0))
    store.add_phase(phase_row(1, trial=1, index=0))
    store.commit()
    assert [found.trial_id for found in read_trials(path)] == ["trial0", "another"]
    assert [phase.trial_id for phase in read_phases(path)] == ["another"]
    assert_counts(path)


class Refusing:
    """A connection that fails at statements which begin so."""

    def __init__(self, connection, statement, code):
        self._connection = connection
        self._statement = statement
        self._code = code

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *values):
        self._refuse(statement)
        return self._connection.execute(statement, *values)

    def executemany(self, statement, *values):
        self._refuse(statement)
        return self._connection.executemany(statement, *values)

    def _refuse(self, statement):
        if statement.startswith(self._statement):
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = self._code
            raise error


@contextlib.contextmanager
def refusing(store, statement, code=sqlite3.SQLITE_FULL):
    """Let the database refuse statements that begin so."""
    connection = store._connection
    store._connection = Refusing(connection, statement, code)
    try:
        yield
    finally:
        store._connection = connection


STATEMENTS = [
    "BEGIN",
    "DELETE FROM phases",
    "INSERT OR REPLACE INTO experiment",
    "INSERT OR REPLACE INTO trials",
    "INSERT INTO phases",
    "UPDATE phases",
    "INSERT OR REPLACE INTO phase_counts",
    "INSERT INTO intermediates",
    "INSERT INTO unanswered",
    "COMMIT",
]


class AnyChanges:
    """Changes a store as a list of numbers says, and knows what it must hold then."""

    def __init__(self, path):
        self.path = path
        self.store = Store(path)
        self.store.put_experiment(experiment_row())
        self.trials, self.rows = [], []
        self._numbers = itertools.count()

    def make(self, choice):
        action, choice = choice % 8, choice // 8
        if action == 0:
            self.check()
        elif action == 1 or not self.rows:
            self._add(choice)
        elif action == 2:
            self._take_back_newest_trial()
        elif action == 3:
            self._fail_to_commit(STATEMENTS[choice % len(STATEMENTS)])
        elif action == 4:
            self._let_another_manager_take_over()
        else:
            self._change(self.rows[choice % len(self.rows)], choice)

    def _add(self, choice):
        if not self.trials or choice % 3 == 0:
            self.trials.append(trial_row(len(self.trials)))
            self.store.put_trial(self.trials[-1])
        trial = self.trials[choice % len(self.trials)].sequence_id
        self.rows.append(phase_row(next(self._numbers), trial))
        self.store.add_phase(self.rows[-1])

    def _change(self, row, choice):
        if row.status is PhaseStatus.WAITING and choice % 3 == 0:
            self.rows.remove(row)
            self.store.remove_phase(row)
        elif PHASE_TRANSITIONS[row.status]:
            after = sorted(PHASE_TRANSITIONS[row.status])
            self.store.set_phase_status(row, after[choice % len(after)])

    def _take_back_newest_trial(self):
        own = [row for row in self.rows if row.sequence_id == len(self.trials) - 1]
        if all(row.status is PhaseStatus.WAITING for row in own):
            for row in own:
                self.rows.remove(row)
                self.store.remove_phase(row)
            self.store.remove_trial(self.trials.pop())

    def _fail_to_commit(self, statement):
        with contextlib.suppress(StoreError), refusing(self.store, statement):
            self.store.commit()

    def _let_another_manager_take_over(self):
        self.store.commit()
        die(self.store, self.path)
        self.store = Store(self.path)

    def check(self):
        self.store.commit()
        assert_counts(self.path)
        assert [phase.parameter_id for phase in read_phases(self.path)] == [
            row.parameter_id for row in self.rows
        ]
        assert len(read_trials(self.path)) == len(self.trials)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**16), max_size=60))
def test_counters_and_rows_never_differ(choices):
    with tempfile.TemporaryDirectory() as directory:
        changes = AnyChanges(Path(directory) / "experiment.db")
        for choice in choices:
            changes.make(choice)
        changes.check()
        changes.store.close()


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.fixture
def full_disk(store):
    """Let the database not grow until called."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    return lambda: store._connection.execute("PRAGMA max_page_count=1000000")


def test_what_a_full_disk_refused_is_written_later(store, path, full_disk):
    large = encode("x" * 100_000)
    rows = [phase_row(0, parameters=large), phase_row(1, parameters=large)]
    append(store, *rows)
    store.add_intermediate(rows[0], "1", 1, T0)
    store.put_trial(trial_row(1))
    with pytest.raises(
        StoreError, match="cannot write to the store: database or disk is full"
    ) as refused:
        store.commit()
    assert refused.value.may_pass
    assert store.pending
    assert read_phases(path) == []
    assert read_experiment(path).phases == {}
    full_disk()
    store.commit()
    assert not store.pending
    assert [len(phase.parameters) for phase in read_phases(path)] == [100_000] * 2
    assert read_phases(path)[0].intermediates == (1,)
    assert len(read_trials(path)) == 2
    assert_counts(path)


def dump(path):
    """Return all that a store holds, as text."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def change_everything(path):
    """Return a store in which something of each kind is pending."""
    store = Store(path)
    store.put_experiment(experiment_row())
    store.put_trial(trial_row())
    rows = [phase_row(number) for number in range(3)]
    append(store, *rows)
    store.commit()
    rows[0].parameters = "[1]"
    store.set_phase_status(rows[0], PhaseStatus.RUNNING)
    store.add_intermediate(rows[0], "0.5", 1, T0)
    store.add_unanswered(2, 2, "trial0", False)
    store.remove_phase(rows[2])
    store.put_trial(trial_row(1))
    store.add_phase(phase_row(3, trial=1, index=0))
    store.put_experiment(experiment_row(reason="changed"))
    return store


@pytest.mark.parametrize("statement", STATEMENTS)
def test_wherever_a_commit_fails_nothing_is_written_and_later_everything_once(
    path, tmp_path, statement
):
    store, untroubled = change_everything(path), change_everything(tmp_path / "untroubled.db")
    before = dump(path)
    for _ in range(2):
        with refusing(store, statement), pytest.raises(StoreError, match="to the store: refused"):
            store.commit()
        assert store.pending
        assert dump(path) == before
    store.commit()
    assert not store.pending
    untroubled.commit()
    assert dump(path) == dump(tmp_path / "untroubled.db") != before
    store.commit()
    assert dump(path) == dump(tmp_path / "untroubled.db")
    store.close()
    untroubled.close()


@pytest.mark.parametrize(
    ("code", "may_pass"),
    [
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED, True),
        (sqlite3.SQLITE_READONLY, True),
        (sqlite3.SQLITE_READONLY_DIRECTORY, True),
        (sqlite3.SQLITE_IOERR, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_CANTOPEN, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CORRUPT_INDEX, False),
        (sqlite3.SQLITE_NOTADB, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, False),
        (sqlite3.SQLITE_ERROR, False),
    ],
)
def test_which_trouble_may_pass(store, code, may_pass):
    store.add_phase(phase_row(0))
    with refusing(store, "COMMIT", code), pytest.raises(StoreError) as failed:
        store.commit()
    assert failed.value.may_pass is may_pass


def test_what_a_lock_of_another_process_holds_up_is_written_when_it_is_gone(store, path):
    store.add_phase(phase_row(0, parameters="[1]"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked") as locked:
            store.commit()
        assert locked.value.may_pass
        assert store.pending
    store.commit()
    assert [phase.parameters for phase in read_phases(path)] == [[1]]
    assert_counts(path)


def test_a_lock_is_waited_for_no_longer_than_trials_should_wait(store):
    # In milliseconds; the loop stands still meanwhile.
    assert store._connection.execute("PRAGMA busy_timeout").fetchone() == (100,)


def test_a_disk_that_is_read_only_for_a_time_loses_nothing(store, path):
    store.add_phase(phase_row(0))
    store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(StoreError, match="readonly") as refused:
        store.commit()
    assert refused.value.may_pass
    store._connection.execute("PRAGMA query_only=0")
    store.commit()
    assert len(read_phases(path)) == 1


def damage(path, table):
    """Overwrite the page that a table begins on."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = connection.execute(query, [table]).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    path.write_bytes(content)


def test_a_damaged_store_is_no_trouble_that_passes(store, path):
    store.add_phase(phase_row(0))
    store.close()
    damage(path, "phases")
    store = Store(path)
    store.add_phase(phase_row(1))
    with pytest.raises(StoreError, match="malformed") as refused:
        store.commit()
    assert not refused.value.may_pass
    assert store.pending
    os.close(store._wal_fd)
    store._connection.close()


def test_a_store_whose_counters_are_damaged_cannot_be_opened(store, path):
    store.add_phase(phase_row(0))
    store.close()
    damage(path, "phase_counts")
    with pytest.raises(StoreError, match=f"cannot open the store {path}: .*malformed"):
        Store(path)


def test_a_store_is_opened_when_those_who_read_it_have_looked(store, path, monkeypatch):
    store.close()
    with StoreReader(path) as reader:
        assert reader.experiment(T0)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "_READER_PATIENCE", 0.0)
            with pytest.raises(StoreError, match="database is locked"):
                Store(path)
        thread = threading.Thread(target=lambda: Store(path).close())
        thread.start()
    thread.join()
    assert files(path) == [path.name]


def test_readers_are_waited_for_longer_while_no_trial_waits(path, monkeypatch):
    waits = []

    class Watched(sqlite3.Connection):
        def execute(self, statement, *values):
            if statement == "PRAGMA journal_mode=WAL":
                waits.extend(super().execute("PRAGMA busy_timeout").fetchone())
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Watched))
    Store(path).close()
    assert waits == [2000]


def test_unanswered_asks_are_on_record_once(store, path):
    store.add_unanswered(3, 7, "trial0", True)
    assert store.pending
    store.commit()
    assert not store.pending
    store.add_unanswered(3, 8, "trial1", True)
    store.add_unanswered(4, 9, "trial0", False)
    store.commit()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM unanswered ORDER BY asked, parameter_id")
        assert list(rows) == [(3, 7, "trial0", 1), (3, 8, "trial1", 1), (4, 9, "trial0", 0)]


def test_text_that_no_database_takes_is_an_error_and_not_the_end(store, path):
    row = phase_row(0)
    store.add_phase(row)
    row.reason = "\ud800"
    with pytest.raises(StoreError, match="surrogates not allowed") as refused:
        store.commit()
    assert not refused.value.may_pass
    row.reason = "said otherwise"
    store.commit()
    assert read_phases(path)[0].reason == "said otherwise"


def test_a_sync_reaches_the_file_that_holds_the_commits(store, path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_ino))
    monkeypatch.setattr(sys, "platform", "linux")
    store.add_phase(phase_row(0))
    store.commit()
    assert synced == []
    store.sync()
    assert synced == [Path(f"{path}-wal").stat().st_ino]


def test_a_disk_that_does_not_take_a_sync_is_an_error(store, monkeypatch):
    def fail(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(StoreError, match=r"cannot write the store to disk: .*Input/output"):
        store.sync()


@pytest.mark.parametrize("opened_by", [Store, StoreReader])
def test_a_file_that_is_no_database_is_refused(path, opened_by):
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(StoreError, match=f"the store {path}: file is not a database"):
        opened_by(path)


@pytest.mark.parametrize("opened_by", [Store, StoreReader])
def test_a_store_of_a_newer_mpx_is_refused_and_left_as_it_is(store, path, opened_by):
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer mpx \(store version 99.*upgrade mpx"):
        opened_by(path)
    assert path.read_bytes() == before
    assert files(path) == [path.name]


def test_a_store_that_is_not_there_is_an_error_to_a_reader_and_not_made(path):
    with pytest.raises(StoreError, match=f"cannot read the store {path}"):
        StoreReader(path)
    assert not path.exists()


def test_a_store_in_no_directory_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(tmp_path / "nowhere" / "experiment.db")


def test_a_store_whose_log_cannot_be_opened_is_an_error(path, monkeypatch):
    def refuse(file, flags):
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match=r"cannot open the store .*experiment.db-wal"):
        Store(path)


def test_a_store_without_tables_holds_no_experiment(path):
    path.touch()
    assert read_experiment(path) is None


def test_a_store_without_an_experiment_holds_none(path):
    store = Store(path)
    assert read_experiment(path) is None
    store.close()


def test_tables_are_made_once(store, path):
    store.close()
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert len(read_trials(path)) == 1


# -- readers and other processes ------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests.test_store import *

store = Store(Path(sys.argv[1]))
store.put_experiment(experiment_row())
store.put_trial(trial_row())
store.commit()
print("ready", flush=True)
number = 0
for line in sys.stdin:
    for _ in range(int(line)):
        row = phase_row(number)
        store.add_phase(row)
        store.commit()
        row.value, row.score = "1", 1.0
        store.set_phase_status(row, PhaseStatus.RUNNING)
        store.set_phase_status(row, PhaseStatus.SUCCEEDED)
        store.commit()
        number += 1
    print(number, flush=True)
"""


@pytest.fixture
def writer(path):
    """Another process that appends as many phases as each line says, and then says how many there are."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def ask(writer, phases):
    writer.stdin.write(f"{phases}\n")


def test_what_a_reader_sees_is_of_one_moment(writer, path):
    ask(writer, 3)
    assert writer.stdout.readline() == "3\n"
    with StoreReader(path) as reader:
        assert reader.experiment(T0).phases == {"SUCCEEDED": 3}
        ask(writer, 3)
        assert writer.stdout.readline() == "6\n"
        assert reader.experiment(T0).phases == {"SUCCEEDED": 3}
        assert len(list(reader.phases())) == 3
    assert read_experiment(path).phases == {"SUCCEEDED": 6}


def test_counters_and_rows_agree_at_every_moment_of_a_busy_writer(writer, path):
    ask(writer, 500)
    seen = 0
    while seen < 500:
        assert_counts(path)
        seen = read_experiment(path).phases.get("SUCCEEDED", 0)
    assert writer.stdout.readline() == "500\n"


def test_sigkill_of_the_writer_costs_nothing_that_was_committed(writer, path):
    ask(writer, 50)
    assert writer.stdout.readline() == "50\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert read_experiment(path).phases == {"SUCCEEDED": 50}
    assert_counts(path)


# -- the end of writing ---------------------------------------------------------------------------


def test_after_a_clean_end_the_one_file_is_everything(store, path, tmp_path):
    store.add_phase(phase_row(0))
    store.close()
    assert files(path) == [path.name]
    copy = tmp_path / "elsewhere" / "copy.db"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    copy.chmod(0o400)
    copy.parent.chmod(0o500)
    with StoreReader(copy) as reader:
        assert len(list(reader.phases())) == 1
        # Root may write anywhere, so look that nothing was.
        assert files(copy) == [copy.name]
    copy.parent.chmod(0o700)


def test_the_end_waits_for_a_reader_that_looks(store, path, monkeypatch):
    store.add_phase(phase_row(0))
    reader = StoreReader(path).__enter__()
    assert reader.experiment(T0)
    monkeypatch.setattr(store_module.time, "sleep", lambda seconds: reader.__exit__())
    store.close()
    assert files(path) == [path.name]
    assert len(read_phases(path)) == 1


def test_a_reader_that_stays_costs_nothing(store, path, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_READER_PATIENCE", 0.0)
    store.add_phase(phase_row(0))
    store.commit()
    with StoreReader(path) as reader:
        assert reader.experiment(T0)
        store.close()
        copy = tmp_path / "copy.db"
        shutil.copy(path, copy)
    assert len(read_phases(path)) == len(read_phases(copy)) == 1


def test_the_end_writes_what_is_pending(store, path):
    store.put_trial(trial_row(1))
    store.close()
    assert len(read_trials(path)) == 2


# -- reading --------------------------------------------------------------------------------------


@pytest.fixture
def scored(store, path):
    """Phases with these scores; the fourth has none, the fifth failed."""
    store.put_trial(trial_row(1))
    for number, score in enumerate([0.5, 0.9, -2.0, None, 7.0, 0.9]):
        status = PhaseStatus.FAILED if score == 7.0 else PhaseStatus.SUCCEEDED
        store.add_phase(phase_row(number, trial=number % 2, status=status, score=score))
    store.commit()
    return path


def ids(path, **wanted):
    return [phase.parameter_id for phase in read_phases(path, **wanted)]


def test_the_top_phases_come_best_first_and_the_earlier_of_equals_first(scored):
    assert ids(scored, top=10) == [1, 5, 0, 2]
    assert ids(scored, top=10, optimize_mode="minimize") == [2, 0, 1, 5]
    assert ids(scored, top=2) == [1, 5]
    assert ids(scored, top=0) == []


def test_phases_come_in_the_order_of_asking(scored):
    assert ids(scored) == [0, 1, 2, 3, 4, 5]


def test_the_phases_that_a_trial_has_open(store, path):
    store.put_trial(trial_row())
    statuses = [PhaseStatus.SUCCEEDED, PhaseStatus.RUNNING, PhaseStatus.FAILED, PhaseStatus.WAITING]
    for number, status in enumerate(statuses):
        store.add_phase(phase_row(number, status=status))
    store.commit()
    found = read(path, lambda reader: reader.open_phases(0))
    assert [phase.phase_index for phase in found] == [1, 3]
    assert read(path, lambda reader: reader.open_phases(9)) == []


def test_a_phase_has_the_parents_of_its_last_try(store, path):
    store.put_trial(trial_row())
    rows = [phase_row(number, parent=parent) for number, parent in enumerate([None, 0, 0, 2])]
    again = phase_row(4, parent=1)
    again.parameter_id = 3
    for row in [*rows, again]:
        store.add_phase(row)
    store.commit()
    found = read(path, lambda reader: reader.lineage(3))
    assert [(phase.parameter_id, phase.phase_index) for phase in found] == [(0, 0), (1, 1), (3, 4)]
    assert read(path, lambda reader: reader.lineage(9)) == []
    assert read(path, lambda reader: reader.has_lineage())


def test_phases_of_one_trial_alone(scored):
    assert ids(scored, trial_id="trial1") == [1, 3, 5]
    assert ids(scored, trial_id="trial0", top=1) == [0]
    assert ids(scored, trial_id="nobody") == []


def test_the_last_phase_of_a_trial(scored):
    assert read(scored, lambda reader: reader.last_phase(0).parameter_id) == 4
    assert read(scored, lambda reader: reader.last_phase(9)) is None


def test_the_newest_trials_of_a_status(store, path):
    for number in range(5):
        status = TrialStatus.RUNNING if number % 2 else TrialStatus.FAILED
        store.put_trial(trial_row(number, status=status))
    store.commit()
    newest = read(path, lambda reader: reader.newest_trials(TrialStatus.FAILED, 2))
    assert [trial.sequence_id for trial in newest] == [4, 2]


def test_the_pace_is_of_those_of_the_newest_phases_that_ended_but_no_trials_first(store, path):
    assert read(path, lambda reader: reader.pace(10)) is None
    for number in range(4):
        row = phase_row(number, started_at=T0 + number + 2, ended_at=T0 + number + 2 + 10 * number)
        store.add_phase(row)
    store.add_phase(phase_row(4))
    store.commit()
    assert read(path, lambda reader: reader.pace(3)) == (2, 2.0, 25.0)
    assert read(path, lambda reader: reader.pace(10)) == (3, 2.0, 20.0)


def test_phases_that_are_open_at_the_same_time_share_their_waiting_and_their_work(store, path):
    for number in range(1, 5):
        store.add_phase(
            phase_row(number, started_at=T0 + number % 2 + 6, ended_at=T0 + 2 * number + 6)
        )
    store.commit()
    assert read(path, lambda reader: reader.pace(10)) == (4, 2.0, 2.25)


LOOKS = {
    "the experiment": lambda reader: reader.experiment(T0),
    "the trials": lambda reader: reader.trials(),
    "the last phase": lambda reader: reader.last_phase(0),
    "the newest trials": lambda reader: reader.newest_trials(TrialStatus.RUNNING, 3),
    "the pace": lambda reader: reader.pace(100),
}


def steps(path, look):
    """Return how many instructions SQLite's machine needs."""
    taken = [0]

    def step():
        taken[0] += 1

    with StoreReader(path) as reader:
        reader._connection.set_progress_handler(step, 1)
        look(reader)
    return taken[0]


def append_ended(store, numbers):
    for number in numbers:
        row = phase_row(number, status=PhaseStatus.SUCCEEDED, value="1", score=1.0)
        row.started_at = row.ended_at = T0
        store.add_phase(row)
    store.commit()


def test_what_status_shows_costs_the_same_at_a_hundred_thousand_phases(store, path):
    store.put_experiment(experiment_row(best_phase=50))
    append_ended(store, range(1_000))
    before = {name: steps(path, look) for name, look in LOOKS.items()}
    for start in range(1_000, 100_000, 1_000):
        append_ended(store, range(start, start + 1_000))
    assert read_experiment(path).phases == {"SUCCEEDED": 100_000}
    after = {name: steps(path, look) for name, look in LOOKS.items()}
    # A deeper tree is a few steps more, and not a hundred times as many.
    assert {name: count for name, count in after.items() if count > 2 * before[name] + 100} == {}


# -- the store of a manager that died -------------------------------------------------------------


@pytest.fixture
def interrupted(path):
    """The store of a manager that was killed.

    Trial 0 had ended; 1 ran; 2 had not begun and its parameters were asked for; those of 3 were there;
    4 ran, and waited for the tuner.
    """
    store = Store(path)
    store.put_experiment(experiment_row(duration=100.0, running_since=T0 + 10))
    done, running = PhaseStatus.SUCCEEDED, TrialStatus.RUNNING
    store.put_trial(trial_row(0, status=TrialStatus.FAILED, reason="mine", ended_at=T0 + 20))
    append(store, phase_row(0, status=done, ended_at=T0 + 15), phase_row(1, status=done))
    store.put_trial(trial_row(1, status=running, started_at=T0 + 25))
    append(
        store,
        phase_row(2, trial=1, status=done, started_at=T0 + 30, ended_at=T0 + 50),
        phase_row(3, 1, status=PhaseStatus.RUNNING, parameters="[3]", started_at=T0 + 50),
    )
    store.put_trial(trial_row(2))
    store.put_trial(trial_row(3))
    append(store, phase_row(4, 2, asked=9), phase_row(5, 3, asked=9, parameters="[5]"))
    store.put_trial(trial_row(4, status=running, started_at=T0 + 25))
    append(store, phase_row(6, 4, status=done, parameters="[6]"), phase_row(7, 4, request_seq=3))
    store.commit()
    die(store, path)
    return path


def test_closing_an_interrupted_store_ends_all_that_was_open(interrupted):
    path = interrupted
    close_interrupted(path, "the manager died", T0 + 1000)
    found = read_experiment(path, now=T0 + 2000)
    assert (found.status, found.reason, found.ended_at) == (
        "STOPPED",
        "the manager died",
        T0 + 1000,
    )
    assert found.trials == {"FAILED": 1, "USER_CANCELED": 3}
    assert found.phases == {"SUCCEEDED": 4, "LOST": 2}
    assert_counts(path)
    ended, *open_ones = read_trials(path)
    assert (ended.status, ended.reason, ended.ended_at) == ("FAILED", "mine", T0 + 20)
    assert [trial.sequence_id for trial in open_ones] == [1, 3, 4]
    for trial in open_ones:
        assert (trial.status, trial.reason) == ("USER_CANCELED", "the manager died")
        assert trial.ended_at == T0 + 1000
    lost = [phase for phase in read_phases(path) if phase.status == "LOST"]
    assert [phase.parameter_id for phase in lost] == [3, 5]
    for phase in lost:
        assert (phase.reason, phase.ended_at) == ("its trial ended: the manager died", T0 + 1000)


def test_where_the_tuner_had_not_answered_nothing_began(interrupted):
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    assert [phase.parameter_id for phase in read_phases(interrupted)] == [0, 1, 2, 3, 5, 6]
    assert "trial2" not in {trial.trial_id for trial in read_trials(interrupted)}
    with contextlib.closing(sqlite3.connect(interrupted)) as connection:
        counted = connection.execute("SELECT sequence_id FROM phase_counts ORDER BY 1").fetchall()
    assert counted == [(-1,), (0,), (1,), (3,), (4,)]


def test_what_was_ended_so_is_offered_again_and_counts_for_no_limit(interrupted):
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    past = StoredHistory(interrupted).read()
    assert past.offers == [Offer(3, "[3]", 0), Offer(5, "[5]", 0)]
    assert (past.phases_begun, past.trials_begun, past.trials) == (4, 1, [])
    # The tuner was told of the end of no phase that it is asked about again.
    assert 3 not in {row.parameter_id for row, _ in past.untold_phases}


def test_a_closed_interrupted_store_can_be_interrupted_again(interrupted):
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    store = Store(interrupted)
    row = experiment_row(running_since=T0 + 2000, duration=140.0)
    store.put_experiment(row)
    store.put_trial(trial_row(5, status=TrialStatus.RUNNING))
    again = phase_row(8, trial=5, index=0, status=PhaseStatus.RUNNING)
    again.parameter_id, again.parameters = 3, "[3]"
    store.add_phase(again)
    store.close()
    close_interrupted(interrupted, "it died again", T0 + 3000)
    assert_counts(interrupted)
    found = read_experiment(interrupted)
    assert (found.phases, found.reason) == ({"SUCCEEDED": 4, "LOST": 3}, "it died again")
    assert read_trials(interrupted)[1].reason == "the manager died"
    past = StoredHistory(interrupted).read()
    assert past.offers == [Offer(3, "[3]", 0), Offer(5, "[5]", 0)]


ENDED_PHASE = st.tuples(
    st.sampled_from(sorted(status for status, after in PHASE_TRANSITIONS.items() if not after)),
    st.booleans(),
)
NEWEST_PHASE = st.sampled_from(
    [None, (PhaseStatus.WAITING, None), (PhaseStatus.WAITING, "[1]"), (PhaseStatus.RUNNING, "[1]")]
)
ANY_TRIAL = st.tuples(
    st.sampled_from([TrialStatus.WAITING, TrialStatus.RUNNING, TrialStatus.FAILED]),
    st.lists(ENDED_PHASE, max_size=3),
    NEWEST_PHASE,
)


def store_any(store, trials):
    """Put trials of any kind into a store; return what is to be of their phases."""
    expected = []
    for number, (status, ended, newest) in enumerate(trials):
        store.put_trial(trial_row(number, status=status))
        phases = [(status, "[1]", counts) for status, counts in ended]
        if newest and status != TrialStatus.FAILED:
            phases.append((*newest, True))
        for index, (phase_status, parameters, counts) in enumerate(phases):
            row = phase_row(len(expected), number, index, status=phase_status)
            row.parameters, row.counts = parameters, counts
            store.add_phase(row)
            if phase_status not in ("WAITING", "RUNNING"):
                expected.append((number, index, phase_status, counts))
            elif parameters is not None:
                expected.append((number, index, "LOST", False))
            else:
                expected.append(None)
    return [row for row in expected if row is not None]


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TRIAL, max_size=5))
def test_whatever_was_open_is_closed_and_counted_right(trials):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "experiment.db"
        store = Store(path)
        store.put_experiment(experiment_row())
        expected = store_any(store, trials)
        store.close()
        close_interrupted(path, "the manager died", T0 + 1000)
        assert_counts(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            phases = "SELECT sequence_id, phase_index, status, counts FROM phases ORDER BY id"
            assert list(connection.execute(phases)) == expected
            having_phases = {row[0] for row in expected}
            statuses = "SELECT sequence_id, status, counts FROM trials ORDER BY sequence_id"
            assert list(connection.execute(statuses)) == [
                (number, *(("FAILED", 1) if status == "FAILED" else ("USER_CANCELED", 0)))
                for number, (status, *_) in enumerate(trials)
                if status != "WAITING" or number in having_phases
            ]


def test_an_interrupted_run_counts_up_to_its_last_sign_of_life(interrupted):
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    # From T0 + 10 to T0 + 50, the end of phase 2; after 100 s of earlier runs.
    assert read_experiment(interrupted, now=T0 + 2000).duration == 140.0


def test_an_intermediate_result_is_a_sign_of_life(interrupted):
    store = Store(interrupted)
    row = phase_row(3, trial=1)
    store.add_intermediate(row, "1", 1, T0 + 70)
    store.close()
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    assert read_experiment(interrupted).duration == 160.0


def test_a_closed_interrupted_store_is_one_file(interrupted):
    assert len(files(interrupted)) == 3
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    assert files(interrupted) == [interrupted.name]


def test_closing_what_had_ended_changes_nothing(store, path):
    ended = experiment_row(status=ExperimentStatus.DONE, reason="enough", running_since=None)
    ended.ended_at, ended.duration = T0 + 5, 4.0
    store.put_experiment(ended)
    store.put_trial(trial_row(0, status=TrialStatus.SUCCEEDED))
    store.close()
    close_interrupted(path, "the manager died", T0 + 1000)
    found = read_experiment(path)
    assert (found.status, found.reason, found.ended_at) == ("DONE", "enough", T0 + 5)
    assert found.duration == 4.0


def test_an_experiment_that_had_failed_keeps_its_failure(interrupted):
    store = Store(interrupted)
    error = ErrorRecord("ValueError", "no", "Traceback …")
    store.put_experiment(
        experiment_row(status=ExperimentStatus.ERROR, reason="the tuner failed", error=error)
    )
    store.close()
    close_interrupted(interrupted, "the manager died", T0 + 1000)
    found = read_experiment(interrupted)
    assert (found.status, found.reason, found.error) == ("ERROR", "the tuner failed", error)
    assert found.ended_at == T0 + 1000
    assert found.trials == {"FAILED": 1, "USER_CANCELED": 3}


def test_an_experiment_stopped_while_initializing_has_no_duration(path):
    store = Store(path)
    row = experiment_row(status=ExperimentStatus.INITIALIZING, started_at=None, running_since=None)
    store.put_experiment(row)
    store.close()
    close_interrupted(path, "the manager died", T0 + 1000)
    assert (read_experiment(path).status, read_experiment(path).duration) == ("STOPPED", 0.0)


def test_a_store_that_cannot_be_closed_is_an_error(path):
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(StoreError, match=f"cannot close the store {path}: file is not a database"):
        close_interrupted(path, "the manager died", T0)
