"""`nni.choice`, `nni.uniform` and their kind: drawn without a manager, looked up under one."""

from __future__ import annotations

import random

import pytest

from mpx.compat.nni import nas_utils, parameter_expressions, platform, smartparam, trial

PARAMETERS = {
    "lr": 0.01,
    "train/layer/choice": "'deep'",
    "train/12/uniform": 0.5,
    "a/same/randint": 1,
    "b/same/randint": 2,
    "activation": "relu",
}


def relu():
    return "relu was called"


@pytest.fixture
def asks(monkeypatch):
    """A manager that gives PARAMETERS first; what was asked."""
    asked = []

    def get_next_parameter():
        asked.append(True)
        return {"parameter_id": 0, "parameters": PARAMETERS}

    monkeypatch.setattr(platform, "is_standalone", False)
    monkeypatch.setattr(platform, "get_next_parameter", get_next_parameter)
    monkeypatch.setattr(trial, "_params", None)
    return asked


@pytest.mark.parametrize(
    ("function", "arguments", "names", "value"),
    [
        ("loguniform", (0.001, 0.1), {"name": "lr"}, 0.01),
        ("uniform", (0, 1), {"key": "train/12/uniform"}, 0.5),
        ("choice", ("'wide'", "'deep'"), {"name": "layer"}, "'deep'"),
        (
            "choice",
            ({"'wide'": "wide", "'deep'": "deep"},),
            {"name": "layer", "key": "train/layer/choice"},
            "deep",
        ),
        ("function_choice", (relu, print), {"name": "activation"}, "relu was called"),
        ("function_choice", ({"relu": relu},), {"key": "activation"}, "relu was called"),
    ],
)
def test_a_parameter_is_found_by_key_or_by_name(asks, function, arguments, names, value):
    call = getattr(smartparam, function)
    assert call(*arguments, **names) == value
    assert call(*arguments, **names) == value
    assert len(asks) == 1  # the first phase's is fetched, and no phase is ever advanced


@pytest.mark.parametrize(
    ("function", "arguments", "names", "said"),
    [
        ("uniform", (0, 1), {"name": "momentum"}, r"name='momentum', key=None\) found none among"),
        ("uniform", (0, 1), {}, r"name=None, key=None\) found none among"),
        ("randint", (0, 9), {"name": "same"}, "found .*'a/same/randint', 'b/same/randint'"),
        ("choice", ({"1": 1},), {"key": "activation"}, r"'relu' is none of the options \['1'\]"),
        ("function_choice", (print,), {"name": "activation"}, "'relu' is none of the options"),
    ],
)
def test_what_is_not_found_is_a_lookup_error(asks, function, arguments, names, said):
    with pytest.raises(LookupError, match=said):
        getattr(smartparam, function)(*arguments, **names)


def test_parameters_that_have_no_names_are_a_lookup_error(asks, monkeypatch):
    monkeypatch.setattr(trial, "_params", {"parameter_id": 0, "parameters": [1, 2]})
    with pytest.raises(LookupError, match=r"those of this phase are \[1, 2\]"):
        smartparam.uniform(0, 1, name="lr")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("randint", (1, 4)),
        ("uniform", (0, 1)),
        ("quniform", (2, 10, 5)),
        ("loguniform", (0.001, 0.1)),
        ("qloguniform", (1, 100, 3)),
        ("normal", (0, 1)),
        ("qnormal", (0, 1, 0.5)),
        ("lognormal", (0, 1)),
        ("qlognormal", (0, 1, 0.5)),
    ],
)
def test_without_a_manager_values_are_drawn(monkeypatch, function, arguments):
    monkeypatch.setattr(platform, "is_standalone", True)
    random.seed(1)
    drawn = [getattr(smartparam, function)(*arguments, name="x") for _ in range(50)]
    assert len(set(drawn)) > 2
    random.seed(1)
    draw = getattr(parameter_expressions, function)
    assert drawn == [draw(*arguments, smartparam._PythonRandom) for _ in range(50)]
    if function == "randint":
        assert set(drawn) == {1, 2, 3}


def test_without_a_manager_options_are_drawn_as_they_stand_or_by_their_text(monkeypatch):
    monkeypatch.setattr(platform, "is_standalone", True)
    options = [smartparam.choice({"a": 1}, {"a": 2}, name="x")["a"] for _ in range(50)]
    values = [smartparam.choice({"1 + 1": 2, "3": 3}, key="f/1/choice") for _ in range(50)]
    assert (set(options), set(values)) == ({1, 2}, {2, 3})
    assert smartparam.function_choice(relu, name="x") == "relu was called"
    assert smartparam.function_choice({"relu": relu}, key="f/2/function_choice") == relu()


@pytest.mark.parametrize("call", [smartparam.mutable_layer, nas_utils.training_update])
def test_classic_nas_says_what_to_do_instead(call):
    with pytest.raises(NotImplementedError, match=r"which mpx does not have: .*get_next_parameter"):
        call("block", {}, mode="classic_mode")
