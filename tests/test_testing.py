"""`mpx.testing`: a good tuner keeps the contract, and each way to break it is found and explained."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import pytest

import mpx
from mpx.search_space import sample
from mpx.testing import TunerContract, real_experiment
from mpx.testing.hosted_tuner import HostedTuner, Record
from mpx.testing.membership import deviations
from mpx.testing.place import experiment_directory
from mpx.testing.subject import Subject
from mpx.testing.workload import Ending, Workload
from mpx.tuner_calls import AskFirst, Recorded
from tests.test_tuners_contract import EDGES, NESTED, TYPES, space_of

LINE = {"x": {"_type": "uniform", "_value": [0, 1]}}


class Climber(mpx.Tuner):
    """Draws near the best result, and waits for nothing."""

    def __init__(self):
        self.best = [-math.inf, 0.5]
        self.open = {}

    def update_search_space(self, search_space):
        assert list(search_space) == ["x"]

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.open[parameter_id] = trial_job_id
        x = random.gauss(self.best[1], 0.1 + 0.01 * len(self.open))
        return {"x": min(max(x, 0.0), 1.0)}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        self.open.pop(parameter_id, None)
        score = self.score(value)
        if score is not None and score > self.best[0]:
            self.best = [score, parameters["x"]]

    def score(self, value):
        if isinstance(value, dict):
            value = value.get("default")
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        return value if is_number and math.isfinite(value) else None

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.open.pop(parameter_id, None)


class Keeper(Climber):
    """Has all that a tuner may have."""

    optimize_mode = "maximize"

    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id=None, customized=False
    ):
        self.open.setdefault(parameter_id, trial_job_id)
        super().receive_trial_result(parameter_id, {"x": 0.5, **parameters}, value)

    def generate_multiple_parameters(self, parameter_id_list):
        return [self.generate_parameters(each) for each in parameter_id_list]

    def import_data(self, data):
        for row in data:
            if "x" in row["parameter"]:
                self.best = max(self.best, [self.score(row["value"]) or 0, row["parameter"]["x"]])

    def save_checkpoint(self):
        state = [self.best, list(self.open.items())]
        Path(self.get_checkpoint_path(), "state.json").write_text(json.dumps(state))

    def load_checkpoint(self):
        state = json.loads(Path(self.get_checkpoint_path(), "state.json").read_text())
        self.best, self.open = state[0], dict(state[1])


class Lister(mpx.Tuner):
    """Hands out what it has."""

    def update_search_space(self, search_space):
        self.left = iter(search_space["x"]["_value"])

    def generate_parameters(self, parameter_id, trial_job_id=None):
        try:
            return {"x": next(self.left)}
        except StopIteration:
            raise mpx.NoMoreTrialError from None


LIST = {"x": {"_type": "choice", "_value": list(range(50))}}


class TestClimber(TunerContract):
    """What a user writes."""

    tuner = Climber
    search_space = LINE
    test_it_says_that_it_has_no_more = None
    test_a_real_experiment = None  # it would import this file


class TestQuickstart(TunerContract):
    """An example's tuner, named as its configuration does."""

    tuner = {
        "codeDir": "../examples/quickstart",
        "classFileName": "tuner.py",
        "className": "HillClimb",
    }
    class_args = {"step": 2.0}
    optimize_mode = "minimize"
    # Its trial reports nothing but numbers.
    test_results_that_are_dicts = None
    test_results_that_are_no_numbers = None
    test_it_says_that_it_has_no_more = None
    test_a_real_experiment = None


def contract(tuner, search_space=LINE, bases=(), **attributes):
    attributes = {"phases": 10, "test_a_real_experiment": None, **attributes}
    members = {"tuner": tuner, "search_space": search_space, **attributes}
    return type("TestIt", (TunerContract, *bases), members)


def outcomes(contract):
    """Run all its tests; return what failed with its message, and what was skipped."""
    failed, skipped = {}, []
    for name in dir(contract):
        test = getattr(contract(), name)
        if name.startswith("test_") and test is not None:
            try:
                test()
            except AssertionError as error:
                failed[name] = str(error)
            except unittest.SkipTest:
                skipped.append(name)
    return failed, skipped


class Queue(mpx.Tuner):
    """Has two phases open at most; whoever was turned away is launched when there is room."""

    def __init__(self):
        self.open, self.waiting = set(), []

    def generate_parameters(self, parameter_id, trial_job_id=None, st_callback=None):
        if len(self.open) < 2:
            self.open.add(parameter_id)
            return {"x": random.random()}
        if st_callback:
            self.waiting.append((st_callback, parameter_id))
        return None

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.open.discard(parameter_id)
        if self.waiting:
            launch, parameter_id = self.waiting.pop()
            launch(parameter_id, self.generate_parameters(parameter_id))


NO_MORE = "test_it_says_that_it_has_no_more"
FROM_CHECKPOINT = "test_a_resume_from_a_checkpoint_equals_no_interruption"


def test_a_tuner_with_all_there_is_keeps_the_contract():
    assert outcomes(contract(Keeper)) == ({}, [NO_MORE])
    assert outcomes(contract(Lister, LIST, exhausts=True)) == ({}, [FROM_CHECKPOINT])
    assert outcomes(contract(Queue, waits=True)) == ({}, [FROM_CHECKPOINT, NO_MORE])


# -- what breaks it ---------------------------------------------------------------------------------


class Ill(Climber):
    optimize_mode = "max"


class Raises(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        raise RuntimeError("no idea")


class Pops(Climber):
    """Never thought of its end."""

    def __init__(self):
        super().__init__()
        self.left = [0.1, 0.2, 0.3]

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": self.left.pop()}


class HasOneTooMany(Climber):
    def generate_multiple_parameters(self, parameter_id_list):
        return [self.generate_parameters(each) for each in [*parameter_id_list, -1]]


class Unspeakable(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return object()


class GivesUp(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return super().generate_parameters(parameter_id) if parameter_id < 5 else None


class Hangs(Climber):
    its_test = {"patience": 0.003}
    has_waited_enough = threading.Event()

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.has_waited_enough.wait()


class Strays(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": random.gauss(0.5, 1), "y": 1}


class DrawsAtWill(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": random.SystemRandom().random()}


class KeepsAFile(Climber):
    """Remembers by itself what mpx has it told again."""

    def generate_parameters(self, parameter_id, trial_job_id=None):
        with open("asked", "a+") as file:
            file.write("x")
            return {"x": 1 / file.tell()}


class ForgetsWhatIsOpen(Keeper):
    def save_checkpoint(self):
        self.open = {}
        super().save_checkpoint()


class DrawsFromItsOwn(Keeper):
    def __init__(self):
        super().__init__()
        self.random = random.Random(random.random())

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": self.random.random()}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        pass


class SavesNothing(Keeper):
    def save_checkpoint(self):
        pass


class LooksUpParameters(Climber):
    def __init__(self):
        super().__init__()
        self.given = set()

    def generate_parameters(self, parameter_id, trial_job_id=None):
        found = super().generate_parameters(parameter_id)
        self.given.add(found["x"])
        return found

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        self.given.remove(parameters["x"])


class TrustsTheTrial(Climber):
    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if self.open[parameter_id] not in (None, trial_job_id):
            raise KeyError(trial_job_id)
        super().receive_trial_result(parameter_id, parameters, value)


class AnswersTogether(Climber):
    def generate_multiple_parameters(self, parameter_id_list):
        found = [self.generate_parameters(each) for each in parameter_id_list]
        return found if len(found) == 1 else dict(zip(parameter_id_list, found, strict=True))


class HasAFewFirst(Climber):
    def generate_multiple_parameters(self, parameter_id_list):
        return [self.generate_parameters(parameter_id_list[0])]


class RemembersTheLast(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.last = parameter_id
        return super().generate_parameters(parameter_id)

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if parameter_id != self.last:
            raise KeyError(parameter_id)


class GoesOnFromAnything(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        found = super().generate_parameters(parameter_id)
        return mpx.Continued(found, parameter_id - 1) if parameter_id else found


class RemembersTheLastOfATrial(Climber):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.last = {**getattr(self, "last", {}), trial_job_id: parameter_id}
        return super().generate_parameters(parameter_id)

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if parameter_id != self.last.get(trial_job_id, parameter_id):
            raise KeyError(parameter_id)


class WantsAllResults(Climber):
    def _on_exit(self):
        if self.open:
            raise RuntimeError(f"{len(self.open)} results are out")


class RunsOut(Lister):
    its_test = {"search_space": LIST, "exhausts": True}

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": next(self.left)}


class Rounds(Climber):
    def score(self, value):
        if isinstance(value, float):
            int(value)
        return super().score(value)


class Averages(Climber):
    mean = 0.5

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": self.mean}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if isinstance(value, dict):
            value = value.get("default")
        if isinstance(value, float):
            self.mean += (min(max(value, 0.0), 1.0) - self.mean) / 10


class TakesNaNForTheBest(Climber):
    """And then every result for a better one."""

    def __init__(self):
        super().__init__()
        self.results = []

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if isinstance(value, dict):
            value = value.get("default")
        if isinstance(value, float):
            if not self.results or not value <= max(self.results):
                self.best[1] = parameters["x"]
            self.results.append(value)


class WantsALoss(Climber):
    def score(self, value):
        return value["loss"] if isinstance(value, dict) else super().score(value)


class LearnsNothingFromDicts(Climber):
    def score(self, value):
        return None if isinstance(value, dict) else super().score(value)


class WantsNumbers(Climber):
    def score(self, value):
        found = float(value.get("default", 0) if isinstance(value, dict) else value)
        return found if math.isfinite(found) else None


class WantsAResult(Climber):
    def phase_end(self, parameter_id, success, trial_job_id=None):
        if self.open.pop(parameter_id, None) and not success:
            raise KeyError(parameter_id)


class HasFewSlots(Climber):
    its_test = {"phases": 20}

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return super().generate_parameters(parameter_id) if len(self.open) < 7 else None

    def phase_end(self, parameter_id, success, trial_job_id=None):
        pass


class MournsTrials(Climber):
    def trial_end(self, parameter_id, success, trial_job_id=None):
        if not success:
            raise RuntimeError(f"{trial_job_id} is dead")


class WantsItsOwn(Climber):
    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id=None, customized=False
    ):
        del self.open[parameter_id]


class WantsGoodRows(Climber):
    def import_data(self, data):
        self.best = max([row["value"], row["parameter"]["x"]] for row in data)


BROKEN = [
    (Ill, "test_a_plain_experiment", "optimize_mode is 'max'; allowed: maximize, minimize"),
    (
        Raises,
        "test_a_plain_experiment",
        r"phases 0 \(trial t0\): it raised RuntimeError: no idea.*"
        r'test_testing.py", line \d+, in generate_parameters',
    ),
    (Pops, "test_a_plain_experiment", r"IndexError: pop.*\n  to do: .*set `exhausts = True`"),
    (
        HasOneTooMany,
        "test_a_plain_experiment",
        r"asked for 1 and returned a list of 2.*\n  to do: .* as many phases as there are ids, or of fewer",
    ),
    (Unspeakable, "test_a_plain_experiment", "object is not something JSON can say"),
    (GivesUp, "test_a_plain_experiment", r"5 ended, it had no parameters.*`exhausts = True`"),
    (Hangs, "test_a_plain_experiment", "has not returned for 0.003 s"),
    (
        Strays,
        "test_parameters_are_of_the_search_space",
        r"x: found -?[\d.]+; allowed: a number.*y: not in the search space",
    ),
    (DrawsAtWill, "test_seeded_alike_it_chooses_alike", r'answered\n *{"x":.*first time\n *{"x"'),
    (KeepsAFile, "test_a_resume_equals_no_interruption", "answered otherwise than before"),
    (ForgetsWhatIsOpen, FROM_CHECKPOINT, "after save_checkpoint behind call"),
    (DrawsFromItsOwn, FROM_CHECKPOINT, r"after a resume that made the calls behind \d+ again"),
    (SavesNothing, FROM_CHECKPOINT, "left no file"),
    (LooksUpParameters, "test_answers_on_record_win", "it raised KeyError"),
    (TrustsTheTrial, "test_a_lost_phase_is_tried_again_by_another_trial", "KeyError: 't1'"),
    (AnswersTogether, "test_first_phases_of_several_trials", "asked for 3 and returned a dict"),
    (HasAFewFirst, "test_first_phases_of_several_trials", "asked for 3, it had parameters for 1"),
    (RemembersTheLast, "test_trials_in_parallel", r"\(trial t\d\): it raised KeyError"),
    (
        GoesOnFromAnything,
        "test_weights_to_go_on_from",
        r"phase \d+ is to go on from phase \d+; of these there were results: ",
    ),
    (RemembersTheLastOfATrial, "test_several_phases_of_a_trial_at_a_time", "it raised KeyError"),
    (WantsAllResults, "test_it_may_end_at_any_time", "ended well: .* 3 results are out"),
    (RunsOut, NO_MORE, "it raised StopIteration.*raise NoMoreTrialError"),
    (Rounds, "test_results_that_are_nan_or_infinite", "told the result nan"),
    (Averages, "test_results_that_are_nan_or_infinite", r'the parameters of phase \d+: {"x":NaN}'),
    (
        TakesNaNForTheBest,
        "test_results_that_are_nan_or_infinite",
        r"of the phases \(0, 3\) to end, its choices were the same whatever the results were",
    ),
    (WantsALoss, "test_results_that_are_dicts", "it raised KeyError: 'loss'"),
    (LearnsNothingFromDicts, "test_results_that_are_dicts", "instead of the number"),
    (WantsNumbers, "test_results_that_are_no_numbers", "it raised ValueError: .*'n/a'"),
    (WantsAResult, "test_phases_that_fail", "ended without a result: it raised KeyError"),
    (HasFewSlots, "test_phases_that_fail", "it had no parameters"),
    (MournsTrials, "test_trials_that_die", "told that trial t0 died: it raised RuntimeError"),
    (WantsItsOwn, "test_parameters_that_the_user_chose", r"phase 0 \(trial t0\): it raised Key"),
    (WantsGoodRows, "test_results_from_elsewhere", "import_data failed: KeyError"),
]


@pytest.mark.parametrize(
    ("tuner", "name", "seen"), [pytest.param(*each, id=each[0].__name__) for each in BROKEN]
)
def test_what_breaks_the_contract_fails_one_test_that_says_how(tuner, name, seen, capsys):
    failed, _ = outcomes(contract(tuner, **getattr(tuner, "its_test", {})))
    if tuner is Hangs:
        tuner.has_waited_enough.set()
    assert list(failed) == [name]
    message = failed[name]
    assert "Traceback" not in message or "Traceback" not in capsys.readouterr().err
    assert re.match("TestIt: a tuner's contract is broken\n  the contract: .*\n  seen: ", message)
    assert re.search(f"\n  seen: .*{seen}.*\n  to do: ", message + "\n  to do: ", re.DOTALL), (
        message
    )


def test_a_tuner_that_waits_is_told_how_to_say_so():
    failed, _ = outcomes(contract(Queue))
    assert failed
    assert all("to do: " in each and "set `waits = True`" in each for each in failed.values())


# -- how it is used ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "seen"),
    [
        (
            {},
            r"`tuner` is None.*set the class attribute `tuner` to a class, the name of a built-in",
        ),
        ({"tuner": "Randm"}, "found no built-in tuner 'Randm'; there are Random"),
        ({"tuner": {"codeDir": "."}}, "a dict with codeDir, classFileName, className"),
        ({"tuner": Lister, "class_args": {"step": 1}}, r"Lister\(step=...\) failed: TypeError"),
        (
            {"tuner": Keeper, "search_space": LINE, "optimize_mode": "minimize"},
            "'maximize', and that",
        ),
    ],
)
def test_a_test_that_asks_for_what_there_is_not_says_what_there_is(attributes, seen):
    with pytest.raises(AssertionError) as caught:
        type("TestIt", (TunerContract,), attributes)().test_a_plain_experiment()
    assert re.search(seen, str(caught.value), re.DOTALL), caught.value


def test_unittest_runs_it():
    def run(tuner):
        cases = contract(tuner, bases=(unittest.TestCase,))
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(cases).run(result)
        return result

    result = run(Climber)
    assert result.wasSuccessful()
    assert (result.testsRun, len(result.skipped)) == (20, 2)
    ((test, text),) = run(WantsAResult).failures
    assert test.id().endswith(".TestIt.test_phases_that_fail")
    assert (
        "AssertionError: TestIt: a tuner's contract is broken\n  the contract: A phase may" in text
    )


def test_it_needs_nothing_but_the_standard_library():
    code = (
        "import sys, mpx.testing\n"
        "print({'pytest', 'psutil', 'jsonschema', 'yaml', 'click', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_process_is_as_it_was_and_the_tuner_finds_what_a_manager_gives_it(monkeypatch):
    monkeypatch.delenv("NNI_CHECKPOINT_DIRECTORY", raising=False)

    class Looks(Climber):
        def __init__(self):
            super().__init__()
            seen.append(
                (sys.argv, Path.cwd(), self.get_checkpoint_path(), threading.active_count())
            )

    def state():
        return sys.argv, Path.cwd(), dict(os.environ), random.getstate(), threading.active_count()

    seen, before = [], state()
    contract(Looks)().test_a_plain_experiment()
    assert state() == before
    ((arguments, here, checkpoints, threads),) = seen
    assert arguments == ["mpx"]
    assert Path(checkpoints) == here / "checkpoint"
    assert not here.exists()
    assert threads == before[-1] + 1  # it has the thread that it has in a manager


def test_in_a_real_experiment_the_managers_account_of_a_failure_is_told(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "import mpx\n"
        "class Mine(mpx.Tuner):\n"
        "    def generate_parameters(self, parameter_id):\n"
        "        return {'x': len(sys.modules['pytest'].__name__) if parameter_id > 3 else 0}\n"
    )
    tuner = {"codeDir": str(tmp_path), "classFileName": "mine.py", "className": "Mine"}
    it = contract(tuner, "")()
    it.test_a_plain_experiment()
    with pytest.raises(AssertionError) as caught:
        TunerContract.test_a_real_experiment(it)
    assert re.search(r'seen: .*KeyError.*mine.py", line 5', str(caught.value), re.DOTALL)


def test_a_real_experiment_is_compared_with_this_process(monkeypatch):
    made = [Recorded(AskFirst([0], ["t"]), {0: '{"x":0.5}'})]
    there = ([], Record(made))
    monkeypatch.setattr(real_experiment, "run_and_resume", lambda *_: there)
    with pytest.raises(AssertionError, match=r"made again in this process: .* answered otherwise"):
        TunerContract.test_a_real_experiment(contract(Climber)())


# -- what it is made of -----------------------------------------------------------------------------


class Diary(mpx.Tuner):
    """Writes down what it is called with."""

    def __init__(self):
        self.calls = []

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.calls.append(("ask", trial_job_id, parameter_id))
        return parameter_id

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        assert parameters == parameter_id
        self.calls.append(("tell", trial_job_id, parameter_id))

    def phase_end(self, parameter_id, success, trial_job_id=None):
        assert success == (self.calls[-1] == ("tell", trial_job_id, parameter_id))
        self.calls.append(("end", trial_job_id, parameter_id))

    def trial_end(self, parameter_id, success, trial_job_id=None):
        self.calls.append(("gone", trial_job_id, parameter_id))


@pytest.mark.parametrize(("trials", "open_phases"), [(1, 1), (4, 1), (3, 3)])
def test_a_workload_calls_in_the_order_that_tuners_are_promised(trials, open_phases):
    def outcome(number, parameters):
        return {3: Ending.FAILED, 5: Ending.TRIAL_DIED}.get(number % 6, 0.5)

    subject = Subject(lambda: Diary, None, {}, "")
    with experiment_directory() as paths:
        tuner = HostedTuner(paths, patience=30)
        tuner.load(subject, 1, None, None)
        more = {"trials": trials, "open_phases": open_phases, "phases_per_trial": 5}
        Workload(tuner, outcome, lambda _: False, phases=60, **more).run()
        tuner.finish(well=True)
    calls = tuner.constructed.calls
    of_trial = {}
    most_open = most_running = 0
    for what, trial, number in calls:
        life = of_trial.setdefault(trial, {"first": number, "open": [], "begun": 0})
        if what == "ask":
            life["open"].append(number)
            life["begun"] += 1
        elif what == "end":
            life["open"].remove(number)
        elif what == "gone":
            assert (number, life["open"]) == (life["first"], [])
            life["first"] = None
        else:
            assert number in life["open"]
        most_open = max(most_open, len(life["open"]))
        most_running = max(
            most_running, sum(life["first"] is not None for life in of_trial.values())
        )
    assert all(life["first"] is None for life in of_trial.values())
    assert sum(life["begun"] for life in of_trial.values()) == 60
    assert max(life["begun"] for life in of_trial.values()) == 5
    assert (most_running, most_open) == (trials, open_phases)
    order = [number for what, _, number in calls if what == "end"]
    assert (order == sorted(order)) == (trials == 1)


EVERYTHING = {
    **space_of(*TYPES),
    **{key: {"_type": kind, "_value": value} for key, (kind, value, _) in EDGES.items()},
    **NESTED,
}


def test_what_is_drawn_from_a_search_space_is_of_it():
    rng = random.Random(0)
    for _ in range(200):
        drawn = json.loads(json.dumps(sample(EVERYTHING, rng)))
        assert list(deviations(EVERYTHING, drawn)) == []
        assert list(deviations(EVERYTHING, {**drawn, "extra": 1}, ["extra"])) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("uniform", 2.5, "uniform: found 2.5; allowed: a number from -1 to 2 (uniform)"),
        ("uniform", True, "uniform: found true; allowed: a finite number"),
        ("normal", math.nan, "normal: found NaN; allowed: a finite number"),
        ("normal", "1", 'normal: found "1"; allowed: a finite number'),
        ("randint", 3, "randint: found 3; allowed: an integer from -2 to below 3 (randint)"),
        ("randint", 1.0, "randint: found 1.0; allowed: an integer from -2 to below 3 (randint)"),
        ("quniform", 7.0, "quniform: found 7.0; allowed: a number from 2 to 10 in steps of 5"),
        ("qloguniform", 5.0, "allowed: a number from 1 to 10 in steps of 4"),
        ("qnormal", 1.0, "allowed: a multiple of 3"),
        ("lognormal", -1.0, "allowed: a positive number"),
        ("choice", "b", 'choice: found "b"; allowed: one of "a", [1,2], null, true, 0.5'),
        ("choice", 1, "choice: found 1; allowed: one of"),
        ("layer", "none", 'allowed: one of {"_name":"none"}, {"_name":"conv"}'),
        ("layer", {"_name": "pool"}, 'layer: found {"_name":"pool"}; allowed: one of'),
        ("layer", {"_name": "conv", "size": 3}, "layer.then: found no value; allowed: one"),
        ("layer", {"_name": "conv", "size": 9, "then": "end"}, "layer.size: found 9; allowed"),
        ("more", 1, "more: not in the search space"),
    ],
)
def test_what_is_not_of_a_search_space_is_named_with_what_is_allowed(name, value, said):
    drawn = json.loads(json.dumps(sample(EVERYTHING, random.Random(0))))
    (found,) = deviations(EVERYTHING, {**drawn, name: value})
    assert said in found
    assert list(deviations(EVERYTHING, [1])) != []
