"""Removing files that may be large without holding up the loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Remover:
    """Removes paths one after another, on a thread that lives while there are some.

    Args:
        remove: removes one; what is gone already is no error.
    """

    def __init__(self, remove: Callable[[str], None]) -> None:
        self._remove = remove
        self._paths: deque[str] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, path: str) -> None:
        """Remove a path, before long."""
        with self._lock:
            self._paths.append(path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="remover", daemon=True)
                self._thread.start()

    def finish(self, patience: float) -> None:
        """Wait until all are removed, for so many seconds at most."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._paths:
                    self._thread = None
                    return
                path = self._paths.popleft()
            self._remove(path)
