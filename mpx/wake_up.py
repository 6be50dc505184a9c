"""Waking an event loop from another thread."""

from __future__ import annotations

import os


class WakeUp:
    """A file descriptor that is readable once `set` was called: an eventfd, or else a pipe.

    Cheaper than `call_soon_threadsafe`, and one wake-up serves all that happened since the last.
    """

    has_eventfd = hasattr(os, "eventfd")

    def __init__(self) -> None:
        if self.has_eventfd:
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        return self._reader

    def set(self) -> None:
        try:
            os.write(self._writer, b"\1\0\0\0\0\0\0\0")
        except BlockingIOError:
            pass  # full, so the loop will wake anyway

    def clear(self) -> None:
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let go of the file descriptor; nothing is called after."""
        for fd in {self._reader, self._writer}:
            os.close(fd)
