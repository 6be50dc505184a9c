"""The search spaces of a configuration, inline or in files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpx.config.paths import fault_of_file, path_from, similar_path
from mpx.config.problem import KeyPath, Problem
from mpx.config.reader import Document, read_document
from mpx.config.roles import chooser
from mpx.config.suggestions import closest
from mpx.errors import ConfigError
from mpx.search_space import TYPE_NAMES, SpaceProblem, check


@dataclass(frozen=True, slots=True)
class FoundSpace:
    """A search space, None if there is none (or none that can be read), and its problems."""

    value: dict[str, Any] | None = None
    problems: tuple[Problem, ...] = ()


def read_space(document: Document, at: KeyPath = ()) -> FoundSpace:
    """Return the search space that a document holds or points to, checked for its tuner.

    Args:
        document: the configuration.
        at: the path of the mapping with searchSpace or searchSpacePath.
    """
    tuner = chooser(document).built_in(document)
    if "searchSpacePath" in document.mapping(*at):
        return _read_file(document, (*at, "searchSpacePath"), tuner)
    if isinstance(document.find(*at, "searchSpace"), dict):
        return _checked(document, (*at, "searchSpace"), tuner)
    return FoundSpace()


def read_phase_spaces(document: Document) -> list[FoundSpace]:
    """Return the search spaces of `phases`, in order, each checked like one for all phases."""
    phases = document.find("phases")
    count = len(phases) if isinstance(phases, list) else 0
    return [read_space(document, ("phases", index)) for index in range(count)]


def _read_file(document: Document, key: KeyPath, tuner: type | None) -> FoundSpace:
    text = document.text(*key)
    if not text:
        return FoundSpace()
    path = path_from(document.path, text)
    if fault := fault_of_file(path):
        return FoundSpace(None, (document.problem(key, fault, similar_path(path)),))
    try:
        return _checked(read_document(path), (), tuner)
    except ConfigError as error:
        return FoundSpace(None, error.problems)


def _checked(document: Document, at: KeyPath, tuner: type | None) -> FoundSpace:
    space = document.find(*at)
    problems = [
        document.problem((*at, *problem.path), problem.message)
        for problem in _check_for(tuner, space)
    ]
    return FoundSpace(space, (*document.problems, *problems) if not at else tuple(problems))


def _check_for(tuner: type | None, space: Any) -> list[SpaceProblem]:
    if tuner is not None:
        found: list[SpaceProblem] = tuner.check_search_space(space)  # type: ignore[attr-defined]
        return found
    return [
        problem
        for problem in check(space)
        if not (_is_own_language(space, problem.path) or _is_own_type(space, problem.path))
    ]


def _is_own_language(space: Any, path: KeyPath) -> bool:
    """Tell whether a problem lies in what is no parameter as we write them, nor seems meant for one."""
    spec = space.get(path[0]) if path else None
    if not isinstance(spec, dict):
        return bool(path)
    return not any(closest(key, ("_type", "_value")) for key in spec if isinstance(key, str))


def _is_own_type(space: Any, path: KeyPath) -> bool:
    """Tell whether a problem is a `_type` that a tuner of one's own may well know."""
    if path[-1:] != ("_type",):
        return False
    for key in path:
        space = space[key]
    return isinstance(space, str) and not closest(space, TYPE_NAMES, cutoff=0.8)
