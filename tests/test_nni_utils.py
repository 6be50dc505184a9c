"""`nni.utils` and `nni.parameter_expressions`: what NNI v1's tuners share."""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpx.compat.nni import parameter_expressions, utils

SPACE = {
    "lr": {"_type": "loguniform", "_value": [0.001, 0.1]},
    "layer": {
        "_type": "choice",
        "_value": [
            {"_name": "empty"},
            {"_name": "conv", "kernel": {"_type": "randint", "_value": [1, 4]}},
        ],
    },
}
CONV = {"_index": 1, "_value": {"_name": "conv", "kernel": 2}}
PLACES = {"root[lr]-loguniform", "root[layer]-choice"}
KERNEL = "root[layer]-choice[1][kernel]-randint"

seeds = st.integers(0, 2**32 - 1)
finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
steps = st.floats(1e-3, 1e3)
sigmas = st.floats(0, 5)
small = st.floats(-5, 5)


# -- parameter expressions: the table of NNI's search space types ---------------------------------


def clip(value, low, high):
    return np.clip(value, low, high)


def rounded(value, q):
    return np.round(value / q) * q


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("choice", [st.lists(finite, min_size=1)], lambda rs, a: rs.choice(a)),
        (
            "randint",
            [st.tuples(st.integers(-99, 99), st.integers(1, 99))],
            lambda rs, a, b: rs.randint(a, b),
        ),
        ("uniform", [st.tuples(finite, finite)], lambda rs, a, b: rs.uniform(a, b)),
        (
            "quniform",
            [st.tuples(finite, finite), steps],
            lambda rs, a, b, q: clip(rounded(rs.uniform(a, b), q), a, b),
        ),
        (
            "loguniform",
            [st.tuples(positive, positive)],
            lambda rs, a, b: np.exp(rs.uniform(np.log(a), np.log(b))),
        ),
        (
            "qloguniform",
            [st.tuples(positive, positive), steps],
            lambda rs, a, b, q: clip(
                rounded(math.exp(rs.uniform(math.log(a), math.log(b))), q), a, b
            ),
        ),
        ("normal", [finite, sigmas], lambda rs, m, s: rs.normal(m, s)),
        ("qnormal", [finite, sigmas, steps], lambda rs, m, s, q: rounded(rs.normal(m, s), q)),
        ("lognormal", [small, sigmas], lambda rs, m, s: np.exp(rs.normal(m, s))),
        (
            "qlognormal",
            [small, sigmas, steps],
            lambda rs, m, s, q: rounded(math.exp(rs.normal(m, s)), q),
        ),
    ],
)
def test_values_are_drawn_as_by_nni(name, arguments, expected):
    draw = getattr(parameter_expressions, name)

    @settings(max_examples=30)
    @given(st.data(), seeds)
    def check(data, seed):
        drawn = [data.draw(argument) for argument in arguments]
        if isinstance(drawn[0], tuple):  # bounds
            low, high = drawn[0]
            low, high = (low, low + high) if name == "randint" else sorted(drawn[0])
            drawn[:1] = [low, high]
        found = draw(*drawn, np.random.RandomState(seed))
        wanted = expected(np.random.RandomState(seed), *drawn)
        assert found == pytest.approx(wanted, rel=1e-12)
        assert isinstance(found, float) or name == "randint"

    check()


def test_what_is_rounded_is_rounded_half_to_even_and_clipped():
    class Middle:
        def uniform(self, low, high):
            return (low + high) / 2

    assert parameter_expressions.quniform(0, 5, 1, Middle()) == 2
    assert parameter_expressions.quniform(0, 7, 1, Middle()) == 4
    drawn = {
        parameter_expressions.quniform(2, 10, 5, np.random.RandomState(seed)) for seed in range(50)
    }
    assert drawn == {2, 5, 10}
    assert {type(value) for value in drawn} == {float}


@pytest.mark.parametrize(
    ("name", "bounds"), [("uniform", (1, 0)), ("loguniform", (0, 1)), ("qloguniform", (-1, 1, 1))]
)
def test_bounds_that_bound_nothing_are_an_assertion_error(name, bounds):
    with pytest.raises(AssertionError, match=r"the (upper|lower) bound"):
        getattr(parameter_expressions, name)(*bounds, np.random.RandomState(0))


# -- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.5, 0, {"default": 0.5}, {"default": 0, "loss": "none"}])
def test_a_reward_is_a_number_or_the_default_of_a_dict(value):
    expected = value["default"] if isinstance(value, dict) else value
    assert utils.extract_scalar_reward(value) == expected
    assert utils.extract_scalar_history([value, 1]) == [expected, 1]


@pytest.mark.parametrize("value", ["0.5", None, [0.5], {"loss": 1}, {"default": "0.5"}])
def test_anything_else_is_no_reward(value):
    with pytest.raises(RuntimeError, match="whose 'default' is one; found "):
        utils.extract_scalar_reward(value)


def test_json_has_the_forms_that_trials_index():
    text = utils.to_json({"a": np.array([1, 2]), "b": {2, 1}, "c": 1j, "d": math.nan, "e": (1,)})
    found = json.loads(text)
    assert found["a"] == {"__ndarray__": [1, 2], "dtype": "int64", "shape": [2]}
    assert found["b"] == {"__set__": [1, 2]}
    assert found["c"] == {"__complex__": [0.0, 1.0]}
    assert math.isnan(found["d"])
    assert found["e"] == [1]


# -- search spaces and parameters with indices ----------------------------------------------------


def test_the_places_of_a_search_space_follow_what_was_chosen():
    assert set(utils.json2space(SPACE)) == PLACES
    assert set(utils.json2space(SPACE, {"lr": 0.01, "layer": CONV})) == {*PLACES, KERNEL}


@settings(max_examples=50)
@given(seeds, st.sets(st.sampled_from(sorted({*PLACES, KERNEL}))))
def test_only_what_is_to_be_drawn_changes(seed, drawn):
    old = {"lr": 0.01, "layer": CONV}
    before = copy.deepcopy(old)
    is_rand = {place: place in drawn for place in (*PLACES, KERNEL)}
    new = utils.json2parameter(SPACE, is_rand, np.random.RandomState(seed), old)
    assert old == before
    assert (new["lr"] == old["lr"]) == ("root[lr]-loguniform" not in drawn)
    if "root[layer]-choice" not in drawn:
        assert new["layer"] == CONV
    else:
        option = SPACE["layer"]["_value"][new["layer"]["_index"]]
        assert new["layer"]["_value"].keys() == option.keys()
        assert new["layer"]["_value"].get("kernel", 1) in range(1, 4)
    assert utils.split_index(new) == {"lr": new["lr"], "layer": new["layer"]["_value"]}


def test_an_option_without_a_name_is_an_error():
    with pytest.raises(RuntimeError, match="has no key '_name'"):
        utils.json2space([{"kernel": 1}])


def test_dicts_become_tuples_that_can_be_hashed():
    given = {"b": {"d": 1, "c": 2}, "a": 0}
    assert utils.convert_dict2tuple(given) == (("a", 0), ("b", (("c", 2), ("d", 1))))
    assert given["b"] == (("c", 2), ("d", 1))


def test_randint_becomes_quniform():
    space = {"a": {"_type": "randint", "_value": [0, 9]}, "layers": copy.deepcopy(SPACE["layer"])}
    utils.randint_to_quniform(space)
    assert space["a"] == {"_type": "quniform", "_value": [0, 9, 1]}
    assert space["layers"]["_value"][1]["kernel"] == {"_type": "quniform", "_value": [1, 4, 1]}


@pytest.mark.parametrize("kind", [dict, argparse.Namespace])
def test_parameters_are_merged_into_a_programs_own(kind):
    mine = kind(lr=0.1, depth=2, name=None)
    assert utils.merge_parameter(mine, {"lr": 0.2, "name": "deep"}) is mine
    assert mine == kind(lr=0.2, depth=2, name="deep")
    assert utils.merge_parameter(mine, None) is mine
    with pytest.raises(ValueError, match="no parameter 'momentum' among"):
        utils.merge_parameter(mine, {"momentum": 0.9})
    with pytest.raises(TypeError, match=r"'depth' is 2\.5, a float; it is to be a int"):
        utils.merge_parameter(mine, {"depth": 2.5})


def test_a_validator_needs_schema_for_its_helpers_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "schema", None)
    validator = utils.ClassArgsValidator()
    validator.validate_class_args(optimize_mode="maximize")
    with pytest.raises(ImportError, match="pip install schema"):
        validator.choices("optimize_mode", "maximize", "minimize")
    with pytest.raises(ImportError, match="pip install schema"):
        validator.range("depth", int, 1, 5)
