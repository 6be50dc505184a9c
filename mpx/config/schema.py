"""The JSON Schema of configurations: what keys there are, what they allow, what they default to.

`schema.json` is the single source. Beside the standard keywords it uses:

    x-allowed     what the value may be, in words, where a pattern says it badly
    x-hint        what to do when the value is refused
    x-notYet      what to do instead, or that for each value: known and refused, as its work comes later
    x-refused     likewise, for good
    x-otherNames  what NNI v2 and others call the key, for did-you-mean
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mpx.config.problem import KeyPath

# Where keys are ours to name; below `env`, `classArgs` and `searchSpace` they are the user's.
LEVELS: tuple[KeyPath, ...] = (
    (),
    ("tuner",),
    ("assessor",),
    ("advisor",),
    ("trial",),
    ("localConfig",),
)
SCHEMA_FILE = Path(__file__).with_name("schema.json")


@cache
def load_schema() -> dict[str, Any]:
    """Return the schema; callers must not change it."""
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return schema


def properties(*path: str | int) -> dict[Any, Any]:
    """Return the schemas of the keys allowed at `path`; none for a level whose keys are free."""
    level = load_schema()
    for key in path:
        is_item = isinstance(key, int)
        level = level.get("items", {}) if is_item else level.get("properties", {}).get(key, {})
    found: dict[Any, Any] = level.get("properties", {})
    return found


def default(*path: str | int) -> Any:
    """Return the default of the key at `path`, None if it has none."""
    return properties(*path[:-1]).get(path[-1], {}).get("default")


def is_refused(schema: dict[str, Any]) -> bool:
    """Tell whether a key is known only to be refused, whatever its value."""
    return "not" in schema


def homes() -> Iterator[tuple[str, KeyPath]]:
    """Yield each name of each key, other names included, with the path that it belongs at."""
    for path in LEVELS:
        for key, schema in properties(*path).items():
            if path and is_refused(schema):
                continue  # nobody is sent there
            for name in (key, *schema.get("x-otherNames", ())):
                yield name, (*path, key)
