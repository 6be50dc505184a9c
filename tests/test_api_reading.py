"""What readers see, whatever state the manager is in."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from mpx import api
from mpx.api import reading
from mpx.errors import UsageError
from mpx.processes import start_of
from mpx.records import ExperimentPaths, ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import ExperimentRow, TrialRow
from mpx.store import Store
from tests import stored
from tests.stored import MOMENT

RUNNING, WAITING = PhaseStatus.RUNNING, PhaseStatus.WAITING


def test_running_experiment_whose_manager_died_is_interrupted(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    record = api.show(paths)
    assert record.status == "INTERRUPTED"
    assert "manager died" in (record.reason or "")
    assert not record.manager_alive


def put_trials(paths: ExperimentPaths, *pids: int | None) -> None:
    """Let the experiment have trials that run as these processes; None: one that was not started."""
    store = Store(paths.store)
    for number, pid in enumerate(pids, 1):  # beside trial 0, which has ended
        row = TrialRow(f"trial{number}", number, MOMENT, TrialStatus.WAITING)
        if pid is not None:
            row.status, row.pid, row.process_start = TrialStatus.RUNNING, pid, start_of(pid)
        store.put_trial(row)
    store.commit()
    store.close()


DEAD = stored.DEAD_MANAGER["pid"]


@pytest.mark.parametrize(
    ("pids", "said"),
    [
        ([os.getpid()], "1 of its trials still runs and can go on"),
        ([os.getpid(), DEAD, os.getppid()], "2 of its trials still run and can go on"),
        ([DEAD, None], "None of its trials runs any more"),
        ([], "None of its trials runs any more"),
    ],
)
def test_interrupted_experiment_says_what_still_runs_and_what_to_type(
    tmp_path: Path, pids: list[int | None], said: str
) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    put_trials(paths, *pids)
    assert api.show(paths).reason == (
        "the manager died without ending the experiment; `mpx logs Ab3dEf12 --manager` may tell why."
        f" {said}: `mpx resume Ab3dEf12` takes everything up again, `mpx stop Ab3dEf12` ends what is"
        " left"
    )


def test_interrupted_experiment_without_a_record_says_that_something_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    paths.store.unlink()
    assert "None of its trials runs any more: `mpx" in (api.show(paths).reason or "")
    monkeypatch.setattr(reading, "processes_of", lambda paths: [os.getpid()])
    assert "Something that its trials started still runs: `mpx" in (api.show(paths).reason or "")


@pytest.mark.parametrize(
    ("pid", "is_gone"),
    [(os.getpid(), False), (DEAD, True), (None, True)],
    ids=["alive", "dead", "none"],
)
def test_trial_without_a_process_is_told_from_others_once_the_manager_is_dead(
    tmp_path: Path, pid: int | None, is_gone: bool
) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    put_trials(paths, pid)
    assert [each.is_gone for each in api.detail(paths).running] == [is_gone]
    # A manager that lives sees to it itself.
    stored.say_who_manages(paths, os.getpid())
    assert [each.is_gone for each in api.detail(paths).running] == [False]


def test_what_ran_on_another_machine_is_not_said_to_be_dead(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    put_trials(paths, DEAD)
    about = json.loads(paths.experiment.read_text())
    paths.experiment.write_text(json.dumps({**about, "host": "elsewhere"}))
    record = api.show(paths)
    assert record.status == "INTERRUPTED"
    assert (record.reason or "").startswith("it ran on elsewhere, and this is ")
    assert "cannot be seen from here" in (record.reason or "")
    assert [each.is_gone for each in api.detail(paths).running] == [False]


TROUBLE = "cannot write to the store: database or disk is full"


def test_trouble_of_a_manager_is_told_while_it_lives_and_when_it_died(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    me = {"pid": os.getpid(), "start": start_of(os.getpid()), "trouble": TROUBLE}
    paths.manager_pid.write_text(json.dumps(me).ljust(4096))
    living = api.show(paths)
    assert (living.status, living.trouble) == ("RUNNING", TROUBLE)
    assert living.reason != TROUBLE

    paths.manager_pid.write_text(json.dumps({**me, "start": "gone"}).ljust(4096))
    dead = api.show(paths)
    assert (dead.status, dead.trouble) == ("INTERRUPTED", TROUBLE)
    assert f"the manager died without ending the experiment: {TROUBLE}. None" in (dead.reason or "")


def test_half_a_description_of_a_manager_is_none(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    for text in ("", '{"pid": 1', '{"pid": 1}'):
        paths.manager_pid.write_text(text)
        assert api.show(paths).manager_pid is None


def test_running_experiment_whose_manager_lives_runs(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    stored.say_who_manages(paths, os.getpid())
    record = api.show(paths)
    assert (record.status, record.manager_pid, record.manager_alive) == (
        "RUNNING",
        os.getpid(),
        True,
    )
    assert record.duration == pytest.approx(9.0 + time.time() - (MOMENT + 1), abs=60)


def test_interrupted_experiment_ran_until_its_manager_wrote_last(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    paths.store.touch()  # as a resume does that fails
    paths.store.with_name("experiment.db-shm").touch()  # as a reader does
    assert api.show(paths).duration == pytest.approx(9.0 + 8.0)  # its trial ended at MOMENT + 9


def test_ended_experiment_needs_no_manager(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path)
    assert api.show(paths).status == "DONE"


def test_experiment_is_known_before_its_manager_wrote_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ExperimentPaths(tmp_path / "experiments" / "Ab3dEf12")
    stored.describe(paths, "young", max_phase_num=7, optimize_mode="minimize")
    monkeypatch.setattr(time, "time", lambda: MOMENT + 1)
    record = api.show(paths)
    assert (record.status, record.name, record.max_phase_num) == ("INITIALIZING", "young", 7)
    assert record.optimize_mode == "minimize"
    assert api.trials(paths) == []
    assert list(api.phases(paths)) == []
    assert api.detail(paths).running == ()

    monkeypatch.setattr(time, "time", lambda: MOMENT + 3600)
    assert api.show(paths).status == "INTERRUPTED"


def test_manager_that_died_at_birth_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ExperimentPaths(tmp_path / "experiments" / "Ab3dEf12")
    stored.describe(paths)
    paths.manager_pid.write_text(json.dumps(stored.DEAD_MANAGER))
    monkeypatch.setattr(time, "time", lambda: MOMENT + 1)
    assert api.show(paths).status == "INTERRUPTED"


def test_what_a_manager_left_half_written_is_taken_back_for_whoever_reads(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, phases=[{"value": 1.0}] * 9)
    whole = paths.store.read_bytes()
    with closing(sqlite3.connect(paths.store, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA cache_size=1")
        connection.execute("PRAGMA cache_spill=1")
        connection.execute("BEGIN")
        connection.execute("UPDATE phases SET reason = ?", ["half" * 1000])
        left = {file: file.read_bytes() for file in paths.root.glob("experiment.db*")}
    for file, content in left.items():  # as a SIGKILL leaves it, and none of its locks
        file.write_bytes(content)
    assert left[paths.store] != whole
    assert [phase.reason for phase in api.phases(paths)] == [None] * 9
    assert paths.store.read_bytes() == whole


def test_store_that_is_only_just_made_has_nothing_to_tell(tmp_path: Path) -> None:
    paths = ExperimentPaths(tmp_path / "experiments" / "Ab3dEf12")
    stored.describe(paths)
    paths.store.touch()
    assert api.show(paths).name == "demo"
    assert api.detail(paths).running == ()


def test_phases_come_in_order_or_best_first(tmp_path: Path) -> None:
    values = [3.0, 1.0, 2.0]
    paths = stored.experiment(
        tmp_path, phases=[{"value": value} for value in values], optimize_mode="minimize"
    )
    assert [phase.value for phase in api.phases(paths)] == values
    assert [phase.value for phase in api.phases(paths, top=2)] == [1.0, 2.0]
    assert list(api.phases(paths, trial_id="other")) == []


def test_detail_tells_what_a_running_trial_does(tmp_path: Path) -> None:
    phases = [{}, {"status": RUNNING, "ended_at": None}]
    paths = stored.experiment(tmp_path, phases=phases, trial_status=TrialStatus.RUNNING)
    (running,) = api.detail(paths).running
    assert running.trial.trial_id == "trialA"
    assert running.phase
    assert (running.phase.phase_index, running.phase.status) == (1, "RUNNING")


def test_detail_ends_a_failed_trials_story_with_its_log(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, trial_status=TrialStatus.FAILED, exit_status=3)
    log = paths.trial("trialA").log
    log.parent.mkdir()
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    (failed,) = api.detail(paths).failed
    assert failed.last_lines == tuple(f"line {n}" for n in range(90, 100))
    assert [trial.last_lines for trial in api.trials(paths)] == [failed.last_lines]


def test_pace_is_the_share_of_waiting_in_later_phases(tmp_path: Path) -> None:
    times = {"requested_at": 10.0, "started_at": 11.0, "ended_at": 14.0}
    first = {"requested_at": 0.0, "started_at": 100.0, "ended_at": 101.0}
    open_one = {"status": RUNNING, "started_at": 20.0, "ended_at": None}
    later = {name: moment + 5 for name, moment in times.items()}
    paths = stored.experiment(tmp_path, phases=[first, times, later, open_one])
    assert api.detail(paths).pace == (2, 1.0, 3.0)


def test_pace_looks_at_the_newest_phases_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_PHASES", 1)
    paths = stored.experiment(tmp_path, phases=[{}, {}, {"requested_at": 0.0, "started_at": 2.0}])
    assert api.detail(paths).pace == (1, 2.0, MOMENT + 3)


def test_no_pace_before_a_second_phase_ended(tmp_path: Path) -> None:
    assert api.detail(stored.experiment(tmp_path, phases=[{}])).pace is None


@pytest.mark.parametrize("text", ["trialA", "0", "tri"])
def test_trial_is_found_by_id_number_and_beginning(tmp_path: Path, text: str) -> None:
    assert api.find_trial(stored.experiment(tmp_path), text).trial_id == "trialA"


@pytest.mark.parametrize(
    ("text", "hint"), [("trialB", "did you mean 'trialA'"), ("7", "mpx trials")]
)
def test_unknown_trial_gets_a_hint(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        api.find_trial(stored.experiment(tmp_path), text)


def test_what_is_read_together_is_of_one_moment(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path)
    store = Store(paths.store)
    with reading.opened(paths) as reader:
        assert reader
        before = reader.experiment(0.0)
        store.put_experiment(
            ExperimentRow("Ab3dEf12", "renamed", MOMENT, True, 1, None, None, "maximize", 1)
        )
        store.commit()
        assert reader.experiment(0.0) == before
    assert api.show(paths).name == "renamed"
    store.close()


@pytest.mark.parametrize(
    ("pid", "manager", "is_growing"),
    [
        (os.getpid(), None, True),  # it outlived its manager
        (DEAD, None, False),
        (DEAD, os.getpid(), True),  # its manager has not noted its end yet
        (None, os.getpid(), True),
    ],
    ids=["outlived", "dead", "unnoted", "unstarted"],
)
def test_log_grows_as_long_as_somebody_may_write_to_it(
    tmp_path: Path, pid: int | None, manager: int | None, is_growing: bool
) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.RUNNING)
    put_trials(paths, pid)
    if manager is not None:
        stored.say_who_manages(paths, manager)
    assert [log.is_growing for log in api.trial_logs(paths)] == [False, is_growing]


@pytest.mark.parametrize("ours", ["[mpx 2026] no more", "mpx: the manager is gone; waiting"])
def test_last_word_is_the_trials_own(tmp_path: Path, ours: str) -> None:
    paths = stored.experiment(tmp_path, phases=[{}])
    log = paths.trial("trialA").log
    log.parent.mkdir()
    log.write_text(f"test 0.99\n{ours}\n\n")
    assert api.detail(paths).last_word == "test 0.99"
