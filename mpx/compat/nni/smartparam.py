"""NNI's `nni.smartparam`: a parameter where it is used, as in `lr = nni.loguniform(1e-5, 0.1, name="lr")`.

With no manager each call draws a value. Under one it looks up the phase's parameters, by `key` (what
NNI's annotation tool writes: `file/line or name/function`) or by `name`: a parameter of that name, or the
one whose key says that name and this function. The first phase is asked for if no one did; later ones are
`nni.get_next_parameter()`'s to ask for.

What NNI's annotation tool makes of options is understood: one dict of source text → value (or function).
"""

from __future__ import annotations

import random
from typing import Any, Callable, NoReturn

from . import parameter_expressions, platform, trial

__all__ = [
    "choice",
    "function_choice",
    "lognormal",
    "loguniform",
    "mutable_layer",
    "normal",
    "qlognormal",
    "qloguniform",
    "qnormal",
    "quniform",
    "randint",
    "uniform",
]


def choice(*options: Any, name: str | None = None, key: str | None = None) -> Any:
    """Return one of the options."""
    by_text = _by_text(options, key)
    if platform.is_standalone:
        return random.choice(options if by_text is None else list(by_text.values()))
    found = _find("choice", name, key)
    return found if by_text is None else _pick(by_text, found)


def randint(lower: int, upper: int, name: str | None = None, key: str | None = None) -> Any:
    """Return an integer, `lower` at least and less than `upper`."""
    return _value("randint", name, key, lower, upper)


def uniform(low: float, high: float, name: str | None = None, key: str | None = None) -> Any:
    """Return a number from `low` to `high`."""
    return _value("uniform", name, key, low, high)


def quniform(
    low: float, high: float, q: float, name: str | None = None, key: str | None = None
) -> Any:
    """Return a multiple of `q`, or the bound that it would lie beyond."""
    return _value("quniform", name, key, low, high, q)


def loguniform(low: float, high: float, name: str | None = None, key: str | None = None) -> Any:
    """Return a number from `low` to `high` whose logarithm is uniform."""
    return _value("loguniform", name, key, low, high)


def qloguniform(
    low: float, high: float, q: float, name: str | None = None, key: str | None = None
) -> Any:
    """Return a multiple of `q`, or the bound that it would lie beyond; log-uniform before rounding."""
    return _value("qloguniform", name, key, low, high, q)


def normal(mu: float, sigma: float, name: str | None = None, key: str | None = None) -> Any:
    """Return a number of mean `mu` and standard deviation `sigma`."""
    return _value("normal", name, key, mu, sigma)


def qnormal(
    mu: float, sigma: float, q: float, name: str | None = None, key: str | None = None
) -> Any:
    """Return a multiple of `q`; normal before rounding."""
    return _value("qnormal", name, key, mu, sigma, q)


def lognormal(mu: float, sigma: float, name: str | None = None, key: str | None = None) -> Any:
    """Return a number whose logarithm has mean `mu` and standard deviation `sigma`."""
    return _value("lognormal", name, key, mu, sigma)


def qlognormal(
    mu: float, sigma: float, q: float, name: str | None = None, key: str | None = None
) -> Any:
    """Return a multiple of `q`; log-normal before rounding."""
    return _value("qlognormal", name, key, mu, sigma, q)


def function_choice(*funcs: Any, name: str | None = None, key: str | None = None) -> Any:
    """Call one of the functions and return what it returns.

    Under a manager the parameter is the function's name, or its source text if the code was annotated.
    """
    by_text = _by_text(funcs, key)
    if by_text is None:
        by_text = {getattr(function, "__name__", repr(function)): function for function in funcs}
    if platform.is_standalone:
        return random.choice(list(by_text.values()))()
    return _pick(by_text, _find("function_choice", name, key))()


def mutable_layer(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise NotImplementedError: it is part of NNI's classic NAS."""
    raise NotImplementedError(
        "nni.mutable_layer belongs to NNI's classic NAS, which mpx does not have: put the choice of"
        " layers into the search space, and build the network from nni.get_next_parameter()"
    )


class _PythonRandom:
    """Python's generator by the names of numpy's."""

    uniform = staticmethod(random.uniform)
    normal = staticmethod(random.gauss)
    randint = staticmethod(random.randrange)


def _value(function: str, name: str | None, key: str | None, *args: float) -> Any:
    if not platform.is_standalone:
        return _find(function, name, key)
    draw: Callable[..., Any] = getattr(parameter_expressions, function)
    return draw(*args, _PythonRandom)


def _find(function: str, name: str | None, key: str | None) -> Any:
    """Return the phase's parameter.

    Raises:
        LookupError: there is none, or more than one that could be meant.
    """
    if trial._params is None:
        trial.get_next_parameter()
    parameters = trial.get_current_parameter()
    if not isinstance(parameters, dict):
        raise LookupError(
            f"nni.{function} found no parameters by name: those of this phase are {parameters!r}"
        )
    for known in (key, name):
        if known is not None and known in parameters:
            return parameters[known]
    alike = [known for known in parameters if _is_key_of(known, function, name)]
    if len(alike) != 1:
        raise LookupError(
            f"nni.{function}(name={name!r}, key={key!r}) found {alike or 'none'} among the parameters"
            f" {list(parameters)}: give it the `name` of one, as the search space calls it"
        )
    return parameters[alike[0]]


def _is_key_of(known: str, function: str, name: str | None) -> bool:
    return name is not None and known.endswith(f"/{name}/{function}")


def _by_text(options: tuple[Any, ...], key: str | None) -> dict[Any, Any] | None:
    """Return the options by their source text if the annotation tool wrote this call."""
    is_annotated = key is not None and len(options) == 1 and isinstance(options[0], dict)
    return options[0] if is_annotated else None


def _pick(by_text: dict[Any, Any], text: Any) -> Any:
    try:
        return by_text[text]
    except (KeyError, TypeError):
        raise LookupError(f"{text!r} is none of the options {list(by_text)}") from None
