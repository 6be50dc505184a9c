"""Keys that the schema does not know, and the ones that were meant."""

from __future__ import annotations

from collections.abc import Iterator

from mpx.config.problem import KeyPath, Problem, key_path
from mpx.config.reader import Document
from mpx.config.schema import homes, is_refused, properties
from mpx.config.suggestions import closest, same


def unknown_keys(document: Document, path: KeyPath) -> Iterator[Problem]:
    """Yield a problem for each unknown key of the mapping at `path`."""
    for key in _strangers(document, path):
        places = _places(path, key)
        if places:
            message, hint = "unknown key", _meant(path, key, places)
        else:
            known = (name for name, schema in properties(*path).items() if not is_refused(schema))
            message, hint = f"unknown key; allowed here: {', '.join(known)}", ""
        yield document.key_problem((*path, key), message, hint)


def places_meant(document: Document, path: KeyPath) -> set[KeyPath]:
    """Return the paths of the keys that the unknown ones at `path` were meant to be."""
    return {place for key in _strangers(document, path) for place in _places(path, key)}


def _strangers(document: Document, path: KeyPath) -> list[str]:
    return [key for key in document.mapping(*path) if key not in properties(*path)]


def _places(path: KeyPath, key: str) -> list[KeyPath]:
    """Return where a key belongs: by its name here or elsewhere, else by likeness."""
    here = properties(*path)
    if name := same(key, here):
        return [(*path, name)]
    if places := [place for name, place in homes() if same(key, (name,))]:
        return places
    if name := closest(key, here):
        return [(*path, name)]
    name = closest(key, (name for name, _ in homes()))
    return [place for other, place in homes() if other == name]


def _meant(path: KeyPath, key: str, places: list[KeyPath]) -> str:
    if all(place[-1] == key for place in places):
        return "it belongs " + " or ".join(_level(place[:-1]) for place in places)
    near = [place for place in places if place[:-1] == path] or places
    return f"did you mean {' or '.join(key_path(place) for place in near)}?"


def _level(path: KeyPath) -> str:
    return f"under {key_path(path)}" if path else "at the top level"
