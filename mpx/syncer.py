"""Waiting for the disk without holding up the loop.

An fsync takes from a tenth of a millisecond to tens of them, and meanwhile other trials want
parameters. So commits go to the operating system on the loop, and this thread makes them durable; all
that was committed while one fsync ran is served by the next.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from mpx.wake_up import WakeUp


class Syncer:
    """Calls `sync` on a thread of its own, and then what waited for it on the loop.

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
        threading.Thread(target=self._work, name="syncer", daemon=True).start()

    def fileno(self) -> int:
        return self._wake.fileno()

    def when_durable(self, then: Callable[[], None]) -> None:
        """Have `then` called by `run_waiting` once all that is committed now is durable."""
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
