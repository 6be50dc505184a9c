"""Tuners and trials of NNI v1, written as their authors would have, in whole experiments."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.lab import Lab, wait_until
from tests.test_examples import _python_that_finds_nni

LOOP = """
    import nni
    while True:
        parameters = nni.get_next_parameter()
        if parameters is None:
            break
        nni.report_final_result(parameters["n"] / 1000)
"""
TUNER = {"codeDir": "tuner", "classFileName": "tuner.py", "className": "Tuned"}


def log_of(lab: Lab, experiment: str) -> list[Any]:
    """Return what the tuner wrote, line by line, into its working directory."""
    log = lab.home / "experiments" / experiment / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def trials_of(lab: Lab, experiment: str) -> dict[str, list[int]]:
    """Return the parameter_ids of each trial's phases, in order."""
    found = defaultdict(list)
    for phase in sorted(lab.phases(experiment), key=lambda phase: phase["phase_index"]):
        found[phase["trial_id"]].append(phase["parameter_id"])
    return found


# -- v0.8 -----------------------------------------------------------------------------------------

V08 = """
    import json
    from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner

    class Tuned(MultiPhaseTuner):
        def __init__(self, say_hello):
            self.log = open("calls.jsonl", "a", buffering=1)
            self.note("init", say_hello)
            self.handed = {}

        def note(self, *call):
            print(json.dumps(call), file=self.log)

        def update_search_space(self, data):
            self.note("space", data)

        def generate_parameters(self, parameter_id, trial_job_id=None):
            self.note("ask", parameter_id, trial_job_id)
            self.handed[parameter_id] = {"n": parameter_id, "pair": (1, 2)}
            return self.handed[parameter_id]

        def receive_trial_result(self, parameter_id, parameters, reward, trial_job_id):
            assert parameters is self.handed.pop(parameter_id)
            self.note("tell", parameter_id, trial_job_id, reward)

        def trial_end(self, parameter_id, success, trial_job_id):
            self.note("gone", parameter_id, trial_job_id, success)

        def _on_exit(self):
            self.note("exit", len(self.handed))
"""


def test_tuner_of_v08_sees_every_result_before_it_is_asked_for_the_next_phase(lab: Lab) -> None:
    lab.write("tuner/tuner.py", V08)
    tuner = {**TUNER, "classArgs": {"say_hello": "hello"}}
    config = lab.config(LOOP, tuner=tuner, trialConcurrency=2, maxTrialNum=2, maxPhasesPerTrial=200)
    experiment = lab.finish(config)
    log = log_of(lab, experiment)

    trials = trials_of(lab, experiment)
    assert log[:2] == [["init", "hello"], ["space", ""]]
    assert log[2:4] == [["ask", 0, None], ["ask", 1, None]]  # as NNI did: without their trials
    assert log[-1] == ["exit", 0]
    when = {(what, number): moment for moment, (what, number, *_) in enumerate(log)}
    assert sorted(number for what, number in when if what == "ask") == [*range(400)]
    for trial_id, ids in trials.items():
        assert len(ids) == 200
        for number, following in itertools.pairwise(ids):
            assert log[when["ask", following]] == ["ask", following, trial_id]
            assert when["ask", number] < when["tell", number] < when["ask", following]
        assert log[when["tell", ids[-1]]] == ["tell", ids[-1], trial_id, ids[-1] / 1000]
        assert log[when["gone", ids[0]]] == ["gone", ids[0], trial_id, True]
        assert when["tell", ids[-1]] < when["gone", ids[0]]
    assert Counter(what for what, *_ in log)["tell"] == 400


# -- v1.9 -----------------------------------------------------------------------------------------

V19 = """
    import json, logging
    import nni
    from nni.tuner import Tuner
    from nni.utils import OptimizeMode, extract_scalar_reward

    logger = logging.getLogger(__name__)

    class Tuned(Tuner):
        '''Has two trials at most under way; owes the others, and pays when one ends.'''

        def __init__(self, optimize_mode="maximize", population_size=2, budget=6):
            self.optimize_mode = OptimizeMode(optimize_mode)
            self.population_size = population_size
            self.budget = budget
            self.running, self.owed, self.send = 0, [], None
            self.handed, self.population = {}, []
            self.log = open("calls.jsonl", "a", buffering=1)

        def note(self, *call):
            print(json.dumps(call, default=repr), file=self.log)

        def update_search_space(self, search_space):
            self.note("space", search_space)

        def generate_multiple_parameters(self, parameter_id_list, **kwargs):
            self.note("several", parameter_id_list, sorted(kwargs))
            self.send = kwargs["st_callback"]
            found = []
            for parameter_id in parameter_id_list:
                try:
                    found.append(self.generate_parameters(parameter_id, **kwargs))
                except nni.NoMoreTrialError:
                    pass
            return found

        def generate_parameters(self, parameter_id, **kwargs):
            self.note("ask", parameter_id, sorted(kwargs))
            if "trial_job_id" not in kwargs:
                if self.running >= self.population_size or not self.budget:
                    self.owed.append(parameter_id)
                    raise nni.NoMoreTrialError("no more parameters now.")
                self.begin()
            return self.choose(parameter_id)

        def begin(self):
            self.running += 1
            self.budget -= 1
            assert self.running <= self.population_size

        def choose(self, parameter_id):
            self.handed[parameter_id] = {"n": parameter_id}
            return self.handed[parameter_id]

        def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
            assert parameters is self.handed.pop(parameter_id)
            self.note("tell", parameter_id, extract_scalar_reward(value), kwargs)
            self.population.append((value, parameters))

        def trial_end(self, parameter_id, success, **kwargs):
            self.note("gone", parameter_id, success)
            self.running -= 1
            if self.owed and self.budget:
                self.begin()
                number = self.owed.pop(0)
                self.note("launch", number)
                self.send(number, self.choose(number))
"""


PAIRS = """
    import os, time
    import nni
    while True:
        parameters = nni.get_next_parameter()
        if parameters is None:
            break
        open(f"phase{parameters['n']}", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
        nni.report_final_result(parameters["n"] / 1000)
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_tuner_of_v19_launches_what_it_owes_and_ends_when_its_budget_does(
    lab: Lab, is_killed: bool
) -> None:
    lab.write("tuner/tuner.py", V19)
    space = {"x": {"_type": "choice", "_value": [1, 2]}}
    tuner = {**TUNER, "classArgs": {"optimize_mode": "minimize"}}
    config = lab.config(
        PAIRS,
        tuner=tuner,
        searchSpace=space,
        trialConcurrency=4,
        maxTrialNum=100,
        maxPhasesPerTrial=2,
    )
    experiment = lab.create(config)
    if is_killed:
        wait_until(lambda: all((lab.root / f"phase{n}").exists() for n in (0, 1)), "two phases")
        os.kill(lab.status(experiment)["manager"]["pid"], signal.SIGKILL)
        lab.mpx("resume", experiment)
    lab.write("go", "")
    wait_until(lambda: lab.status(experiment)["status"] == "DONE", "the end of the budget")
    log = log_of(lab, experiment)
    log = log[len(log) - log[::-1].index(["space", space]) - 1 :]  # the last manager's

    status = lab.status(experiment)
    assert (status["status"], status["reason"]) == ("DONE", "the tuner has no more parameters")
    assert (status["trials"], status["phases"]) == ({"SUCCEEDED": 6}, {"SUCCEEDED": 12})
    assert status["optimize_mode"] == "minimize"
    assert log[:2] == [["space", space], ["several", [0, 1, 2, 3], ["st_callback"]]]
    assert [call[2] for call in log if call[0] == "ask"][:4] == [["st_callback"]] * 4
    calls = [what for what, *_ in log]
    assert calls.index("several", 2) > calls.index("tell")  # what it owes is not asked for again
    launched = [number for what, number, *_ in log if what == "launch"]
    assert launched[:2] == [2, 3]
    assert len(launched) == 4
    trials = trials_of(lab, experiment)
    assert {ids[0] for ids in trials.values()} == {0, 1, *launched}
    when = {
        (what, call[0]): moment
        for moment, (what, *call) in enumerate(log)
        if what in ("ask", "tell", "gone")
    }
    for trial_id, (first, second) in trials.items():
        assert log[when["ask", second]] == ["ask", second, ["trial_job_id"]]
        told = {"trial_job_id": trial_id, "customized": False}
        assert log[when["tell", first]] == ["tell", first, first / 1000, told]
        assert when["tell", first] < when["ask", second] < when["tell", second]
        assert when["tell", second] < when["gone", first]
    assert _most_at_once(lab, experiment) <= 2


def _most_at_once(lab: Lab, experiment: str) -> int:
    trials = json.loads(lab.mpx("trials", experiment, "--json"))
    moments = [(t["ended_at"], -1) for t in trials] + [(t["started_at"], 1) for t in trials]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


# -- habits ---------------------------------------------------------------------------------------

FLAGS = """
    import argparse, ctypes, os, sys

    with open("imports", "a") as file:
        file.write("once\\n")
    parser = argparse.ArgumentParser()
    parser.add_argument("--controller_lr", type=float, default=0.5)
    FLAGS = parser.parse_args()  # raises SystemExit for any flag but its own

    def say(text):
        print("printed", text)
        os.write(1, f"raw {text}\\n".encode())
        c = ctypes.CDLL(None)
        c.puts(f"by C {text}".encode())
        c.fflush(None)
        os.system(f"echo by a child {text}")
        print("@mpx", '{"type":"final","value":666}')

    say("at import")
"""
HABITS = """
    import logging
    from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner
    from src.flags import FLAGS, say
    from src import NAME
    from .beside import SIZE

    logger = logging.getLogger("controller")
    logger.addHandler(logging.FileHandler("controller.log"))
    logger.setLevel(logging.INFO)

    class Tuned(MultiPhaseTuner):
        def __init__(self):
            from nni.utils import extract_scalar_reward  # late, as some do
            assert NAME == "the tuner's"
            assert FLAGS.controller_lr == 0.5
            logger.info("constructed")
        def generate_parameters(self, parameter_id, trial_job_id=None):
            from src import late
            say("in a call")
            return {"n": parameter_id, "text": "é" * SIZE}
        def receive_trial_result(self, parameter_id, parameters, reward, trial_job_id):
            assert len(reward["text"]) == SIZE
            say("of a result")
            logger.info("told %s", parameter_id)
"""
CHILD = """
    import nni
    from src import NAME
    assert NAME == "the trial's"
    while True:
        parameters = nni.get_next_parameter()
        if parameters is None:
            break
        assert parameters["text"] == "é" * 300_000
        nni.report_final_result({"default": parameters["n"], "text": parameters["text"]})
"""


def test_habits_of_old_tuners_and_scripts_are_harmless(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = _python_that_finds_nni(lab.root / "venv")
    monkeypatch.setattr(sys, "executable", str(python))
    lab.write("tuner/tuner.py", HABITS)
    lab.write("tuner/beside.py", "SIZE = 300_000")
    lab.write("tuner/src/__init__.py", 'NAME = "the tuner\'s"')
    lab.write("tuner/src/flags.py", FLAGS)
    lab.write("tuner/src/late.py", "")
    lab.write("child/src/__init__.py", 'NAME = "the trial\'s"')
    lab.write("child/child.py", CHILD)
    lab.write(
        "child/child.sh",
        f"""
        #!/bin/sh
        export PYTHONPATH="$(pwd)"
        '{python}' child.py
        """,
    )
    lab.environment["PYTHONPATH"] += f":{lab.root / 'child'}"
    trial = {"codeDir": "child", "command": "sh child.sh"}
    config = lab.config("", tuner=TUNER, trial=trial, maxPhaseNum=4, trialConcurrency=2)
    experiment = lab.finish(config)

    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 4}
    assert sorted(p["value"]["default"] for p in lab.phases(experiment)) == [0, 1, 2, 3]
    directory = lab.home / "experiments" / experiment
    assert (directory / "imports").read_text() == "once\n"
    assert (directory / "controller.log").read_text().count("constructed") == 1
    assert (directory / "controller.log").read_text().count("told") == 4
    manager_log = (directory / "manager.log").read_text()
    for how in ("printed", "raw", "by C", "by a child"):
        for where, times in (("at import", 1), ("in a call", 4), ("of a result", 4)):
            assert manager_log.count(f"{how} {where}") == times


SLOW = """
    import os, time
    import mpx

    class Tuned(mpx.Tuner):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            if parameter_id == 2:  # the quick trial's second phase
                open("{root}/slow", "w").close()
                while not os.path.exists("{root}/worked"):
                    time.sleep(0.01)
            return {{"n": parameter_id}}
"""
WORKER = """
    import os, time
    import nni
    while True:
        parameters = nni.get_next_parameter()
        if parameters is None:
            break
        if parameters["n"] == 1:
            while not os.path.exists("slow"):
                time.sleep(0.01)
            for step in range(100):
                nni.report_intermediate_result(step)
            nni.report_final_result(1)  # returns when it is on disk
            open("worked", "w").close()
        else:
            nni.report_final_result(0)
"""


def test_trials_work_on_while_the_tuner_thinks(lab: Lab) -> None:
    lab.write("tuner/tuner.py", SLOW.format(root=lab.root))
    config = lab.config(WORKER, tuner=TUNER, trialConcurrency=2, maxTrialNum=2, maxPhaseNum=3)
    experiment = lab.finish(config)
    phases = {phase["parameter_id"]: phase for phase in lab.phases(experiment)}
    assert [phases[number]["status"] for number in range(3)] == ["SUCCEEDED"] * 3
    assert len(phases[1]["intermediates"]) == 100
    assert phases[1]["ended_at"] <= phases[2]["started_at"]


# -- multiThread ----------------------------------------------------------------------------------

SHARES = """
    import json, threading
    from nni.tuner import Tuner

    class Tuned(Tuner):
        '''Chooses for one trial when the result of the other's phase is there.'''

        def __init__(self):
            self.changed = threading.Condition()
            self.log = open("calls.jsonl", "a", buffering=1)
            self.note("born")
            self.leader = None
            self.results = {"leader": 0, "follower": 0}

        def note(self, *call):
            print(json.dumps(call), file=self.log)

        def generate_parameters(self, parameter_id, **kwargs):
            with self.changed:
                self.note("ask", parameter_id)
                trial = kwargs.get("trial_job_id")
                leads = parameter_id == 0 or (trial is not None and trial == self.leader)
                mine = self.results["leader" if leads else "follower"]
                if leads:
                    self.changed.wait_for(lambda: self.results["follower"] >= mine)
                else:
                    self.changed.wait_for(lambda: self.results["leader"] > mine)
                self.note("answer", parameter_id)
                return {"n": parameter_id, "round": mine}

        def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
            with self.changed:
                self.note("tell", parameter_id, value)
                if parameter_id == 0:
                    self.leader = kwargs["trial_job_id"]
                leads = kwargs["trial_job_id"] == self.leader
                self.results["leader" if leads else "follower"] += 1
                self.changed.notify_all()
"""
SHARED = """
    import os, time
    import nni
    while True:
        parameters = nni.get_next_parameter()
        if parameters is None:
            break
        if nni.get_sequence_id() == 0 and parameters["round"] == 2:
            open("waits", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        nni.report_final_result(parameters["round"])
"""


def test_tuner_of_many_threads_waits_for_another_trials_result_and_survives_its_manager(
    lab: Lab,
) -> None:
    lab.write("tuner/tuner.py", SHARES)
    keys = {"trialConcurrency": 2, "maxTrialNum": 2, "maxPhasesPerTrial": 4, "multiThread": True}
    experiment = lab.create(lab.config(SHARED, tuner=TUNER, **keys))
    wait_until((lab.root / "waits").exists, "the leader's third phase")
    wait_until(
        lambda: {"WAITING", "RUNNING"} <= lab.status(experiment)["phases"].keys(),
        "the follower, which waits for it",
    )
    os.kill(lab.status(experiment)["manager"]["pid"], signal.SIGKILL)
    lab.mpx("resume", experiment)
    lab.write("go", "")
    wait_until(lambda: lab.status(experiment)["status"] == "DONE", "the end")

    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 8}
    values = [phase["value"] for phase in lab.phases(experiment)]
    assert sorted(values) == [0, 0, 1, 1, 2, 2, 3, 3]
    log = log_of(lab, experiment)
    assert log.count(["born"]) == 2
    last_life = log[len(log) - log[::-1].index(["born"]) :]
    assert sorted(n for what, n, *_ in last_life if what == "tell") == [*range(8)]
