"""Waiting for the disk without holding up the loop.

Commits go to the operating system on the loop; an fsync makes them durable. It takes from a tenth of
a millisecond to tens of them. Where it is quick, it is called on the loop, for a hop to a thread and
back would cost as much. Where it is slow, other trials want parameters meanwhile, so it is called on a
thread of its own, and all that was committed while one fsync ran is served by the next.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from mpx.wake_up import WakeUp

# Seconds. An fsync that lately took longer is slow.
_QUICK = 0.0005
# What the last fsync weighs in the running mean of how long they take.
_WEIGHT = 0.2


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
        self._seconds = 0.0
        self._posted = 0
        threading.Thread(target=self._work, name="syncer", daemon=True).start()

    def fileno(self) -> int:
        return self._wake.fileno()

    def when_durable(self, then: Callable[[], None]) -> None:
        """Have `then` called, now or by `run_waiting`, when all that is committed now is durable.

        Raises:
            Exception: what `sync` raised.
        """
        if self._posted == 0 and self._seconds < _QUICK:
            self._measured_sync()
            then()
        else:
            self._posted += 1
            self._waiting.put(then)

    def _measured_sync(self) -> None:
        began = time.monotonic()
        self._sync()
        self._seconds += _WEIGHT * (time.monotonic() - began - self._seconds)

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
                self._measured_sync()
            except Exception as error:  # noqa: BLE001 (the loop raises it again)
                self._error = error
            else:
                self._durable.extend(batch)
            self._wake.set()
