"""Waiting for the disk without holding up the loop.

Commits go to the operating system on the loop; an fsync makes them durable. It takes from a tenth of
a millisecond to tens of them, and meanwhile other trials want parameters, so it is called on a thread
of its own; all that was committed while one fsync ran is served by the next. Where there is no other
trial it is called on the loop, for a hop to the thread and back would be for nothing.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from mpx.wake_up import WakeUp


class Syncer:
    """Calls `sync`, and then what waited for it, on the loop.

    `fileno()` is readable when there is something for `run_waiting`.

    Args:
        sync: makes durable all that is committed when it is called; may raise.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._durable: deque[Callable[[], None]] = deque()
        self._error: Exception | None = None
        self._wake = WakeUp()
        self._posted = 0
        threading.Thread(target=self._work, name="syncer", daemon=True).start()

    def fileno(self) -> int:
        return self._wake.fileno()

    def when_durable(self, then: Callable[[], None], hurry: bool) -> None:
        """Have `then` called when all that is committed now is durable.

        Args:
            then: called by `run_waiting`, or at once.
            hurry: nobody else needs the loop meanwhile.

        Raises:
            Exception: what `sync` raised.
        """
        if hurry and self._posted == 0:
            self._sync()
            then()
        else:
            self._posted += 1
            self._waiting.put(then)

    def run_waiting(self) -> None:
        """Call, in order, what has become durable.

        Raises:
            Exception: what `sync` raised; nothing is durable from then on.
        """
        self._wake.clear()
        if self._error is not None:
            raise self._error
        while self._durable:
            self._posted -= 1
            self._durable.popleft()()

    def _work(self) -> None:
        while self._error is None:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            try:
                self._sync()
            except Exception as error:  # noqa: BLE001 (the loop raises it again)
                self._error = error
            else:
                self._durable.extend(batch)
            self._wake.set()
