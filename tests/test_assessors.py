"""The built-in assessors: whom they stop, and whom they must not."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mpx.assessors.asha import ASHA, rungs
from mpx.assessors.curvefitting import Curvefitting, predict
from mpx.assessors.medianstop import Medianstop
from mpx.errors import UsageError

# Nothing near a number's smallest or largest: scaling those is not exact.
NUMBERS = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
RESULTS = st.one_of(NUMBERS, st.sampled_from([math.nan, math.inf, -math.inf, None, "text", [1.0]]))
CURVES = st.lists(st.lists(RESULTS, min_size=1, max_size=12), min_size=1, max_size=6)
ASSESSORS = {
    Medianstop: {"start_step": 2},
    Curvefitting: {"epoch_num": 12, "start_step": 4},
    ASHA: {"max_resource": 12, "reduction_factor": 2, "brackets": 2},
}
every = pytest.mark.parametrize("assessor_class", ASSESSORS)


def show(assessor, name, curve, success=True):
    """Report a curve step by step; return the step at which it is stopped, None if it is not."""
    for step in range(1, len(curve) + 1):
        if not assessor.assess_trial(name, curve[:step]).value:
            assessor.trial_end(name, False)
            return step
    assessor.trial_end(name, success)
    return None


def show_all(assessor, curves):
    return [show(assessor, f"curve {i}", curve) for i, curve in enumerate(curves)]


def constructed(assessor_class, **arguments):
    return assessor_class(**{**ASSESSORS[assessor_class], **arguments})


def negated(result):
    return -result if isinstance(result, float) else result


def saturating(limit, steps=50, scale=8.0):
    return [limit * (1 - math.exp(-step / scale)) for step in range(1, steps + 1)]


@every
@given(curves=CURVES)
def test_minimize_mirrors_maximize(assessor_class, curves):
    mirrored = [[negated(result) for result in curve] for curve in curves]
    stopped = show_all(constructed(assessor_class), curves)
    assert show_all(constructed(assessor_class, optimize_mode="minimize"), mirrored) == stopped


@every
@given(curves=CURVES)
def test_the_default_of_a_dict_is_the_result(assessor_class, curves):
    wrapped = [[{"default": result, "other": -1.0} for result in curve] for curve in curves]
    stopped = show_all(constructed(assessor_class), curves)
    assert show_all(constructed(assessor_class), wrapped) == stopped


@every
@given(curves=CURVES, best=st.lists(NUMBERS, min_size=12, max_size=12))
def test_a_curve_that_is_never_below_another_is_not_stopped(assessor_class, curves, best):
    below = [
        [min(result, bar) if isinstance(result, float) else result for result, bar in pairs]
        for pairs in (zip(curve, best, strict=False) for curve in curves)
    ]
    if assessor_class is Curvefitting:  # what counts there is where the others ended
        below = [[*curve, min(best)] for curve in below]
    assessor = constructed(assessor_class)
    for i, curve in enumerate(below):
        for step in range(1, len(curve) + 1):
            assessor.assess_trial(f"below {i}", curve[:step])
        assessor.trial_end(f"below {i}", True)
    assert show(assessor, "best", best) is None


@pytest.mark.parametrize(
    ("assessor_class", "start_is", "arguments"),
    [
        (Medianstop, "start_step", {}),
        (Curvefitting, "start_step", {"epoch_num": 50}),
        (ASHA, "min_resource", {"max_resource": 50}),
    ],
)
@pytest.mark.parametrize("start", [4, 6, 9])
def test_a_hopeless_curve_is_stopped_as_soon_as_it_may_be(
    assessor_class, start_is, arguments, start
):
    assessor = assessor_class(**arguments, **{start_is: start})
    hopeless = saturating(0.2)
    assert show(assessor, "the first has nothing to be compared with", hopeless) is None
    assert show(assessor, "good", saturating(0.9)) is None
    assert show(assessor, "better", saturating(0.95)) is None
    assert show(assessor, "hopeless", hopeless) == start


@pytest.mark.parametrize("assessor_class", [Medianstop, Curvefitting])
def test_a_curve_that_did_not_end_well_is_no_measure(assessor_class):
    assessor = constructed(assessor_class)
    assert show(assessor, "failed", [9.0] * 12, success=False) is None
    assert show(assessor, "low", [1.0] * 12) is None


@every
def test_verdicts_are_repeated_by_the_same_calls(assessor_class):
    random.seed(3)
    curves = [[random.random() * step for step in range(12)] for _ in range(30)]
    stopped = show_all(constructed(assessor_class), curves)
    assert None in stopped
    assert len(set(stopped)) > 2
    random.seed(4)
    assert show_all(constructed(assessor_class), curves) == stopped


@every
def test_a_mode_that_is_none_is_refused(assessor_class):
    with pytest.raises(UsageError, match=r"'max'; allowed: maximize, minimize"):
        constructed(assessor_class, optimize_mode="max")


@pytest.mark.parametrize(
    ("assessor_class", "arguments", "mistake"),
    [
        (Medianstop, {}, None),
        (Medianstop, {"optimize_mode": "minimize", "start_step": 3}, None),
        (Medianstop, {"start_step": -1}, ["start_step"]),
        (Medianstop, {"startStep": 1}, []),
        (Curvefitting, {"epoch_num": 20, "threshold": 0.9, "gap": 2}, None),
        (Curvefitting, {}, []),
        (Curvefitting, {"epoch_num": 20, "gap": 0}, ["gap"]),
        (Curvefitting, {"epoch_num": 20, "optimize_mode": "max"}, ["optimize_mode"]),
        (ASHA, {}, None),
        (ASHA, {"min_resource": 2, "max_resource": None, "reduction_factor": 4}, None),
        (ASHA, {"max_resource": 81, "brackets": 5, "optimize_mode": "minimize"}, None),
        (ASHA, {"max_resource": 81, "reduction_factor": 2.5}, ["reduction_factor"]),
        (ASHA, {"min_resource": 0}, ["min_resource"]),
    ],
)
def test_what_the_schema_takes_the_constructor_takes(assessor_class, arguments, mistake):
    Draft202012Validator.check_schema(assessor_class.class_args_schema)
    error = best_match(
        Draft202012Validator(assessor_class.class_args_schema).iter_errors(arguments)
    )
    assert (error and list(error.path)) == mistake
    if mistake is None:
        assessor_class(**arguments)


def test_median_rule_by_hand():
    assessor = Medianstop()
    for i, curve in enumerate([[1.0, 3.0], [3.0, 5.0], [5.0, 7.0, 9.0]]):
        assessor.assess_trial(f"{i}", curve)  # reports that came together are one call
        assessor.trial_end(f"{i}", True)
    # Running means: 1 2, 3 4, 5 6 7; their medians: 3 4 7.
    assert show(assessor, "just", [3.0, 4.0]) is None  # now 1 2, 3 3.5, 3 4, 5 6 7 → 3 3.75 7
    assert show(assessor, "best so far", [3.75, 0.0, 0.0]) == 3
    assert show(assessor, "median of two", [3.0, 3.7]) == 2
    assert show(assessor, "no number", [math.nan, 9.0]) == 1
    assert show(assessor, "no finite number", [math.inf, 9.0]) == 1


def test_a_very_long_curve_is_judged_by_its_ten_thousandth_step():
    assessor = Medianstop()
    assessor.assess_trial("long", [*[1.0] * 10_000, 9e9])
    assessor.trial_end("long", True)
    assert assessor.assess_trial("worse", [0.0] * 20_000).value is False
    assert assessor.assess_trial("as good", [1.0] * 20_000).value is True


@pytest.mark.parametrize(
    "curve",
    [
        lambda x: 0.9 - 0.8 * math.exp(-x / 15),
        lambda x: 0.9 - 0.8 * math.exp(-x / 40),
        lambda x: 0.9 - 0.8 * math.exp(-((x / 20) ** 1.7)),
        lambda x: 0.9 - 0.8 * x**-0.4,
        lambda x: 0.1 * math.log(x + 1),
        lambda x: 0.9 * x**1.3 / (12**1.3 + x**1.3),
        lambda x: 0.9 - 0.002 * x,
    ],
    ids=["exponential", "slow", "sigmoid", "power", "logarithm", "hill", "falling"],
)
def test_a_curve_is_stopped_if_and_only_if_the_best_is_out_of_its_reach(curve):
    random.seed(5)
    points = [curve(x) + random.gauss(0, 0.003) for x in range(1, 101)]
    assert predict(range(1, 51), points[:50], at=100).mean() == pytest.approx(curve(100), rel=0.11)

    def stop_against(best):
        assessor = Curvefitting(epoch_num=100, start_step=6)
        show(assessor, "best", [best])
        return show(assessor, "curve", points)

    assert stop_against(curve(100)) is None
    assert stop_against(1.3 * curve(100)) < 50


@given(
    scores=st.lists(st.integers(-100, 100), min_size=4, max_size=9),
    scale=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
)
def test_a_prediction_depends_on_no_unit_and_goes_no_faster_than_the_curve(scores, scale, offset):
    steps = range(1, len(scores) + 1)
    expected = offset + scale * predict(steps, scores, at=30).mean()
    scaled = [offset + scale * score for score in scores]
    found = predict(steps, scaled, at=30).mean()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6 * max(1, scale) * 100)
    furthest = (max(scaled) - min(scaled)) * 30 / len(scores)
    assert abs(found - scaled[-1]) <= furthest + 1e-6


@pytest.mark.parametrize(
    ("best", "mode", "threshold", "enough", "too_little"),
    [
        (0.8, "maximize", 0.95, 0.7601, 0.7599),
        (0.8, "minimize", 0.95, 0.8399, 0.8401),
        (-0.8, "maximize", 0.95, -0.8399, -0.8401),
        (-0.8, "minimize", 0.5, -0.4001, -0.3999),
        (0.0, "maximize", 0.95, 0.0, -0.0001),
    ],
)
def test_what_is_wanted_is_a_part_of_the_best_final_result(
    best, mode, threshold, enough, too_little
):
    assessor = Curvefitting(epoch_num=9, threshold=threshold, optimize_mode=mode)
    assert show(assessor, "best", [best] * 9) is None
    assert show(assessor, "bad", [too_little] * 9) == 6
    assert show(assessor, "good", [enough] * 9) is None
    assert show(assessor, "bad all the same", [too_little] * 9) == 6


def test_a_curve_that_is_good_enough_goes_on_though_it_falls():
    assessor = Curvefitting(epoch_num=30)
    show(assessor, "best", [0.5] * 30)
    falling = [1.0 - 0.03 * step for step in range(30)]
    too_low = next(step for step, result in enumerate(falling, 1) if result < 0.95 * 0.5)
    assert show(assessor, "falling", falling) == too_low


def test_between_two_judgements_lies_the_gap():
    def bad_from(step):
        return [*[1.0] * (step - 1), *[0.0] * 20]

    assessor = Curvefitting(epoch_num=30, start_step=5, gap=4)
    show(assessor, "best", [1.0] * 30)
    # Two steps down from a level are no trend yet that all shapes would have to follow.
    stops = {step: show(assessor, f"{step}", bad_from(step)) for step in range(2, 16)}
    assert {stop for stop in stops.values() if stop} <= {5, 9, 13, 17, 21, 25, 29}
    assert len(set(stops.values())) > 2


@pytest.mark.parametrize(
    "curve", [[math.nan] * 12, [math.nan, 0.1, "a", 0.1, 0.1, *[None] * 7], [-1e308, 1e308] * 6]
)
def test_nothing_is_stopped_that_nothing_can_be_predicted_of(curve):
    assessor = Curvefitting(epoch_num=20)
    show(assessor, "best", [9e307] * 20)
    assert show(assessor, "odd", curve) is None


@pytest.mark.parametrize(
    ("least", "most", "factor", "brackets"),
    [
        (1, 9, 3, [[1, 3, 9], [3, 9], [9]]),  # figure 1 of the paper
        (1, 256, 4, [[1, 4, 16, 64, 256], [4, 16, 64, 256], [16, 64, 256], [64, 256], [256]]),
        (1, 243, 3, [[1, 3, 9, 27, 81, 243], [3, 9, 27, 81, 243]]),  # a logarithm says 4.99…
        (1, 1000, 10, [[1, 10, 100, 1000], [10, 100, 1000]]),  # … and 2.99… here
        (2, 26, 3, [[2, 6, 18], [6, 18], [18]]),
        (5, 5, 2, [[5]]),
    ],
)
def test_rungs_are_the_papers(least, most, factor, brackets):
    found = [rungs(least, most, factor, rate) for rate in range(len(brackets))]
    assert found == brackets


def test_curves_are_dealt_in_hyperbands_proportions_and_evenly():
    assessor = ASHA(max_resource=81, brackets=5)
    # Ever worse ones: each is stopped where its bracket begins, once all brackets had their first.
    stopped = [show(assessor, f"{n}", [-n] * 81) for n in range(2 * 143)][143:]
    proportions = {1: 81, 3: 34, 9: 15, 27: 8, None: 5}
    assert Counter(stopped) == proportions
    half = Counter(stopped[:72])
    assert all(abs(half[step] - share / 2) <= 1 for step, share in proportions.items())


@given(
    curves=st.lists(
        st.lists(st.one_of(st.integers(0, 9), RESULTS), min_size=1, max_size=9), max_size=12
    ),
    factor=st.integers(2, 4),
    data=st.data(),
)
def test_a_curve_goes_on_if_and_only_if_it_is_among_the_best_of_its_rung(curves, factor, data):
    assessor = ASHA(max_resource=8, reduction_factor=factor)
    on_record = {step: [] for step in rungs(1, 7, factor)}  # at the end, 8, nobody is judged
    running = dict(enumerate(curves))
    shown = dict.fromkeys(running, 0)
    while running:
        name = data.draw(st.sampled_from(sorted(running)))
        curve = running[name]
        before, now = shown[name], data.draw(st.integers(shown[name] + 1, len(curve)))
        shown[name] = now
        is_good = assessor.assess_trial(f"{name}", curve[:now]).value
        passed = [step for step in on_record if before < step <= now]
        assert is_good == all(is_among_the_best(on_record[s], curve[s - 1], factor) for s in passed)
        if not is_good:
            assert not assessor.assess_trial(f"{name}", [*curve[:now], 99]).value
        if not is_good or now == len(curve):
            assessor.trial_end(f"{name}", is_good)
            del running[name]


def is_among_the_best(on_record, result, factor):
    """Record a result; say whether it is among the best 1/factor, as slowly as can be read."""
    is_number = isinstance(result, (int, float)) and math.isfinite(result)
    on_record.append(result if is_number else -math.inf)
    if not is_number:
        return max(on_record) == -math.inf
    last_of_the_best = sorted(on_record, reverse=True)[max(1, len(on_record) // factor) - 1]
    return result >= last_of_the_best


def test_without_an_end_there_are_rungs_without_end():
    assessor = ASHA(reduction_factor=10)
    assert show(assessor, "good", [1.0] * 1001) is None
    assert show(assessor, "falls late", [*[1.0] * 999, 0.0, 0.0]) == 1000


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"brackets": 2}, "brackets: found 2; allowed: 1, or max_resource with it"),
        (
            {"max_resource": 26, "brackets": 4},
            r"brackets: found 4; allowed: as many as there are rungs \(1, 3, 9\), or fewer",
        ),
        (
            {"max_resource": 5, "min_resource": 5},
            "max_resource: found 5; allowed: more than min_resource, 5",
        ),
        ({"reduction_factor": 1}, "reduction_factor: found 1; allowed: at least 2"),
        ({"min_resource": 0}, "min_resource: found 0; allowed: at least 1"),
    ],
)
def test_rungs_that_cannot_be_are_refused(arguments, problem):
    with pytest.raises(UsageError, match=f"^{problem}$"):
        ASHA(**arguments)


def test_a_curve_that_would_never_be_judged_is_refused():
    with pytest.raises(UsageError, match=r"^start_step: found 9; allowed: less than epoch_num, 9,"):
        Curvefitting(epoch_num=9, start_step=9)
    Curvefitting(epoch_num=9, start_step=8)
