"""Databases of older versions: they still open, and hold what they held."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3

import pytest

from mpx import migrations, rows
from mpx.errors import StoreError
from mpx.history import StoredHistory
from mpx.migrations import MIGRATIONS
from mpx.records import PhaseStatus
from mpx.rows import ExperimentRow, PhaseRow, TrialRow
from mpx.store import Store, close_interrupted
from mpx.store_reader import StoreReader
from mpx.tuner_calls import Recorded, Tell
from tests.counts import assert_counts
from tests.stored import T0, phase_row

VERSIONS = range(1, len(MIGRATIONS))

# As mpx wrote it that had the first version: calls of the tuner had no numbers.
ROWS_OF_VERSION_1 = f"""
INSERT INTO experiment (id, name, status, created_at, started_at, duration, running_since,
    multi_phase, trial_concurrency, max_phase_num, optimize_mode, seed, best_phase)
    VALUES ('Old12345', 'digits', 'RUNNING', {T0}, {T0 + 1}, 10.0, {T0 + 2}, 1, 2, 9, 'minimize', 7, 1);
INSERT INTO trials (sequence_id, trial_id, status, reason, created_at, started_at, ended_at,
    exit_status, pid, process_start, session)
    VALUES (0, 'trial0', 'SUCCEEDED', 'exit status 0', {T0}, {T0 + 1}, {T0 + 9}, 0, 41, 'b:1', 'x'),
    (1, 'trial1', 'RUNNING', NULL, {T0}, {T0 + 1}, NULL, NULL, 42, 'b:2', 'y');
INSERT INTO phases (id, sequence_id, phase_index, parameter_id, status, reason, parameters, value,
    score, request_seq, final_seq, requested_at, started_at, ended_at)
    VALUES (1, 0, 0, 0, 'SUCCEEDED', NULL, '{{"n":0}}', '0.5', 0.5, 2, 3, {T0}, {T0 + 2}, {T0 + 3}),
    (2, 0, 1, 1, 'FAILED', 'KeyError: x', '{{"n":1}}', NULL, NULL, 4, 5, {T0}, {T0 + 4}, {T0 + 5}),
    (3, 1, 0, 2, 'RUNNING', NULL, '{{"n":2}}', NULL, NULL, 2, NULL, {T0}, {T0 + 2}, NULL);
INSERT INTO intermediates VALUES (1, 0, '0.1', 3, {T0 + 2.5}), (3, 0, '0.2', 3, {T0 + 22});
INSERT INTO phase_counts VALUES (-1, 0, 1, 1, 1, 0, 0, 0), (0, 0, 0, 1, 1, 0, 0, 0),
    (1, 0, 1, 0, 0, 0, 0, 0);
"""


def make(path, version, script=""):
    """Make a database as an mpx made it that knew so many changes."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for change in MIGRATIONS[:version]:
            connection.executescript(change)
        connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "experiment.db"


@pytest.fixture
def old(path):
    """A database of version 1, as a manager left it that was killed."""
    make(path, 1, ROWS_OF_VERSION_1)
    return path


def ask(path, query):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def assert_holds(path):
    """A reader finds all that version 1 held."""
    with StoreReader(path) as reader:
        experiment = reader.experiment(T0 + 30)
        assert (experiment.id, experiment.status, experiment.phases) == (
            "Old12345",
            "RUNNING",
            {"RUNNING": 1, "SUCCEEDED": 1, "FAILED": 1},
        )
        assert (experiment.duration, experiment.best.parameters) == (38.0, {"n": 0})
        assert [(trial.trial_id, trial.status) for trial in reader.trials()] == [
            ("trial0", "SUCCEEDED"),
            ("trial1", "RUNNING"),
        ]
        found = [(p.status, p.parameters, p.value, p.intermediates) for p in reader.phases()]
        assert found == [
            ("SUCCEEDED", {"n": 0}, 0.5, (0.1,)),
            ("FAILED", {"n": 1}, None, ()),
            ("RUNNING", {"n": 2}, None, (0.2,)),
        ]


def test_a_reader_needs_no_change(old):
    before = old.read_bytes()
    assert_holds(old)
    assert old.read_bytes() == before


def test_a_writer_brings_it_up_to_date_and_counts_on(old):
    store = Store(old)
    assert ask(old, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert_holds(old)
    store.add_phase(phase_row(3, trial=1, index=1))
    store.commit()
    assert_counts(old)
    store.close()
    Store(old).close()
    assert ask(old, "SELECT counts, count(*) FROM phases GROUP BY counts") == [(1, 4)]
    assert ask(old, "SELECT DISTINCT counts, attempt, resends, seq, told FROM trials") == [
        (1, 0, 0, None, None)
    ]


def test_its_history_reads(old):
    Store(old).close()
    past = StoredHistory(old).read()
    assert (past.experiment.id, past.experiment.best_phase, past.best_score) == ("Old12345", 1, 0.5)
    assert (past.experiment.warning, past.experiment.checkpoint) == (None, None)
    # 10 s before, and from T0 + 2 to its last sign of life, at T0 + 22.
    assert (past.experiment.duration, past.experiment.running_since) == (30.0, None)
    assert (past.next_phase_id, past.next_parameter_id, past.next_sequence_id) == (4, 3, 2)
    assert (past.last_call, past.phases_begun, past.trials_begun) == (0, 3, 2)
    assert past.offers == []
    # All of it is told to the new tuner: no call has a number.
    assert list(StoredHistory(old).calls(0)) == []
    assert StoredHistory(old).parameters(0) == {0: '{"n":0}', 1: '{"n":1}', 2: '{"n":2}'}
    assert [(row.parameter_id, trial) for row, trial in past.untold_phases] == [
        (0, "trial0"),
        (1, "trial0"),
    ]
    assert [(row.trial_id, first) for row, first in past.untold_trials] == [("trial0", 0)]
    (left,) = past.trials
    assert (left.row.trial_id, left.unended[0].parameter_id, left.last_seq) == ("trial1", 2, 3)
    assert left.has_spoken
    assert not left.row.resends


def test_what_is_told_from_then_on_has_a_number(old):
    store = Store(old)
    phase, trial = StoredHistory(old).read().untold_phases[0]
    phase.told = 1
    store.put_phase(phase)
    store.close()
    assert list(StoredHistory(old).calls(0)) == [Recorded(Tell(0, 0.5, trial), {})]


def test_its_history_is_an_error_before_it_is_up_to_date(old):
    before = old.read_bytes()
    with pytest.raises(StoreError, match=f"cannot read the store {old}: no such"):
        StoredHistory(old).read()
    assert old.read_bytes() == before


def test_one_that_was_interrupted_can_be_closed(old):
    close_interrupted(old, "the manager died", T0 + 1000)
    assert_counts(old)
    past = StoredHistory(old).read()
    assert [offer.parameter_id for offer in past.offers] == [2]
    assert past.experiment.duration == 30.0
    with StoreReader(old) as reader:
        assert reader.experiment(T0).status == "STOPPED"
        assert [phase.status for phase in reader.phases()][-1] == PhaseStatus.LOST


# -- any version ----------------------------------------------------------------------------------


def columns(path):
    """Return each table's columns: their names, types, defaults and whether NULL is allowed."""
    tables = [name for (name,) in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        table: sorted(row[1:] for row in ask(path, f"PRAGMA table_info({table})"))
        for table in tables
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_database_becomes_what_a_new_one_is(path, tmp_path, version):
    make(path, version)
    Store(path).close()
    Store(tmp_path / "new.db").close()
    assert columns(path) == columns(tmp_path / "new.db")


@pytest.mark.parametrize(
    ("table", "row", "listed"),
    [
        ("experiment", ExperimentRow, rows._EXPERIMENT_COLUMNS),
        ("trials", TrialRow, rows._TRIAL_COLUMNS),
        ("phases", PhaseRow, rows._PHASE_COLUMNS),
    ],
)
def test_every_column_is_written_and_has_its_field(path, table, row, listed):
    Store(path).close()
    found = {name for name, *_ in columns(path)[table]}
    assert found == set(re.split(r",\s+", listed))
    fields = {field.name for field in dataclasses.fields(row)} - {
        "intermediates",
        "last_intermediate",
        "intermediate_seq",
        "in_store",
    }
    if row is ExperimentRow:
        fields = fields - {"error"} | {"error_type", "error_message", "error_traceback"}
    assert found == fields


@pytest.mark.parametrize("flaw", ["nonsense", "ALTER TABLE trials ADD COLUMN counts INTEGER"])
def test_a_change_that_fails_changes_nothing(old, monkeypatch, flaw):
    script = f"CREATE TABLE news (x); {flaw};"
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, script))
    with pytest.raises(StoreError, match=f"cannot open the store {old}"):
        Store(old)
    # Those before it are done, each with its number.
    assert ask(old, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert "news" not in columns(old)
    monkeypatch.undo()
    Store(old).close()
    assert_holds(old)


def test_a_database_of_a_newer_mpx_is_refused(path):
    make(path, len(MIGRATIONS))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        migrations.check_version(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        with pytest.raises(StoreError, match=f"newer mpx .*this mpx knows {len(MIGRATIONS)}"):
            migrations.check_version(connection)
