"""The search space: what is drawn, what the grid holds, which mistakes are found and where."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpx.search_space import GRID_TYPES, SpaceProblem, check, grid, grid_size, sample

NESTED = {
    "layer": {
        "_type": "choice",
        "_value": [
            {"_name": "Empty"},
            {
                "_name": "Conv",
                "kernel": {"_type": "choice", "_value": [1, 3]},
                "width": {"_type": "randint", "_value": [0, 3]},
            },
            "skip",
        ],
    },
    "rate": {"_type": "quniform", "_value": [2, 10, 5]},
}


def one(type_name, *value):
    return {"x": {"_type": type_name, "_value": list(value)}}


def draws(type_name, *value, count=2000):
    rng = Random(7)
    return [sample(one(type_name, *value), rng)["x"] for _ in range(count)]


# Spaces of every kind, and an independent statement of what may come out of each type.

bounds = st.tuples(
    st.floats(-1e300, 1e300) | st.integers(-(10**6), 10**6),
    st.floats(-1e300, 1e300) | st.integers(-(10**6), 10**6),
).map(sorted)
positive_bounds = st.tuples(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300)).map(sorted)
near_bounds = st.tuples(st.floats(-1e3, 1e3), st.integers(-1000, 1000)).map(sorted)
near_positive_bounds = st.tuples(st.floats(1e-3, 1e3), st.integers(1, 1000)).map(sorted)
steps = st.floats(1e-3, 1e3) | st.integers(1, 10)
centres = st.floats(-100, 100) | st.integers(-100, 100)
spreads = st.floats(0, 10) | st.integers(0, 10)
plain_options = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())
)


def specs(type_name, *parts):
    """Specs of one type; a part that is a list is spliced into the value."""
    return st.tuples(*parts).map(
        lambda drawn: {
            "_type": type_name,
            "_value": [x for part in drawn for x in (part if isinstance(part, list) else [part])],
        }
    )


numeric_specs = st.one_of(
    st.tuples(st.integers(-(10**20), 10**20), st.integers(1, 10**20)).map(
        lambda pair: {"_type": "randint", "_value": [pair[0], pair[0] + pair[1]]}
    ),
    specs("uniform", bounds),
    specs("quniform", near_bounds, steps),
    specs("loguniform", positive_bounds),
    specs("qloguniform", near_positive_bounds, steps),
    specs("normal", centres, spreads),
    specs("qnormal", centres, spreads, steps),
    specs("lognormal", centres, spreads),
    specs("qlognormal", centres, spreads, steps),
)
small_grid_specs = st.one_of(
    st.tuples(st.integers(-9, 9), st.integers(1, 4)).map(
        lambda pair: {"_type": "randint", "_value": [pair[0], pair[0] + pair[1]]}
    ),
    st.tuples(st.integers(-9, 9), st.integers(0, 4), st.integers(1, 4)).map(
        lambda drawn: {"_type": "quniform", "_value": [drawn[0], drawn[0] + drawn[1], drawn[2]]}
    ),
)


def choices_over(inner):
    named = st.tuples(st.text(max_size=3), st.dictionaries(st.sampled_from("abc"), inner)).map(
        lambda pair: {"_name": pair[0], **pair[1]}
    )
    return st.lists(plain_options | named, min_size=1, max_size=3).map(
        lambda options: {"_type": "choice", "_value": options}
    )


def spaces(leaves, max_size=4):
    parameters = st.recursive(leaves | choices_over(leaves), choices_over, max_leaves=6)
    return st.dictionaries(st.text(max_size=4), parameters, max_size=max_size)


def admits(spec, value):
    if spec["_type"] == "choice":
        return any(option_admits(option, value) for option in spec["_value"])
    return type(value) is TYPE_OF.get(spec["_type"], float) and RANGE_OF[spec["_type"]](
        value, *spec["_value"]
    )


def option_admits(option, value):
    if not isinstance(option, dict):
        return type(option) is type(value) and option == value
    parameters = {key: spec for key, spec in option.items() if key != "_name"}
    return (
        isinstance(value, dict)
        and list(value) == ["_name", *parameters]
        and value["_name"] == option["_name"]
        and all(admits(spec, value[key]) for key, spec in parameters.items())
    )


def is_multiple(x, q):
    # Near 2**53 steps, where floats lie q apart, the way back rounds to a neighbour.
    return x == float(round(x / q)) * q or abs(x / q) >= 2**50


TYPE_OF = {"randint": int}
RANGE_OF = {
    "randint": lambda x, lo, hi: lo <= x < hi,
    "uniform": lambda x, lo, hi: lo <= x <= hi,
    "quniform": lambda x, lo, hi, q: lo <= x <= hi and (is_multiple(x, q) or x in (lo, hi)),
    "loguniform": lambda x, lo, hi: lo <= x <= hi,
    "qloguniform": lambda x, lo, hi, q: lo <= x <= hi and (is_multiple(x, q) or x in (lo, hi)),
    "normal": lambda x, mu, sigma: math.isfinite(x) and (sigma > 0 or x == mu),
    "qnormal": lambda x, mu, sigma, q: is_multiple(x, q),
    "lognormal": lambda x, mu, sigma: 0 <= x < math.inf,
    "qlognormal": lambda x, mu, sigma, q: x >= 0 and is_multiple(x, q),
}


@settings(max_examples=200, deadline=None)
@given(space=spaces(numeric_specs), seed=st.integers(0, 2**32))
def test_a_draw_satisfies_its_space(space, seed):
    assert check(space) == []
    drawn = sample(space, Random(seed))
    assert list(drawn) == list(space)
    assert all(admits(spec, drawn[name]) for name, spec in space.items())


@settings(max_examples=50, deadline=None)
@given(space=spaces(numeric_specs), seed=st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_draws(space, seed):
    first, second = Random(seed), Random(seed)
    assert [sample(space, first) for _ in range(3)] == [sample(space, second) for _ in range(3)]


@settings(max_examples=50, deadline=None)
@given(space=spaces(numeric_specs))
def test_sampling_leaves_the_space_as_it_was(space):
    before = json.dumps(space)
    sample(space, Random(1))
    assert json.dumps(space) == before


def test_every_type_draws_more_than_one_value():
    rng = Random(3)
    for spec in [
        one("choice", 1, 2, 3),
        one("randint", 0, 9),
        one("uniform", 0, 1),
        one("quniform", 0, 9, 1),
        one("loguniform", 1, 9),
        one("qloguniform", 1, 9, 1),
        one("normal", 0, 1),
        one("qnormal", 0, 5, 1),
        one("lognormal", 0, 1),
        one("qlognormal", 2, 1, 1),
    ]:
        assert len({sample(spec, rng)["x"] for _ in range(50)}) > 1, spec


def test_randint_reaches_its_low_end_and_never_its_high_end():
    assert set(draws("randint", -1, 3)) == {-1, 0, 1, 2}


def test_quniform_rounds_before_it_clips():
    assert set(draws("quniform", 2, 10, 5)) == {2.0, 5.0, 10.0}


def test_quniform_rounds_halves_to_even():
    class Halfway(Random):
        def random(self):
            return 0.5

    assert sample(one("quniform", 0, 5, 1), Halfway())["x"] == 2.0
    assert sample(one("quniform", 0, 7, 1), Halfway())["x"] == 4.0


def test_quantised_normals_are_not_clipped():
    assert min(draws("qnormal", 0, 10, 5)) < -10
    assert max(draws("qnormal", 0, 10, 5)) > 10


def test_qlognormal_may_round_down_to_zero():
    assert 0.0 in draws("qlognormal", 0, 1, 5)


def test_choice_is_uniform_over_its_options():
    drawn = draws("choice", "a", "b", "c", count=3000)
    for option in "abc":
        assert drawn.count(option) == pytest.approx(1000, abs=100)


def test_a_nested_choice_is_uniform_over_options_whatever_their_size():
    rng = Random(5)
    drawn = [sample(NESTED, rng)["layer"] for _ in range(3000)]
    assert drawn.count("skip") == pytest.approx(1000, abs=100)
    assert drawn.count({"_name": "Empty"}) == pytest.approx(1000, abs=100)


def test_uniform_has_the_mean_and_spread_of_one():
    drawn = draws("uniform", -2, 4)
    assert statistics.fmean(drawn) == pytest.approx(1, abs=0.15)
    assert statistics.stdev(drawn) == pytest.approx(6 / math.sqrt(12), abs=0.1)


def test_loguniform_is_uniform_in_the_logarithm():
    logarithms = [math.log10(x) for x in draws("loguniform", 1e-5, 1e-1)]
    assert statistics.fmean(logarithms) == pytest.approx(-3, abs=0.1)
    assert statistics.stdev(logarithms) == pytest.approx(4 / math.sqrt(12), abs=0.1)


def test_qloguniform_is_a_rounded_loguniform():
    drawn = draws("qloguniform", 1, 1000, 10)
    assert statistics.median(drawn) == pytest.approx(math.sqrt(1000), abs=10)


def test_normal_has_the_mean_and_spread_asked_for():
    drawn = draws("normal", 3, 2)
    assert statistics.fmean(drawn) == pytest.approx(3, abs=0.2)
    assert statistics.stdev(drawn) == pytest.approx(2, abs=0.15)


def test_lognormal_is_normal_in_the_logarithm():
    logarithms = [math.log(x) for x in draws("lognormal", -1, 0.5)]
    assert statistics.fmean(logarithms) == pytest.approx(-1, abs=0.05)
    assert statistics.stdev(logarithms) == pytest.approx(0.5, abs=0.04)


def test_extreme_but_legal_numbers_draw_finite_values():
    for spec in [
        one("uniform", -1.7e308, 1.7e308),
        one("loguniform", 5e-324, 1.7e308),
        one("qloguniform", 1e-300, 1e300, 1e-300),
        one("lognormal", 709, 100),
        one("qlognormal", 709, 100, 1e-300),
        one("qnormal", 0, 1e300, 1e-300),
    ]:
        assert check(spec) == []
        rng = Random(11)
        assert all(math.isfinite(sample(spec, rng)["x"]) for _ in range(200)), spec


def test_a_range_wider_than_any_float_is_drawn_from_evenly():
    shares = [x / 1.7e308 for x in draws("uniform", -1.7e308, 1.7e308)]
    assert statistics.fmean(shares) == pytest.approx(0, abs=0.05)


def test_loguniform_stays_in_range_where_the_exponential_of_the_logarithm_does_not():
    assert math.exp(math.log(10)) > 10
    assert set(draws("loguniform", 10, 10)) == {10.0}


def test_a_drawn_list_is_a_copy():
    space = one("choice", [1, [2]])
    sample(space, Random(0))["x"][1].append(3)
    next(grid(space))["x"].append(4)
    assert space == one("choice", [1, [2]])


def test_the_grid_is_the_product_with_the_first_key_slowest():
    space = {
        "a": {"_type": "choice", "_value": ["p", "q"]},
        "b": {"_type": "randint", "_value": [1, 4]},
        "c": {"_type": "quniform", "_value": [0, 1, 0.5]},
    }
    expected = itertools.product(["p", "q"], [1, 2, 3], [0.0, 0.5, 1.0])
    assert list(grid(space)) == [dict(zip("abc", point, strict=True)) for point in expected]


def test_the_grid_of_a_nested_choice_goes_through_each_sub_space():
    layers = [
        {"_name": "Empty"},
        *({"_name": "Conv", "kernel": k, "width": w} for k in (1, 3) for w in (0, 1, 2)),
        "skip",
    ]
    expected = [{"layer": layer, "rate": rate} for layer in layers for rate in (2.0, 5.0, 10.0)]
    assert list(grid(NESTED)) == expected
    assert grid_size(NESTED) == 24


@pytest.mark.parametrize(
    ("value", "points"),
    [
        ((2, 10, 5), [2, 5, 10]),
        ((0, 1, 0.25), [0, 0.25, 0.5, 0.75, 1]),
        ((2.4, 2.6, 1), [2.4, 2.6]),
        ((2.5, 2.5, 1), [2.5]),
        ((-3, 3, 2), [-3, -2, 0, 2, 3]),
        ((1, 2, 100), [1]),
    ],
)
def test_the_grid_of_a_quniform_is_its_rounded_and_clipped_steps(value, points):
    found = [point["x"] for point in grid(one("quniform", *value))]
    assert found == points
    assert all(type(x) is float for x in found)


@settings(max_examples=100, deadline=None)
@given(space=spaces(small_grid_specs, max_size=3))
def test_the_grid_has_the_size_it_says_and_only_admitted_points(space):
    assert check(space, GRID_TYPES) == []
    size = grid_size(space)
    points = list(itertools.islice(grid(space), 500))
    assert len(points) == min(size, 500)
    assert all(list(point) == list(space) for point in points)
    assert all(admits(spec, point[name]) for point in points for name, spec in space.items())


@settings(max_examples=50, deadline=None)
@given(space=spaces(small_grid_specs, max_size=2), seed=st.integers(0, 2**32))
def test_what_is_drawn_is_a_point_of_the_grid(space, seed):
    if grid_size(space) <= 500:
        assert sample(space, Random(seed)) in list(grid(space))


def test_the_grid_is_lazy_however_large():
    space = {**one("randint", 0, 10**30), "y": {"_type": "quniform", "_value": [0, 1, 1e-12]}}
    assert next(grid(space)) == {"x": 0, "y": 0.0}
    assert grid_size(space) == 10**30 * (10**12 + 1)


def test_a_type_without_a_grid_says_which_have_one():
    with pytest.raises(TypeError, match="only choice, randint, quniform, macro, cell have a grid"):
        grid_size(one("uniform", 0, 1))


def test_an_empty_space_is_well_formed_and_has_one_point():
    assert check({}) == []
    assert sample({}, Random(0)) == {}
    assert list(grid({})) == [{}]


def spec_of(type_name, value):
    return {"lr": {"_type": type_name, "_value": value}}


def macro(**value):
    return spec_of("macro", {"layers": 6, "operations": ["a"], **value})


def cell(**value):
    return spec_of("cell", {"nodes": 4, "operations": ["a"], **value})


BAD_SPACES = [
    # The space itself.
    ("", (), "found ''; allowed: a mapping of parameter names"),
    (None, (), "found nothing (null)"),
    ([1], (), "found [1]"),
    ({3: {"_type": "choice", "_value": [1]}}, (3,), "found the name 3; allowed: text"),
    # One parameter's shape.
    ({"lr": 0.1}, ("lr",), "found 0.1; allowed: a mapping of _type and _value; for a fixed value"),
    ({"lr": None}, ("lr",), "found nothing (null)"),
    ({"lr": {"_value": [1]}}, ("lr",), "found no _type"),
    ({"lr": {"_type": "choice"}}, ("lr",), "found no _value"),
    (
        {"lr": {"_type": "choice", "_value": [1], "_vale": 2}},
        ("lr", "_vale"),
        "found the key '_vale'; allowed: _type, _value; did you mean _value?",
    ),
    # The type.
    (spec_of("unifrm", [0, 1]), ("lr", "_type"), "found 'unifrm'; allowed: choice, randint, "),
    (spec_of("unifrm", [0, 1]), ("lr", "_type"), "; did you mean uniform?"),
    (spec_of(3, [0, 1]), ("lr", "_type"), "found 3; allowed: choice"),
    (spec_of(["choice"], [0, 1]), ("lr", "_type"), "found ['choice']; allowed: choice"),
    (spec_of("layer_choice", ["a"]), ("lr", "_type"), "classic NAS, not supported"),
    (spec_of("input_choice", {}), ("lr", "_type"), "classic NAS, not supported"),
    (spec_of("mutable_layer", {}), ("lr", "_type"), "classic NAS, not supported"),
    # choice.
    (spec_of("choice", []), ("lr", "_value"), "found []; allowed: a list of at least one option"),
    (spec_of("choice", "abc"), ("lr", "_value"), "found 'abc'; allowed: a list"),
    (spec_of("choice", {"a": 1}), ("lr", "_value"), "allowed: a list"),
    (spec_of("choice", [1, {"a": 1}]), ("lr", "_value", 1), "found a mapping without _name"),
    (spec_of("choice", [{"_name": 5}]), ("lr", "_value", 0, "_name"), "found 5; allowed: text"),
    (
        spec_of("choice", [{"_name": "a", "k": {"_type": "uniform", "_value": [1, 0]}}]),
        ("lr", "_value", 0, "k", "_value", 1),
        "found 0; allowed: hi >= lo = 1",
    ),
    (spec_of("choice", [{"_name": "a", "k": 3}]), ("lr", "_value", 0, "k"), "found 3"),
    # How many numbers.
    (spec_of("uniform", 3), ("lr", "_value"), "found 3; allowed: [lo, hi]"),
    (spec_of("uniform", [0]), ("lr", "_value"), "found [0]; allowed: [lo, hi]"),
    (spec_of("uniform", [0, 1, 2]), ("lr", "_value"), "allowed: [lo, hi]"),
    (spec_of("quniform", [0, 1]), ("lr", "_value"), "allowed: [lo, hi, q]"),
    (spec_of("normal", [0]), ("lr", "_value"), "allowed: [mu, sigma]"),
    (spec_of("qnormal", [0, 1]), ("lr", "_value"), "allowed: [mu, sigma, q]"),
    # What is a number.
    (spec_of("uniform", [0, "1"]), ("lr", "_value", 1), "found '1'; allowed: hi, a finite number"),
    (
        spec_of("uniform", [True, 2]),
        ("lr", "_value", 0),
        "found true; allowed: lo, a finite number",
    ),
    (spec_of("uniform", [0, math.inf]), ("lr", "_value", 1), "found inf"),
    (spec_of("uniform", [math.nan, 0]), ("lr", "_value", 0), "found nan"),
    (spec_of("uniform", [0, 10**400]), ("lr", "_value", 1), "hi, a finite number"),
    (spec_of("uniform", [0, None]), ("lr", "_value", 1), "found nothing (null)"),
    (spec_of("randint", [0, 2.0]), ("lr", "_value", 1), "found 2.0; allowed: hi, an integer"),
    (spec_of("randint", [False, 2]), ("lr", "_value", 0), "found false; allowed: lo, an integer"),
    (spec_of("randint", [0, 10**400]), ("lr", "_value", 1), "hi, an integer"),
    (spec_of("uniform", [0, 1 << 50_000]), ("lr", "_value", 1), "found an integer of thousands"),
    # How the numbers must stand to each other.
    (spec_of("randint", [2, 2]), ("lr", "_value", 1), "found 2; allowed: hi > lo = 2"),
    (spec_of("randint", [3, 2]), ("lr", "_value", 1), "found 2; allowed: hi > lo = 3"),
    (spec_of("uniform", [1, 0]), ("lr", "_value", 1), "found 0; allowed: hi >= lo = 1"),
    (spec_of("quniform", [1, 0, 1]), ("lr", "_value", 1), "allowed: hi >= lo = 1"),
    (spec_of("quniform", [0, 1, 0]), ("lr", "_value", 2), "found 0; allowed: q > 0"),
    (spec_of("quniform", [0, 1, -0.5]), ("lr", "_value", 2), "found -0.5; allowed: q > 0"),
    (spec_of("quniform", [0, 1, 1e-320]), ("lr", "_value", 2), "2**53 steps"),
    (spec_of("loguniform", [0, 1]), ("lr", "_value", 0), "found 0; allowed: lo > 0"),
    (spec_of("loguniform", [2, 1]), ("lr", "_value", 1), "allowed: hi >= lo = 2"),
    (spec_of("qloguniform", [-1, 1, 1]), ("lr", "_value", 0), "found -1; allowed: lo > 0"),
    (spec_of("qloguniform", [2, 1, 1]), ("lr", "_value", 1), "allowed: hi >= lo = 2"),
    (spec_of("qloguniform", [1, 2, 0]), ("lr", "_value", 2), "found 0; allowed: q > 0"),
    (spec_of("normal", [0, -1]), ("lr", "_value", 1), "found -1; allowed: sigma >= 0"),
    (spec_of("qnormal", [0, -1, 1]), ("lr", "_value", 1), "allowed: sigma >= 0"),
    (spec_of("qnormal", [0, 1, 0]), ("lr", "_value", 2), "allowed: q > 0"),
    (spec_of("lognormal", [0, -1]), ("lr", "_value", 1), "allowed: sigma >= 0"),
    (spec_of("lognormal", [1000, 1]), ("lr", "_value", 0), "found 1000; allowed: mu <= 709"),
    (spec_of("qlognormal", [0, -1, 1]), ("lr", "_value", 1), "allowed: sigma >= 0"),
    (spec_of("qlognormal", [710, 1, 1]), ("lr", "_value", 0), "allowed: mu <= 709"),
    (spec_of("qlognormal", [0, 1, -1]), ("lr", "_value", 2), "allowed: q > 0"),
    # Architectures.
    (
        spec_of("macro", [6]),
        ("lr", "_value"),
        "found [6]; allowed: a mapping of layers, operations",
    ),
    (spec_of("macro", {"layers": 6}), ("lr", "_value"), "found no operations; allowed: a mapping"),
    (macro(layers=0), ("lr", "_value", "layers"), "found 0; allowed: an integer from 1 to 100"),
    (macro(layers=True), ("lr", "_value", "layers"), "found true; allowed: an integer from 1"),
    (macro(layers=101), ("lr", "_value", "layers"), "found 101; allowed: an integer from 1 to 100"),
    (macro(skips=1), ("lr", "_value", "skips"), "found 1; allowed: true or false"),
    (
        macro(operation=[]),
        ("lr", "_value", "operation"),
        "found the key 'operation'; allowed: layers, operations, skips; did you mean operations?",
    ),
    (macro(operations="a"), ("lr", "_value", "operations"), "found 'a'; allowed: a list"),
    (macro(operations=[]), ("lr", "_value", "operations"), "found []; allowed: a list of at least"),
    (macro(operations=["a", 3]), ("lr", "_value", "operations", 1), "found 3; allowed: text"),
    (
        macro(operations=["a", "b", "a"]),
        ("lr", "_value", "operations", 2),
        "found 'a' a second time; allowed: each operation once",
    ),
    (cell(nodes=1.0), ("lr", "_value", "nodes"), "found 1.0; allowed: an integer from 1 to 100"),
    (cell(inputs=0), ("lr", "_value", "inputs"), "found 0; allowed: an integer from 1 to 100"),
    (cell(inputs_per_node=0), ("lr", "_value", "inputs_per_node"), "found 0; allowed: an integer"),
    (cell(skips=True), ("lr", "_value", "skips"), "found the key 'skips'; allowed: nodes, "),
]


@pytest.mark.parametrize(("space", "path", "message"), BAD_SPACES)
def test_a_mistake_is_found_where_it_is(space, path, message):
    [problem] = check(space)
    assert problem.path == path
    assert message in problem.message


def test_all_mistakes_are_found_at_once_in_the_order_of_the_space():
    space = {
        "a": {"_type": "uniform", "_value": ["x", None]},
        "b": 3,
        "c": {"_typ": "choice", "_value": []},
        "d": {
            "_type": "choice",
            "_value": [
                {"_name": "n", "k": {"_type": "loguniform", "_value": [-1, -2]}},
                {"m": {"_type": "nope", "_value": []}, "plain": 3},
            ],
        },
    }
    assert [problem.path for problem in check(space)] == [
        ("a", "_value", 0),
        ("a", "_value", 1),
        ("b",),
        ("c",),
        ("c", "_typ"),
        ("d", "_value", 0, "k", "_value", 0),
        ("d", "_value", 0, "k", "_value", 1),
        ("d", "_value", 1),
        ("d", "_value", 1, "m", "_type"),
    ]


def test_a_type_outside_those_asked_for_is_a_mistake_nested_ones_too():
    space = {
        "a": {"_type": "uniform", "_value": [1, 0]},
        "b": {
            "_type": "choice",
            "_value": [{"_name": "n", "k": {"_type": "normal", "_value": [0, 1]}}],
        },
    }
    assert check(space, GRID_TYPES) == [
        SpaceProblem(
            ("a", "_type"),
            "found uniform, which this tuner does not take;"
            " allowed: choice, randint, quniform, macro, cell",
        ),
        SpaceProblem(("a", "_value", 1), "found 0; allowed: hi >= lo = 1"),
        SpaceProblem(
            ("b", "_value", 0, "k", "_type"),
            "found normal, which this tuner does not take;"
            " allowed: choice, randint, quniform, macro, cell",
        ),
    ]


@pytest.mark.parametrize(
    "space",
    [{"lr": "x" * 10_000}, {"lr": {"_type": "choice", "_value": [1], "x" * 10_000: 1}}],
)
def test_a_long_value_or_key_is_shortened_in_the_message(space):
    [problem] = check(space)
    assert len(problem.message) < 200


def test_a_problem_prints_its_path_and_message():
    assert str(SpaceProblem(("lr", "_value", 1), "found 0")) == "lr._value.1: found 0"
    assert str(SpaceProblem((), "found ''")) == "found ''"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["_type", "_value", "_name", "a"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=12,
)
almost_specs = st.fixed_dictionaries(
    {
        "_type": st.sampled_from(["choice", "randint", "uniform", "quniform", "qlognormal"]),
        "_value": st.lists(json_values | st.integers(-3, 3), max_size=4),
    }
)


@settings(max_examples=300, deadline=None)
@given(space=json_values | st.dictionaries(st.text(max_size=3), almost_specs | json_values))
def test_any_json_is_either_refused_or_can_be_drawn_from(space):
    if not check(space):
        sample(space, Random(0))
