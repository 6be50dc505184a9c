"""What readers see, whatever state the manager is in."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mpx import api
from mpx.api import reading
from mpx.errors import UsageError
from mpx.records import ExperimentPaths, ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import ExperimentRow
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
    os.utime(paths.store, (MOMENT + 5, MOMENT + 5))
    assert api.show(paths).duration == pytest.approx(9.0 + 4.0)


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
    paths = stored.experiment(tmp_path, phases=[first, times, times, open_one])
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
