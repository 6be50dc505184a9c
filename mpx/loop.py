"""The manager's event loop: file descriptors, timers, and one hook at the end of each turn.

asyncio would do, and did: but a turn with something to commit took it two rounds through the kernel (a
callback added by a handler runs in the next one), its handles and contexts were a tenth of the
manager's work for a phase, and it doubled the manager's memory and start-up. What is needed is small.

A turn is: wait, call the handler of every descriptor that is ready, call the timers that are due, call
`on_turn_end`. An exception from any of them goes to `on_error`, and the loop goes on.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections import deque
from collections.abc import Callable

from mpx.wake_up import WakeUp

Callback = Callable[[], None]
# In seconds. The kernel takes no more than some weeks.
_LONGEST_WAIT = 86400.0


class Timer:
    """A call that is due at a time on the loop's clock, unless it is cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Waits for descriptors and timers, on the thread that calls `run`.

    Attributes:
        on_turn_end: called after the handlers of each turn.
        on_error: takes what a handler, a timer or `on_turn_end` raised.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._running = False
        self._posted: deque[Callback] = deque()
        self._wake = WakeUp()
        self.on_turn_end: Callback = _nothing
        self.on_error: Callable[[Exception], None] = _raise
        self.add_reader(self._wake.fileno(), self._run_posted)

    def run(self) -> None:
        """Turn until `stop` is called."""
        self._running = True
        while self._running:
            self._turn()

    def stop(self) -> None:
        """End `run` when this turn is over."""
        self._running = False

    @staticmethod
    def time() -> float:
        """Return the loop's clock, in seconds."""
        return time.monotonic()

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` can be read."""
        self._register(fd, selectors.EVENT_READ, callback)

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` can be written; a descriptor is either read or written."""
        self._register(fd, selectors.EVENT_WRITE, callback)

    def remove_reader(self, fd: int) -> None:
        """Call back for `fd` no more; one that is not watched is no error."""
        if self._callbacks.pop(fd, None) is not None:
            self._selector.unregister(fd)

    remove_writer = remove_reader

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Call back once, `delay` seconds from now."""
        timer = Timer(self.time() + delay, callback)
        heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Call back in the next turn. For other threads and for signal handlers."""
        self._posted.append(callback)
        self._wake.set()

    def _register(self, fd: int, event: int, callback: Callback) -> None:
        if fd not in self._callbacks:
            self._selector.register(fd, event)
        self._callbacks[fd] = callback

    def _turn(self) -> None:
        callbacks = self._callbacks
        for key, _ in self._selector.select(self._patience() if self._timers else None):
            callback = callbacks.get(key.fd)
            if callback is not None:  # an earlier handler of this turn may have removed it
                self._call(callback)
        if self._timers:
            self._call_due()
        self._call(self.on_turn_end)

    def _patience(self) -> float | None:
        """Return how long to wait: until the next timer, or without end."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - self.time()), _LONGEST_WAIT)

    def _call_due(self) -> None:
        now = self.time()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                self._call(callback)

    def _run_posted(self) -> None:
        self._wake.clear()
        while self._posted:
            self._call(self._posted.popleft())

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 (the border at which a bug becomes a reason)
            self.on_error(error)


def _nothing() -> None:
    """The hook of a loop that has none."""


def _raise(error: Exception) -> None:
    raise error
