"""Runs a user's object on a thread of its own: calls go into a mailbox, answers come out.

The object lives on one thread from import to exit (some libraries tie state to their thread), and its
calls run there in the order they were posted, one at a time.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mpx.errors import ClassLoadError
from mpx.records import ErrorRecord
from mpx.wake_up import WakeUp

# A call that takes longer holds the interpreter against the manager's loop, unless it is asked for
# more often than every 5 ms; trivial tuners are better off without.
_SLOW_CALL = 0.001
_SWITCH_INTERVAL = 0.0002

# Whether this thread's `report_error` prints, which it need not where another one tells of the error.
prints_errors: ContextVar[bool] = ContextVar("prints_errors", default=True)

Call = TypeVar("Call")


@dataclass(frozen=True, slots=True)
class Finish:
    """The experiment ends; nothing is posted after."""

    well: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """The last call returned."""


class Host(Generic[Call]):
    """A thread with a mailbox. `fileno()` is readable when there are answers for `collect`.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._mailbox: queue.SimpleQueue[list[Call] | None] = queue.SimpleQueue()
        self._answers: deque[Any] = deque()
        self._wake = WakeUp()
        self._failed = False  # the object let an exception out: nothing but its last call is made
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, calls: list[Call]) -> None:
        """Have these calls made, in this order, after all that was posted before."""
        self._mailbox.put(calls)

    def fileno(self) -> int:
        return self._wake.fileno()

    def collect(self) -> list[Any]:
        """Return the answers that have come since the last time."""
        self._wake.clear()
        answers = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers

    def close(self) -> None:
        """End the thread behind all that was posted, and let go of the descriptor.

        A manager ends without it, as its last call may hang.
        """
        self._mailbox.put(None)
        self._thread.join()
        self._wake.close()

    def _run(self, call: Call) -> None:
        """Make one call; whatever it raises is an answer."""
        raise NotImplementedError

    def _take_leave(self, hosted: Any, well: bool) -> None:
        """Make the last call of a user's object, if there is one; whatever comes, that was it."""
        try:
            call_if_there(hosted, "_on_exit" if well and not self._failed else "_on_error")
        finally:
            self._answers.append(Finished())

    def _work(self) -> None:
        while (calls := self._mailbox.get()) is not None:
            began = time.monotonic()
            for call in calls:
                self._run(call)
                now = time.monotonic()
                if now - began > _SLOW_CALL:
                    sys.setswitchinterval(_SWITCH_INTERVAL)
                    self._wake_loop()
                    began = now
            self._wake_loop()

    def _wake_loop(self) -> None:
        if self._answers:  # most calls tell, and have no answer
            self._wake.set()


def call_if_there(hosted: Any, name: str, *args: Any) -> None:
    """Call a method of a user's object that takes just these arguments, if the object has it."""
    method = getattr(hosted, name, None)
    if method is not None:
        method(*args)


def report_error(error: BaseException) -> ErrorRecord:
    """Print a user's exception, with its traceback, into the manager's log; return it as a record."""
    record = describe_error(error)
    if prints_errors.get():
        print(record.traceback, file=sys.stderr, flush=True)
    return record


def describe_error(error: BaseException) -> ErrorRecord:
    """Return the exception as a record, its traceback from the first frame outside this package."""
    cause = error.__cause__ if isinstance(error, ClassLoadError) and error.__cause__ else error
    frames = cause.__traceback__
    while frames and frames.tb_next and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(cause), cause, frames))
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  (the user's own class)
        message = "no message: its __str__ failed"
    return ErrorRecord(type(cause).__name__, message, text)


_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def _is_ours(file: str) -> bool:
    return file.startswith((_PACKAGE, "<frozen importlib"))
