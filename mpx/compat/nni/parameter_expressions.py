"""NNI's `nni.parameter_expressions`: how one value of a search space is drawn.

The last argument of each function is a `numpy.random.RandomState`, or anything with its `choice`,
`randint`, `uniform` and `normal`; numpy itself is not needed. What is rounded is rounded half to even.
"""

from __future__ import annotations

import math
from typing import Any, Sequence


def choice(options: Sequence[Any], random_state: Any) -> Any:
    """Return one of the options."""
    return random_state.choice(options)


def randint(lower: int, upper: int, random_state: Any) -> Any:
    """Return an integer, `lower` at least and less than `upper`."""
    return random_state.randint(lower, upper)


def uniform(low: float, high: float, random_state: Any) -> Any:
    """Return a number from `low` to `high`."""
    assert high >= low, f"the upper bound {high} is less than the lower bound {low}"
    return random_state.uniform(low, high)


def quniform(low: float, high: float, q: float, random_state: Any) -> float:
    """Return a multiple of `q`, or the bound that it would lie beyond."""
    return _clip(_multiple(uniform(low, high, random_state), q), low, high)


def loguniform(low: float, high: float, random_state: Any) -> float:
    """Return a number from `low` to `high` whose logarithm is uniform."""
    assert low > 0, f"the lower bound {low} is not positive, so it has no logarithm"
    return math.exp(uniform(math.log(low), math.log(high), random_state))


def qloguniform(low: float, high: float, q: float, random_state: Any) -> float:
    """Return a multiple of `q`, or the bound that it would lie beyond; log-uniform before rounding."""
    return _clip(_multiple(loguniform(low, high, random_state), q), low, high)


def normal(mu: float, sigma: float, random_state: Any) -> Any:
    """Return a number of mean `mu` and standard deviation `sigma`."""
    return random_state.normal(mu, sigma)


def qnormal(mu: float, sigma: float, q: float, random_state: Any) -> float:
    """Return a multiple of `q`; normal before rounding."""
    return _multiple(normal(mu, sigma, random_state), q)


def lognormal(mu: float, sigma: float, random_state: Any) -> float:
    """Return a number whose logarithm has mean `mu` and standard deviation `sigma`."""
    return math.exp(normal(mu, sigma, random_state))


def qlognormal(mu: float, sigma: float, q: float, random_state: Any) -> float:
    """Return a multiple of `q`; log-normal before rounding."""
    return _multiple(lognormal(mu, sigma, random_state), q)


def _multiple(value: float, q: float) -> float:
    return float(round(value / q)) * q


def _clip(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
