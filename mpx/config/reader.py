"""A YAML file as plain values, with the position of each key and value.

Scalars follow YAML 1.2 (`scalars`), structure the rules of `composer`. A JSON file is read the same
way, for JSON is a part of YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mpx.config.composer import Composer, Node
from mpx.config.problem import KeyPath, Position, Problem
from mpx.config.source import Source, read_source
from mpx.config.syntax import explain
from mpx.errors import ConfigError

# libyaml where PyYAML has it: twenty times faster, and only its composer is the one that crashes.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SURROGATE_PAIR = re.compile(
    r"(?<!\\)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file, where they stand, and the mistakes noted in reading them."""

    path: Path
    source: Source
    root: Node
    problems: tuple[Problem, ...] = ()

    @property
    def value(self) -> Any:
        """The whole as plain values."""
        return self.root.value

    def find(self, *path: str | int) -> Any:
        """Return the value at `path`, None where there is none."""
        node = self._node(path)
        return node.value if node else None

    def written(self, path: KeyPath) -> str:
        """Return the scalar at `path` as it is written, without its quotes."""
        node = self._node(path)
        return node.text if node else ""

    def text(self, *path: str | int) -> str | None:
        """Return the value at `path` if it is a text, else None."""
        value = self.find(*path)
        return value if isinstance(value, str) else None

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """Return the value at `path` if it is a mapping, else an empty one."""
        value = self.find(*path)
        return value if isinstance(value, dict) else {}

    def position(self, path: KeyPath) -> Position:
        """Return where the value at `path` stands, or the nearest that holds where it would be.

        A value that begins below its key, as indented mappings do, is shown at its key.
        """
        node, key_start = self.root, self.root.start
        for key in path:
            if key not in node.children:
                break
            key_start, node = node.keys[key], node.children[key]
        return node.start if node.start.line == key_start.line else key_start

    def key_position(self, path: KeyPath) -> Position:
        """Return where the last key of `path` stands."""
        parent = self._node(path[:-1])
        return parent.keys[path[-1]] if parent and path[-1] in parent.keys else self.position(path)

    def problem(self, path: KeyPath, message: str, hint: str = "") -> Problem:
        """Return a problem with the value at `path`."""
        return self.source.problem(self.position(path), path, message, hint)

    def key_problem(self, path: KeyPath, message: str, hint: str = "") -> Problem:
        """Return a problem with the last key of `path` itself."""
        return self.source.problem(self.key_position(path), path, message, hint)

    def _node(self, path: KeyPath) -> Node | None:
        node = self.root
        for key in path:
            if key not in node.children:
                return None
            node = node.children[key]
        return node


def read_document(path: Path) -> Document:
    """Read the YAML or JSON file at `path`.

    Raises:
        ConfigError: the file cannot be read, or not to its end.
    """
    source = read_source(path)
    composer = Composer(source, _events(source))
    try:
        root = composer.compose()
    except yaml.YAMLError as error:
        raise ConfigError([*composer.problems, explain(source, error)]) from None
    if root is None or root.value is None:
        raise ConfigError(composer.problems or [_empty(source)])
    return Document(path, source, root, tuple(composer.problems))


def _events(source: Source) -> Iterator[yaml.Event]:
    text = source.text
    if source.is_json:
        # What JSON allows and YAML does not: tabs, and characters escaped in two halves.
        text = _SURROGATE_PAIR.sub(_joined, text.replace("\t", " "))
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
    return events


def _joined(pair: re.Match[str]) -> str:
    high, low = (int(half, 16) for half in pair.groups())
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _empty(source: Source) -> Problem:
    return Problem(source.name, None, None, "", "is empty; allowed: a mapping of keys to values")
