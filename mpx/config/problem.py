"""One mistake in a user's file: where it is, what was found, what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[\w-]+\Z")
_EXCERPT_WIDTH = 100
_LONGEST_SHOWN = 60
_LONGEST_PATH = 200


class Position(NamedTuple):
    """A place in a file; line and column count from 1, the column in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` are None if it concerns the file as a whole.

    Args:
        file: the file, as the user named it.
        line: from 1.
        column: from 1, in characters.
        key: the key's path, such as `tuner.classArgs.lr`; empty for the whole file.
        message: what was found, and what is allowed.
        hint: what to do; may be empty.
        source: the line the mistake is in.
    """

    file: str
    line: int | None
    column: int | None
    key: str
    message: str
    hint: str = ""
    source: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        head = ": ".join(part for part in (place, self.key, self.message) if part)
        return "\n".join([head, *self._excerpt(), *([f"    {self.hint}"] if self.hint else [])])

    def to_json(self) -> dict[str, Any]:
        """Return a value for `json.dumps`."""
        return asdict(self)

    def _excerpt(self) -> list[str]:
        """Return the source line and one with a caret below the column."""
        if not self.source or self.column is None:
            return []
        index = self.column - 1
        start = 0 if len(self.source) <= _EXCERPT_WIDTH else max(0, index - _EXCERPT_WIDTH // 2)
        text = self.source[start : start + _EXCERPT_WIDTH]
        # A tab stays a tab, so that the caret keeps below its character however wide tabs are.
        blank = "".join("\t" if char == "\t" else " " for char in text[: index - start])
        return [f"    {_printable(text)}", f"    {blank}^"]


def key_path(path: Sequence[str | int]) -> str:
    """Write a path as `searchSpace.lr._value[1]`; keys that are no plain words go in brackets."""
    text = "".join(_step(key) for key in path).removeprefix(".")
    return text if len(text) <= _LONGEST_PATH else text[: _LONGEST_PATH - 1] + "…"


def shown(value: Any) -> str:
    """Show a value that was found, in a few words and with nothing a terminal would obey."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _step(key: str | int) -> str:
    if isinstance(key, str) and _PLAIN_KEY.match(key):
        return f".{key}"
    return f"[{key if isinstance(key, int) else shown(key)}]"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "�" for char in text)
