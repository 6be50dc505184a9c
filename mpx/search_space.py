"""The search space: find its mistakes, draw from it, walk its grid.

A search space maps the name of each parameter to `{"_type": type, "_value": value}`. The language
and its meaning are those of NNI v1:

    type         value            one draw
    choice       [option, ...]    an option, all equally likely
    randint      [lo, hi]         an integer, lo <= x < hi
    uniform      [lo, hi]         lo <= x <= hi
    quniform     [lo, hi, q]      round(uniform / q) * q, clipped to lo ... hi
    loguniform   [lo, hi]         exp(uniform(log lo, log hi))
    qloguniform  [lo, hi, q]      round(loguniform / q) * q, clipped to lo ... hi
    normal       [mu, sigma]      normal
    qnormal      [mu, sigma, q]   round(normal / q) * q, not clipped
    lognormal    [mu, sigma]      exp(normal)
    qlognormal   [mu, sigma, q]   round(lognormal / q) * q, not clipped

and two of mpx's own, for the architectures of neural networks, which `mpx.architectures` describes:

    macro        {layers: n, operations: [name, ...], skips: true}
    cell         {nodes: n, operations: [name, ...], inputs: 2, inputs_per_node: 2}

`round` goes to the nearest integer, halves to the even one. randint draws an int, choice the option
itself, macro and cell a list of mappings, every other type a float, whole or not.

An option that is a mapping is a sub-space: it has a `_name`, and its other keys are parameters
again. What is drawn from it is `{"_name": name, parameter: value, ...}`.

`check` finds the mistakes; every other function here takes only a space in which it found none.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any, NoReturn

from mpx import architectures
from mpx.space_problem import Path, SpaceProblem, did_you_mean, problem, shown, unknown_key

__all__ = ["GRID_TYPES", "TYPE_NAMES", "SpaceProblem", "check", "grid", "grid_size", "sample"]


def check(space: Any, types: Collection[str] | None = None) -> list[SpaceProblem]:
    """Return every mistake in a search space, in the order of the space; none if it is well formed.

    Args:
        space: what the configuration gave; anything at all.
        types: the names of the types that may be used, where not all of them are.
    """
    return list(_check_space((), space, types or TYPE_NAMES))


def sample(space: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Draw one set of parameters, as plain Python values in the order of the space."""
    return {
        name: _with(spec["_value"], _TYPES[spec["_type"]].sample, rng)
        for name, spec in space.items()
    }


def grid(space: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of values one by one; the first parameter changes slowest.

    A choice contributes its options (a sub-space the points of its own grid), a randint its
    integers, a quniform k * q clipped to lo ... hi, for k from round(lo / q) to round(hi / q), a macro
    or cell its architectures.

    Args:
        space: one that uses no types but `GRID_TYPES`.
    """
    points: Iterator[dict[str, Any]] = iter([{}])
    for name, spec in space.items():
        points = _cross(points, name, spec)
    return points


def grid_size(space: dict[str, Any]) -> int:
    """Return how many points `grid` yields, without walking them."""
    return math.prod(
        _with(spec["_value"], _TYPES[spec["_type"]].grid_size) for spec in space.values()
    )


def _check_space(path: Path, space: Any, types: Collection[str]) -> Iterator[SpaceProblem]:
    if not isinstance(space, dict):
        yield problem(path, space, "a mapping of parameter names to _type and _value")
        return
    for name, spec in space.items():
        if not isinstance(name, str):
            yield SpaceProblem((*path, name), f"found the name {shown(name)}; allowed: text")
        yield from _check_parameter((*path, name), spec, types)


def _check_parameter(path: Path, spec: Any, types: Collection[str]) -> Iterator[SpaceProblem]:
    if not isinstance(spec, dict):
        yield problem(
            path,
            spec,
            "a mapping of _type and _value; for a fixed value, a choice of one option",
        )
        return
    for key in ("_type", "_value"):
        if key not in spec:
            yield SpaceProblem(path, f"found no {key}; allowed: both _type and _value")
    for key, value in spec.items():
        if key == "_type":
            yield from _check_type((*path, key), value, types)
        elif key == "_value":
            yield from _check_value((*path, key), spec.get("_type"), value, types)
        else:
            yield unknown_key(path, key, ("_type", "_value"))


def _check_type(path: Path, name: Any, types: Collection[str]) -> Iterator[SpaceProblem]:
    allowed = ", ".join(types)
    if not isinstance(name, str):
        yield problem(path, name, allowed)
    elif name in _NAS_TYPES:
        yield SpaceProblem(
            path, f"found {name}, a type of NNI's classic NAS, not supported; allowed: {allowed}"
        )
    elif name not in _TYPES:
        yield problem(path, name, allowed + did_you_mean(name, types))
    elif name not in types:
        yield SpaceProblem(
            path, f"found {name}, which this tuner does not take; allowed: {allowed}"
        )


def _check_value(
    path: Path, type_name: Any, value: Any, types: Collection[str]
) -> Iterator[SpaceProblem]:
    if isinstance(type_name, str) and type_name in _TYPES:
        yield from _TYPES[type_name].check(path, value, types)


def _check_options(path: Path, options: Any, types: Collection[str]) -> Iterator[SpaceProblem]:
    if not isinstance(options, list | tuple) or not options:
        yield problem(path, options, "a list of at least one option")
        return
    for index, option in enumerate(options):
        if isinstance(option, dict):
            yield from _check_sub_space((*path, index), option, types)


def _check_sub_space(
    path: Path, option: dict[Any, Any], types: Collection[str]
) -> Iterator[SpaceProblem]:
    parameters = _parameters_of(option)
    if "_name" not in option:
        yield SpaceProblem(
            path,
            "found a mapping without _name; allowed: a plain value, or a sub-space with a _name",
        )
        # It may be meant as a plain value; what is plain in it is then no mistake of its own.
        parameters = {key: spec for key, spec in parameters.items() if isinstance(spec, dict)}
    elif not isinstance(option["_name"], str):
        yield problem((*path, "_name"), option["_name"], "text")
    yield from _check_space(path, parameters, types)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What must hold between the numbers of a value, and the index of the one to blame if not.

    `allowed` is a format string over the numbers.
    """

    blamed: int
    allowed: str
    holds: Callable[..., bool]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Checks a value that is a list of numbers with names, such as lo and hi."""

    names: tuple[str, ...]
    rules: tuple[_Rule, ...]
    whole: bool = False

    def __call__(self, path: Path, numbers: Any, _types: Collection[str]) -> Iterator[SpaceProblem]:
        if not isinstance(numbers, list | tuple) or len(numbers) != len(self.names):
            yield problem(path, numbers, f"[{', '.join(self.names)}]")
            return
        wrong_kind = list(self._check_each(path, numbers))
        yield from wrong_kind or self._check_rules(path, numbers)

    def _check_each(self, path: Path, numbers: Any) -> Iterator[SpaceProblem]:
        is_right, kind = (
            (_is_integer, "an integer") if self.whole else (_is_finite, "a finite number")
        )
        for index, (name, number) in enumerate(zip(self.names, numbers, strict=True)):
            if not is_right(number):
                yield problem((*path, index), number, f"{name}, {kind}")

    def _check_rules(self, path: Path, numbers: Any) -> Iterator[SpaceProblem]:
        for rule in self.rules:
            if not rule.holds(*numbers):
                allowed = rule.allowed.format(*numbers)
                yield problem((*path, rule.blamed), numbers[rule.blamed], allowed)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and _is_finite(value)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _parameters_of(option: dict[str, Any]) -> dict[str, Any]:
    return {key: spec for key, spec in option.items() if key != "_name"}


def _choice(rng: Random, *options: Any) -> Any:
    option = options[rng.randrange(len(options))]
    if isinstance(option, dict):
        return {"_name": option["_name"], **sample(_parameters_of(option), rng)}
    # Whoever changes a list it was given must not change what is drawn later.
    return deepcopy(option)


def _randint(rng: Random, lo: int, hi: int) -> int:
    return rng.randrange(lo, hi)


def _uniform(rng: Random, lo: float, hi: float) -> float:
    share = rng.random()
    # Not lo + (hi - lo) * share: the difference of two floats can be too large for a float.
    return _clip(lo * (1 - share) + hi * share, lo, hi)


def _quniform(rng: Random, lo: float, hi: float, q: float) -> float:
    return _clip(_quantize(_uniform(rng, lo, hi), q), lo, hi)


def _loguniform(rng: Random, lo: float, hi: float) -> float:
    return _clip(_exp(_uniform(rng, math.log(lo), math.log(hi))), lo, hi)


def _qloguniform(rng: Random, lo: float, hi: float, q: float) -> float:
    return _clip(_quantize(_loguniform(rng, lo, hi), q), lo, hi)


def _normal(rng: Random, mu: float, sigma: float) -> float:
    return rng.gauss(mu, sigma)


def _qnormal(rng: Random, mu: float, sigma: float, q: float) -> float:
    return _quantize(_normal(rng, mu, sigma), q)


def _lognormal(rng: Random, mu: float, sigma: float) -> float:
    return _exp(_normal(rng, mu, sigma))


def _qlognormal(rng: Random, mu: float, sigma: float, q: float) -> float:
    return _quantize(_lognormal(rng, mu, sigma), q)


def _clip(x: float, lo: float, hi: float) -> float:
    return float(min(max(x, lo), hi))


def _exp(x: float) -> float:
    return math.exp(min(x, _LOG_MAX))


def _quantize(x: float, q: float) -> float:
    steps = x / q
    # From 2**53 steps on, floats lie at least q apart: no multiple is nearer to x than x itself.
    return x if abs(steps) >= 2**53 else float(round(steps)) * q


def _grid_choice(*options: Any) -> Iterator[Any]:
    for option in options:
        if isinstance(option, dict):
            for point in grid(_parameters_of(option)):
                yield {"_name": option["_name"], **point}
        else:
            yield deepcopy(option)


def _size_choice(*options: Any) -> int:
    return sum(
        grid_size(_parameters_of(option)) if isinstance(option, dict) else 1 for option in options
    )


def _size_randint(lo: int, hi: int) -> int:
    return hi - lo


def _grid_quniform(lo: float, hi: float, q: float) -> Iterator[float]:
    for step in range(round(lo / q), round(hi / q) + 1):
        yield _clip(step * q, lo, hi)


def _size_quniform(lo: float, hi: float, q: float) -> int:
    return round(hi / q) - round(lo / q) + 1


def _no_grid(*_value: Any) -> NoReturn:
    raise TypeError(
        f"only {', '.join(GRID_TYPES)} have a grid; check() with these types says where"
    )


def _cross(
    points: Iterable[dict[str, Any]], name: str, spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for point in points:
        for value in _with(spec["_value"], _TYPES[spec["_type"]].grid):
            yield {**point, name: value}


def _with(value: Any, function: Callable[..., Any], *first: Any) -> Any:
    """Call a function with the items of a list, or with the keys of a mapping as keywords."""
    if isinstance(value, dict):
        return function(*first, **value)
    return function(*first, *value)


def _of_architecture(
    kind: str, check_value: Callable[[Path, Any], Iterator[SpaceProblem]]
) -> _Type:
    space = architectures.ARCHITECTURES[kind]
    return _Type(
        lambda path, value, _types: check_value(path, value),
        lambda rng, **value: architectures.draw(space(**value), rng),
        lambda **value: architectures.walk(space(**value)),
        lambda **value: architectures.count(space(**value)),
    )


@dataclass(frozen=True, slots=True)
class _Type:
    """What is known of one type. All but `check` are called `_with` the value."""

    check: Callable[[Path, Any, Collection[str]], Iterator[SpaceProblem]]
    sample: Callable[..., Any]
    grid: Callable[..., Iterable[Any]] = _no_grid
    grid_size: Callable[..., int] = _no_grid


_LOG_MAX = math.log(sys.float_info.max)

_NOT_EMPTY = _Rule(1, "hi > lo = {0}, as hi itself is never drawn", lambda lo, hi: hi > lo)
_ORDERED = _Rule(1, "hi >= lo = {0}", lambda lo, hi, *_: hi >= lo)
_POSITIVE = _Rule(0, "lo > 0, as its logarithm is taken", lambda lo, *_: lo > 0)
_SPREAD = _Rule(1, "sigma >= 0", lambda mu, sigma, *_: sigma >= 0)
_LOGARITHM = _Rule(0, "mu <= 709, as exp(mu) is drawn", lambda mu, *_: mu <= 709)
_STEP = _Rule(2, "q > 0", lambda a, b, q: q > 0)
_COUNTABLE = _Rule(
    2,
    "a q so large that lo = {0} and hi = {1} are fewer than 2**53 steps from 0",
    lambda lo, hi, q: q <= 0 or max(abs(lo), abs(hi)) / q < 2**53,
)

_LO_HI = ("lo", "hi")
_LO_HI_Q = ("lo", "hi", "q")
_MU_SIGMA = ("mu", "sigma")
_MU_SIGMA_Q = ("mu", "sigma", "q")

_TYPES = {
    "choice": _Type(_check_options, _choice, _grid_choice, _size_choice),
    "randint": _Type(_Numbers(_LO_HI, (_NOT_EMPTY,), whole=True), _randint, range, _size_randint),
    "uniform": _Type(_Numbers(_LO_HI, (_ORDERED,)), _uniform),
    "quniform": _Type(
        _Numbers(_LO_HI_Q, (_ORDERED, _STEP, _COUNTABLE)), _quniform, _grid_quniform, _size_quniform
    ),
    "loguniform": _Type(_Numbers(_LO_HI, (_POSITIVE, _ORDERED)), _loguniform),
    "qloguniform": _Type(_Numbers(_LO_HI_Q, (_POSITIVE, _ORDERED, _STEP)), _qloguniform),
    "normal": _Type(_Numbers(_MU_SIGMA, (_SPREAD,)), _normal),
    "qnormal": _Type(_Numbers(_MU_SIGMA_Q, (_SPREAD, _STEP)), _qnormal),
    "lognormal": _Type(_Numbers(_MU_SIGMA, (_LOGARITHM, _SPREAD)), _lognormal),
    "qlognormal": _Type(_Numbers(_MU_SIGMA_Q, (_LOGARITHM, _SPREAD, _STEP)), _qlognormal),
    "macro": _of_architecture("macro", architectures.check_macro),
    "cell": _of_architecture("cell", architectures.check_cell),
}

TYPE_NAMES = tuple(_TYPES)
GRID_TYPES = tuple(name for name, kind in _TYPES.items() if kind.grid is not _no_grid)

_NAS_TYPES = ("layer_choice", "input_choice", "mutable_layer")
