"""Copies of what phases save, in the trial's directory: no one writes to them again.

A trial imports this module, when it saves, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress
from pathlib import Path

from mpx.durability import sync
from mpx.errors import UsageError

_numbers = itertools.count()


def keep(path: str, directory: str, phase_index: int) -> str:
    """Copy a file or a directory, durably, and return the copy's path.

    Args:
        path: what a phase has saved.
        directory: the trial's.
        phase_index: the phase; each copy of one phase has a name of its own, with the suffix of `path`.

    Raises:
        OSError: it cannot be copied.
        UsageError: it is a directory that copies are made in.
    """
    kept = directory_of(directory)
    if Path(path).resolve() in (kept.resolve(), *kept.resolve().parents):
        raise UsageError(f"{path} has in it what was saved before: save a file, or a folder apart")
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


def is_copy(path: str, directory: str) -> bool:
    """Say whether a path is of a copy in a trial's directory, and no file of the user's own."""
    return Path(path).parent == directory_of(directory)


def directory_of(directory: str) -> Path:
    """Return where in a trial's directory its copies are."""
    return Path(directory, "checkpoints")


def size_of(copy: str) -> int:
    """Return the bytes of all files in a copy."""
    return sum(
        part.stat().st_size for part in (Path(copy), *Path(copy).rglob("*")) if part.is_file()
    )


def drop(copy: str) -> None:
    """Remove a copy that nobody goes on from."""
    if Path(copy).is_dir() and not Path(copy).is_symlink():
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
