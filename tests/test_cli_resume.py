"""`mpx resume`: what it prints, how it ends, and what it leaves alone when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from mpx import api
from mpx.processes import is_alive
from mpx.records import ExperimentPaths, TrialRecord
from tests import stored
from tests.lab import COUNTER, Lab, wait_until

THREE = """
    import mpx
    for phase in mpx.phases():
        phase.report_final(phase.parameters["n"])
"""
ENDLESS = """
    import os, time, mpx
    mpx.get_next_parameter()
    open("up", "w").close()
    while not os.path.exists("speak"):
        time.sleep(0.01)
    print("still here", flush=True)
    time.sleep(1000)
"""
# What the tuner's module does while it is imported.
SLEEP = "import time; time.sleep(1000)"
HANG = "import ctypes; ctypes.PyDLL(None).sleep(1000)"  # no other thread gets to run


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPX_HOME", str(lab.home))


@pytest.fixture
def interrupted(lab: Lab) -> ExperimentPaths:
    """An experiment whose manager was killed while a phase computes."""
    trial = {"codeDir": ".", "command": f"'{sys.executable}' trial.py", "gracePeriod": "1s"}
    paths = api.create(lab.config(ENDLESS, trial=trial))
    wait_until((lab.root / "up").exists, "the trial")
    pid = api.show(paths).manager_pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: api.show(paths).status == "INTERRUPTED", "the manager's death")
    return paths


def start(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        lab.command(*arguments),
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def resuming(lab: Lab, paths: ExperimentPaths, wait: str, *options: str) -> subprocess.Popen[str]:
    """Start a resume whose tuner is not imported before long."""
    lab.write("tuner.py", 'open("importing", "w").close()\n' + wait + "\n")
    importing = paths.root / "importing"
    importing.unlink(missing_ok=True)
    process = start(lab, "resume", paths.id, *options)
    wait_until(importing.exists, "the tuner")
    return process


def check_untouched(paths: ExperimentPaths) -> TrialRecord:
    """Check that the experiment is as its first manager left it, and return its trial."""
    record = api.show(paths)
    assert (record.status, record.manager_alive) == ("INTERRUPTED", False)
    assert (record.trials, record.phases) == ({"RUNNING": 1}, {"RUNNING": 1})
    assert "1 of its trials still runs" in (record.reason or "")
    (trial,) = api.trials(paths)
    assert trial.pid
    assert is_alive(trial.pid, trial.process_start)
    return trial


def test_resume_prints_what_create_does(lab: Lab) -> None:
    experiment = lab.finish(lab.config(THREE, maxPhaseNum=1, maxTrialNum=9))
    assert lab.mpx("resume", experiment, "-q", "-f", "--max-phases", "2") == f"{experiment}\n"

    told = json.loads(lab.mpx("resume", "config", "--json", "-f", "--max-phases", "3"))
    assert (told["id"], told["status"]) == (experiment, "DONE")
    assert told["phases"] == {"SUCCEEDED": 3}

    said = lab.mpx("resume", experiment[:6], "-f", "--max-phases", "4", "--max-duration", "2h")
    assert "  phases    4: 4 SUCCEEDED (at most 4)" in said
    assert f"mpx export {experiment} -o phases.csv" in said
    assert api.describe(api.find(experiment)).config.max_exec_duration == 7200

    lab.config("raise SystemExit(3)")
    lab.mpx("resume", experiment, "-f", "-q", "--max-phases", "9", code=1)
    assert api.show(api.find(experiment)).status == "ERROR"


def test_resume_of_what_is_done_says_what_to_type(lab: Lab) -> None:
    experiment = stored.experiment(lab.home, phases=[{}] * 4, max_phase_num=4).id
    refused = lab.run("resume", experiment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"mpx: error: experiment {experiment} is DONE: maxPhaseNum (4) is reached. To go on, raise"
        f" that: mpx resume {experiment} --max-phases N\n"
    )


def test_resume_returns_when_it_has_taken_over(lab: Lab, interrupted: ExperimentPaths) -> None:
    before = check_untouched(interrupted)
    said = lab.mpx("resume", interrupted.id)
    assert said.startswith(f"config  {interrupted.id}  RUNNING  for ")
    assert f"trial 0 {before.trial_id}  phase 0 (parameter_id 0) runs since " in said
    assert f"  mpx stop {interrupted.id}" in said
    assert api.show(interrupted).status == "RUNNING"
    assert api.trials(interrupted) == [before]


def test_signal_stops_what_it_has_taken_over(lab: Lab, interrupted: ExperimentPaths) -> None:
    with start(lab, "resume", interrupted.id, "-f") as process:
        wait_until(lambda: api.show(interrupted).status == "RUNNING", "another manager")
        # It tells so once it has heard so from the manager.
        assert process.stdout
        assert f"config ({interrupted.id}) is RUNNING" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "STOPPED" in said
    assert "stopping the experiment" in complaint
    assert lab.leftovers() == []


def test_resume_that_fails_is_told_and_changes_nothing(
    lab: Lab, interrupted: ExperimentPaths
) -> None:
    lab.write("tuner.py", "raise KeyError('my own key')\n")
    for options in ([], ["-f", "-q"], ["--json"]):
        done = lab.run("resume", interrupted.id, *options)
        assert done.returncode == 1
        assert done.stderr.startswith(
            f"mpx: error: experiment {interrupted.id} cannot go on, and is left as it was: "
        )
        assert "raise KeyError('my own key')" in done.stderr
        check_untouched(interrupted)
    told = json.loads(done.stdout)
    assert (told["status"], told["manager"]["alive"]) == ("INTERRUPTED", False)


def test_signal_before_it_has_taken_over_leaves_everything_as_it_was(
    lab: Lab, interrupted: ExperimentPaths
) -> None:
    before = check_untouched(interrupted)
    for number, options in ((signal.SIGINT, []), (signal.SIGHUP, ["-f"])):
        with resuming(lab, interrupted, SLEEP, *options) as process:
            process.send_signal(number)
            _, complaint = process.communicate(timeout=30)
        assert process.returncode == 130
        assert complaint.endswith(f"mpx: experiment {interrupted.id} is left as it was\n")
    assert check_untouched(interrupted) == before


def test_second_signal_before_it_has_taken_over_kills_the_manager_alone(
    lab: Lab, interrupted: ExperimentPaths
) -> None:
    before = check_untouched(interrupted)
    with resuming(lab, interrupted, HANG) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=10)  # its patience with the manager is longer
    assert process.returncode == 130
    assert complaint.endswith(f"mpx: experiment {interrupted.id} is left as it was\n")
    assert "Traceback" not in complaint
    assert check_untouched(interrupted) == before


def test_stop_before_it_has_taken_over_ends_everything(
    lab: Lab, interrupted: ExperimentPaths
) -> None:
    with resuming(lab, interrupted, SLEEP) as process:
        assert lab.mpx("stop") == (
            f"{interrupted.id} (config) is STOPPED: ended 1 trial and 1 open phase\n"
        )
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaint.endswith(f"experiment {interrupted.id} was stopped before it went on\n")
    assert lab.leftovers() == []
    assert api.show(interrupted).reason == "mpx stop"

    lab.write("tuner.py", COUNTER)
    lab.config(THREE)
    lab.mpx("resume", interrupted.id, "-f", "--max-phases", "1", "-q")
    assert [(phase.parameter_id, phase.status) for phase in api.phases(interrupted)] == [
        (0, "LOST"),
        (0, "SUCCEEDED"),
    ]


def test_following_a_log_goes_on_while_its_trial_outlives_the_manager(
    lab: Lab, interrupted: ExperimentPaths
) -> None:
    with start(lab, "logs", interrupted.id, "-f") as process:
        assert process.stdout
        wait_until(lambda: "phase 0" in process.stdout.readline(), "its first lines")
        (lab.root / "speak").touch()
        assert process.stdout.readline() == "still here\n"
        (stopped,) = api.stop([interrupted])
        assert process.wait(30) == 0
    assert stopped.trials == 1
