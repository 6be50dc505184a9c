"""Whole experiments with an assessor, through the command line."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from mpx.processes import is_alive
from tests.lab import Lab, wait_until
from tests.test_resume import manager

# Bad is whatever is below zero. It waits where a file `hold` is, and writes down what it is called with.
JUDGE = """
    import os, time
    from pathlib import Path
    from {base} import Assessor

    class Judge(Assessor):
        def __init__(self, directory):
            self.directory = Path(directory)
            self.log = open(self.directory / "judged.log", "a", buffering=1)
        def assess_trial(self, name, history):
            print(os.getpid(), name, history, file=self.log)
            while (self.directory / "hold").exists():
                time.sleep(0.01)
            return history[-1] >= 0
        def trial_end(self, name, success):
            print(os.getpid(), name, success, file=self.log)
"""
# Every third phase is good to its end.
TRIAL = """
    import os, mpx
    for phase in mpx.phases():
        with phase:
            n = phase.parameters["n"]
            open("pids.log", "a").write(f"{os.getpid()}\\n")
            if phase.report_intermediate(n) or phase.report_intermediate(0 if n % 3 == 2 else -n - 1):
                continue
            phase.report_final(n)
"""


def write_judge(lab: Lab, base: str = "mpx") -> dict[str, Any]:
    """Write an assessor; return the keys that name it."""
    lab.write("judge.py", JUDGE.replace("{base}", base))
    return {
        "codeDir": ".",
        "classFileName": "judge.py",
        "className": "Judge",
        "classArgs": {"directory": str(lab.root)},
    }


def judged(lab: Lab) -> list[list[str]]:
    """Return what the assessor wrote down: a manager's pid, a curve's name, what was said of it."""
    return [line.split(" ", 2) for line in (lab.root / "judged.log").read_text().splitlines()]


def statuses(lab: Lab, experiment: str) -> list[str]:
    return [phase["status"] for phase in lab.phases(experiment)]


def test_phases_are_stopped_and_their_process_lives_on(lab: Lab) -> None:
    config = lab.config(TRIAL, maxPhasesPerTrial=6, assessor=write_judge(lab))
    experiment = lab.finish(config)
    assert statuses(lab, experiment) == ["EARLY_STOPPED", "EARLY_STOPPED", "SUCCEEDED"] * 2
    assert lab.phases(experiment)[1]["reason"] == "the assessor stopped it at its 2nd result"
    assert lab.phases(experiment)[1]["intermediates"] == [1, -2]
    status = lab.status(experiment)
    assert status["trials"] == {"SUCCEEDED": 1}
    assert status["best"]["value"] == 5
    pids = (lab.root / "pids.log").read_text().split()
    assert len(pids) == 6
    assert len(set(pids)) == 1
    ended = [call[3] for call in lab.calls(experiment) if call[0] == "end"]
    assert ended == ["False", "False", "True"] * 2
    (trial,) = {name.partition(".")[0] for _, name, _ in judged(lab)}
    assert [[name, said] for _, name, said in judged(lab)][-3:] == [
        [f"{trial}.5", "[5]"],
        [f"{trial}.5", "[5, 0]"],
        [f"{trial}.5", "True"],
    ]


def test_a_trial_of_nni_is_ended_and_its_curve_runs_over_its_phases(lab: Lab) -> None:
    code = """
        import nni, time
        while True:
            parameters = nni.get_next_parameter()
            if parameters is None:
                break
            n = parameters["n"]
            nni.report_intermediate_result(-1 if n == 2 else n)
            time.sleep(60 if n == 2 else 0)
            nni.report_final_result(n)
    """
    assessor = write_judge(lab, "nni.assessor")
    config = lab.config(code, maxTrialNum=2, maxPhaseNum=5, assessor=assessor)
    experiment = lab.finish(config)
    assert statuses(lab, experiment) == [*["SUCCEEDED"] * 2, "EARLY_STOPPED", *["SUCCEEDED"] * 2]
    assert lab.status(experiment)["trials"] == {"EARLY_STOPPED": 1, "SUCCEEDED": 1}
    first, second = dict.fromkeys(name for _, name, _ in judged(lab))
    assert [[name, said] for _, name, said in judged(lab)] == [
        [first, "[0]"], [first, "[0, 1]"], [first, "[0, 1, -1]"], [first, "False"],
        [second, "[3]"], [second, "[3, 4]"], [second, "True"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Medianstop", {"start_step": 2}), ("ASHA", {"min_resource": 2, "max_resource": 3})],
)
def test_a_built_in_assessor_and_last_results_that_stand_for_final_ones(
    lab: Lab, name: str, arguments: dict[str, int]
) -> None:
    code = """
        import mpx
        for phase in mpx.phases(on_stop="raise"):
            with phase:
                for step in range(1, 4):
                    phase.report_intermediate(step * (-1 if phase.index == 3 else 1))
                phase.report_final(phase.index)
    """
    config = lab.config(
        code,
        maxPhasesPerTrial=5,
        assessor={"builtinAssessorName": name, "classArgs": arguments},
        tuner={
            "codeDir": ".",
            "classFileName": "tuner.py",
            "className": "Counter",
            "includeIntermediateResults": True,
        },
    )
    experiment = lab.finish(config)
    assert statuses(lab, experiment) == [*["SUCCEEDED"] * 3, "EARLY_STOPPED", "SUCCEEDED"]
    assert lab.phases(experiment)[3]["intermediates"] == [-1, -2]
    told = [call[3] for call in lab.calls(experiment) if call[0] == "tell"]
    assert told == ["0", "1", "2", "-2", "4"]


def test_a_manager_dies_while_a_verdict_is_awaited_and_the_next_one_says_it(lab: Lab) -> None:
    hold = lab.root / "hold"
    config = lab.config(
        TRIAL, maxPhasesPerTrial=3, assessor={**write_judge(lab), "history": "trial"}
    )
    hold.touch()
    experiment = lab.create(config)
    wait_until(lambda: (lab.root / "judged.log").exists() and judged(lab), "a call")
    identity = manager(lab, experiment)
    os.kill(identity["pid"], signal.SIGKILL)
    wait_until(lambda: not is_alive(identity["pid"], identity["start"]), "the manager's death")
    hold.unlink()
    lab.mpx("resume", experiment, "--foreground")
    assert statuses(lab, experiment) == ["EARLY_STOPPED", "EARLY_STOPPED", "SUCCEEDED"]
    assert len(set((lab.root / "pids.log").read_text().split())) == 1
    died, *lived = judged(lab)
    assert died[2] == "[0]"
    assert {pid for pid, _, _ in lived} != {died[0]}
    curve = ["[0]", "[0, -1]", "[0, -1, 1]", "[0, -1, 1, -2]"]
    assert [said for _, _, said in lived][:4] == curve
    assert lived[-1][2] == "True"


@pytest.mark.parametrize(("where", "phases"), [("assess_trial", ["SUCCEEDED"]), ("__init__", [])])
def test_an_assessor_that_fails_is_said_so_and_goes_on_when_it_is_mended(
    lab: Lab, where: str, phases: list[str]
) -> None:
    assessor = write_judge(lab)
    mended = (lab.root / "judge.py").read_text()
    broken = f"    def {where}(self, *args, **kwargs):\n        raise KeyError\n"
    lab.write("judge.py", mended + broken)
    experiment = lab.finish(lab.config(TRIAL, maxPhasesPerTrial=3, assessor=assessor), code=1)
    status = lab.status(experiment)
    assert status["status"] == "ERROR"
    assert status["reason"].startswith("the assessor failed: KeyError")
    assert "judge.py" in status["error"]["traceback"]
    assert statuses(lab, experiment) == phases
    lab.write("judge.py", mended)
    lab.mpx("resume", experiment, "--foreground")
    later = statuses(lab, experiment)[len(phases) :]
    assert sorted(later) == ["EARLY_STOPPED", "EARLY_STOPPED", "SUCCEEDED"]
    assert lab.status(experiment)["status"] == "DONE"
