"""Letters from the user to an experiment: files in its directory, which a manager takes in.

A letter outlives whoever wrote it and whoever should read it: without a manager it waits for the next one.
It is removed once the store has what it says. Its name, which the store keeps, is what tells a letter that
a manager took in just before it died from a new one.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpx.durability import sync

# What a letter may be about.
RESULTS = "results"
PARAMETERS = "parameters"


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter.

    Attributes:
        name: of its file.
        about: RESULTS, a list of dicts of `parameter` and `value`; or PARAMETERS, for one phase.
        data: the contents.
    """

    name: str
    about: str
    data: Any


class Inbox:
    """The letters of one experiment.

    Args:
        directory: where they lie; made with the first.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, about: str, data: Any) -> None:
        """Write a letter; it is on disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        draft = self._directory / f".{name}"
        with open(draft, "w", encoding="utf-8") as file:
            json.dump({"about": about, "data": data}, file)
        sync(draft)
        draft.rename(self._directory / name)
        sync(self._directory)

    def read(self, known: Collection[str]) -> list[Letter]:
        """Return the letters in the order they were written, without those whose names are known.

        Raises:
            OSError: they cannot be read.
        """
        names = sorted(path.name for path in self._directory.glob("[0-9]*.json"))
        found = []
        for name in names:
            if name not in known:
                found += self._open(self._directory / name)
        return found

    def _open(self, path: Path) -> list[Letter]:
        """Return the letter; none if somebody damaged it, and then put it aside."""
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return [Letter(path.name, said["about"], said["data"])]
        except (ValueError, LookupError, TypeError) as error:
            print(f"the letter {path} cannot be read: {error}", file=sys.stderr, flush=True)
            path.rename(path.with_suffix(".unreadable"))
            return []

    def remove(self, names: Collection[str]) -> None:
        """Remove letters that the store knows of; what cannot be removed does no harm."""
        for name in names:
            try:
                (self._directory / name).unlink(missing_ok=True)
            except OSError:
                pass
