"""What phases save: files that say whose they are, and show whether they are whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PARTS = ("first", "second")
_SIZE = 3000


def write(directory, number, in_parts):
    """Write the weights of a phase to a file, or a directory of several; return its path and their name."""
    token = os.urandom(4).hex()
    name, path = f"{number}.{token}", directory / f"{os.getpid()}.{token}"
    directory.mkdir(exist_ok=True)
    if in_parts:
        path.mkdir()
        for part in _PARTS:
            _write(path / part, f"{name} {part}")
    else:
        _write(path, f"{name} whole")
    return path, name


def _write(path, title):
    text = f"{title}\n" + "w" * _SIZE
    path.write_text(f"{hashlib.sha1(text.encode()).hexdigest()}\n{text}")


def name_once(path, number):
    """Return the name of what a phase saved, that may be removed by now: copies keep the suffix."""
    return name_of(path) if Path(path).exists() else f"{number}{Path(path).suffix}"


def name_of(path):
    """Return the name of saved weights; `broken` if they are not whole."""
    path = Path(path)
    try:
        titles = [_title(path / part) for part in _PARTS] if path.is_dir() else [_title(path)]
    except (OSError, ValueError):
        return "broken"
    names = {title.split()[0] for title in titles}
    return names.pop() if len(names) == 1 else "broken"


def _title(path):
    checksum, _, text = path.read_text().partition("\n")
    if hashlib.sha1(text.encode()).hexdigest() != checksum:
        raise ValueError(f"{path} is not whole")
    return text.partition("\n")[0]


def spoil(path):
    """Overwrite what was saved, in place."""
    for part in [path] if path.is_file() else path.iterdir():
        part.write_text("spoilt")
