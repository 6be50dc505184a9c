"""Parameters that a user chose for one phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpx.api.delivering import Delivery, deliver
from mpx.api.home import describe
from mpx.api.importing import read_text
from mpx.config.model import ExperimentConfig
from mpx.config.problem import shown
from mpx.config.suggestions import closest
from mpx.errors import UsageError
from mpx.inbox import PARAMETERS
from mpx.records import ExperimentPaths
from mpx.wire import decode

_ALLOWED = """JSON such as '{"lr": 0.1}', or @FILE for a file that holds it"""
# Its parameters are an option of its choice, and not a mapping of the search space's names.
_TAKES_OPTIONS = "BatchTuner"


def read_parameters(text: str) -> Any:
    """Return the parameters that an argument of the command line means.

    Args:
        text: JSON, or `@` and the name of a file that holds it.

    Raises:
        UsageError: it is neither, or is null.
    """
    source = "the parameters"
    if text.startswith("@"):
        source, text = text[1:], read_text(Path(text[1:]))
    try:
        parameters = decode(text)
    except ValueError as error:
        raise UsageError(f"{source}: found no JSON: {error}; allowed: {_ALLOWED}") from error
    if parameters is None:
        raise UsageError(f"{source}: found {shown(None)}; allowed: {_ALLOWED}")
    return parameters


def doubts(paths: ExperimentPaths, parameters: Any) -> list[str]:
    """Return in what parameters differ from what the search space asks for; each in words.

    A trial may have its reasons to take others, so these are no mistakes. Names alone are compared.

    Raises:
        MpxError: the experiment cannot be read.
    """
    return _doubts(describe(paths).config, parameters)


def _doubts(config: ExperimentConfig, parameters: Any) -> list[str]:
    if config.tuner.builtin_name == _TAKES_OPTIONS:
        return []
    spaces = config.phase_spaces
    if spaces is None:
        return _differences(config.search_space, parameters)
    found = [_differences(space, parameters) for space in spaces]
    if not all(found):  # it is of that one
        return []
    names = set(parameters) if isinstance(parameters, dict) else set()
    nearest = min(range(len(found)), key=lambda index: len(spaces[index].keys() ^ names))
    return [f"of no search space in phases; phase {nearest} has the nearest", *found[nearest]]


def _differences(space: dict[str, Any] | None, parameters: Any) -> list[str]:
    if not space:
        return []
    if not isinstance(parameters, dict):
        return [f"the search space has {', '.join(space)}; found {shown(parameters)}"]
    missing = [name for name in space if name not in parameters]
    unknown = [f"{name!r}{_hint(name, missing)}" for name in parameters if name not in space]
    found = [f"not in the search space: {', '.join(unknown)}"] if unknown else []
    return found + ([f"without a value: {', '.join(map(repr, missing))}"] if missing else [])


def _hint(name: str, missing: list[str]) -> str:
    near = closest(name, missing)
    return f" (did you mean {near!r}?)" if near else ""


def enqueue(paths: ExperimentPaths, parameters: Any) -> Delivery:
    """Have an experiment try parameters in one phase, before it asks its tuner for others.

    Raises:
        MpxError: they cannot be written down.
    """
    return deliver(paths, PARAMETERS, parameters)
