"""A mistake in a search space, and the words for it."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SpaceProblem:
    """One mistake: the keys that lead to it, and a message: what was found, what is allowed."""

    path: Path
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (".".join(map(str, self.path)), self.message) if part)


def problem(path: Path, found: Any, allowed: str) -> SpaceProblem:
    """Return the mistake that `found` is."""
    return SpaceProblem(path, f"found {shown(found)}; allowed: {allowed}")


def unknown_key(path: Path, key: Any, known: Collection[str]) -> SpaceProblem:
    """Return the mistake that `key` is in the mapping at `path`."""
    message = f"found the key {shown(key)}; allowed: {', '.join(known)}{did_you_mean(key, known)}"
    return SpaceProblem((*path, key), message)


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and in the words of YAML."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write an int of thousands of digits in decimals
        return "an integer of thousands of digits"


def did_you_mean(name: Any, known: Collection[str]) -> str:
    """Return the end of a message that names the nearest of the known names, empty if none is near."""
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
