"""Copies of what phases save, in the trial's directory: no one writes to them again.

A trial imports this module, when it saves, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress
from pathlib import Path

from mpx.durability import sync

_numbers = itertools.count()


def keep(path: str, directory: str, phase_index: int) -> str:
    """Copy a file or a directory, durably, and return the copy's path.

    Args:
        path: what a phase has saved.
        directory: the trial's.
        phase_index: the phase; each copy of one phase has a name of its own, with the suffix of `path`.

    Raises:
        OSError: it cannot be copied.
    """
    kept = Path(directory, "checkpoints")
    kept.mkdir(mode=0o700, exist_ok=True)
    _, dot, suffix = Path(path).name.rpartition(".")
    name = f"{phase_index}.{next(_numbers)}"
    if dot and suffix.isascii() and suffix.isalnum():
        name += dot + suffix
    copy, draft = kept / name, kept / f"{name}.draft"
    try:
        _copy(path, draft)
    except BaseException:  # a full disk needs the room
        drop(str(draft))
        raise
    draft.rename(copy)
    for place in (kept, kept.parent):
        sync(place)
    return str(copy)


def drop(copy: str) -> None:
    """Remove a copy that nobody goes on from."""
    if Path(copy).is_dir():
        shutil.rmtree(copy, ignore_errors=True)
    else:
        with suppress(OSError):
            Path(copy).unlink()


def _copy(path: str, draft: Path) -> None:
    if Path(path).is_dir():
        shutil.copytree(path, str(draft))
    else:
        shutil.copy2(path, str(draft))
    for part in (draft, *draft.rglob("*")):
        sync(part)
