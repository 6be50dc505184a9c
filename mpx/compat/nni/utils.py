"""NNI's `nni.utils`: what tuners share. A dict with `_index` and `_value` stands for a chosen option."""

from __future__ import annotations

import copy
import os
from enum import Enum
from typing import Any, Callable, Iterable

from mpx.wire import encode

from . import parameter_expressions
from .common import init_logger
from .env_vars import dispatcher_env_vars


class OptimizeMode(Enum):
    """Whether a result is the better the less or the more it is."""

    Minimize = "minimize"
    Maximize = "maximize"


class NodeType:
    """Names in search spaces and in what is chosen from them."""

    ROOT = "root"
    TYPE = "_type"
    VALUE = "_value"
    INDEX = "_index"
    NAME = "_name"


class MetricType:
    """The kinds of what a trial tells."""

    FINAL = "FINAL"
    PERIODICAL = "PERIODICAL"
    REQUEST_PARAMETER = "REQUEST_PARAMETER"


class ClassArgsValidator:
    """Checks the arguments of a tuner's class. Its helpers need the package `schema`."""

    def validate_class_args(self, **kwargs: Any) -> None:
        """Raise an exception if `Class(**kwargs)` would be wrong; the default takes all."""

    def choices(self, key: str, *args: Any) -> Any:
        """Return a schema for an argument that may be one of `args`."""
        schema = _import_schema()
        return schema.And(lambda value: value in args, error=f"{key} should be in [{args}]!")

    def range(self, key: str, keyType: type, start: Any, end: Any) -> Any:  # noqa: N803
        """Return a schema for an argument of a type, from `start` to `end`."""
        schema = _import_schema()
        return schema.And(
            schema.And(keyType, error=f"{key} should be {keyType.__name__} type!"),
            schema.And(
                lambda value: start <= value <= end,
                error=f"{key} should be in range of ({start}, {end})!",
            ),
        )


def _import_schema() -> Any:
    try:
        import schema  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "ClassArgsValidator's `choices` and `range` need the package `schema`: pip install schema"
        ) from error
    return schema


def to_json(obj: Any) -> str:
    """Return JSON: arrays as `{"__ndarray__": …}`, sets and complex numbers alike, NaN as it is."""
    return encode(obj)


def extract_scalar_reward(value: Any, scalar_key: str = "default") -> float:
    """Return the number in a final result: the result itself, or its `scalar_key`.

    Raises:
        RuntimeError: neither is one.
    """
    found = value.get(scalar_key) if isinstance(value, dict) else value
    if not isinstance(found, (int, float)):
        raise RuntimeError(
            f"a final result is to be a number, or a dict whose {scalar_key!r} is one;"
            f" found {repr(value)[:200]}"
        )
    return found


def extract_scalar_history(
    trial_history: Iterable[Any], scalar_key: str = "default"
) -> list[float]:
    """Return the numbers in a trial's intermediate results."""
    return [extract_scalar_reward(value, scalar_key) for value in trial_history]


def convert_dict2tuple(value: Any) -> Any:
    """Return a dict as a sorted tuple of its items, so that it can be hashed; dicts in it likewise.

    The dicts in `value` are replaced in place.
    """
    if not isinstance(value, dict):
        return value
    for key in value:
        value[key] = convert_dict2tuple(value[key])
    return tuple(sorted(value.items()))


def split_index(params: Any) -> Any:
    """Return parameters without the indices of chosen options."""
    if not isinstance(params, dict):
        return params
    if NodeType.INDEX in params:
        return split_index(params[NodeType.VALUE])
    return {key: split_index(value) for key, value in params.items()}


def json2space(x: Any, oldy: Any = None, name: str = NodeType.ROOT) -> list[str]:
    """Return the names of the places in a search space where something is chosen.

    Args:
        x: the search space.
        oldy: what was chosen from it, with indices; within a choice only the chosen option is entered.
        name: of `x` itself.

    Raises:
        RuntimeError: a dict in a list has no `_name`.
    """
    if not _is_type(x):
        return [
            place
            for key, part in _parts(x)
            for place in json2space(part, _at(oldy, key), name + f"[{key}]")
        ]
    name += "-" + x[NodeType.TYPE]
    if x[NodeType.TYPE] != "choice" or oldy is None:
        return [name]
    index = oldy[NodeType.INDEX]
    chosen = x[NodeType.VALUE][index]
    return [*json2space(chosen, oldy[NodeType.VALUE], name + f"[{index}]"), name]


def json2parameter(
    x: Any,
    is_rand: dict[str, bool],
    random_state: Any,
    oldy: Any = None,
    Rand: bool = False,  # noqa: N803
    name: str = NodeType.ROOT,
) -> Any:
    """Draw parameters from a search space, where `is_rand` says so; else keep those of `oldy`.

    Args:
        x: the search space.
        is_rand: whether to draw anew, for each name of `json2space`.
        random_state: a numpy RandomState.
        oldy: what was chosen before, with indices.
        Rand: draw all anew.
        name: of `x` itself.

    Returns:
        Parameters with indices; `split_index` takes those away.

    Raises:
        RuntimeError: a dict in a list has no `_name`.
    """
    if _is_type(x):
        name += "-" + x[NodeType.TYPE]
        if not (Rand or is_rand[name]):
            return copy.deepcopy(oldy)
        return _draw(x[NodeType.TYPE], x[NodeType.VALUE], is_rand, random_state, name)
    if not isinstance(x, (dict, list)):
        return copy.deepcopy(x)
    drawn = {
        key: json2parameter(part, is_rand, random_state, _at(oldy, key), Rand, name + f"[{key}]")
        for key, part in _parts(x)
    }
    return drawn if isinstance(x, dict) else list(drawn.values())


def _draw(kind: str, value: Any, is_rand: dict[str, bool], random_state: Any, name: str) -> Any:
    if kind != "choice":
        draw: Callable[..., Any] = getattr(parameter_expressions, kind)
        return draw(*value, random_state)
    index = random_state.randint(len(value))
    chosen = json2parameter(value[index], is_rand, random_state, None, True, name + f"[{index}]")
    return {NodeType.INDEX: index, NodeType.VALUE: chosen}


def _is_type(x: Any) -> bool:
    return isinstance(x, dict) and NodeType.TYPE in x


def _parts(x: Any) -> list[tuple[Any, Any]]:
    if isinstance(x, dict):
        return list(x.items())
    if not isinstance(x, list):
        return []
    for part in x:
        if isinstance(part, dict) and NodeType.NAME not in part:
            raise RuntimeError(
                f"the option {part} of a nested search space has no key {NodeType.NAME!r}; give it one"
            )
    return list(enumerate(x))


def _at(chosen: Any, key: Any) -> Any:
    return chosen[key] if chosen else None


def merge_parameter(base_params: Any, override_params: dict[str, Any] | None) -> Any:
    """Put the parameters of a phase into a program's own ones, and return these.

    Args:
        base_params: a dict or an `argparse.Namespace`; changed in place.
        override_params: what `get_next_parameter` returned.

    Raises:
        ValueError: a parameter that the program does not have.
        TypeError: a value of another type than the program's, unless that is None.
    """
    params = base_params if isinstance(base_params, dict) else vars(base_params)
    for key, value in (override_params or {}).items():
        if key not in params:
            raise ValueError(f"there is no parameter {key!r} among {list(params)}")
        base = params[key]
        if base is not None and type(base) is not type(value):
            raise TypeError(
                f"the parameter {key!r} is {value!r}, a {type(value).__name__}; it is to be a"
                f" {type(base).__name__}, as {base!r} is"
            )
        params[key] = value
    return base_params


def randint_to_quniform(in_x: Any) -> None:
    """Turn each `randint` of a search space into a `quniform` with q = 1, in place (v0.8-v0.9)."""
    if _is_type(in_x) and in_x[NodeType.TYPE] == "randint":
        in_x[NodeType.TYPE] = "quniform"
        in_x[NodeType.VALUE] = [*in_x[NodeType.VALUE], 1]
    elif isinstance(in_x, (dict, list)):
        for part in in_x.values() if isinstance(in_x, dict) else in_x:
            randint_to_quniform(part)


def init_dispatcher_logger() -> None:
    """Log to `dispatcher.log` in NNI_LOG_DIRECTORY, if that is set; under mpx the manager keeps the log."""
    directory = dispatcher_env_vars.NNI_LOG_DIRECTORY
    if directory is not None:
        path = os.path.join(directory, "dispatcher.log")  # noqa: PTH118 (stdlib, Python 3.7)
        init_logger(path, dispatcher_env_vars.NNI_LOG_LEVEL or "info")
