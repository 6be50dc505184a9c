"""What of a traceback a user wants to see first: the place in their own file."""

from __future__ import annotations

import re

_FRAME = re.compile(r'  File "(?P<file>.+)", line \d+')


def user_frame(traceback: str, code_dir: str | None) -> list[str]:
    """Return the lines of the innermost frame in a file below `code_dir`.

    Args:
        traceback: as Python prints it.
        code_dir: the user's code; without it, or with no frame there, the innermost frame is taken
            that is in a file.
    """
    frames: list[list[str]] = []
    for line in traceback.splitlines():
        if _FRAME.match(line):
            frames.append([line])
        elif frames and line.startswith("    "):
            frames[-1].append(line)
    own = [frame for frame in frames if code_dir and _file(frame).startswith(f"{code_dir}/")]
    readable = [frame for frame in frames if not _file(frame).startswith("<frozen ")]
    return [*(own or readable or [[]])[-1]]


def _file(frame: list[str]) -> str:
    found = _FRAME.match(frame[0])
    return found["file"] if found else ""
