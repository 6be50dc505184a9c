"""Paths in a configuration: relative to its file, `~` expanded, and what is wrong with them."""

from __future__ import annotations

import stat
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path


def path_from(config: Path, text: str) -> Path:
    """Return the path that `text` means in the file `config`; relative if `config` itself is."""
    path = Path(text)
    try:
        path = path.expanduser()
    except RuntimeError:
        pass  # no such user: then it is a strange name, and reported as a missing file
    return config.parent / path


def fault_of_directory(path: Path) -> str:
    """Say in words why `path` is no directory; `` if it is one."""
    return _fault(path, "a directory", stat.S_ISDIR)


def fault_of_place_for_directory(path: Path) -> str:
    """Say in words why `path` is no directory and cannot become one; `` if it is or can."""
    try:
        path.lstat()
    except FileNotFoundError:
        return _fault(
            path.parent, "a directory", stat.S_ISDIR, f", in which {path.name} can be made"
        )
    except OSError:
        pass  # the same is said below, in words
    return fault_of_directory(path)


def fault_of_file(path: Path) -> str:
    """Say in words why `path` is no file; `` if it is one."""
    return _fault(path, "a file", lambda mode: not stat.S_ISDIR(mode))


def similar_path(path: Path) -> str:
    """Ask whether a path with a similar name was meant, if there is one."""
    names = [name for name in _names_in(path.parent) if name != path.name]
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.with_name(near[0])}?" if near else ""


def first_config_in(directory: Path) -> str:
    """Ask whether a configuration in `directory` was meant, if there is one."""
    found = sorted(name for name in _names_in(directory) if name.endswith((".yml", ".yaml")))
    return f"did you mean {directory / found[0]}?" if found else ""


def _fault(path: Path, wanted: str, is_wanted: Callable[[int], bool], purpose: str = "") -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"found nothing at {path}; allowed: {wanted}{purpose}"
    except OSError as error:
        return f"cannot look at {path}: {error.strerror or error}"
    if is_wanted(mode):
        return ""
    return f"{path} is no {wanted.split()[1]}; allowed: {wanted}{purpose}"


def _names_in(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except OSError:
        return []
