"""The built-in tuners: what they hand out, in which order, and what they say of a search space."""

from __future__ import annotations

import random

import pytest

from mpx import NoMoreTrialError
from mpx.errors import UsageError
from mpx.search_space import check, grid
from mpx.tuners.batch import BatchTuner
from mpx.tuners.grid_search import GridSearch
from mpx.tuners.random import Random

SPACE = {
    "lr": {"_type": "loguniform", "_value": [1e-4, 1e-1]},
    "layer": {
        "_type": "choice",
        "_value": [
            {"_name": "Empty"},
            {"_name": "Conv", "k": {"_type": "normal", "_value": [0, 1]}},
        ],
    },
}
GRID = {
    "a": {"_type": "choice", "_value": ["p", "q"]},
    "b": {"_type": "randint", "_value": [0, 3]},
}
BATCH = {
    "runs": {"_type": "choice", "_value": [{"optimizer": "Adam", "lr": 1e-5}, "plain", [1, 2], 0]}
}


def constructed(tuner_class, space, seed=1):
    random.seed(seed)
    tuner = tuner_class()
    tuner.update_search_space(space)
    return tuner


def remaining(tuner):
    """Ask as running trials do, until there is no more."""
    found = []
    while True:
        try:
            found.append(tuner.generate_parameters(len(found), "trial"))
        except NoMoreTrialError:
            return found


def choice(*options):
    return {"x": {"_type": "choice", "_value": list(options)}}


@pytest.mark.parametrize(
    ("tuner_class", "space"), [(Random, SPACE), (GridSearch, GRID), (BatchTuner, BATCH)]
)
def test_first_and_later_phases_are_served_alike_and_results_are_ignored(tuner_class, space):
    one_by_one = constructed(tuner_class, space)
    expected = [one_by_one.generate_parameters(i) for i in range(4)]

    tuner = constructed(tuner_class, space)
    found = tuner.generate_multiple_parameters([0, 1])
    tuner.receive_trial_result(0, found[0], 0.5, "t0")
    tuner.phase_end(0, True, "t0")
    found.append(tuner.generate_parameters(2, "t0"))
    tuner.phase_end(1, False, "t1")
    tuner.trial_end(1, False, "t1")
    found.append(tuner.generate_parameters(3, trial_job_id="t0"))
    assert found == expected


@pytest.mark.parametrize(
    ("tuner_class", "bad"),
    [(Random, ""), (GridSearch, SPACE), (BatchTuner, GRID)],
)
def test_a_space_with_mistakes_is_refused_and_the_one_before_stays(tuner_class, bad):
    good = {Random: SPACE, GridSearch: GRID, BatchTuner: BATCH}[tuner_class]
    undisturbed = constructed(tuner_class, good)
    tuner = constructed(tuner_class, good)
    expected = [undisturbed.generate_parameters(i) for i in range(3)]
    found = [tuner.generate_parameters(0)]
    [problem, *_] = tuner.check_search_space(bad)
    with pytest.raises(UsageError, match=tuner_class.__name__) as caught:
        tuner.update_search_space(bad)
    assert str(problem) in str(caught.value)
    assert found + [tuner.generate_parameters(i) for i in (1, 2)] == expected


def test_random_repeats_its_draws_under_the_same_global_seed():
    first = [constructed(Random, SPACE, seed=4).generate_parameters(i) for i in range(5)]
    again = [constructed(Random, SPACE, seed=4).generate_parameters(i) for i in range(5)]
    other = [constructed(Random, SPACE, seed=5).generate_parameters(i) for i in range(5)]
    assert first == again != other


def test_random_does_not_depend_on_who_else_draws_from_the_global_generator():
    tuner = constructed(Random, SPACE)
    expected = [tuner.generate_parameters(i) for i in range(5)]
    tuner = constructed(Random, SPACE)
    found = []
    for i in range(5):
        random.random()
        found.append(tuner.generate_parameters(i))
    assert found == expected


def test_random_draws_from_a_new_space_once_it_has_it():
    tuner = constructed(Random, SPACE)
    tuner.update_search_space(choice("only"))
    assert tuner.generate_parameters(0) == {"x": "only"}


def test_random_says_what_is_wrong_with_a_space():
    bad = {"lr": {"_type": "uniform", "_value": [1, 0]}}
    assert Random.check_search_space(SPACE) == []
    assert Random.check_search_space(bad) == check(bad) != []


def test_grid_search_hands_out_every_point_once_and_then_no_more():
    tuner = constructed(GridSearch, GRID)
    assert remaining(tuner) == [{"a": a, "b": b} for a in "pq" for b in (0, 1, 2)]
    with pytest.raises(NoMoreTrialError):
        tuner.generate_parameters(99)


def test_grid_search_fills_a_last_round_of_first_phases_as_far_as_it_goes():
    tuner = constructed(GridSearch, choice(1, 2, 3))
    assert tuner.generate_multiple_parameters([0, 1]) == [{"x": 1}, {"x": 2}]
    assert tuner.generate_multiple_parameters([2, 3]) == [{"x": 3}]
    assert tuner.generate_multiple_parameters([4, 5]) == []


def test_grid_search_does_not_repeat_a_phase_that_failed():
    tuner = constructed(GridSearch, choice(1, 2))
    tuner.generate_parameters(0, "t")
    tuner.phase_end(0, False, "t")
    tuner.trial_end(0, False, "t")
    assert remaining(tuner) == [{"x": 2}]


def test_grid_search_goes_through_a_new_space_without_what_it_handed_out():
    tuner = constructed(GridSearch, GRID)
    handed_out = [tuner.generate_parameters(i) for i in range(2)]
    wider = {**GRID, "b": {"_type": "randint", "_value": [-1, 3]}}
    tuner.update_search_space(wider)
    assert remaining(tuner) == [point for point in grid(wider) if point not in handed_out]
    tuner.update_search_space(GRID)
    assert remaining(tuner) == []


def test_grid_search_goes_on_when_a_new_space_has_more():
    tuner = constructed(GridSearch, choice(1))
    assert remaining(tuner) == [{"x": 1}]
    tuner.update_search_space(choice(1, 2))
    assert remaining(tuner) == [{"x": 2}]


def test_grid_search_forgets_nothing_and_skips_nothing_over_several_changes():
    tuner = constructed(GridSearch, choice(1, 2, 3))
    assert [tuner.generate_parameters(i) for i in (0, 1)] == [{"x": 1}, {"x": 2}]
    tuner.update_search_space(choice(4, 5, 6))
    assert tuner.generate_parameters(2) == {"x": 4}
    tuner.update_search_space(choice(1, 2, 3, 4, 5, 6))
    assert remaining(tuner) == [{"x": 3}, {"x": 5}, {"x": 6}]


def test_grid_search_hands_an_option_listed_twice_out_twice():
    assert remaining(constructed(GridSearch, choice(1, 1))) == [{"x": 1}, {"x": 1}]


def test_grid_search_tells_true_from_one():
    tuner = constructed(GridSearch, choice(1))
    tuner.generate_parameters(0)
    tuner.update_search_space(choice(1, True))
    assert remaining(tuner) == [{"x": True}]


def test_grid_search_skips_points_whose_result_was_imported():
    tuner = constructed(GridSearch, GRID)
    tuner.import_data(
        [
            {"parameter": {"b": 1, "a": "p"}, "value": 0.5},
            {"parameter": {"a": "q", "b": 0}, "value": None},
            {"parameter": {"other": 1}, "value": 0.1},
        ]
    )
    assert remaining(tuner) == [point for point in grid(GRID) if point != {"a": "p", "b": 1}]


def test_grid_search_refuses_types_without_a_grid():
    found = [problem.path for problem in GridSearch.check_search_space(SPACE)]
    assert found == [("lr", "_type"), ("layer", "_value", 1, "k", "_type")]
    assert GridSearch.check_search_space(GRID) == []


def test_batch_tuner_hands_its_options_out_unwrapped_in_order():
    tuner = constructed(BatchTuner, BATCH)
    assert remaining(tuner) == BATCH["runs"]["_value"]
    with pytest.raises(NoMoreTrialError):
        tuner.generate_parameters(99)


def test_batch_tuner_goes_through_a_new_list_without_what_it_handed_out():
    tuner = constructed(BatchTuner, choice({"a": 1}, {"a": 2}))
    tuner.generate_parameters(0)
    tuner.update_search_space(choice({"a": 3}, {"a": 1}, {"a": 2}))
    assert remaining(tuner) == [{"a": 3}, {"a": 2}]


def test_batch_tuner_skips_options_whose_result_was_imported():
    tuner = constructed(BatchTuner, choice({"a": 1}, {"a": 2}))
    tuner.import_data([{"parameter": {"a": 1}, "value": 0.5}])
    assert remaining(tuner) == [{"a": 2}]


@pytest.mark.parametrize(
    ("space", "paths"),
    [
        (BATCH, []),
        ("", [()]),
        ({}, [()]),
        ({**choice(1), "y": choice(1)["x"]}, [("y",)]),
        ({"x": {"_type": "randint", "_value": [0, 3]}}, [("x", "_type")]),
        ({"x": {"_type": "choice", "_value": []}}, [("x", "_value")]),
        ({"x": {"_type": "choice", "_value": 3}}, [("x", "_value")]),
        ({"x": {"_value": [1]}}, [("x",)]),
        ({"x": 3}, [("x",)]),
        (choice(1, None, {"a": None}), [("x", "_value", 1)]),
        ({"x": {"_type": "uniform", "_value": [None, 1]}, "y": 3}, None),
    ],
)
def test_batch_tuner_takes_one_choice_of_anything_but_null(space, paths):
    found = [problem.path for problem in BatchTuner.check_search_space(space)]
    if paths is None:
        assert ("x", "_type") in found
        assert ("y",) in found
    else:
        assert found == paths
