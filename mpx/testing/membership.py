"""Whether parameters are of a search space, and if not, where they leave it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

from mpx.architectures import ARCHITECTURES
from mpx.wire import encode

# Of a step: how far floating point may lead from a multiple of it.
_CLOSE = 1e-6


def deviations(
    space: dict[str, Any], parameters: Any, besides: Collection[str] = ()
) -> Iterator[str]:
    """Yield, in words, each place where parameters are not what `mpx.search_space` says of a space.

    Args:
        space: one in which `mpx.search_space.check` found no mistakes.
        parameters: as a trial is given them.
        besides: names that the parameters may have beyond those of the space.
    """
    yield from _of_space("", space, parameters, besides)


def _of_space(
    path: str, space: dict[str, Any], parameters: Any, besides: Collection[str]
) -> Iterator[str]:
    if not isinstance(parameters, dict):
        names = ", ".join(space)
        yield f"{path or 'the parameters'}: found {_shown(parameters)}; allowed: a mapping of {names}"
        return
    for name in space:
        if name not in parameters:
            yield f"{path}{name}: found no value; allowed: one"
        else:
            spec = space[name]
            yield from _of_type(f"{path}{name}", spec["_type"], spec["_value"], parameters[name])
    for name in parameters:
        if name not in space and name not in besides:
            yield f"{path}{name}: not in the search space"


def _of_type(path: str, kind: str, value: Any, found: Any) -> Iterator[str]:
    if kind == "choice":
        yield from _of_choice(path, value, found)
    elif kind in ARCHITECTURES:
        yield from _of_architecture(path, kind, value, found)
    elif isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        yield f"{path}: found {_shown(found)}; allowed: a finite number"
    elif not _HOLDS[kind](found, *value):
        yield f"{path}: found {_shown(found)}; allowed: {_ALLOWED[kind].format(*value)} ({kind})"


def _of_choice(path: str, options: list[Any], found: Any) -> Iterator[str]:
    same = [
        option for option in options if isinstance(option, dict) and _name(option) == _name(found)
    ]
    if same:
        spaces = [{key: each for key, each in option.items() if key != "_name"} for option in same]
        inner = {key: each for key, each in found.items() if key != "_name"}
        faults = [list(_of_space(f"{path}.", space, inner, ())) for space in spaces]
        yield from min(faults, key=len)
    elif isinstance(found, dict) or encode(found) not in map(_text, options):
        yield f"{path}: found {_shown(found)}; allowed: one of {', '.join(map(_text, options))}"


def _of_architecture(path: str, kind: str, value: dict[str, Any], found: Any) -> Iterator[str]:
    architecture = ARCHITECTURES[kind](**value)
    if architecture.options(found) is None:
        yield f"{path}: found {_shown(found)}; allowed: {architecture}, as {encode(value)} says ({kind})"


def _name(option: Any) -> Any:
    return option.get("_name", option) if isinstance(option, dict) else None


def _text(option: Any) -> str:
    """Return what of an option names it."""
    return encode({"_name": option["_name"]} if isinstance(option, dict) else option)


def _shown(found: Any) -> str:
    return f"{encode(found):.100}"


def _is_whole(found: float, lo: int, hi: int) -> bool:
    return isinstance(found, int) and lo <= found < hi


def _is_between(found: float, lo: float, hi: float) -> bool:
    return lo <= found <= hi


def _is_step_between(found: float, lo: float, hi: float, q: float) -> bool:
    return lo <= found <= hi and (found in (lo, hi) or _is_step(found, 0, 0, q))


def _is_step(found: float, _mu: float, _sigma: float, q: float) -> bool:
    steps = found / q
    return abs(steps) >= 2**53 or abs(steps - round(steps)) <= _CLOSE * max(1.0, abs(steps))


def _is_any(_found: float, _mu: float, _sigma: float) -> bool:
    return True


def _is_positive(found: float, _mu: float, _sigma: float) -> bool:
    return found >= 0  # the exponential of much less than 0 is 0


def _is_positive_step(found: float, mu: float, sigma: float, q: float) -> bool:
    return found >= 0 and _is_step(found, mu, sigma, q)


_HOLDS: dict[str, Callable[..., bool]] = {
    "randint": _is_whole,
    "uniform": _is_between,
    "quniform": _is_step_between,
    "loguniform": _is_between,
    "qloguniform": _is_step_between,
    "normal": _is_any,
    "qnormal": _is_step,
    "lognormal": _is_positive,
    "qlognormal": _is_positive_step,
}
_BOUNDS = "a number from {0} to {1}"
_ALLOWED = {
    "randint": "an integer from {0} to below {1}",
    "uniform": _BOUNDS,
    "quniform": _BOUNDS + " in steps of {2}",
    "loguniform": _BOUNDS,
    "qloguniform": _BOUNDS + " in steps of {2}",
    "normal": "any finite number",
    "qnormal": "a multiple of {2}",
    "lognormal": "a positive number",
    "qlognormal": "a positive multiple of {2}",
}
