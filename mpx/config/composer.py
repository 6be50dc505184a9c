"""From YAML events to plain values, with the position of each.

Rather than PyYAML's own composer: that one recurses in C until the process dies, knows no limit to
what aliases expand to, and forgets positions once it has built a value. Rules kept here:

* a key is text, and stands once in its mapping; `<<` merges mappings, a mapping's own keys win;
* an alias stands for a value that is complete: none contains itself;
* no tag but those of the core schema;
* nesting ends at `MAX_DEPTH`, and what a file says with its aliases written out at `MAX_BYTES`.

What is wrong with one value is noted and composing goes on; what is wrong with the whole ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from mpx.config.problem import KeyPath, Position, Problem, shown
from mpx.config.scalars import Scalar, resolve, resolve_as
from mpx.config.source import MAX_BYTES, Source
from mpx.config.suggestions import closest
from mpx.errors import ConfigError

MAX_DEPTH = 100

_CORE_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_CORE_TAG + name: name for name in ("null", "bool", "int", "float", "str")}
_MERGE = "<<"
_JSON_SCALARS = '"text" in quotes, a number, true, false, null'


@dataclass(slots=True)
class Node:
    """A value, where it begins, and the nodes and key positions of what is in it.

    `text` is a scalar as it is written. `weight` is the characters of all scalars in the value with
    aliases written out, `height` its nesting.
    """

    value: Any
    start: Position
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str | int, Position] = field(default_factory=dict)
    text: str = ""
    weight: int = 1
    height: int = 0

    def add(self, key: str | int, child: Node, start: Position) -> None:
        """Put `child` under `key`, which stands at `start`."""
        self.children[key] = child
        self.keys[key] = start
        self.weight += child.weight
        self.height = max(self.height, child.height + 1)


class Composer:
    """Composes the one document of a file. `problems` are the mistakes noted on the way."""

    def __init__(self, source: Source, events: Iterator[yaml.Event]) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._open_anchors: set[str] = set()

    def compose(self) -> Node | None:
        """Return the document's root; None if the file holds no document.

        Raises:
            ConfigError: nesting or expansion passes its limit.
            yaml.YAMLError: the events' own.
        """
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._note(_start(event), (), "found a second document; allowed: one")
                    break
                root = self._node(next(self._events), (), 0)
        return root

    def _node(self, event: Any, path: KeyPath, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event, path)
        elif isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        else:
            node = self._collection(event, path, depth)
        self._check_size(node, path, depth)
        anchor = None if isinstance(event, yaml.AliasEvent) else event.anchor
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _check_size(self, node: Node, path: KeyPath, depth: int) -> None:
        if depth + node.height > MAX_DEPTH:
            self._fail(node.start, path, f"found values nested more than {MAX_DEPTH} deep")
        if node.weight > MAX_BYTES:
            self._fail(node.start, path, "found more than 1 MB, with aliases written out")

    def _alias(self, event: Any, path: KeyPath) -> Node:
        name, start = event.anchor, _start(event)
        if name in self._anchors:
            return replace(self._anchors[name], start=start)
        if name in self._open_anchors:
            self._note(start, path, f"found *{name} inside the very value that &{name} names")
        else:
            near = closest(name, self._anchors)
            hint = f"did you mean *{near}?" if near else f"put &{name} before the value to repeat"
            self._note(start, path, f"found *{name}, but no &{name} above it", hint)
        return Node(None, start)

    def _scalar(self, event: Any, path: KeyPath) -> Node:
        start = _start(event)
        value = None
        try:
            value = _scalar_value(event)
            event.value.encode()
        except UnicodeEncodeError:
            self._note(start, path, "found half of a surrogate pair, which is no character")
        except ValueError as error:
            self._note(start, path, str(error))
        if self._source.is_json and event.implicit[0] and isinstance(value, str):
            self._note(start, path, f"found {value}; allowed in JSON: {_JSON_SCALARS}")
        return Node(value, start, text=event.value, weight=max(1, len(event.value)))

    def _collection(self, event: Any, path: KeyPath, depth: int) -> Node:
        # Before descending, so that this check and not the interpreter's stack is what ends it.
        if depth >= MAX_DEPTH:
            self._fail(_start(event), path, f"found values nested more than {MAX_DEPTH} deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _CORE_TAG + ("map" if is_mapping else "seq")):
            self._note(_start(event), path, _refused_tag(event.tag))
        if event.anchor is not None:
            self._open_anchors.add(event.anchor)
        compose = self._mapping if is_mapping else self._sequence
        node = compose(_start(event), path, depth)
        self._open_anchors.discard(event.anchor)
        return node

    def _sequence(self, start: Position, path: KeyPath, depth: int) -> Node:
        node = Node([], start)
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            index = len(node.value)
            child = self._node(event, (*path, index), depth + 1)
            node.add(index, child, child.start)
            node.value.append(child.value)
            self._check_size(node, path, depth)
        return node

    def _mapping(self, start: Position, path: KeyPath, depth: int) -> Node:
        own = Node({}, start)
        merged: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, key_start = self._key(event, path, depth), _start(event)
            child = self._node(next(self._events), (*path, key), depth + 1)
            if _is_merge(event):
                merged += self._merged(child, (*path, key))
            elif key in own.children:
                message = f"found the key a second time; the first is in line {own.keys[key].line}"
                self._note(key_start, (*path, key), message, "keep one of them")
            else:
                own.add(key, child, key_start)
            self._check_size(own, path, depth)
        return _merge(own, merged)

    def _key(self, event: Any, path: KeyPath, depth: int) -> str:
        node = self._node(event, path, depth + 1)
        if isinstance(node.value, str):
            return node.value
        text = event.value if isinstance(event, yaml.ScalarEvent) else shown(node.value)
        hint = "" if isinstance(node.value, dict | list) else f"put it in quotes: '{text}'"
        self._note(node.start, path, f"found {shown(node.value)} as a key; allowed: text", hint)
        return str(text)

    def _merged(self, node: Node, path: KeyPath) -> list[Node]:
        sources = list(node.children.values()) if isinstance(node.value, list) else [node]
        if all(isinstance(source.value, dict) for source in sources):
            return sources
        message = f"found {shown(node.value)}; allowed: a mapping, or a list of mappings"
        self._note(node.start, path, message)
        return []

    def _note(self, start: Position, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(self._source.problem(start, path, message, hint))

    def _fail(self, start: Position, path: KeyPath, message: str) -> None:
        self._note(start, path, message)
        raise ConfigError(self.problems)


def _start(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar_value(event: Any) -> Scalar:
    text: str = event.value
    if event.tag is None:
        return resolve(text) if event.implicit[0] else text
    if event.tag == "!":
        return text
    if event.tag not in _SCALAR_TAGS:
        raise ValueError(_refused_tag(event.tag))
    return resolve_as(_SCALAR_TAGS[event.tag], text)


def _refused_tag(tag: str) -> str:
    return f"found the tag {shown(tag.replace(_CORE_TAG, '!!'))}; allowed: values without a tag"


def _is_merge(event: Any) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == _MERGE
        and event.tag is None
        and event.implicit[0]
    )


def _merge(own: Node, merged: list[Node]) -> Node:
    """Return `own` with the keys of `merged` before its own; own ones win, then earlier ones."""
    node = Node({}, own.start)
    for source in [*merged, own]:
        for key, child in source.children.items():
            if source is own or key not in node.children:
                node.add(key, child, source.keys[key])
                node.value[key] = child.value
    return node
