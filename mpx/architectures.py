"""The architectures of neural networks as types of a search space: sequences of small decisions.

    type     _value                                          decisions
    macro    {layers, operations, skips: true}               of each layer its operation, then whether the
                                                             output of each layer before the one before it
                                                             is joined to its input (a skip)
    cell     {nodes, operations, inputs: 2,                  of each node its inputs, each the output of
              inputs_per_node: 2}                            anything that comes before it in the cell, then
                                                             the operation on each of them

A macro architecture is a whole network: a list with a mapping for each layer, such as
`{"operation": "conv3", "skips": [0, 2]}`. Layer k computes from the layer before it, and from the layers
in `skips`, of 0 ... k-2; without `skips: true` the key is not there.

A cell is a part that a network repeats: a list with a mapping for each node, such as
`{"inputs": [0, 1], "operations": ["conv3", "identity"]}`. The inputs 0 ... inputs-1 come from outside the
cell; input inputs+j is node j.

Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, sections 2.3
(macro), 2.4 (cells of convolutions: two inputs, two of them for each node) and 2.2 (recurrent cells: one
input, one for each node).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from random import Random
from typing import Any

from mpx.space_problem import Path, SpaceProblem, problem, shown, unknown_key

OPERATION = "operation"
SKIP = "skip"
INPUT = "input"

# Of layers, nodes and inputs: the decisions are as many as the square of it.
_MOST = 100


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of an architecture.

    Attributes:
        kind: `OPERATION`, `SKIP` or `INPUT`.
        step: the layer or node that it is about, from 0.
        index: of a skip the layer that it comes from; else which input of the node, from 0.
        size: how many options there are, called 0, 1 ...: operations by their place in the list, inputs
            by their number; a skip has two, no and yes.
    """

    kind: str
    step: int
    index: int
    size: int


class Architecture(ABC):
    """All architectures of one parameter of a search space."""

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Return what has to be decided, in order, from the first layer or node on."""
        return tuple(each for step in range(self._steps) for each in self._decisions(step))

    def build(self, chosen: Sequence[int]) -> list[dict[str, Any]]:
        """Return the architecture that has these options, one for each decision."""
        left = iter(chosen)
        return [self._build(step, left) for step in range(self._steps)]

    def options(self, found: Any) -> list[int] | None:
        """Return the options that an architecture has, None for anything that is none of these."""
        if not isinstance(found, list) or len(found) != self._steps:
            return None
        return _joined([self._options(step, each) for step, each in enumerate(found)])

    @property
    @abstractmethod
    def _steps(self) -> int:
        """Return how many layers or nodes there are."""

    @abstractmethod
    def _decisions(self, step: int) -> Iterator[Decision]:
        """Yield those about one layer or node."""

    @abstractmethod
    def _build(self, step: int, left: Iterator[int]) -> dict[str, Any]:
        """Return one layer or node, by the next of the options that are left."""

    @abstractmethod
    def _options(self, step: int, found: Any) -> list[int] | None:
        """Return the options that a layer or node has, None if it is none."""


@dataclass(frozen=True)
class Macro(Architecture):
    """Whole networks.

    Args:
        layers: how many there are.
        operations: names of what a layer may do.
        skips: whether outputs of earlier layers may be joined to a layer's input.
    """

    layers: int
    operations: Sequence[str]
    skips: bool = True

    def __str__(self) -> str:
        keys = "operation and skips" if self.skips else "operation"
        return f"a list of {self.layers} mappings of {keys}"

    @property
    def _steps(self) -> int:
        return self.layers

    def _sources(self, layer: int) -> range:
        return range(layer - 1 if self.skips else 0)

    def _decisions(self, step: int) -> Iterator[Decision]:
        yield Decision(OPERATION, step, 0, len(self.operations))
        for source in self._sources(step):
            yield Decision(SKIP, step, source, 2)

    def _build(self, step: int, left: Iterator[int]) -> dict[str, Any]:
        built: dict[str, Any] = {"operation": self.operations[next(left)]}
        if self.skips:
            built["skips"] = [source for source in self._sources(step) if next(left)]
        return built

    def _options(self, step: int, found: Any) -> list[int] | None:
        keys = {"operation", "skips"} if self.skips else {"operation"}
        if not isinstance(found, dict) or found.keys() != keys:
            return None
        skips = found.get("skips", [])
        joined = [each for each in self._sources(step) if _are_ints(skips) and each in skips]
        if skips != joined:  # others, or in another order
            return None
        operation = _indices([found["operation"]], [self.operations])
        return operation and operation + [int(each in skips) for each in self._sources(step)]


@dataclass(frozen=True)
class Cell(Architecture):
    """Parts that a network repeats.

    Args:
        nodes: how many there are.
        operations: names of what a node may do with an input.
        inputs: how many come from outside the cell.
        inputs_per_node: how many a node has; one may come twice.
    """

    nodes: int
    operations: Sequence[str]
    inputs: int = 2
    inputs_per_node: int = 2

    def __str__(self) -> str:
        each = f"{self.inputs_per_node} of each"
        return f"a list of {self.nodes} mappings of inputs and operations, {each}"

    @property
    def _steps(self) -> int:
        return self.nodes

    def _decisions(self, step: int) -> Iterator[Decision]:
        for index in range(self.inputs_per_node):
            yield Decision(INPUT, step, index, self.inputs + step)
        for index in range(self.inputs_per_node):
            yield Decision(OPERATION, step, index, len(self.operations))

    def _build(self, step: int, left: Iterator[int]) -> dict[str, Any]:
        several = range(self.inputs_per_node)
        return {
            "inputs": [next(left) for _ in several],
            "operations": [self.operations[next(left)] for _ in several],
        }

    def _options(self, step: int, found: Any) -> list[int] | None:
        if not isinstance(found, dict) or found.keys() != {"inputs", "operations"}:
            return None
        if not _are_ints(found["inputs"]):
            return None
        inputs = _indices(found["inputs"], [range(self.inputs + step)] * self.inputs_per_node)
        operations = _indices(found["operations"], [self.operations] * self.inputs_per_node)
        return _joined([inputs, operations])


ARCHITECTURES: dict[str, Callable[..., Architecture]] = {"macro": Macro, "cell": Cell}


def check_macro(path: Path, value: Any) -> Iterator[SpaceProblem]:
    """Find the mistakes in the `_value` of a macro."""
    keys = {"layers": _check_count, "operations": _check_operations, "skips": _check_flag}
    yield from _check_keys(path, value, keys)


def check_cell(path: Path, value: Any) -> Iterator[SpaceProblem]:
    """Find the mistakes in the `_value` of a cell."""
    keys = {
        "nodes": _check_count,
        "operations": _check_operations,
        "inputs": _check_count,
        "inputs_per_node": _check_count,
    }
    yield from _check_keys(path, value, keys)


def draw(architecture: Architecture, rng: Random) -> list[dict[str, Any]]:
    """Draw one architecture: every option of every decision is equally likely."""
    return architecture.build([rng.randrange(each.size) for each in architecture.decisions])


def walk(architecture: Architecture) -> Iterator[list[dict[str, Any]]]:
    """Yield every architecture; the last decision changes fastest."""
    for chosen in product(*(range(each.size) for each in architecture.decisions)):
        yield architecture.build(chosen)


def count(architecture: Architecture) -> int:
    """Return how many architectures `walk` yields."""
    return math.prod(each.size for each in architecture.decisions)


_REQUIRED = ("layers", "nodes", "operations")


def _check_keys(
    path: Path, value: Any, known: Mapping[str, Callable[[Path, Any], Iterator[SpaceProblem]]]
) -> Iterator[SpaceProblem]:
    if not isinstance(value, dict):
        yield problem(path, value, f"a mapping of {', '.join(known)}")
        return
    for key in known:
        if key in _REQUIRED and key not in value:
            yield SpaceProblem(path, f"found no {key}; allowed: a mapping of {', '.join(known)}")
    for key, found in value.items():
        if key in known:
            yield from known[key]((*path, key), found)
        else:
            yield unknown_key(path, key, known)


def _check_count(path: Path, found: Any) -> Iterator[SpaceProblem]:
    if not _is_int(found) or not 1 <= found <= _MOST:
        yield problem(path, found, f"an integer from 1 to {_MOST}")


def _check_flag(path: Path, found: Any) -> Iterator[SpaceProblem]:
    if not isinstance(found, bool):
        yield problem(path, found, "true or false")


def _check_operations(path: Path, found: Any) -> Iterator[SpaceProblem]:
    if not isinstance(found, list | tuple) or not found:
        yield problem(path, found, "a list of at least one name")
        return
    for index, name in enumerate(found):
        if not isinstance(name, str):
            yield problem((*path, index), name, "text, the name of an operation")
        elif name in found[:index]:
            message = f"found {shown(name)} a second time; allowed: each operation once"
            yield SpaceProblem((*path, index), message)


def _is_int(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool)


def _are_ints(found: Any) -> bool:
    return isinstance(found, list) and all(map(_is_int, found))


def _indices(found: Any, known: Sequence[Sequence[Any]]) -> list[int] | None:
    """Return the place of each in what is known of it, None if one is not there."""
    if not isinstance(found, list) or len(found) != len(known):
        return None
    pairs = list(zip(found, known, strict=True))
    if any(one not in each for one, each in pairs):
        return None
    return [each.index(one) for one, each in pairs]


def _joined(parts: Sequence[list[int] | None]) -> list[int] | None:
    known = [part for part in parts if part is not None]
    return [each for part in known for each in part] if len(known) == len(parts) else None
