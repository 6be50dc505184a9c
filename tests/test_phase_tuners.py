"""A search space for each phase: which tuner is asked, which is told, and that a resume knows it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import mpx
from mpx.adapted_tuner import AdaptedTuner
from mpx.errors import NoMoreTrialError, TunerError
from mpx.loader import load_built_in_tuner
from mpx.phase_tuners import PhaseTuners
from mpx.tuner_calls import Ask, AskFirst, Recorded, Tell, TrialEnd
from mpx.wire import decode
from tests.lab import wait_until
from tests.test_tuner_host import Hosted

NAMES = ("kernel", "rate", "decay")
SPACES = [{name: {"_type": "uniform", "_value": [n, n + 1]}} for n, name in enumerate(NAMES)]


class Noting(mpx.Tuner):
    """Writes down each call; `empty` asks find nothing."""

    def __init__(self):
        self.calls = []
        self.empty = 0

    def update_search_space(self, search_space):
        (self.name,) = search_space

    def generate_parameters(self, parameter_id, trial_job_id=None):
        if self.empty:
            self.empty -= 1
            return None
        self.calls.append(("ask", parameter_id, trial_job_id))
        return {self.name: parameter_id}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id, customized=False):
        self.calls.append(("tell" + "*" * customized, parameter_id, parameters, trial_job_id))

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.calls.append(("end", parameter_id, success))

    def trial_end(self, parameter_id, success, trial_job_id=None, **kwargs):
        self.calls.append(("gone", parameter_id, trial_job_id))


class Stage:
    """Tuners for `SPACES`, called as mpx calls one.

    Attributes:
        tuners: the user's, in the order of the spaces.
    """

    def __init__(self, tuner_class=Noting):
        self.tuners = []
        self.whole = PhaseTuners(lambda: self.tuners.append(tuner_class()) or self.tuners[-1], 3)
        self.adapted = AdaptedTuner(self.whole)
        self.adapted.call("update_search_space", SPACES)

    def first(self, **trials):
        """Ask for the first phases of trials: name=parameter_id."""
        found = self.adapted.generate_first(
            list(trials.values()), list(trials), lambda number, parameters: None
        )
        return found.found

    def next(self, trial, parameter_id):
        """Return which space a trial's next phase is of, None if there is none."""
        try:
            found = self.adapted.generate_next(parameter_id, trial)
        except NoMoreTrialError:
            return None
        return found if found is None else NAMES.index(*found)

    def tell(self, trial, parameter_id, parameters, customized=False):
        self.adapted.receive(parameter_id, parameters, 0.5, trial, customized)
        self.adapted.phase_end(parameter_id, True, trial, customized)

    def fail(self, trial, parameter_id, customized=False):
        self.adapted.phase_end(parameter_id, False, trial, customized)

    def calls(self):
        return [tuner.calls for tuner in self.tuners]


def test_each_phase_is_between_a_trial_and_the_tuner_of_its_space():
    stage = Stage()
    assert stage.first(a=0, b=1) == [(0, {"kernel": 0}), (1, {"kernel": 1})]
    stage.tell("a", 0, {"kernel": 0})
    assert stage.next("a", 2) == 1
    stage.fail("b", 1)
    assert stage.next("b", 3) == 1
    stage.fail("a", 2)
    assert stage.next("a", 4) == 2
    stage.tell("a", 4, {"decay": 4})
    assert stage.next("a", 5) is None
    stage.adapted.trial_end(0, True, "a")
    assert stage.calls() == [
        [
            ("ask", 0, "a"),
            ("ask", 1, "b"),
            ("tell", 0, {"kernel": 0}, "a"),
            ("end", 0, True),
            ("end", 1, False),
            ("gone", 0, "a"),
        ],
        [("ask", 2, "a"), ("ask", 3, "b"), ("end", 2, False), ("gone", 0, "a")],
        [("ask", 4, "a"), ("tell", 4, {"decay": 4}, "a"), ("end", 4, True), ("gone", 0, "a")],
    ]


def test_behind_the_last_space_the_reason_is_said():
    stage = Stage()
    for parameter_id in range(3):
        stage.next("a", parameter_id)
    with pytest.raises(
        NoMoreTrialError, match="had a phase of each of the 3 search spaces in `phases`"
    ):
        stage.whole.generate_parameters(3, "a")


def test_an_ask_that_finds_nothing_is_no_phase():
    stage = Stage()
    stage.tuners[0].empty = stage.tuners[1].empty = 1
    assert stage.first(a=0) == []
    assert stage.first(b=1, c=2) == [(1, {"kernel": 1}), (2, {"kernel": 2})]
    assert [stage.next("b", number) for number in (3, 4, 5)] == [None, 1, 2]


@pytest.mark.parametrize(
    ("empty", "asked", "found"),
    [(0, 2, ["kernel", "rate"]), (0, 5, ["kernel", "rate", "decay"]), (1, 3, ["kernel"])],
)
def test_phases_that_a_trial_has_open_at_a_time_are_of_spaces_in_order(empty, asked, found):
    stage = Stage()
    stage.tuners[1].empty = empty
    several = stage.whole.generate_multiple_parameters([*range(asked)], trial_job_id="a")
    assert [name for each in several for name in each] == found
    if len(found) == 3:
        with pytest.raises(NoMoreTrialError):
            stage.whole.generate_multiple_parameters([5, 6], trial_job_id="a")
    else:
        assert stage.next("a", 7) == len(found)


# -- what was not chosen for the trial --------------------------------------------------------------


def lost(index):
    """Lose phase `index` of another trial, which is tried again in trial b; return whose it is."""

    def play(stage):
        for number in range(index + 1):
            stage.next("dead", number)
        stage.adapted.trial_end(0, False, "dead")
        stage.tell("b", index, {NAMES[index]: index})
        return index

    return play


def enqueued(parameters, told=None):
    """Have trial b try parameters of the user's; `told` is the tuner that is to hear of them."""

    def play(stage):
        stage.tell("b", 50, parameters, customized=True)
        return told

    return play


def failed_customized(stage):
    stage.fail("b", 50, customized=True)


@pytest.mark.parametrize(
    ("own", "interlude", "following"),
    [
        pytest.param(0, lost(0), [1, 2], id="lost, of the very space"),
        pytest.param(1, lost(1), [2], id="lost, of the very space, later"),
        pytest.param(0, lost(1), [0, 1, 2], id="lost, of a space to come"),
        pytest.param(2, lost(0), [2], id="lost, of a space that it had"),
        pytest.param(3, lost(0), [], id="lost, behind the last"),
        pytest.param(0, enqueued({"kernel": 1}, 0), [1, 2], id="enqueued, of the very space"),
        pytest.param(1, enqueued({"decay": 1}, 2), [1, 2], id="enqueued, of another space"),
        pytest.param(1, enqueued([1, 2], 1), [2], id="enqueued, and who knows of which"),
        pytest.param(3, enqueued({"x": 1}), [], id="enqueued, of none, behind the last"),
        pytest.param(1, failed_customized, [1, 2], id="enqueued, without a result"),
    ],
)
def test_every_trial_goes_through_all_spaces_whatever_else_is_tried_in_it(
    own, interlude, following
):
    stage = Stage()
    assert [stage.next("b", number) for number in range(20, 20 + own)] == [*range(own)]
    told = interlude(stage)
    heard = [
        index
        for index, calls in enumerate(stage.calls())
        if any(call[0].startswith("tell") for call in calls)
    ]
    assert heard == ([] if told is None else [told])
    assert [stage.next("b", number) for number in range(30, 34)] == [
        *following,
        *[None] * (4 - len(following)),
    ]


class Careless(Noting):
    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        raise AssertionError("it did not say that it cares for what users choose")


@pytest.mark.parametrize(
    ("tuner_class", "heard"),
    [(Noting, [("tell*", 50, {"rate": 1}, "b"), ("end", 50, True)]), (Careless, [])],
)
def test_tuners_that_care_hear_that_the_user_chose(tuner_class, heard):
    stage = Stage(tuner_class)
    stage.tell("b", 50, {"rate": 1}, customized=True)
    assert stage.tuners[1].calls == heard


def test_results_from_elsewhere_go_where_they_may_be_of_use():
    class Learning(Noting):
        def import_data(self, data):
            self.calls.append([row["value"] for row in data])

    stage = Stage(Learning)
    rows = [{"kernel": 1}, {"rate": 1, "kernel": 2}, {"x": 1}]
    data = [{"parameter": row, "value": n} for n, row in enumerate(rows)]
    stage.adapted.call("import_data", data)
    assert stage.calls() == [[[0, 1, 2]], [[1, 2]], [[2]]]
    assert not Stage().adapted.takes_data


# -- tuners of other kinds ----------------------------------------------------------------------------


class OfOldNni:
    """NNI v0.8: nothing is named, and a base class is not needed."""

    def __init__(self):
        self.calls = []

    def update_search_space(self, space):
        (self.name,) = space

    def generate_parameters(self, number):
        return {self.name: number}

    def receive_trial_result(self, number, parameters, reward):
        self.calls.append((number, parameters, reward))


class OfLists(OfOldNni):
    generate_parameters = None

    def generate_multiple_parameters(self, numbers, **kwargs):
        return [{self.name: number} for number in numbers]


@pytest.mark.parametrize("tuner_class", [OfOldNni, OfLists])
def test_signatures_of_any_age_will_do(tuner_class):
    stage = Stage(tuner_class)
    assert stage.first(a=0, b=1) == [(0, {"kernel": 0}), (1, {"kernel": 1})]
    assert stage.next("a", 2) == 1
    stage.tell("a", 2, {"rate": 2})
    stage.adapted.trial_end(0, True, "a")
    assert stage.calls() == [[], [(2, {"rate": 2}, 0.5)], []]


def test_what_is_launched_later_is_of_the_first_space():
    class Later(Noting):
        def generate_parameters(self, parameter_id, trial_job_id=None, st_callback=None):
            self.launch = st_callback
            return None if st_callback else super().generate_parameters(parameter_id, trial_job_id)

    stage, launched = Stage(Later), []
    found = stage.adapted.generate_first([0], ["a"], lambda *given: launched.append(given))
    assert (found.found, found.promised) == ([], {0})
    stage.tuners[0].launch(0, 7)
    assert launched == [(0, 7)]
    assert stage.next("b", 1) == 0
    stage.tell("b", 0, 7)
    assert stage.tuners[0].calls[1:] == [("tell", 0, 7, "b"), ("end", 0, True)]
    assert stage.next("b", 2) == 1


def test_every_tuner_says_goodbye():
    class Leaving(Noting):
        def _on_exit(self):
            self.calls.append("bye")
            raise ValueError(self.name)

    stage = Stage(Leaving)
    with pytest.raises(ValueError, match="kernel"):
        stage.adapted.call("_on_exit")
    assert stage.calls() == [["bye"]] * 3


# -- what a resume knows --------------------------------------------------------------------------------


class Saving(Noting):
    """Saves its calls; `silent` ones leave no file."""

    silent = ()

    def save_checkpoint(self):
        if self.name not in self.silent:
            Path(self.get_checkpoint_path(), "calls").write_text(json.dumps(self.calls))

    def load_checkpoint(self):
        self.calls = json.loads(Path(self.get_checkpoint_path(), "calls").read_text())


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_checkpoint_holds_all_tuners_and_where_each_trial_stands(checkpoints):
    before = Stage(Saving)
    before.first(a=0, b=1)
    before.tell("a", 0, {"kernel": 0})
    before.next("a", 2)
    before.adapted.call("save_checkpoint")
    assert os.environ["NNI_CHECKPOINT_DIRECTORY"] == str(checkpoints)

    after = Stage(Saving)
    assert after.adapted.saves
    after.adapted.call("load_checkpoint")
    assert [len(calls) for calls in after.calls()] == [4, 1, 0]
    assert (after.next("a", 3), after.next("b", 4)) == (2, 1)
    after.tell("c", 2, 7)  # which was lost, and is tried again
    assert after.tuners[1].calls[-2:] == [("tell", 2, 7, "c"), ("end", 2, True)]
    assert not Stage(Noting).adapted.saves

    for trial, parameter_id in (("b", 1), ("a", 3), ("b", 4)):
        after.fail(trial, parameter_id)
    for trial in "abc":
        after.adapted.trial_end(0, True, trial)
    after.adapted.call("save_checkpoint")
    assert json.loads((checkpoints / "phases.json").read_text()) == {"had": {}, "choices": []}


def test_a_checkpoint_of_some_tuners_is_none(checkpoints, monkeypatch):
    stage = Stage(Saving)
    monkeypatch.setattr(Saving, "silent", NAMES)
    stage.adapted.call("save_checkpoint")
    assert not any(path.is_file() for path in checkpoints.rglob("*"))
    monkeypatch.setattr(Saving, "silent", NAMES[1:])
    with pytest.raises(TunerError, match="phase 1 left no file, and that of phase 0 did"):
        stage.adapted.call("save_checkpoint")


# In the second phase of the second trial it waits for a file, so that it can be stopped there.
TRIAL = """
    import os, time, mpx
    for phase in mpx.phases():
        with phase:
            if (mpx.get_sequence_id(), phase.index) == (1, 1):
                open("there", "w").close()
                while not os.path.exists("go"):
                    time.sleep(0.01)
            phase.report_final(*phase.parameters.values())
"""


def test_an_experiment_goes_through_its_spaces_and_a_stop_changes_nothing(lab):
    lab.write("second.json", json.dumps(SPACES[1]))
    phases = [{"searchSpace": SPACES[0]}, {"searchSpacePath": "second.json"}]
    tuner = {"builtinTunerName": "Anneal"}
    keys = {"tuner": tuner, "phases": phases, "seed": 5, "maxTrialNum": 9, "maxPhaseNum": 8}
    config = lab.config(TRIAL, **keys)
    stopped = lab.create(config)
    wait_until(lambda: (lab.root / "there").exists(), "the second phase of the second trial")
    lab.mpx("stop", stopped)
    (lab.root / "go").touch()
    whole = lab.finish(config)
    lab.mpx("resume", stopped, "--foreground")

    rows_of = {experiment: lab.phases(experiment) for experiment in (whole, stopped)}

    def by_trial(experiment):
        """Return the spaces of each trial's phases; `!` for one that was LOST."""
        found = {}
        for row in rows_of[experiment]:
            ((name, value),) = row["parameters"].items()
            index = NAMES.index(name)
            assert index <= value <= index + 1
            mark = "!" * (row["status"] == "LOST")
            found.setdefault(row["sequence_id"], []).append(f"{index}{mark}")
        return [" ".join(indexes) for indexes in found.values()]

    def chosen(experiment):
        """Return what was chosen from each space, in order."""
        values = [(row["parameter_id"], *row["parameters"].items()) for row in rows_of[experiment]]
        return [[value for _, (each, value) in sorted(values) if each == name] for name in NAMES]

    assert by_trial(whole) == ["0 1"] * 4
    # What was lost comes first in the trial after it, which then goes through all spaces as well.
    assert by_trial(stopped) == ["0 1", "0 1!", "1 0 1", "0 1"]
    assert chosen(whole) == [list(dict.fromkeys(values)) for values in chosen(stopped)]
    assert lab.status(stopped)["warning"] is None
    reason = (
        "the tuner has no more parameters: the trial has had a phase of each of the 2 search spaces"
    )
    assert f"no more phases: {reason} in `phases`" in lab.log(whole)


class Record:
    """Calls and answers as they are on record."""

    def __init__(self, recorded):
        self.recorded = recorded

    def calls(self, after):
        return self.recorded[after:]

    def parameters(self, after):
        return {}

    def unanswered(self, until):
        return ()


def play(hosted, trials, parameter_id):
    """Let trials go through all spaces in turns; return the calls, as on record."""
    ids = [*range(parameter_id, parameter_id + len(trials))]
    recorded, open_phases = [], dict(zip(trials, ids, strict=True))
    answers = hosted.post(AskFirst(ids, trials), answers=len(ids))
    recorded.append(Recorded(AskFirst(ids, trials), {a.parameter_id: a.text for a in answers}))
    parameter_id = ids[-1] + 1
    chosen = {answer.parameter_id: decode(answer.text) for answer in answers}
    for name in NAMES:
        for trial in trials:
            number = open_phases[trial]
            tell, ask = Tell(number, chosen[number][name], trial), Ask(parameter_id, trial)
            (answer,) = hosted.post(tell, ask, answers=1)
            recorded += [Recorded(tell, {}), Recorded(ask, {parameter_id: answer.text})]
            chosen[parameter_id] = answer.text and decode(answer.text)
            open_phases[trial] = parameter_id
            parameter_id += 1
    for trial in trials:
        assert chosen[open_phases[trial]] is None
        end = TrialEnd(0, True, trial)
        hosted.post(end, answers=0)
        recorded.append(Recorded(end, {}))
    return recorded


def test_a_tuner_rebuilt_from_its_calls_chooses_what_it_would_have_chosen():
    def host(calls=None):
        anneal = load_built_in_tuner("Anneal")
        return Hosted(
            None,
            load_class=lambda: lambda: PhaseTuners(anneal, 3),
            search_space=SPACES,
            seed=7,
            history=None if calls is None else Record(calls),
        )

    first = host()
    before = play(first, ["a", "b"], 0)
    behind = play(first, ["c", "d"], 8)
    again = host(before)
    assert again.early == []  # it answers as it did
    assert play(again, ["c", "d"], 8) == behind
    for recorded in (*before, *behind):
        for number, text in recorded.answers.items():
            for name, value in (decode(text) if text else {}).items():
                low = NAMES.index(name)
                assert low <= value <= low + 1, number
