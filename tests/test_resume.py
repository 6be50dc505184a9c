"""Whole experiments whose manager dies, or that are stopped, and that go on: through the command line."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest

from mpx.processes import command_line, find_by_environment, is_alive, start_of
from tests.lab import Lab, wait_until

# Each phase tells that it has begun, and ends when its file `go-N` is there.
GATED = """
    import os, time, mpx
    for phase in mpx.phases():
        with phase:
            n = phase.parameters["n"]
            phase.report_intermediate(n / 2)
            open(f"begun-{n}-{os.getpid()}", "w").close()
            while not os.path.exists(f"go-{n}"):
                time.sleep(0.01)
            phase.report_final(n / 1000)
"""
FREE = """
    import mpx
    for phase in mpx.phases():
        with phase:
            phase.report_final(phase.parameters["n"] / 1000)
"""


def manager(lab: Lab, experiment: str) -> dict[str, Any]:
    """Return what the manager says of itself, without asking the command line."""
    found: dict[str, Any] = json.loads(
        (lab.home / "experiments" / experiment / "manager.pid").read_text()
    )
    return found


def kill_manager(lab: Lab, experiment: str) -> None:
    identity = manager(lab, experiment)
    os.kill(identity["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(identity["pid"], identity["start"]), "the manager's death")


def go(lab: Lab, *numbers: int) -> None:
    for n in numbers:
        (lab.root / f"go-{n}").touch()


def begun(lab: Lab, n: int) -> int:
    """Wait until phase `n` computes; return its process."""
    (file,) = wait_until(lambda: [*lab.root.glob(f"begun-{n}-*")], f"phase {n}")
    return int(file.name.rpartition("-")[2])


def wait_end(lab: Lab, experiment: str, status: str = "DONE") -> dict[str, Any]:
    identity = manager(lab, experiment)
    wait_until(lambda: not is_alive(identity["pid"], identity["start"]), "the end", 60)
    found = lab.status(experiment)
    assert found["status"] == status, found
    assert not lab.leftovers()
    return found


def succeeded(lab: Lab, experiment: str) -> list[int]:
    rows = lab.phases(experiment)
    assert all(
        row["value"] == row["parameters"]["n"] / 1000 for row in rows if row["value"] is not None
    )
    return sorted(row["parameter_id"] for row in rows if row["status"] == "SUCCEEDED")


def test_phase_outlives_its_manager_and_so_does_its_process(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=3))
    trial = begun(lab, 0)
    identity = start_of(trial)
    kill_manager(lab, experiment)
    go(lab, 0, 1, 2)  # it reports to nobody, and waits
    assert "1 of its trials still runs" in lab.status(experiment)["reason"]
    lab.mpx("resume", experiment)
    wait_end(lab, experiment)

    assert succeeded(lab, experiment) == [0, 1, 2]
    assert [row["intermediates"] for row in lab.phases(experiment)] == [[0], [0.5], [1]]
    assert len({row["trial_id"] for row in lab.phases(experiment)}) == 1
    assert begun(lab, 2) == trial
    assert identity is not None
    (record,) = json.loads(lab.mpx("trials", experiment, "--json"))
    assert (record["status"], record["exit_status"]) == ("SUCCEEDED", 0)


def test_exit_status_of_an_adopted_trial_is_known(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED + "    import sys; sys.exit(7)", maxPhaseNum=1))
    begun(lab, 0)
    kill_manager(lab, experiment)
    lab.mpx("resume", experiment)
    go(lab, 0)
    wait_end(lab, experiment)
    (record,) = json.loads(lab.mpx("trials", experiment, "--json"))
    assert (record["status"], record["exit_status"]) == ("FAILED", 7)
    assert succeeded(lab, experiment) == [0]


def test_trial_that_ended_while_no_manager_ran_is_noted_and_its_phase_tried_again(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, maxPhaseNum=3))
    go(lab, 0)
    trial = begun(lab, 1)
    kill_manager(lab, experiment)
    os.kill(trial, signal.SIGKILL)
    wait_until(lambda: not lab.leftovers(), "the trial's end")
    assert "its process is gone" in lab.mpx("status", experiment)
    go(lab, 1, 2)
    lab.mpx("resume", experiment, "-f")

    rows = [(r["parameter_id"], r["status"], r["sequence_id"]) for r in lab.phases(experiment)]
    assert rows == [(0, "SUCCEEDED", 0), (1, "LOST", 0), (1, "SUCCEEDED", 1), (2, "SUCCEEDED", 1)]
    told = [call[1] for call in lab.calls(experiment) if call[0] == "tell"]
    assert told == ["0", "1", "2"]  # the last manager's tuner: once each, replayed or not


def test_resume_after_a_stop_tries_again_what_was_open(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, trialConcurrency=2, maxTrialNum=2, maxPhaseNum=5))
    begun(lab, 0)
    begun(lab, 1)
    lab.mpx("stop", experiment)
    assert lab.status(experiment)["phases"] == {"LOST": 2}
    go(lab, *range(5))
    lab.mpx("resume", experiment, "-f")

    assert lab.status(experiment)["phases"] == {"LOST": 2, "SUCCEEDED": 5}
    assert succeeded(lab, experiment) == [0, 1, 2, 3, 4]
    assert lab.status(experiment)["trials"] == {"USER_CANCELED": 2, "SUCCEEDED": 2}


def test_raised_limits_reopen_what_is_done(lab: Lab) -> None:
    experiment = lab.finish(lab.config(FREE, maxPhaseNum=2, maxTrialNum=1))
    assert "--max-phases" in lab.run("resume", experiment).stderr
    assert lab.run("resume", experiment, "--max-phases", "5").returncode == 2  # maxTrialNum forbids
    lab.mpx("resume", experiment, "-f", "--max-phases", "5", "--max-trials", "2")
    assert succeeded(lab, experiment) == [0, 1, 2, 3, 4]
    told = lab.status(experiment)
    assert (told["status"], told["max_phase_num"], told["max_trial_num"]) == ("DONE", 5, 2)


def test_failed_tuner_that_was_mended_goes_on(lab: Lab) -> None:
    broken = (lab.root / "tuner.py").read_text()
    lab.write("tuner.py", broken.replace('print("tell"', 'assert value < 0.002; print("tell"'))
    experiment = lab.finish(lab.config(FREE, maxPhaseNum=5), code=1)
    assert lab.status(experiment)["error"]["type"] == "AssertionError"
    failed = lab.run("resume", experiment)
    assert failed.returncode == 1
    assert "assert value < 0.002" in failed.stderr
    assert lab.status(experiment)["status"] == "ERROR"  # as it was

    lab.write("tuner.py", broken)
    lab.mpx("resume", experiment, "-f")
    assert lab.status(experiment)["error"] is None
    assert succeeded(lab, experiment) == [0, 1, 2, 3, 4]
    told = [call[1] for call in lab.calls(experiment) if call[0] == "tell"]
    assert told == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("moment", ["import", "replay"])
def test_manager_killed_while_it_resumes_costs_nothing(lab: Lab, moment: str) -> None:
    slow = """import os, time; open("slow", "w").close()
while not os.path.exists("fast"): time.sleep(0.01)
"""
    tuner = (lab.root / "tuner.py").read_text()
    experiment = lab.create(lab.config(GATED, maxPhaseNum=3))
    go(lab, 0)
    trial = begun(lab, 1)
    kill_manager(lab, experiment)
    place = "import mpx" if moment == "import" else 'print("tell"'
    indent = " " * (tuner.index(place) - tuner.rindex("\n", 0, tuner.index(place)) - 1)
    lab.write("tuner.py", tuner.replace(place, slow.replace("\n", "\n" + indent) + place, 1))
    process = lab.start("resume", experiment)
    directory = lab.home / "experiments" / experiment
    wait_until((directory / "slow").exists, "the tuner")
    os.kill(manager(lab, experiment)["pid"], signal.SIGKILL)
    assert process.wait(30) == 1
    (directory / "fast").touch()

    lab.mpx("resume", experiment)
    go(lab, 1, 2)
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0, 1, 2]
    assert begun(lab, 2) == trial


def test_trial_without_the_sdk_ends_with_its_manager_or_is_ended(lab: Lab) -> None:
    lab.write(
        "trial.sh",
        """
        echo '@mpx {"type": "request"}'; read -r line; touch begun
        while [ ! -e go ]; do sleep 0.05; done
        n=${line#*'"n":'}; echo "@mpx {\\"type\\": \\"final\\", \\"value\\": 0.00${n%%[!0-9]*}}"
        """,
    )
    config = lab.config("", maxPhaseNum=1, trial={"codeDir": ".", "command": "bash trial.sh"})
    experiment = lab.create(config)
    wait_until((lab.root / "begun").exists, "an open phase")
    kill_manager(lab, experiment)
    (old,) = find_by_environment_of_bash(experiment)
    lab.mpx("resume", experiment)
    wait_until(lambda: start_of(old) is None, "its end")
    (lab.root / "go").touch()
    wait_end(lab, experiment)
    assert succeeded(lab, experiment) == [0]
    first, second = json.loads(lab.mpx("trials", experiment, "--json"))
    assert (first["status"], second["status"]) == ("SYS_CANCELED", "SUCCEEDED")
    assert "did not promise" in first["reason"]


def find_by_environment_of_bash(experiment: str) -> list[int]:
    found = find_by_environment("MPX_EXPERIMENT_ID", experiment)
    return [pid for pid in found if "trial.sh" in command_line(pid)]


def test_trial_that_waited_in_vain_leaves_its_result_for_the_next_manager(lab: Lab) -> None:
    trial = {"codeDir": ".", "command": f"'{sys.executable}' trial.py", "orphanTimeout": "1s"}
    experiment = lab.create(lab.config(GATED, maxPhaseNum=2, trial=trial))
    begun(lab, 0)
    kill_manager(lab, experiment)
    go(lab, 0, 1)
    wait_until(lambda: not lab.leftovers(), "the trial giving up")
    assert f"mpx resume {experiment}" in lab.log(experiment)
    lab.mpx("resume", experiment, "-f")

    rows = [(r["parameter_id"], r["status"], r["intermediates"]) for r in lab.phases(experiment)]
    assert rows == [(0, "SUCCEEDED", [0]), (1, "SUCCEEDED", [0.5])]
    assert sum(call[0] == "ask" for call in lab.calls(experiment)) == 2


def test_each_process_that_waited_in_vain_leaves_its_own_results(lab: Lab) -> None:
    twice = f"'{sys.executable}' trial.py; '{sys.executable}' trial.py"
    trial = {"codeDir": ".", "command": twice, "orphanTimeout": "1s"}
    experiment = lab.create(lab.config(GATED, maxPhaseNum=1, trial=trial))
    begun(lab, 0)
    kill_manager(lab, experiment)
    go(lab, 0)
    wait_until(lambda: not lab.leftovers(), "both giving up")
    lab.mpx("resume", experiment, "-f")
    assert [(r["status"], r["value"]) for r in lab.phases(experiment)] == [("SUCCEEDED", 0)]


# -- the same as one that ran through ----------------------------------------------------------------

SPACE = {
    "x": {"_type": "uniform", "_value": [0, 1]},
    "k": {"_type": "choice", "_value": [1, 2, 3, 4]},
}
ANY_TRIAL = """
    import os, time, mpx
    for phase in mpx.phases():
        with phase:
            n = phase.parameter_id
            open(f"begun-{n}-{os.getpid()}", "w").close()
            while n in (3, 6) and not os.path.exists(f"go-{n}"):
                time.sleep(0.01)
            phase.report_final(phase.parameters.get("x", 1.0))
"""
DRAWING = """
    import json, os, random
    import numpy
    import mpx
    class Drawing(mpx.Tuner):
        def __init__(self, saves=False):
            self.told = []
            if not saves:
                self.save_checkpoint = None
        def generate_parameters(self, parameter_id, **kwargs):
            return {"x": random.random(), "y": float(numpy.random.rand()), "of": len(self.told),
                    "z": list({"a", "b", "c", "d"})}
        def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
            self.told.append([parameter_id, value, random.random()])
    class Saving(Drawing):
        def save_checkpoint(self):
            path = os.path.join(self.get_checkpoint_path(), "told.json")
            open("saved", "a").write("x")
            with open(path, "w") as file:
                json.dump(self.told, file)
        def load_checkpoint(self):
            open("loaded", "a").write("x")
            with open(os.path.join(self.get_checkpoint_path(), "told.json")) as file:
                self.told = json.load(file)
"""
TUNERS = {
    "grid": {"builtinTunerName": "GridSearch"},
    "drawing": {"codeDir": ".", "classFileName": "drawing.py", "className": "Drawing"},
    "saving": {"codeDir": ".", "classFileName": "drawing.py", "className": "Saving"},
}


@pytest.mark.parametrize("tuner", TUNERS)
def test_stopped_killed_and_resumed_experiment_draws_like_one_that_ran_through(
    lab: Lab, tuner: str
) -> None:
    lab.write("drawing.py", DRAWING.replace("self.save_checkpoint = None", "pass"))
    space = {"k": SPACE["k"], "l": SPACE["k"]} if tuner == "grid" else SPACE
    keys = {"tuner": TUNERS[tuner], "searchSpace": space, "seed": 11, "maxPhaseNum": 9}
    go(lab, 3, 6)
    through = lab.finish(lab.config(ANY_TRIAL, **keys))
    for file in [*lab.root.glob("go-*"), *lab.root.glob("begun-*")]:
        file.unlink()

    halting = lab.create(lab.config(ANY_TRIAL, **keys))
    begun(lab, 3)
    lab.mpx("stop", halting)
    go(lab, 3)
    lab.mpx("resume", halting)
    begun(lab, 6)
    kill_manager(lab, halting)
    go(lab, 6)
    lab.mpx("resume", halting, "-f")

    assert chosen(lab, halting) == chosen(lab, through)
    assert len(chosen(lab, halting)) == 9
    assert lab.status(halting)["warning"] is None
    directory = lab.home / "experiments" / halting
    assert (directory / "loaded").exists() == (tuner == "saving")
    if tuner == "saving":
        (kept,) = (directory / "checkpoints").iterdir()
        assert json.loads((kept / "files" / "told.json").read_text())[-1][0] == 8


def chosen(lab: Lab, experiment: str) -> list[Any]:
    rows = [row for row in lab.phases(experiment) if row["status"] == "SUCCEEDED"]
    return [row["parameters"] for row in sorted(rows, key=lambda row: row["parameter_id"])]


def test_tuner_that_answers_otherwise_is_reported_once_and_the_record_stays(lab: Lab) -> None:
    lab.write(
        "drawing.py",
        """
        import os, mpx
        class Forgetful(mpx.Tuner):
            def generate_parameters(self, parameter_id, **kwargs):
                return {"x": os.getpid()}
            def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
                print("told", parameter_id, parameters, file=open("told", "a"))
        """,
    )
    tuner = {"codeDir": ".", "classFileName": "drawing.py", "className": "Forgetful"}
    go(lab, 3)
    experiment = lab.finish(lab.config(ANY_TRIAL, tuner=tuner, maxPhaseNum=3, maxTrialNum=1))
    before = chosen(lab, experiment)
    lab.mpx("resume", experiment, "-f", "--max-phases", "5", "--max-trials", "2")
    warning = lab.status(experiment)["warning"]
    assert "parameter_id 0" in warning
    assert "parameter_id 1" not in warning
    assert "answered otherwise" in lab.mpx("status", experiment)
    assert chosen(lab, experiment)[:3] == before
    assert len(chosen(lab, experiment)) == 5
    told = (lab.home / "experiments" / experiment / "told").read_text().splitlines()
    assert told[0] == told[3]  # what was recorded, not what it says now


# -- time limits and retries -------------------------------------------------------------------------


def test_phase_that_takes_too_long_fails_and_ends_its_trial(lab: Lab) -> None:
    go(lab, 1)
    experiment = lab.finish(lab.config(GATED, phaseTimeout="1s", maxTrialNum=2, maxPhaseNum=2))
    rows = [(r["parameter_id"], r["status"], r["reason"]) for r in lab.phases(experiment)]
    assert rows == [(0, "FAILED", "phaseTimeout (1 s) is over"), (1, "SUCCEEDED", None)]
    first, _ = json.loads(lab.mpx("trials", experiment, "--json"))
    assert (first["status"], first["reason"]) == ("SYS_CANCELED", "phaseTimeout (1 s) is over")


def test_trial_that_takes_too_long_is_ended(lab: Lab) -> None:
    go(lab, 0, 2)
    experiment = lab.finish(lab.config(GATED, trialTimeout="1s", maxTrialNum=2, maxPhaseNum=3))
    rows = [(r["parameter_id"], r["status"]) for r in lab.phases(experiment)]
    assert rows == [(0, "SUCCEEDED"), (1, "LOST"), (2, "SUCCEEDED")]


def test_time_of_an_adopted_phase_goes_on(lab: Lab) -> None:
    experiment = lab.create(lab.config(GATED, phaseTimeout="2s", maxTrialNum=1, maxPhaseNum=1))
    begun(lab, 0)
    kill_manager(lab, experiment)
    lab.mpx("resume", experiment, "-f", code=1)
    assert lab.phases(experiment)[0]["reason"] == "phaseTimeout (2 s) is over"


def test_parameters_of_a_failed_trial_are_tried_again(lab: Lab) -> None:
    crash = """
        import os, mpx
        for phase in mpx.phases():
            with phase:
                n = phase.parameters["n"]
                if n == 1:
                    open("crashes", "a").write("x")
                    if len(open("crashes").read()) <= 2:
                        os.abort()
                phase.report_final(n / 1000)
    """
    trial = {"codeDir": ".", "command": f"'{sys.executable}' trial.py", "retries": 2}
    experiment = lab.finish(lab.config(crash, maxPhaseNum=3, maxTrialNum=1, trial=trial))
    rows = [(r["parameter_id"], r["status"], r["sequence_id"]) for r in lab.phases(experiment)]
    assert rows == [
        (0, "SUCCEEDED", 0),
        (1, "LOST", 0),
        (1, "LOST", 1),
        (1, "SUCCEEDED", 2),
        (2, "SUCCEEDED", 2),
    ]
    assert lab.status(experiment)["trials"] == {"FAILED": 2, "SUCCEEDED": 1}


def test_parameters_are_not_tried_more_often_than_allowed(lab: Lab) -> None:
    crash = """
        import os, mpx
        for phase in mpx.phases():
            if phase.parameters["n"] == 1:
                os.abort()
            phase.report_final(phase.parameters["n"] / 1000)
    """
    trial = {"codeDir": ".", "command": f"'{sys.executable}' trial.py", "retries": 1}
    experiment = lab.finish(lab.config(crash, maxPhaseNum=3, maxTrialNum=2, trial=trial))
    rows = [(r["parameter_id"], r["status"]) for r in lab.phases(experiment)]
    assert rows == [(0, "SUCCEEDED"), (1, "LOST"), (1, "LOST"), (2, "SUCCEEDED")]


@pytest.mark.parametrize("trial", ["raise SystemExit(3)", "print('I never ask')"])
def test_trials_that_die_as_fast_as_they_start_end_the_experiment(lab: Lab, trial: str) -> None:
    experiment = lab.finish(lab.config(trial, maxTrialNum=1000, trialConcurrency=2), code=1)
    found = lab.status(experiment)
    assert found["status"] == "ERROR"
    assert "3 trials in a row ended within a minute" in found["reason"]
    assert sum(found["trials"].values()) <= 4
