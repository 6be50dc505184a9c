"""What trials and managers print: the end of a log, all of it, or all that is still to come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mpx.records import TrialRecord

_BLOCK = 1 << 16
_PATIENCE = 0.2  # seconds between two looks at a growing log


@dataclass(frozen=True, slots=True)
class Log:
    """A log file, of a trial or (None) of the manager; `is_growing` while somebody may write to it."""

    path: Path
    trial: TrialRecord | None
    is_growing: bool


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a text file, without their ends; none if there is no such file.

    At most the last 64 KiB count. What a progress bar overwrote is left out: of each line, what stands
    behind its last `\\r`.
    """
    with _Reader(path) as reader:
        reader.skip_to_last(lines, most=_BLOCK)
        found = [line.decode("utf-8", "replace") for line in reader.read(ended=True)]
    return tuple(line.rstrip("\r\n").rpartition("\r")[2] for line in found)


def read(log: Log, lines: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a log, or the last `lines` of them; none if there is no such file."""
    with _Reader(log.path) as reader:
        if lines is not None:
            reader.skip_to_last(lines)
        yield from reader.read(ended=True)


def follow(
    look: Callable[[], tuple[bool, Iterable[Log]]], lines: int | None = None
) -> Iterator[tuple[Log, bytes]]:
    """Yield lines with the log they are from, as they are written, until nothing writes any more.

    Args:
        look: says whether more may come, and from which logs; asked again and again, for trials begin.
        lines: how many of those already written to begin with, from each log; None for all.
    """
    readers: dict[Path, _Reader] = {}
    more = True
    with ExitStack() as stack:
        while more:
            more, logs = look()  # before reading: what was written before the end is not missed
            for log in logs:
                if log.path not in readers:
                    readers[log.path] = stack.enter_context(_Reader(log.path))
                    readers[log.path].skip_to_last(lines)
                for line in readers[log.path].read(ended=not log.is_growing):
                    yield log, line
            lines = None  # a log that begins later is read from its beginning
            time.sleep(_PATIENCE if more else 0)


@dataclass(slots=True)
class _Reader:
    """Reads a file that may not exist yet, and may grow."""

    path: Path
    _file: BinaryIO | None = None
    _closed: bool = False
    _unfinished: list[bytes] = field(default_factory=list)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, ended: bool) -> Iterator[bytes]:
        """Yield the lines written since; with `ended`, an unfinished one too, and nothing thereafter."""
        for line in self._open() or ():
            self._unfinished.append(line)
            if line.endswith(b"\n"):
                yield self._take()
        if ended:
            if self._unfinished:
                yield self._take()
            self._close()

    def skip_to_last(self, lines: int | None, most: int | None = None) -> None:
        """Go to where the last `lines` lines begin, or `most` bytes before the end."""
        file = self._open()
        if file is not None and lines is not None:
            end = file.seek(0, os.SEEK_END)
            start = _start_of_last(file, lines, end)
            file.seek(start if most is None else max(start, end - most))

    def _open(self) -> BinaryIO | None:
        if self._file is None and not self._closed:
            try:
                self._file = open(self.path, "rb")  # noqa: SIM115 (closed by _close)
            except FileNotFoundError:
                return None
        return self._file

    def _close(self) -> None:
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self) -> bytes:
        line = b"".join(self._unfinished)
        self._unfinished.clear()
        return line


def _start_of_last(file: BinaryIO, lines: int, end: int) -> int:
    """Return where the last `lines` lines of a file of `end` bytes begin."""
    if not lines or not end:
        return end
    file.seek(end - 1)
    newlines = lines + (file.read(1) == b"\n")
    position = end
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        if block.count(b"\n") >= newlines:
            return position + _from_the_end(block, newlines) + 1
        newlines -= block.count(b"\n")
    return 0


def _from_the_end(block: bytes, count: int) -> int:
    """Return where the `count`-th newline from the end stands."""
    at = len(block)
    for _ in range(count):
        at = block.rindex(b"\n", 0, at)
    return at
