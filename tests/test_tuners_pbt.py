"""Population based training: who goes on from whose weights, with which parameters."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from mpx import Continued, NoMoreTrialError
from mpx.errors import TunerError, UsageError
from mpx.search_space import sample
from mpx.tuners.encoding import Encoding
from mpx.tuners.pbt import PBT
from tests.test_tuners_contract import EDGES, NESTED, TYPES, space_of

LINE = {"x": {"_type": "uniform", "_value": [0, 1]}}


@dataclass
class Phase:
    """What a trial was given; `parent` is None for a fresh start."""

    number: int
    trial: str
    parameters: Any
    parent: int | None


class Crowd:
    """Trials that train a population, told of and asked for as the manager does it."""

    def __init__(self, space=LINE, seed=1, **arguments):
        random.seed(seed)
        self.tuner = PBT(**arguments)
        self.tuner.update_search_space(space)
        self._numbers = count()

    def ask(self, trial):
        number = next(self._numbers)
        found = self.tuner.generate_parameters(number, trial_job_id=trial)
        if isinstance(found, Continued):
            return Phase(number, trial, found.parameters, found.parent)
        return Phase(number, trial, found, None)

    def end(self, phase, value, trial=None, saved=True, **more):
        """Report a result, None for a failure."""
        trial = trial or phase.trial
        if value is not None:
            more = {**more, "checkpoint": f"checkpoints/{phase.number}"} if saved else more
            self.tuner.receive_trial_result(
                phase.number, phase.parameters, value, trial_job_id=trial, **more
            )
        self.tuner.phase_end(phase.number, value is not None, trial_job_id=trial)

    def die(self, trial, success=False):
        self.tuner.trial_end(0, success, trial_job_id=trial)

    def begin(self, *values, saved=True):
        """Let a member begin for each value, and report it; return their phases."""
        phases = [self.ask(f"t{number}") for number in range(len(values))]
        for phase, value in zip(phases, values, strict=True):
            self.end(phase, value, saved=saved)
        return phases


def test_a_population_begins_with_what_the_user_knows_and_then_is_complete():
    crowd = Crowd(population_size=3, initial=[{"x": 0.25}, {"x": 1}])
    phases = crowd.begin(1, 2, 3)
    assert [phase.parent for phase in phases] == [None] * 3
    assert [phase.parameters for phase in phases[:2]] == [{"x": 0.25}, {"x": 1}]
    assert 0 <= phases[2].parameters["x"] <= 1
    with pytest.raises(NoMoreTrialError):
        crowd.ask("another")
    assert crowd.ask("t2").parent == 2


@pytest.mark.parametrize("mode", ["maximize", "minimize"])
def test_of_ten_the_worst_two_copy_one_of_the_best_two_and_only_they_explore(mode):
    sign = 1 if mode == "maximize" else -1
    copied = set()
    for seed in range(12):
        crowd = Crowd(seed=seed, optimize_mode=mode, resample_probability=0)
        firsts = crowd.begin(*(sign * value for value in range(10)))
        for own, first in enumerate(firsts):
            phase = crowd.ask(first.trial)
            if own >= 2:
                assert (phase.parent, phase.parameters) == (own, first.parameters)
                continue
            assert phase.parent in (8, 9)
            x = firsts[phase.parent].parameters["x"]
            near = {0.8: 0.8 * x, 1.2: min(1.2 * x, 1)}
            (factor,) = (f for f in near if phase.parameters["x"] == pytest.approx(near[f]))
            copied.add((phase.parent, factor))
    assert copied == {(8, 0.8), (8, 1.2), (9, 0.8), (9, 1.2)}


def test_of_equals_the_one_with_the_later_result_copies():
    crowd = Crowd(population_size=2)
    earlier, later = crowd.ask("t0"), crowd.ask("t1")
    crowd.end(later, 0.5)
    crowd.end(earlier, 0.5)
    assert [crowd.ask(trial).parent for trial in ("t0", "t1")] == [1, 1]


def test_a_binary_tournament_is_lost_to_any_that_is_better():
    parents = {0: set(), 1: set(), 2: set(), 3: set()}
    for seed in range(40):
        crowd = Crowd(seed=seed, exploit="binary")
        crowd.begin(0, 1, 2, 2)
        for own in parents:
            parents[own].add(crowd.ask(f"t{own}").parent)
    assert parents == {0: {1, 2, 3}, 1: {1, 2, 3}, 2: {2}, 3: {3}}


@pytest.mark.parametrize("exploit", ["truncation", "binary"])
def test_only_what_is_confirmed_is_copied_with_the_result_it_had(exploit):
    crowd = Crowd(population_size=2, exploit=exploit)
    crowd.begin(1, 2)
    crowd.end(crowd.ask("t1"), 3, saved=False)
    own = crowd.ask("t0")
    assert own.parent == 1  # not the third phase
    crowd.end(own, 2.5, saved=False)
    # The best weights are not saved, and those that are saved are no better.
    assert crowd.ask("t0").parent == own.number


@pytest.mark.parametrize("exploit", ["truncation", "binary"])
def test_without_any_checkpoint_who_must_copy_says_what_to_do(exploit):
    crowd = Crowd(population_size=2, exploit=exploit)
    crowd.begin(1, 2, saved=False)
    message = r"phase.save_checkpoint\(path\) in the trial before phase.report_final"
    with pytest.raises(TunerError, match=message):
        crowd.ask("t0")
    phase = Phase(1000, "t1", {"x": 0.5}, None)  # the trial was mended: it is one that saves
    crowd.end(phase, 2)
    assert crowd.ask("t0").parent == 1000


def test_nobody_waits_for_a_member_without_a_result_dead_or_alive():
    crowd = Crowd(population_size=4)
    phases = [crowd.ask(f"t{number}") for number in range(4)]
    crowd.end(phases[2], None)
    crowd.die("t2")
    crowd.end(phases[0], 0)
    assert crowd.ask("t0").parent == 0
    crowd.end(phases[1], 1)
    assert crowd.ask("t1").parent == 1
    crowd.end(Phase(4, "t0", phases[0].parameters, 0), 0)
    assert crowd.ask("t0").parent == 1  # t3 has not ended its first phase yet


def test_a_dead_member_is_taken_over_from_its_checkpoint_or_begins_anew():
    crowd = Crowd(population_size=3)
    saved, unsaved, _ = crowd.begin(1, 2, 3)[0], crowd.ask("t1"), crowd.ask("t2")
    crowd.end(unsaved, 5, saved=False)
    crowd.end(crowd.ask("t1"), None)
    crowd.die("t1")
    crowd.die("t0")
    crowd.die("t2", success=True)
    first, second = crowd.ask("new0"), crowd.ask("new1")
    assert (first.parent, first.parameters) == (0, saved.parameters)
    assert second.parent == 1  # of its last phase but two
    with pytest.raises(NoMoreTrialError):
        crowd.ask("new2")

    crowd = Crowd(population_size=1)
    begun = crowd.ask("t0")
    crowd.end(begun, None)
    crowd.die("t0")
    anew = crowd.ask("new")
    assert anew.parent is None
    assert anew.parameters != begun.parameters


def test_a_member_may_end_after_so_many_phases_in_whatever_trials():
    crowd = Crowd(population_size=1, phases_per_member=3)
    crowd.begin(1)
    crowd.die("t0", success=True)  # it was told that there are no more, by a limit, say
    crowd.end(crowd.ask("t1"), None)
    crowd.die("t1")
    last = crowd.ask("t2")
    assert last.parent == 0
    crowd.end(last, 1)
    with pytest.raises(NoMoreTrialError):
        crowd.ask("t2")
    crowd.die("t2")
    with pytest.raises(NoMoreTrialError):
        crowd.ask("t3")

    crowd = Crowd(population_size=2, phases_per_member=1)
    crowd.begin(1)
    assert crowd.ask("t0").parent is None  # the trial begins the next one


def test_a_lost_phase_brings_its_member_to_the_trial_that_tries_it_again():
    crowd = Crowd(population_size=2)
    crowd.begin(1, 2)
    lost = crowd.ask("t0")
    crowd.die("t0")
    with pytest.raises(NoMoreTrialError):  # its phase is offered again: nobody else takes it over
        crowd.ask("new")
    crowd.end(lost, 3, trial="other")
    assert crowd.ask("other").parent == lost.number

    # A trial that trained a member of its own until then.
    crowd = Crowd(population_size=2)
    firsts = crowd.begin(1, 2)
    lost = crowd.ask("t0")
    crowd.die("t0")
    crowd.end(lost, 3, trial="t1")
    assert crowd.ask("t1").parent == lost.number
    replaced = crowd.ask("new")
    assert (replaced.parent, replaced.parameters) == (1, firsts[1].parameters)


@pytest.mark.parametrize("value", [None, math.nan, -math.inf, {"default": math.nan}])
def test_weights_of_a_failed_phase_are_left_behind_and_never_copied(value):
    crowd = Crowd(population_size=4, interval=100)
    crowd.begin(1, 2, 3, 4)
    crowd.end(crowd.ask("t3"), value)
    parents = set()
    for _ in range(20):
        phase = crowd.ask("t3")
        parents.add(phase.parent)
        crowd.end(phase, value)
    assert parents == {3}  # the best there is, its own last good one
    for _ in range(20):
        phase = crowd.ask("t0")
        crowd.end(phase, value)
    assert phase.parent == 3

    alone = Crowd(population_size=1)
    alone.begin(value)
    assert alone.ask("t0").parent is None


def test_a_member_trains_an_interval_before_it_copies_and_again_before_the_next_time():
    crowd = Crowd(population_size=2, interval=3)
    crowd.begin(1, 9)
    parents = []
    for _ in range(7):
        phase = crowd.ask("t0")
        parents.append(phase.parent)
        crowd.end(phase, 1)
    assert [parent == 1 for parent in parents] == [False, False, True, False, False, True, False]


def test_parameters_of_the_user_are_a_phase_of_the_member_whose_trial_tried_them():
    crowd = Crowd(population_size=2)
    crowd.begin(1, 2)
    chosen = Phase(100, "t0", {"x": 0.125}, None)
    crowd.end(chosen, 3, customized=True)
    phase = crowd.ask("t0")
    assert (phase.parent, phase.parameters) == (100, {"x": 0.125})
    crowd.end(Phase(101, "stranger", {"x": 0.5}, None), 9, customized=True)
    assert crowd.ask("t1").parent == 100  # the population was complete


def test_a_trial_with_several_phases_open_trains_as_many_members():
    crowd = Crowd(population_size=3)
    phases = [crowd.ask("t") for _ in range(3)]
    with pytest.raises(NoMoreTrialError):
        crowd.ask("t")
    for phase, value in zip(phases, (3, 1, 2), strict=True):
        crowd.end(phase, value)
    assert [crowd.ask("t").parent for _ in range(3)] == [0, 0, 2]


@pytest.mark.parametrize(
    ("kind", "value", "found", "down", "up"),
    [
        ("uniform", [0, 10], 5.0, 4.0, 6.0),
        ("uniform", [0, 10], 9.0, 7.2, 10.0),
        ("uniform", [-10, 0], -9.0, -7.2, -10.0),
        ("uniform", [-1, 1], 0.0, 0.0, 0.0),
        ("loguniform", [1e-4, 1e-1], 1e-2, 8e-3, 1.2e-2),
        ("loguniform", [1e-4, 1e-1], 1e-4, 1e-4, 1.2e-4),
        ("randint", [0, 100], 50, 40, 60),
        ("randint", [0, 100], 12, 10, 14),
        ("randint", [0, 2**40], 2**30 + 1, 858993460, 1288490190),
        ("randint", [0, 5], 2, 1, 3),
        ("randint", [-3, 5], 0, -1, 1),
        ("randint", [0, 5], 4, 3, 4),
        ("quniform", [0, 100, 10], 20.0, 10.0, 30.0),
        ("quniform", [0, 100, 10], 80.0, 60.0, 100.0),
        ("quniform", [2, 10, 5], 2.0, 2.0, 5.0),
        ("qloguniform", [1, 100, 3], 6.0, 3.0, 9.0),
        ("qnormal", [5, 2, 4], 4.0, 0.0, 8.0),
        ("normal", [5, 2], 5.0, 4.0, 6.0),
        ("normal", [100, 1], 100.0, 100 - 8.2095, 100 + 8.2095),
        ("lognormal", [0, 1], 1.0, 0.8, 1.2),
        ("choice", [16, 32, 64], 32, 16, 64),
        ("choice", [16, 32, 64], 64, 32, 64),
        ("choice", ["a", "b", "c"], "b", "b", "b"),
        ("choice", [False, True], True, True, True),
    ],
)
def test_numbers_change_by_a_factor_within_their_range_and_on_their_grid(
    kind, value, found, down, up
):
    encoding = Encoding({"x": {"_type": kind, "_value": value}})
    (dimension,) = encoding.dimensions
    coordinate = encoding.encode({"x": found})[dimension.name]
    for factor, expected in ((0.8, down), (1.2, up), (1, found)):
        scaled = encoding.scale(dimension, coordinate, factor)
        (got,) = encoding.decode(lambda _, scaled=scaled: scaled)[0].values()
        assert got == (expected if kind == "choice" else pytest.approx(expected))
        assert type(got) is type(found)


@pytest.mark.parametrize("resample_probability", [0, 0.25, 1])
def test_what_is_explored_is_of_the_search_space(resample_probability):
    space = {
        **space_of(*TYPES),
        **{key: {"_type": kind, "_value": value} for key, (kind, value, _) in EDGES.items()},
        **NESTED,
    }
    crowd = Crowd(space, resample_probability=resample_probability, population_size=2)
    encoding, rng = Encoding(space), random.Random(0)
    crowd.begin(0, 1)
    drawn = 0
    for _ in range(150):
        best = Phase(next(crowd._numbers), "t1", sample(space, rng), None)
        crowd.end(best, 1, customized=True)
        phase = crowd.ask("t0")
        assert phase.parent == best.number
        assert encoding.encode(phase.parameters) is not None, phase.parameters
        ratio = phase.parameters["rate"] / best.parameters["rate"]
        is_near = any(ratio == pytest.approx(factor) for factor in (0.8, 1.2))
        is_end = any(phase.parameters["rate"] == pytest.approx(end) for end in (1e-4, 1))
        drawn += not is_near and not is_end
        crowd.end(phase, 0)
    assert {0: drawn == 0, 0.25: 15 < drawn < 60, 1: drawn > 140}[resample_probability], drawn


def test_a_narrower_search_space_keeps_what_is_of_it():
    space = {**LINE, "y": {"_type": "uniform", "_value": [0, 1]}}
    crowd = Crowd(space, population_size=1, initial=[{"x": 0.9, "y": 0.5}])
    crowd.begin(1)
    crowd.tuner.update_search_space({**space, "x": {"_type": "uniform", "_value": [0, 0.25]}})
    phase = crowd.ask("t0")
    assert phase.parent == 0
    assert phase.parameters["y"] == pytest.approx(0.5)
    assert 0 <= phase.parameters["x"] <= 0.25


def test_initial_parameters_and_arguments_that_mean_nothing_are_refused(caplog):
    with pytest.raises(UsageError, match=r"initial: found {'x': 2}; allowed: .*: x$"):
        Crowd(initial=[{"x": 0.5}, {"x": 2}])
    with pytest.raises(UsageError, match=r"initial: found 2 members; .* population_size, 1$"):
        PBT(population_size=1, initial=[{"x": 0.5}, {"x": 1}])
    with pytest.raises(UsageError, match="exploit 'best'; allowed: truncation, binary"):
        PBT(exploit="best")
    Crowd().tuner.import_data([{"parameter": {"x": 0.5}, "value": 1}])
    assert "no use of imported results" in caplog.text


def transcript(seed, events=3):
    """Let six slots run trials that end, fail, save and die as chance has it; return all answers."""
    rng, crowd, names = random.Random(events), Crowd(seed=seed, population_size=6), count()
    trials: dict[str, Phase | None] = {}
    found = []
    for _ in range(400):
        while len(trials) < 6:
            trials[f"trial{next(names)}"] = None
        trial = rng.choice(list(trials))
        phase = trials[trial]
        if phase is None:
            trials[trial] = phase = crowd.ask(trial)
            found.append((phase.parent, phase.parameters))
        elif rng.random() < 0.1:
            crowd.end(phase, None)
            crowd.die(trial)
            del trials[trial]
        else:
            value = rng.choice([rng.random(), rng.random(), rng.random(), math.nan, None])
            crowd.end(phase, value, saved=rng.random() < 0.9)
            trials[trial] = None
    return found


def test_the_same_calls_get_the_same_answers_and_nobody_is_ever_turned_away():
    first = transcript(1)
    assert transcript(1) == first
    assert transcript(2) != first
    known = [parent for parent, _ in first if parent is not None]
    assert len(known) > 150
