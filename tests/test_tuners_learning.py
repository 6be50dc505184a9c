"""The tuners that learn: how each one chooses, and what it makes of results from anywhere."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import deque
from itertools import pairwise
from statistics import median

import pytest

from mpx.errors import UsageError
from mpx.loader import BUILT_IN_TUNERS
from mpx.search_space import sample
from mpx.tuners.anneal import Anneal
from mpx.tuners.bohb import BOHB
from mpx.tuners.brackets import bracket_sizes
from mpx.tuners.cma_es import CmaEs
from mpx.tuners.encoding import Encoding
from mpx.tuners.evolution import Evolution
from mpx.tuners.hyperband import BUDGET, Hyperband
from mpx.tuners.kde import KernelDensity
from mpx.tuners.nsga_ii import NSGAII
from mpx.tuners.qmc import QMC
from mpx.tuners.regularized_evolution import RegularizedEvolution
from mpx.tuners.tpe import TPE
from tests.test_tuners_contract import EDGES, NESTED, TYPES, play, space_of

LINE = {"x": {"_type": "uniform", "_value": [0, 1]}}
PLANE = {**LINE, "kind": {"_type": "choice", "_value": ["a", "b", "c"]}}
EVERYTHING = {
    **space_of(*TYPES),
    **{key: {"_type": kind, "_value": value} for key, (kind, value, _) in EDGES.items()},
    **NESTED,
}


def construct(tuner_class, space=LINE, seed=1, **arguments):
    random.seed(seed)
    tuner = tuner_class(**arguments)
    tuner.update_search_space(space)
    return tuner


def run(tuner, function, phases, start=0):
    """Run phases one after the other; return (parameters, result) of each."""
    found = []
    for number in range(start, start + phases):
        parameters = tuner.generate_parameters(number, "t")
        found.append((parameters, function(parameters)))
        tuner.receive_trial_result(number, *found[-1], "t")
        tuner.phase_end(number, True, "t")
    return found


def test_what_a_search_space_draws_has_coordinates_and_they_lead_back():
    encoding, rng = Encoding(EVERYTHING), random.Random(0)
    names = {dimension.name for dimension in encoding.dimensions}
    assert len(names) == len(encoding.dimensions)
    alone = {dimension.name for dimension in encoding.dimensions if dimension.size == 1}
    assert alone == {repr((name,)) for name in ("point", "still", "one")}
    for dimension in encoding.dimensions:
        assert dimension.size is None or dimension.coordinate(1.0) == dimension.size - 1
    for _ in range(200):
        drawn = sample(EVERYTHING, rng)
        point = encoding.encode(drawn)
        back, same_point = encoding.decode(lambda dimension, p=point: p[dimension.name])
        assert same_point == point
        assert point.keys() <= names
        assert list(back) == list(drawn)
        for name, value in drawn.items():
            assert back[name] == value
            assert type(back[name]) is type(value)


@pytest.mark.parametrize(
    ("kind", "value", "low", "middle", "high"),
    [
        ("uniform", [-1, 3], -1.0, 1.0, 3.0),
        ("loguniform", [1, 100], 1.0, 10.0, 100.0),
        ("qloguniform", [1, 100, 3], 1.0, 9.0, 99.0),
        ("normal", [5, 2], 5 - 2 * 8.2, 5.0, 5 + 2 * 8.2),
        ("lognormal", [0, 1], math.exp(-8.2), 1.0, math.exp(8.2)),
        ("qnormal", [5, 2, 4], -12.0, 4.0, 20.0),
    ],
)
def test_a_share_is_the_probability_of_less(kind, value, low, middle, high):
    encoding = Encoding({"x": {"_type": kind, "_value": value}})
    found = [encoding.decode(lambda _, s=share: s)[0]["x"] for share in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([low, middle, high], rel=0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uniform", 2.5),
        ("uniform", True),
        ("uniform", "0.5"),
        ("normal", math.nan),
        ("normal", math.inf),
        ("randint", 3),
        ("randint", 1.5),
        ("choice", "b"),
        ("choice", 1),
        ("layer", {"_name": "pool"}),
        ("layer", {"_name": "conv", "size": 3}),
        ("layer", {"_name": "conv", "size": 9, "then": "end"}),
        ("layer", "none"),
        ("more", 1),
    ],
)
def test_other_parameters_have_no_coordinates(name, value):
    encoding = Encoding(EVERYTHING)
    drawn = sample(EVERYTHING, random.Random(0))
    assert encoding.encode({**drawn, name: value}) is None
    assert (
        encoding.encode({key: drawn[key] for key in drawn if key != name}) is None or name == "more"
    )
    assert encoding.encode([drawn]) is None


def hill(parameters):
    return -((parameters["x"] - 0.8) ** 2) - (parameters["kind"] != "b")


@pytest.mark.parametrize("mode", ["maximize", "minimize"])
@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize(
    ("tuner_class", "arguments", "far"),
    [
        (TPE, {}, 0.1),
        (Anneal, {}, 0.1),
        (BOHB, {"random_fraction": 0, "top_n_percent": 5}, 0.15),
        (Evolution, {"population_size": 16}, 0.25),
        (NSGAII, {"population_size": 16}, 0.25),
    ],
)
def test_imported_results_teach_and_outlive_a_change_of_the_search_space(
    tuner_class, arguments, far, narrowed, mode, caplog
):
    sign = 1 if mode == "maximize" else -1
    tuner = construct(tuner_class, PLANE, optimize_mode=mode, **arguments)
    rows = [{"x": i / 299, "kind": "abc"[i % 3]} for i in range(300)]
    tuner.import_data([{"parameter": row, "value": {"default": sign * hill(row)}} for row in rows])
    assert not caplog.records
    if narrowed:
        tuner.update_search_space({**PLANE, "x": {"_type": "uniform", "_value": [0.1, 1]}})
    found = [tuner.generate_parameters(number) for number in range(40)]
    away = sum(abs(each["x"] - 0.8) for each in found) / len(found)
    right = sum(each["kind"] == "b" for each in found) / len(found)
    assert away < far  # of chance: 0.34, or 0.29 where it is narrowed
    assert right > 0.5  # of chance: 1/3


def test_imported_rows_of_no_use_are_counted_in_the_log(caplog):
    tuner = construct(Evolution)
    rows = [({"x": 0.5}, 1.0), ({"x": 2}, 1.0), ({"x": 0.5}, "good"), ({"x": 0.5}, None)]
    tuner.import_data([{"parameter": each, "value": value} for each, value in rows])
    (record,) = caplog.records
    assert "learned from 1 imported results, not from 3 others" in record.getMessage()


def test_what_a_trial_is_said_to_have_tried_counts():
    space = {f"x{i}": {"_type": "uniform", "_value": [0, 1]} for i in range(4)}
    tuner = construct(Evolution, space, population_size=1)
    tuner.generate_parameters(0)
    tried = {f"x{i}": i / 10 for i in range(4)}
    tuner.receive_trial_result(0, tried, 1.0)  # other than what was handed out, as after a resume
    child = tuner.generate_parameters(1)
    assert sum(child[name] == tried[name] for name in space) == 3
    chosen = dict.fromkeys(space, 0.5)
    tuner.receive_trial_result(77, chosen, 2.0, customized=True)  # by the user
    child = tuner.generate_parameters(2)
    assert sum(child[name] == chosen[name] for name in space) == 3


def test_evolution_answers_before_any_result_and_mutates_the_better_of_two():
    space = {f"x{i}": {"_type": "randint", "_value": [0, 10**6]} for i in range(5)}
    tuner = construct(Evolution, space, optimize_mode="minimize", population_size=2)
    founders = [tuner.generate_parameters(number) for number in range(6)]
    assert len({str(each) for each in founders}) == 6
    tuner.receive_trial_result(0, founders[0], 1.0)
    tuner.receive_trial_result(1, founders[1], 0.0)
    for number in range(2, 6):
        tuner.phase_end(number, False)
    for number in range(6, 12):
        child = tuner.generate_parameters(number)
        assert sum(child[name] == founders[1][name] for name in space) == 4
        tuner.receive_trial_result(number, child, 5.0 + number)


def differences(child, parent):
    """Return the paths at which two choices of parameters differ, not those that only one has."""
    found = []
    for name in child.keys() & parent.keys():
        one, other = child[name], parent[name]
        if isinstance(one, dict) and isinstance(other, dict) and one["_name"] == other["_name"]:
            found += [f"{name}.{path}" for path in differences(one, other)]
        elif json.dumps(one) != json.dumps(other):
            found.append(name)
    return found


def test_regularized_evolution_mutates_the_best_of_a_sample_and_the_oldest_dies():
    space = {f"x{i}": {"_type": "randint", "_value": [0, 10**6]} for i in range(40)}
    tuner = construct(RegularizedEvolution, space, population_size=8, sample_size=4)
    living, ranks = deque(maxlen=8), []
    for number in range(500):
        child = tuner.generate_parameters(number)
        parents = [i for i, each in enumerate(living) if len(differences(child, each)) == 1]
        assert bool(parents) == (number >= 8)
        if len(parents) == 1:  # and not a sibling as well, of the same mutation
            ranks += parents
        if number % 3 == 2 and number > 8:
            tuner.phase_end(number, False)
        else:
            tuner.receive_trial_result(number, child, -number)  # the oldest one is always the best
            living.append(child)
    shares = [ranks.count(rank) / len(ranks) for rank in range(8)]
    expected = [((8 - rank) / 8) ** 4 - ((7 - rank) / 8) ** 4 for rank in range(8)]
    assert shares == pytest.approx(expected, abs=0.06)


def test_a_mutation_changes_one_parameter_to_another_value():
    space = {**EVERYTHING, "two": {"_type": "randint", "_value": [0, 2]}}
    tuner = construct(RegularizedEvolution, space, population_size=1)
    changed = set()
    for number in range(0, 1600, 8):
        parent = json.loads(json.dumps(sample(space, random.Random(number))))
        tuner.receive_trial_result(number, parent, 1.0)  # the only one who lives
        for child_number in range(number + 1, number + 8):
            child = tuner.generate_parameters(child_number)
            (path,) = differences(child, parent)
            assert child.keys() == parent.keys()
            changed.add(path)
            tuner.phase_end(child_number, False)
    fixed = {"point", "still", "one"}
    assert changed == space.keys() - fixed | {"layer.size", "layer.then", "layer.then.by"}
    alone = construct(RegularizedEvolution, {"one": EVERYTHING["one"]}, population_size=1)
    assert [value for _, value in run(alone, lambda each: each["one"], 3)] == [7, 7, 7]


# The mean distance of a normal distribution, in standard deviations: whole, and cut off at 2.5 of them.
WHOLE, CUT = 0.798, 0.773


@pytest.mark.parametrize(
    ("kind", "value", "parent", "distance"),
    [
        ("uniform", [-1, 3], -1.0, WHOLE * 0.2 * 4),
        ("uniform", [-1, 3], 1.0, CUT * 0.2 * 4),
        ("loguniform", [1, 10**4], 100.0, CUT * 0.2 * math.log(10**4)),
        ("choice", [0, 1, 2, 3], 0, 2.0),
    ],
)
def test_a_number_moves_by_a_fifth_of_its_range_and_a_choice_anywhere(
    kind, value, parent, distance
):
    space = {"x": {"_type": kind, "_value": value}}
    tuner = construct(RegularizedEvolution, space, population_size=1)
    tuner.receive_trial_result(0, {"x": parent}, 1.0)
    children = [tuner.generate_parameters(number)["x"] for number in range(1, 2000)]
    as_number = math.log if kind == "loguniform" else float
    moved = [abs(as_number(child) - as_number(parent)) for child in children]
    assert sum(moved) / len(moved) == pytest.approx(distance, rel=0.05)


def test_of_imported_results_the_best_join_and_a_change_of_the_search_space_leaves_them():
    space = {f"x{i}": {"_type": "uniform", "_value": [0, 1]} for i in range(3)}
    tuner = construct(RegularizedEvolution, space, population_size=5, optimize_mode="minimize")
    values = [0.5, 0.1, 0.9, "none", 0.3, 0.7, 0.2, 0.0, 0.8]
    rows = [dict.fromkeys(space, number / 10) for number in range(9)]
    tuner.import_data([{"parameter": p, "value": v} for p, v in zip(rows, values, strict=True)])
    best = [0.0, 0.1, 0.4, 0.6, 0.7]
    for changes in ({}, {"x0": {"_type": "uniform", "_value": [0, 2]}}):
        tuner.update_search_space({**space, **changes})
        children = [tuner.generate_parameters(number) for number in range(40)]
        parents = {
            median(child.values()) for child in children
        }  # two of the three are as they were
        assert parents <= set(best)
        assert len(parents) > 2


def test_a_sample_is_no_larger_than_the_population():
    with pytest.raises(
        UsageError, match="sample_size: found 6; allowed: at most population_size, 5"
    ):
        RegularizedEvolution(population_size=5, sample_size=6)


def test_anneal_draws_ever_nearer_to_the_best():
    tuner = construct(Anneal)
    tuner.receive_trial_result(0, {"x": 0.3}, 0.0)
    early = [tuner.generate_parameters(number)["x"] for number in range(1, 30)]
    assert max(early) - min(early) > 0.7
    tuner.import_data([{"parameter": {"x": 0.3}, "value": 0.0}] * 990)
    late = [tuner.generate_parameters(number)["x"] for number in range(30, 60)]
    assert all(0.294 < x < 0.306 for x in late)  # 1/100 of the range


@pytest.mark.parametrize(
    ("largest", "first_rungs"),
    [
        (81, [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]),  # the paper's
        (200, [(243 // 3, 2)]),
        (60, [(27, 2), (12, 6), (6, 20), (4, 60)]),  # NNI's default
        (1, [(1, 1)]),
    ],
)
def test_brackets_have_the_sizes_of_the_paper(largest, first_rungs):
    brackets = bracket_sizes(largest, 1, 3)
    assert [bracket[0] for bracket in brackets][: len(first_rungs)] == first_rungs
    assert all(bracket[-1][1] == largest for bracket in brackets)
    if largest == 81:
        assert brackets[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
        assert brackets[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]


@pytest.mark.parametrize(
    ("tuner_class", "arguments"), [(Hyperband, {"R": 9}), (BOHB, {"max_budget": 9})]
)
def test_the_best_of_a_rung_go_on_and_whoever_fails_is_its_worst(tuner_class, arguments):
    tuner = construct(tuner_class, **arguments)
    first = [tuner.generate_parameters(number) for number in range(9)]
    assert [each[BUDGET] for each in first] == [1] * 9
    # The rung waits for results: the next bracket begins, and the one behind it.
    others = [tuner.generate_parameters(number) for number in range(9, 19)]
    assert [each[BUDGET] for each in others] == [3] * 5 + [9] * 3 + [1, 1]
    for number in (1, 3, 5, 7, 2, 4):
        tuner.phase_end(number, False)
    for number, value in ((8, 0.1), (0, 0.3)):
        tuner.receive_trial_result(number, first[number], value)
    assert tuner.generate_parameters(19)[BUDGET] == 1  # one result is out
    tuner.receive_trial_result(6, first[6], math.nan)
    second = [tuner.generate_parameters(number) for number in range(20, 24)]
    assert [each[BUDGET] for each in second] == [3, 3, 3, 1]
    assert [each["x"] for each in second[:3]] == [first[0]["x"], first[8]["x"], first[1]["x"]]
    tuner.receive_trial_result(20, second[0], 0.0)
    tuner.receive_trial_result(21, second[1], 0.2)
    tuner.phase_end(22, False)
    assert tuner.generate_parameters(24) == {"x": first[8]["x"], BUDGET: 9}


def test_a_parameter_may_not_be_called_like_the_budget():
    (problem,) = Hyperband.check_search_space({BUDGET: LINE["x"]})
    assert problem.path == (BUDGET,)


def test_bohb_models_the_greatest_budget_that_has_enough_results():
    tuner = construct(BOHB, max_budget=9, random_fraction=0, top_n_percent=25)
    rows = [(i / 39, 1, abs(i / 39 - 0.2)) for i in range(40)]
    rows += [(i / 39, 3, abs(i / 39 - 0.9)) for i in range(40)]
    rows += [(0.5, 9, 5.0)]
    tuner.import_data(
        [{"parameter": {"x": x, BUDGET: budget}, "value": -loss} for x, budget, loss in rows]
    )
    found = [tuner.generate_parameters(number)["x"] for number in range(9)]
    assert all(abs(x - 0.9) < 0.2 for x in found)


def test_bohb_goes_where_good_results_are_and_bad_ones_are_not():
    tuner = construct(BOHB, random_fraction=0, top_n_percent=25, optimize_mode="minimize")
    good = [0.2 + i / 100 for i in range(10)] + [0.8 + i / 100 for i in range(10)]
    bad = [0.2 + i / 600 for i in range(60)]
    rows = [(x, 0.0) for x in good] + [(x, 1.0) for x in bad]
    tuner.import_data([{"parameter": {"x": x}, "value": loss} for x, loss in rows])
    assert all(tuner.generate_parameters(number)["x"] > 0.6 for number in range(5))


def test_a_density_of_shares_and_options_adds_up_to_one():
    encoding = Encoding(PLANE)
    x, kind = (dimension.name for dimension in encoding.dimensions)
    points = [{x: 0.02, kind: 0}, {x: 0.1, kind: 0}, {x: 0.9, kind: 2}]
    density = KernelDensity(encoding.dimensions, points, 1e-3).density
    cells = [(i / 500 + 0.001, option) for i in range(500) for option in range(3)]
    assert sum(density({x: share, kind: option}) for share, option in cells) / 500 == pytest.approx(
        1
    )
    assert density({x: 0.05, kind: 0}) > density({x: 0.05, kind: 1})
    assert density({x: 0.05, kind: 0}) > density({x: 0.5, kind: 0})


def test_tpe_keeps_away_from_what_is_out_where_it_is_told_to():
    def hand_out(parallel):
        tuner = construct(TPE, parallel_optimize=parallel)
        run(tuner, lambda each: (each["x"] - 0.5) ** 2, 20)
        return sorted(tuner.generate_parameters(number)["x"] for number in range(20, 28))

    def nearest(xs):
        return min(b - a for a, b in pairwise(xs))

    assert nearest(hand_out(True)) > nearest(hand_out(False))


def test_tpe_lets_go_of_old_results_but_not_of_the_best(monkeypatch):
    monkeypatch.setattr(TPE, "most_results", 20)
    tuner = construct(TPE)
    waiting = tuner.generate_parameters(1000)
    run(tuner, lambda each: (each["x"] - 0.3) ** 2, 39)
    best = min(tuner._seen, key=lambda each: each.loss)
    run(tuner, lambda each: 1 + each["x"], 60, start=100)
    assert len(tuner._study.trials) <= 41
    assert best in tuner._seen
    tuner.receive_trial_result(1000, waiting, 0.5)
    assert tuner._seen[-1].parameters == waiting


def test_cma_es_finds_a_minimum_even_of_one_parameter():
    tuner = construct(CmaEs, optimize_mode="minimize")
    found = run(tuner, lambda each: (each["x"] - 0.7) ** 2, 100)
    assert sum(result for _, result in found[-20:]) / 20 < 1e-3
    assert all(set(each) == {"x"} for each, _ in found)


def test_quasi_random_points_leave_no_part_of_a_range_out():
    tuner = construct(QMC, PLANE)
    found = [tuner.generate_parameters(number) for number in range(64)]
    assert sorted(int(each["x"] * 64) for each in found) == list(range(64))
    assert all(sum(each["kind"] == kind for each in found) in (21, 22) for kind in "abc")


def test_no_tuner_loads_what_it_needs_before_it_is_constructed():
    code = (
        "import sys\n"
        "from mpx.loader import BUILT_IN_TUNERS, load_built_in_tuner\n"
        "for name in BUILT_IN_TUNERS: load_built_in_tuner(name)\n"
        "print({'optuna', 'numpy', 'scipy', 'torch', 'cmaes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert "TPE" in BUILT_IN_TUNERS


@pytest.mark.parametrize("tuner_class", [Evolution, RegularizedEvolution, Hyperband, BOHB, Anneal])
def test_nobody_is_left_without_parameters_when_every_phase_fails(tuner_class):
    tuner = construct(tuner_class, PLANE)
    for number in range(300):
        assert tuner.generate_parameters(number)
        tuner.phase_end(number, False)
    assert play(tuner, calls=10)
