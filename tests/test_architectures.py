"""Architectures as parameters: what a trial gets, all there are, and what else comes back."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import product

import pytest

from mpx.architectures import Cell, Macro
from mpx.search_space import check, grid, grid_size, sample
from mpx.tuners.encoding import Encoding
from mpx.tuners.regularized_evolution import RegularizedEvolution

MACRO = {"layers": 4, "operations": ["conv", "pool"]}
CHAIN = {"layers": 2, "operations": ["conv", "pool"], "skips": False}
CELL = {"nodes": 2, "operations": ["conv", "pool", "id"]}
RECURRENT = {"nodes": 3, "operations": ["tanh", "relu"], "inputs": 1, "inputs_per_node": 1}


def space(kind, value):
    return {"x": {"_type": kind, "_value": value}}


def test_a_macro_has_an_operation_for_each_layer_and_skips_from_before_the_one_before_it():
    network = Macro(**MACRO)
    built = [
        {"operation": "pool", "skips": []},
        {"operation": "conv", "skips": []},
        {"operation": "conv", "skips": [0]},
        {"operation": "pool", "skips": [1]},
    ]
    assert network.build([1, 0, 0, 1, 1, 0, 1]) == built
    assert network.options(built) == [1, 0, 0, 1, 1, 0, 1]
    assert Macro(**CHAIN).build([0, 1]) == [{"operation": "conv"}, {"operation": "pool"}]


def test_a_node_of_a_cell_has_any_inputs_that_come_before_it():
    cell = Cell(**CELL)
    built = [
        {"inputs": [1, 1], "operations": ["conv", "id"]},
        {"inputs": [2, 0], "operations": ["pool", "pool"]},
    ]
    assert cell.build([1, 1, 0, 2, 2, 0, 1, 1]) == built
    assert cell.options(built) == [1, 1, 0, 2, 2, 0, 1, 1]
    assert [each.size for each in cell.decisions] == [2, 2, 3, 3, 3, 3, 3, 3]
    recurrent = Cell(**RECURRENT)
    assert [each.size for each in recurrent.decisions] == [1, 2, 2, 2, 3, 2]
    assert recurrent.build([0, 1, 1, 0, 2, 1])[2] == {"inputs": [2], "operations": ["relu"]}


@pytest.mark.parametrize(
    ("kind", "value", "size"),
    [
        ("macro", MACRO, 2**4 * 2**3),
        ("macro", CHAIN, 2**2),
        ("cell", CELL, 2**2 * 3**2 * 3**2 * 3**2),
        ("cell", RECURRENT, 2 * 2 * 2 * 3 * 2),
    ],
)
def test_the_grid_has_every_architecture_once_and_chance_draws_all_alike(kind, value, size):
    assert check(space(kind, value)) == []
    every = [json.dumps(point) for point in grid(space(kind, value))]
    assert len(every) == len(set(every)) == grid_size(space(kind, value)) == size
    rng = random.Random(0)
    drawn = Counter(json.dumps(sample(space(kind, value), rng)) for _ in range(20 * size))
    assert drawn.keys() <= set(every)
    assert len(drawn) == pytest.approx(size, rel=0.01)
    assert max(drawn.values()) < 50


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("macro", CHAIN, None),
        ("macro", CHAIN, [{"operation": "conv"}]),
        ("macro", CHAIN, [{"operation": "conv"}, {"operation": "relu"}]),
        ("macro", CHAIN, [{"operation": "conv"}, {"operation": ["conv"]}]),
        ("macro", CHAIN, [{"operation": "conv"}, {"operation": "conv", "skips": []}]),
        ("macro", MACRO, [{"operation": "conv"}] * 4),
        ("macro", MACRO, [{"operation": "conv", "skips": [0]}] * 4),
        ("macro", MACRO, [{"operation": "conv", "skips": []}] * 3 + ["conv"]),
        *(
            ("macro", MACRO, [*[{"operation": "conv", "skips": []}] * 3, {"operation": "conv", "skips": s}])
            for s in (None, [1, 0], [0, 0], [2], [True], ["0"], 0)
        ),
        *(
            ("cell", RECURRENT, [*[{"inputs": [0], "operations": ["tanh"]}] * 2, each])
            for each in (
                {"inputs": [0]},
                {"inputs": [3], "operations": ["tanh"]},
                {"inputs": [-1], "operations": ["tanh"]},
                {"inputs": [0, 1], "operations": ["tanh", "tanh"]},
                {"inputs": [0], "operations": ["sin"]},
                {"inputs": [False], "operations": ["tanh"]},
                {"inputs": 0, "operations": "tanh"},
            )
        ),
    ],
)  # fmt: skip
def test_what_is_no_architecture_of_the_space_has_no_coordinates(kind, value, found):
    encoding = Encoding(space(kind, value))
    assert encoding.encode({"x": found}) is None
    assert encoding.encode(sample(space(kind, value), random.Random(0))) is not None


def differences(one, other):
    """Return by how many operations, inputs and skips two architectures differ."""
    kinds = Counter()
    for (one_step, other_step), key in product(
        zip(one, other, strict=True), ("operation", "skips", "inputs", "operations")
    ):
        first, second = one_step.get(key), other_step.get(key)
        if key == "skips":
            kinds[key] += len(set(first or ()) ^ set(second or ()))
        elif isinstance(first, list):
            kinds[key] += sum(a != b for a, b in zip(first, second, strict=True))
        else:
            kinds[key] += first != second
    return +kinds


@pytest.mark.parametrize(
    ("kind", "value", "mutations"),
    [
        ("macro", MACRO, {"operation", "skips"}),
        ("cell", CELL, {"inputs", "operations"}),
        ("cell", RECURRENT, {"inputs", "operations"}),
    ],
)
def test_evolution_changes_one_operation_one_input_or_one_skip(kind, value, mutations):
    random.seed(1)
    tuner = RegularizedEvolution(population_size=1)
    tuner.update_search_space(space(kind, value))
    parent, seen = tuner.generate_parameters(0), Counter()
    for number in range(1, 40):
        tuner.receive_trial_result(number - 1, parent, 0.5)
        child = tuner.generate_parameters(number)
        found = differences(parent["x"], child["x"])
        assert found.total() == 1
        seen += found
        parent = child
    assert seen.keys() == mutations
