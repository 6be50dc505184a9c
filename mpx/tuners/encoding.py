"""A search space as coordinates that an optimiser can move along, and back.

Each parameter, those of sub-spaces included, is one *dimension*, but for an architecture, of which each
decision is one. One with few values is counted: its
coordinate is the index of a value, from 0; so the ends of a quniform are as likely as what is between
them. Every other is a *share*: a number in 0 ... 1, the probability of drawing less than the value in
`mpx.search_space`. So equal steps are equally likely, a logarithm is no longer one, and a normal
distribution has ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist
from typing import Any

from mpx.architectures import ARCHITECTURES, Architecture
from mpx.search_space import grid_size, sample

# Names of dimensions → coordinates: ints where values are counted, floats where they are shares.
Point = dict[str, float]

# A parameter of more values than this is as good as continuous.
_MOST_COUNTED = 2**20


@dataclass(frozen=True, slots=True)
class Dimension:
    """One parameter of a search space, or one decision of an architecture.

    Attributes:
        name: of the parameter and the options it is under, unlike that of any other dimension.
        size: how many values are counted; None where the coordinate is a share.
        ordered: neighbouring indices are neighbouring values.
    """

    name: str
    size: int | None
    ordered: bool = True

    def draw(self, rng: Random) -> float:
        """Return any coordinate, all equally likely."""
        return rng.random() if self.size is None else rng.randrange(self.size)

    def share(self, coordinate: float) -> float:
        """Return the share that a coordinate stands for; the middle one if it is an index."""
        return coordinate if self.size is None else (coordinate + 0.5) / self.size

    def coordinate(self, share: float) -> float:
        """Return the coordinate of a share."""
        return share if self.size is None else min(int(share * self.size), self.size - 1)


class Encoding:
    """The dimensions of one search space, which `mpx.search_space.check` has found well formed."""

    def __init__(self, space: dict[str, Any]) -> None:
        self._leaves = _leaves((), space)
        self._by_name = {leaf.dimension.name: leaf for leaf in _all(self._leaves)}
        self.dimensions = tuple(leaf.dimension for leaf in self._by_name.values())

    def decode(self, coordinate: Callable[[Dimension], float]) -> tuple[dict[str, Any], Point]:
        """Return parameters as `mpx.search_space` describes them, and the coordinates they have.

        Args:
            coordinate: asked for each dimension, but not for those of options that were not chosen.
        """
        point: Point = {}
        return _decode(self._leaves, coordinate, point), point

    def encode(self, parameters: Any) -> Point | None:
        """Return the coordinates of parameters, None if they are not of this search space."""
        point: Point = {}
        return point if _encode(self._leaves, parameters, point) else None

    def scale(self, dimension: Dimension, coordinate: float, factor: float) -> float:
        """Return the coordinate of the value times `factor`, kept within the range.

        Where values lie on a grid it is another one of them, but for the end of the range. Of a choice
        between numbers it is the next option, or with a factor below 1 the one before; of any other
        choice the same.
        """
        leaf = self._by_name[dimension.name]
        if factor == 1 or dimension.size == 1:
            return coordinate
        if not dimension.ordered:
            assert dimension.size is not None
            beside = coordinate + math.copysign(leaf.step, factor - 1)
            return int(min(max(beside, 0), dimension.size - 1))
        value = leaf.value(coordinate)
        scaled = value * factor
        if abs(scaled - value) < leaf.step:
            scaled = value + math.copysign(leaf.step, scaled - value or factor - 1)
        least, most = leaf.bounds
        scaled = min(max(scaled, least), most)
        found = leaf.coordinate(round(scaled) if isinstance(value, int) else scaled)
        return coordinate if found is None else found


class _Known(float):
    """The share of a value that is known: it leads back to that very one, not to a float beside it."""

    value: Any

    @classmethod
    def of(cls, share: float, value: Any) -> _Known:
        known = cls(share)
        known.value = value
        return known


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A parameter: its dimension, and how values and coordinates become each other.

    `bounds` are its least and its greatest number, `step` is the least that changes a value. `branches`
    holds, by index, the parameters of those options that are sub-spaces.
    """

    dimension: Dimension
    value: Callable[[float], Any]
    coordinate: Callable[[Any], float | None]
    bounds: tuple[float, float] = (0, 0)
    step: float = 0
    branches: dict[int, _Branch] = field(default_factory=dict)

    def all(self) -> Iterator[_Leaf]:
        """Yield this leaf and those of its branches."""
        yield self
        for branch in self.branches.values():
            yield from _all(branch.leaves)

    def decode(self, coordinate: Callable[[Dimension], float], point: Point) -> Any:
        """Return a value, and add its coordinates to `point`."""
        point[self.dimension.name] = chosen = coordinate(self.dimension)
        branch = self.branches.get(int(chosen)) if self.branches else None
        if branch is None:
            return self.value(chosen)
        return {"_name": branch.name, **_decode(branch.leaves, coordinate, point)}

    def encode(self, value: Any, point: Point) -> bool:
        """Add the coordinates of a value to `point`; say whether it has any."""
        if isinstance(value, dict) and self.branches:
            inner = {key: each for key, each in value.items() if key != "_name"}
            for index, branch in self.branches.items():
                found: Point = {self.dimension.name: index}
                if value.get("_name") == branch.name and _encode(branch.leaves, inner, found):
                    point.update(found)
                    return True
            return False
        coordinate = self.coordinate(value)
        if coordinate is not None:
            point[self.dimension.name] = coordinate
        return coordinate is not None


@dataclass(frozen=True, slots=True)
class _Branch:
    """An option that is a sub-space."""

    name: str
    leaves: _Leaves


@dataclass(frozen=True, slots=True)
class _Decisions:
    """A parameter that is an architecture: a leaf for each decision."""

    architecture: Architecture
    leaves: list[_Leaf]

    def all(self) -> Iterator[_Leaf]:
        """Yield the leaves."""
        yield from self.leaves

    def decode(self, coordinate: Callable[[Dimension], float], point: Point) -> Any:
        """Return an architecture, and add its coordinates to `point`."""
        return self.architecture.build([leaf.decode(coordinate, point) for leaf in self.leaves])

    def encode(self, value: Any, point: Point) -> bool:
        """Add the coordinates of an architecture to `point`; say whether it has any."""
        options = self.architecture.options(value)
        if options is None:
            return False
        point.update(
            (leaf.dimension.name, each) for leaf, each in zip(self.leaves, options, strict=True)
        )
        return True


_Leaves = dict[str, _Leaf | _Decisions]


def _leaves(path: tuple[str | int, ...], space: dict[str, Any]) -> _Leaves:
    return {
        name: _leaf((*path, name), spec["_type"], spec["_value"])
        for name, spec in space.items()
        if name != "_name" or not path
    }


def _leaf(path: tuple[str | int, ...], kind: str, value: Any) -> _Leaf | _Decisions:
    name = repr(path)
    if kind in ARCHITECTURES:
        return _of_architecture(path, ARCHITECTURES[kind](**value))
    if kind == "choice":
        return _of_choice(name, path, value)
    if kind in _COUNTED and (size := grid_size(_alone(kind, value))) <= _MOST_COUNTED:
        to_value, to_index = _COUNTED[kind]
        return _Leaf(
            Dimension(name, size),
            lambda index: to_value(int(index), *value),
            lambda found: _checked(to_index, found, value, kind),
            (to_value(0, *value), to_value(size - 1, *value)),
            _step(kind, value),
        )
    return _of_share(name, kind, value)


def _of_share(name: str, kind: str, value: list[Any]) -> _Leaf:
    drawn = _Drawn()

    def to_value(share: float) -> Any:
        return share.value if isinstance(share, _Known) else drawn.value(share, kind, value)

    def to_share(found: Any) -> float | None:
        share = _checked(_SHARES[kind], found, value, kind)
        return share if share is None or kind in _ROUNDED else _Known.of(share, type(least)(found))

    least, most = to_value(0.0), to_value(1.0)
    if least == most:  # there is no other value
        return _Leaf(
            Dimension(name, 1),
            lambda _: least,
            lambda found: None if to_share(found) is None else 0,
        )
    return _Leaf(Dimension(name, None), to_value, to_share, (least, most), _step(kind, value))


def _step(kind: str, value: list[Any]) -> float:
    return 1 if kind == "randint" else value[2] if kind.startswith("q") else 0


def _of_choice(name: str, path: tuple[str | int, ...], options: list[Any]) -> _Leaf:
    indices: dict[str, int] = {}
    for index, option in enumerate(options):
        indices.setdefault(_text(option), index)
    return _Leaf(
        Dimension(name, len(options), ordered=False),
        lambda index: deepcopy(options[int(index)]),
        lambda found: indices.get(_text(found)),
        step=int(all(map(_is_number, options))),
        branches={
            index: _Branch(option["_name"], _leaves((*path, index), option))
            for index, option in enumerate(options)
            if isinstance(option, dict)
        },
    )


def _of_architecture(path: tuple[str | int, ...], architecture: Architecture) -> _Decisions:
    dimensions = [
        Dimension(repr((*path, each.step, each.kind, each.index)), each.size, ordered=False)
        for each in architecture.decisions
    ]
    return _Decisions(architecture, [_Leaf(dimension, int, int) for dimension in dimensions])


def _text(option: Any) -> str:
    """Return one text for all options that a trial cannot tell apart."""
    return json.dumps(option, sort_keys=True, default=repr)


def _is_number(option: Any) -> bool:
    return isinstance(option, int | float) and not isinstance(option, bool)


def _all(leaves: _Leaves) -> Iterator[_Leaf]:
    for leaf in leaves.values():
        yield from leaf.all()


def _decode(
    leaves: _Leaves, coordinate: Callable[[Dimension], float], point: Point
) -> dict[str, Any]:
    return {name: leaf.decode(coordinate, point) for name, leaf in leaves.items()}


def _encode(leaves: _Leaves, parameters: Any, point: Point) -> bool:
    """Add the coordinates to `point`; say whether all parameters have one."""
    if not isinstance(parameters, dict) or parameters.keys() != leaves.keys():
        return False
    return all(leaf.encode(parameters[name], point) for name, leaf in leaves.items())


def _alone(kind: str, value: Any) -> dict[str, Any]:
    """Return a search space of one parameter."""
    return {"": {"_type": kind, "_value": value}}


class _Drawn(Random):
    """A generator that is told what to draw: `sample` with it turns a share into a value."""

    _share = 0.0

    def value(self, share: float, kind: str, value: Any) -> Any:
        self._share = share
        return sample(_alone(kind, value), self)[""]

    def random(self) -> float:
        return self._share

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu + sigma * _NORMAL.inv_cdf(min(max(self._share, _TAIL), 1 - _TAIL))

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        # In whole numbers, as those of the space may be too large for a float to tell apart.
        assert stop is not None
        return min(start + (int(self._share * 2**53) * (stop - start) >> 53), stop - 1)


_NORMAL = NormalDist()
_TAIL = 2.0**-53  # the smallest share whose distance from 1 a float can say: 8.2 sigma


def _checked(
    coordinate: Callable[..., float], found: Any, value: list[Any], kind: str
) -> float | None:
    """Return the coordinate of a number that the type can draw, None for anything else."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    if kind == "randint":
        fits = found == int(found) and value[0] <= found < value[1]
    elif kind in _UNBOUNDED:
        fits = True
    else:
        fits = value[0] <= found <= value[1]
    return coordinate(found, *value) if fits else None


def _randint(index: int, lo: int, hi: int) -> int:
    return lo + index


def _randint_index(found: float, lo: int, hi: int) -> int:
    return int(found) - lo


def _quniform(index: int, lo: float, hi: float, q: float) -> float:
    return float(min(max((round(lo / q) + index) * q, lo), hi))


def _quniform_index(found: float, lo: float, hi: float, q: float) -> int:
    return round(found / q) - round(lo / q)


def _fraction(found: float, lo: float, hi: float, *_: float) -> float:
    # Halves, as the difference of two floats can be too large for a float.
    return 0.5 if lo == hi else (found / 2 - lo / 2) / (hi / 2 - lo / 2)


def _log_fraction(found: float, lo: float, hi: float, *_: float) -> float:
    return _fraction(math.log(found), math.log(lo), math.log(hi))


def _below(found: float, mu: float, sigma: float, *_: float) -> float:
    return NormalDist(mu, sigma).cdf(found) if sigma else 0.5


def _log_below(found: float, mu: float, sigma: float, *_: float) -> float:
    return _below(math.log(found), mu, sigma) if found > 0 else 0.0


_COUNTED: dict[str, tuple[Callable[..., Any], Callable[..., int]]] = {
    "randint": (_randint, _randint_index),
    "quniform": (_quniform, _quniform_index),
}
_SHARES: dict[str, Callable[..., float]] = {
    "randint": _fraction,
    "uniform": _fraction,
    "quniform": _fraction,
    "loguniform": _log_fraction,
    "qloguniform": _log_fraction,
    "normal": _below,
    "qnormal": _below,
    "lognormal": _log_below,
    "qlognormal": _log_below,
}
_ROUNDED = ("quniform", "qloguniform", "qnormal", "qlognormal")
_UNBOUNDED = ("normal", "qnormal", "lognormal", "qlognormal")
