"""Experiments whose store cannot be written: for a while, or never again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from mpx.processes import is_alive
from tests.lab import COUNTER, Lab, wait_until
from tests.test_resume import FREE, GATED, begun, go, kill_manager, manager, succeeded, wait_end

# In the manager, which imports this: no commit succeeds while the file `full` is there.
FULL = """
import os, sqlite3
from mpx.store import Store
write = Store._write
def write_unless_full(store):
    if os.path.exists("full"):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = {code}
        raise error
    write(store)
Store._write = write_unless_full
"""


def directory(lab: Lab, experiment: str) -> Path:
    return lab.home / "experiments" / experiment


def break_store(lab: Lab, code: int) -> None:
    lab.write("tuner.py", FULL.format(code=code) + COUNTER.replace("\n    ", "\n"))


def test_full_disk_is_waited_for_and_costs_nothing(lab: Lab) -> None:
    break_store(lab, sqlite3.SQLITE_FULL)
    experiment = lab.create(lab.config(GATED, maxPhaseNum=3))
    begun(lab, 0)
    (directory(lab, experiment) / "full").touch()
    go(lab, 0, 1, 2)
    wait_until(lambda: manager(lab, experiment)["trouble"], "the manager to notice")
    told = lab.status(experiment)
    assert told["status"] == "RUNNING"
    assert told["trouble"] == "cannot write to the store: database or disk is full"
    assert told["phases"] == {"RUNNING": 1}  # what is committed stays readable
    assert "disk is full" in lab.mpx("status", experiment)

    (directory(lab, experiment) / "full").unlink()
    assert wait_end(lab, experiment)["trouble"] is None
    assert succeeded(lab, experiment) == [0, 1, 2]
    assert [call[:2] for call in lab.calls(experiment) if call[0] in ("ask", "tell")] == [
        [what, str(n)] for n in range(3) for what in ("ask", "tell")
    ]


def test_manager_killed_while_the_disk_is_full_costs_nothing(lab: Lab) -> None:
    break_store(lab, sqlite3.SQLITE_FULL)
    experiment = lab.create(lab.config(GATED, maxPhaseNum=3))
    trial = begun(lab, 0)
    (directory(lab, experiment) / "full").touch()
    go(lab, 0, 1, 2)
    wait_until(lambda: manager(lab, experiment)["trouble"], "the manager to notice")
    kill_manager(lab, experiment)
    assert "disk is full" in lab.status(experiment)["reason"]
    (directory(lab, experiment) / "full").unlink()
    lab.mpx("resume", experiment)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1, 2]
    assert begun(lab, 2) == trial


def test_lock_of_another_process_is_waited_for(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    begun(lab, 0)
    stranger = sqlite3.connect(directory(lab, experiment) / "experiment.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    go(lab, 0, 1)
    wait_until(lambda: manager(lab, experiment)["trouble"], "the manager to notice")
    assert "locked" in lab.status(experiment)["trouble"]
    stranger.execute("ROLLBACK")
    stranger.close()
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1]


@pytest.mark.parametrize("name", ["experiment.db", "experiment.db-wal"])
def test_store_that_is_moved_away_is_waited_for(lab: Lab, name: str) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    begun(lab, 0)
    file = directory(lab, experiment) / name
    file.rename(lab.root / "away")
    go(lab, 0, 1)
    wait_until(lambda: manager(lab, experiment)["trouble"], "the manager to notice")
    assert f"{name} was removed or replaced" in manager(lab, experiment)["trouble"]
    assert not [*lab.root.glob("begun-1-*")], "a result was acknowledged that no file holds"
    for left in directory(lab, experiment).glob(name):  # a reader may have made one anew
        left.unlink()
    (lab.root / "away").rename(file)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1]


def test_resume_says_that_the_store_is_locked_and_changes_nothing(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    trial = begun(lab, 0)
    kill_manager(lab, experiment)
    stranger = sqlite3.connect(directory(lab, experiment) / "experiment.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    refused = lab.run("resume", experiment)
    stranger.close()
    if refused.returncode:  # else it had nothing to write yet
        assert "database is locked" in refused.stderr
        assert "Traceback" not in refused.stderr
        lab.mpx("resume", experiment)
    go(lab, 0, 1)
    wait_end(lab, experiment)
    assert begun(lab, 1) == trial


def test_stop_ends_an_experiment_whose_disk_is_full(lab: Lab) -> None:
    break_store(lab, sqlite3.SQLITE_FULL)
    trial = {"codeDir": ".", "command": "exec python3 trial.py", "gracePeriod": "1s"}
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2, trial=trial))
    begun(lab, 0)
    (directory(lab, experiment) / "full").touch()
    go(lab, 0)
    wait_until(lambda: manager(lab, experiment)["trouble"], "the manager to notice")
    lab.mpx("stop", experiment)  # whose own process has room
    assert not lab.leftovers()
    (directory(lab, experiment) / "full").unlink()
    go(lab, 1)
    lab.mpx("resume", experiment, "-f")
    assert succeeded(lab, experiment) == [0, 1]


def test_store_that_refuses_for_good_ends_the_manager_and_no_trial(lab: Lab) -> None:
    break_store(lab, sqlite3.SQLITE_CORRUPT)
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    trial = begun(lab, 0)
    (directory(lab, experiment) / "full").touch()
    identity = manager(lab, experiment)
    go(lab, 0, 1)
    wait_until(lambda: not is_alive(identity["pid"], identity["start"]), "the manager's end")
    told = lab.status(experiment)
    assert told["status"] == "INTERRUPTED"
    assert "cannot write to the store" in told["reason"]
    assert "1 of its trials still runs" in told["reason"]
    (directory(lab, experiment) / "full").unlink()
    lab.mpx("resume", experiment)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1]
    assert begun(lab, 1) == trial


def test_damaged_store_is_refused_and_trials_wait_for_a_good_copy(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    trial = begun(lab, 0)
    kill_manager(lab, experiment)
    root = directory(lab, experiment)
    copies = lab.root / "copies"
    copies.mkdir()
    for file in root.glob("experiment.db*"):
        shutil.copy(file, copies)
        file.write_bytes(b"nonsense" * 1000)
    refused = lab.run("resume", experiment)
    assert refused.returncode == 1
    assert "cannot" in refused.stderr
    assert "experiment.db" in refused.stderr
    assert lab.leftovers()
    for file in copies.iterdir():
        shutil.copy(file, root)
    go(lab, 0, 1)
    lab.mpx("resume", experiment)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1]
    assert begun(lab, 1) == trial


def test_trial_that_is_stopped_when_its_manager_dies_goes_on(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2))
    trial = begun(lab, 0)
    os.kill(trial, signal.SIGSTOP)
    kill_manager(lab, experiment)
    lab.mpx("resume", experiment)
    os.kill(trial, signal.SIGCONT)
    go(lab, 0, 1)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1]


def test_experiment_of_a_manager_that_died_before_it_wrote_begins_anew(lab: Lab) -> None:
    experiment = lab.finish(lab.config(FREE, maxPhaseNum=2))
    root = directory(lab, experiment)
    shutil.rmtree(root / "trials")
    (root / "trials").mkdir()
    for file in root.glob("experiment.db*"):
        file.unlink()
    lab.mpx("resume", experiment, "-f")
    assert succeeded(lab, experiment) == [0, 1]
