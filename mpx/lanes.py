"""Calls that run at the same time, but for those that belong together: these keep their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Call = TypeVar("Call")


class Lanes(Generic[Call]):
    """One queue for each key, worked off by a thread of its own for as long as there is something in it.

    Args:
        name: of the threads.
        run: makes one call; it raises nothing.
    """

    def __init__(self, name: str, run: Callable[[Call], None]) -> None:
        self._name = name
        self._run = run
        self._changed = threading.Condition()
        self._lanes: dict[str, deque[Call]] = {}

    def put(self, key: str, call: Call) -> None:
        """Have a call made behind all others of its key."""
        with self._changed:
            lane = self._lanes.get(key)
            if lane is not None:
                lane.append(call)
                return
            self._lanes[key] = deque([call])
        threading.Thread(target=self._work, args=[key], name=self._name, daemon=True).start()

    def finish(self, key: str) -> None:
        """Wait until nothing is in the lane of this key."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._lanes)

    def drain(self, except_for: Collection[str] = (), timeout: float | None = None) -> None:
        """Wait until nothing is in any lane.

        Args:
            except_for: keys of lanes that are not waited for.
            timeout: seconds to wait at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lanes.keys() <= set(except_for), timeout)

    def _work(self, key: str) -> None:
        while True:
            with self._changed:
                lane = self._lanes[key]
                if not lane:
                    del self._lanes[key]
                    self._changed.notify_all()
                    return
                call = lane.popleft()
            self._run(call)
