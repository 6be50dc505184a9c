"""Every built-in tuner keeps the contract of tuners, and what mpx promises of its own beyond that."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import random

import jsonschema
import pytest

from mpx.config.packages import missing_packages
from mpx.errors import TunerError, UsageError
from mpx.loader import BUILT_IN_TUNERS, load_built_in_tuner
from mpx.search_space import TYPE_NAMES
from mpx.testing import TunerContract
from mpx.tuner import Tuner
from mpx.tuners.gp import GP
from mpx.tuners.hyperband import BUDGET
from mpx.tuners.learning import OptimizingTuner

TORCH = ("GP", "GPTuner", "MetisTuner", "ENAS")
# GPTuner and MetisTuner are GP by other names, as a test shows.
NOT_HERE = ("BatchTuner", "GridSearch", "GPTuner", "MetisTuner")
SEARCHING = [name for name in BUILT_IN_TUNERS if name not in NOT_HERE]


def is_macro(found):
    """Say whether it is one of three layers, of "a" and "b"."""
    return len(found) == 3 and all(
        layer == {"operation": layer["operation"], "skips": layer["skips"]}
        and layer["operation"] in ("a", "b")
        and layer["skips"] in ([], [0])[: 1 + (index == 2)]
        for index, layer in enumerate(found)
    )


def is_cell(found):
    """Say whether it is one of two nodes with two inputs, of "a" and "b"."""
    return len(found) == 2 and all(
        node == {"inputs": node["inputs"], "operations": node["operations"]}
        and len(node["inputs"]) == len(node["operations"]) == 2
        and all(type(each) is int and each in range(2 + index) for each in node["inputs"])
        and all(each in ("a", "b") for each in node["operations"])
        for index, node in enumerate(found)
    )


# Type → value, and what may be drawn from it.
TYPES = {
    "choice": (["a", [1, 2], None, True, 0.5], lambda x: x in ["a", [1, 2], None, True, 0.5]),
    "randint": ([-2, 3], lambda x: type(x) is int and x in range(-2, 3)),
    "uniform": ([-1, 2], lambda x: type(x) is float and -1 <= x <= 2),
    "quniform": ([2, 10, 5], lambda x: type(x) is float and x in (2, 5, 10)),
    "loguniform": ([1e-3, 10], lambda x: type(x) is float and 1e-3 <= x <= 10),
    "qloguniform": ([1, 10, 4], lambda x: type(x) is float and x in (1, 4, 8, 10)),
    "normal": ([100, 1], lambda x: type(x) is float and 90 < x < 110),
    "qnormal": ([100, 1, 3], lambda x: type(x) is float and x % 3 == 0 and 90 <= x < 110),
    "lognormal": ([0, 1], lambda x: type(x) is float and 1e-4 < x < 1e4),
    "qlognormal": ([0, 1, 0.5], lambda x: type(x) is float and 0 <= x < 1e4 and x % 0.5 == 0),
    "macro": ({"layers": 3, "operations": ["a", "b"]}, is_macro),
    "cell": ({"nodes": 2, "operations": ["a", "b"]}, is_cell),
}
EDGES = {
    "wide": ("uniform", [-1e308, 1e308], lambda x: math.isfinite(x)),
    "huge": ("randint", [-(2**70), 2**70], lambda x: type(x) is int and -(2**70) <= x < 2**70),
    "fine": ("quniform", [0, 1, 1e-12], lambda x: type(x) is float and 0 <= x <= 1),
    "point": ("loguniform", [2, 2], lambda x: x == 2.0),
    "still": ("normal", [3, 0], lambda x: x == 3.0),
    "one": ("randint", [7, 8], lambda x: x == 7 and type(x) is int),
}
NESTED = {
    "layer": {
        "_type": "choice",
        "_value": [
            {"_name": "none"},
            {
                "_name": "conv",
                "size": {"_type": "randint", "_value": [1, 8]},
                "then": {
                    "_type": "choice",
                    "_value": [
                        "end",
                        {"_name": "pool", "by": {"_type": "uniform", "_value": [0, 1]}},
                    ],
                },
            },
        ],
    },
    "rate": {"_type": "loguniform", "_value": [1e-4, 1]},
}


def space_of(*types):
    return {kind: {"_type": kind, "_value": TYPES[kind][0]} for kind in types}


# Of each kind one, as choices take their time.
SPACE = {
    **NESTED,
    **space_of("macro"),
    "units": {"_type": "randint", "_value": [1, 100]},
    "dropout": {"_type": "quniform", "_value": [0, 0.8, 0.1]},
}


class Searching(TunerContract):
    """A tuner that has parameters for as long as it is asked, and no state but what calls made."""

    search_space = SPACE
    test_it_says_that_it_has_no_more = None
    test_a_resume_from_a_checkpoint_equals_no_interruption = None
    test_a_real_experiment = None


class TestRandom(Searching):
    tuner = "Random"


class TestQMC(Searching):
    tuner = "QMC"


class TestTPE(Searching):
    tuner = "TPE"
    phases = 12  # of which it draws 10 at random
    optimize_mode = "minimize"
    test_a_real_experiment = TunerContract.test_a_real_experiment


class TestAnneal(Searching):
    tuner = "Anneal"
    optimize_mode = "maximize"


class TestEvolution(Searching):
    tuner = "Evolution"
    class_args = {"population_size": 6}


class TestRegularizedEvolution(Searching):
    tuner = "RegularizedEvolution"
    class_args = {"population_size": 6}


class TestPBT(Searching):
    tuner = "PBT"
    class_args = {"population_size": 20}


class TestPBTOfFewMembers(Searching):
    tuner = "PBT"
    class_args = {"population_size": 3}
    exhausts = True  # for more trials than three
    test_it_says_that_it_has_no_more = TunerContract.test_it_says_that_it_has_no_more


class TestNSGAII(Searching):
    tuner = "NSGAII"
    class_args = {"population_size": 6}
    optimize_mode = "minimize"


class TestCmaEs(Searching):
    tuner = "CmaEs"
    search_space = {name: spec for name, spec in SPACE.items() if name not in ("layer", "macro")}


class TestHyperband(Searching):
    tuner = "Hyperband"
    class_args = {"R": 4, "eta": 2}
    extra_parameters = (BUDGET,)


class TestBOHB(Searching):
    tuner = "BOHB"
    class_args = {"max_budget": 4, "eta": 2, "min_points_in_model": 4}
    extra_parameters = (BUDGET,)


@pytest.mark.torch
class TestGP(Searching):
    tuner = "GP"
    class_args = {"cold_start_num": 3}
    search_space = space_of("uniform", "choice")  # it takes its time with each
    phases = 4


@pytest.mark.torch
class TestENAS(Searching):
    tuner = "ENAS"
    search_space = space_of("macro", "choice")
    class_args = {"results_per_update": 3, "hidden_units": 8}
    phases = 8  # it takes its time with each
    test_a_resume_from_a_checkpoint_equals_no_interruption = (
        TunerContract.test_a_resume_from_a_checkpoint_equals_no_interruption
    )


class Enumerating(TunerContract):
    """A tuner that comes to an end."""

    exhausts = True
    test_a_resume_from_a_checkpoint_equals_no_interruption = None
    test_a_real_experiment = None


class TestGridSearch(Enumerating):
    tuner = "GridSearch"
    search_space = {
        "layer": {"_type": "choice", "_value": ["all", {"_name": "none"}]},
        "chain": {
            "_type": "macro",
            "_value": {"layers": 2, "operations": ["a", "b"], "skips": False},
        },
        "dropout": SPACE["dropout"],
        "size": {"_type": "randint", "_value": [0, 4]},
    }


class TestBatchTuner(Enumerating):
    tuner = "BatchTuner"
    search_space = {"runs": {"_type": "choice", "_value": [{"lr": 1 / n} for n in range(1, 50)]}}


def test_every_built_in_tuner_is_held_to_the_contract():
    held = {each.tuner for each in (*Searching.__subclasses__(), *Enumerating.__subclasses__())}
    assert held == set(BUILT_IN_TUNERS) - {
        "GPTuner",
        "MetisTuner",
    }  # which are GP, as is shown below


def cases(*left_out):
    return [
        pytest.param(name, marks=pytest.mark.torch) if name in TORCH else name
        for name in SEARCHING
        if name not in left_out
    ]


@pytest.fixture(autouse=True)
def _torch_is_there(request):
    if request.node.get_closest_marker("torch"):
        pytest.importorskip("torch")


def construct(name, space, seed=1, **arguments):
    random.seed(seed)
    tuner = load_built_in_tuner(name)(**arguments)
    tuner.update_search_space(space)
    return tuner


def line_of(name):
    """A space of one parameter that a tuner takes, and the parameter."""
    kind = "choice" if name == "ENAS" else "uniform"
    return space_of(kind), kind


def flat_space(name):
    """All types that a tuner takes, and what is at their edges."""
    types = load_built_in_tuner(name).types
    edges = {
        key: {"_type": kind, "_value": value}
        for key, (kind, value, _) in EDGES.items()
        if kind in types
    }
    return {**space_of(*types), **edges}


def without_budget(parameters):
    return {key: value for key, value in parameters.items() if key != BUDGET}


def play(tuner, calls=60, seed=7):
    """Ask, tell and fail in any order, up to five phases open; return all parameters."""
    rng = random.Random(seed)
    takes = inspect.signature(tuner.receive_trial_result).parameters
    more = {"checkpoint": "saved"} if "checkpoint" in takes else {}
    calls = min(calls, 25) if isinstance(tuner, GP) else calls  # which takes its time
    found, still_open = [], []
    for number in range(calls):
        random.random()  # who else draws from the global generator does not matter
        returned = tuner.generate_parameters(number, "t")
        parameters = getattr(returned, "parameters", returned)  # of what is `Continued`
        found.append(parameters)
        still_open.append((number, parameters))
        while still_open and (rng.random() < 0.5 or len(still_open) > 5):
            ended, parameters = still_open.pop(rng.randrange(len(still_open)))
            value = rng.choice(
                [rng.random(), rng.random(), {"default": rng.random()}, math.nan, math.inf, None]
            )
            if value is not None:
                tuner.receive_trial_result(ended, parameters, value, trial_job_id="t", **more)
            tuner.phase_end(ended, value is not None, "t")
    return found


@pytest.mark.parametrize("name", cases())
def test_parameters_are_of_the_search_space_and_plain(name):
    space = flat_space(name)
    fits = {kind: check for kind, (_, check) in TYPES.items()}
    fits.update({key: check for key, (_, _, check) in EDGES.items()})
    for parameters in map(without_budget, play(construct(name, space), calls=30)):
        assert list(parameters) == list(space)
        assert all(fits[key](value) for key, value in parameters.items()), parameters
        assert json.loads(json.dumps(parameters)) == parameters


@pytest.mark.parametrize("name", cases("CmaEs", "ENAS"))  # which take none
def test_of_sub_spaces_only_the_chosen_one_has_parameters(name):
    shapes = set()
    for parameters in map(without_budget, play(construct(name, NESTED))):
        layer = parameters["layer"]
        assert list(parameters) == ["layer", "rate"]
        assert 1e-4 <= parameters["rate"] <= 1
        if layer["_name"] == "none":
            assert layer == {"_name": "none"}
        else:
            assert list(layer) == ["_name", "size", "then"]
            assert layer["size"] in range(1, 8)
        then = layer.get("then")
        if isinstance(then, dict):
            assert then == {"_name": "pool", "by": then["by"]}
            assert 0 <= then["by"] <= 1
        shapes.add((layer["_name"], "pool" if isinstance(then, dict) else then))
    assert shapes == {("none", None), ("conv", "end"), ("conv", "pool")}


@pytest.mark.torch
@pytest.mark.parametrize("name", ["GPTuner", "MetisTuner"])
def test_nnis_gaussian_processes_are_ours(name):
    ours = play(construct("GP", NESTED, cold_start_num=5), calls=8)
    assert play(construct(name, NESTED, cold_start_num=5), calls=8) == ours
    assert play(construct(name, NESTED, cold_start_num=2), calls=8) != ours


@pytest.mark.parametrize("name", cases())
def test_another_seed_makes_other_choices(name):
    space = flat_space(name)
    other = play(construct(name, space, seed=2), calls=3)
    assert play(construct(name, space), calls=3) != other


@pytest.mark.parametrize("name", cases())
def test_a_space_is_refused_with_the_place_and_what_is_allowed(name):
    tuner_class = load_built_in_tuner(name)
    line, parameter = line_of(name)
    for kind in set(TYPE_NAMES) - set(tuner_class.types):
        (problem,) = tuner_class.check_search_space({**line, **space_of(kind)})
        assert problem.path == (kind, "_type")
        assert f"found {kind}" in problem.message
        assert f"allowed: {', '.join(tuner_class.types)}" in problem.message
    assert tuner_class.check_search_space(flat_space(name)) == []
    tuner = construct(name, line)
    with pytest.raises(UsageError, match=name):
        tuner.update_search_space("")
    assert set(without_budget(tuner.generate_parameters(0))) == {parameter}


@pytest.mark.parametrize("name", cases("ENAS"))  # which takes none of these types
def test_a_new_search_space_holds_from_the_next_parameters_on(name):
    tuner = construct(name, space_of("uniform", "randint"))
    waiting = tuner.generate_parameters(1000, "t")
    play(tuner, calls=20)
    narrower = {**space_of("randint"), "uniform": {"_type": "uniform", "_value": [0, 1]}}
    tuner.update_search_space(narrower)
    tuner.receive_trial_result(1000, waiting, 0.5, trial_job_id="t")
    for parameters in map(without_budget, play(tuner, calls=20)):
        assert list(parameters) == ["randint", "uniform"]
        assert 0 <= parameters["uniform"] <= 1
    tuner.update_search_space(space_of("normal"))
    assert set(without_budget(tuner.generate_parameters(2000))) == {"normal"}


@pytest.mark.parametrize("name", BUILT_IN_TUNERS)
def test_a_class_describes_the_arguments_of_its_constructor(name):
    tuner_class = load_built_in_tuner(name)
    schema = tuner_class.class_args_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert (schema["type"], schema["additionalProperties"], schema["required"]) == (
        "object",
        False,
        [],
    )
    defaults = {key: each["default"] for key, each in schema["properties"].items()}
    jsonschema.validate(defaults, schema)
    assert all(each["description"] for each in schema["properties"].values())
    if list(missing_packages(tuner_class.requires)):
        assert name in TORCH
        return
    tuner = tuner_class(**defaults)
    assert isinstance(tuner, Tuner)
    assert getattr(tuner, "optimize_mode", None) == getattr(tuner_class(), "optimize_mode", None)
    assert getattr(tuner, "optimize_mode", None) == defaults.get("optimize_mode")
    for key in defaults:
        with pytest.raises(TypeError, match="unexpected"):
            tuner_class(**{f"{key}_": 1})
    for module in tuner_class.requires:
        importlib.import_module(module)


@pytest.mark.parametrize("name", cases("Random", "QMC"))
def test_a_result_that_is_no_number_is_an_error_at_first_and_then_a_failure(name, caplog):
    tuner = construct(name, line_of(name)[0])
    assert isinstance(tuner, OptimizingTuner)
    parameters = tuner.generate_parameters(0)
    with pytest.raises(TunerError, match=rf"{name} optimises numbers.* parameter_id 0 is \[0.5\]"):
        tuner.receive_trial_result(0, parameters, [0.5])
    tuner.receive_trial_result(0, parameters, {"default": 0.5, "loss": "x"})
    tuner.receive_trial_result(1, tuner.generate_parameters(1), math.nan)
    assert not caplog.records
    tuner.receive_trial_result(2, tuner.generate_parameters(2), {"accuracy": 1})
    (record,) = caplog.records
    assert "parameter_id 2" in record.getMessage()
    with pytest.raises(UsageError, match="optimize_mode 'max'; allowed: maximize, minimize"):
        load_built_in_tuner(name)(optimize_mode="max")
