"""Points that a process passes, and a plan that says at which passing of which point it dies.

The plan is a file, so it can be made before a process starts or while it runs, and be taken once: who
renames it dies of it.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

from witness import Witness


class FaultPoints:
    """The points of one process.

    Attributes:
        on_due: called when this process is about to die, if the plan says that its trials sleep.

    Args:
        directory: holds the plan `<who>.plan`, and `deaths.log`.
        who: `manager` or `trial`.
    """

    def __init__(self, directory, who):
        self._path = Path(directory) / f"{who}.plan"
        self._who = who
        self._witness = Witness(Path(directory) / "deaths.log")
        self._missing = Witness(Path(directory) / "missing.log")
        self._lock = threading.Lock()
        self._stamp = None
        self._plan = None
        self._left = 0
        self._linger = 0
        self.on_due = lambda: None

    def passing(self, point):
        """Die here if the plan says so."""
        if self.is_due(point):
            self.die(point)

    def is_due(self, point):
        """Count one passing; say whether the plan wants this process to die now."""
        with self._lock:
            self._read()
            if self._plan is None or not (point + ":").startswith(self._plan["point"] + ":"):
                return False
            self._left -= 1
            if self._left != 0 or not self._take():
                return False
            if self._plan["asleep"]:
                self.on_due()
            return True

    def die(self, point):
        """End this process as an unkind world would."""
        time.sleep(self._linger)
        self._witness.say(self._who, os.getpid(), point)
        os.kill(os.getpid(), signal.SIGKILL)

    def missing(self, what):
        """Note that mpx has no such place any more: the point can never be passed."""
        self._missing.say(what)

    def _read(self):
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._stamp = self._plan = None
            return
        stamp = found.st_ino, found.st_mtime_ns
        if stamp != self._stamp:
            self._stamp = stamp
            self._plan = json.loads(self._path.read_text())
            self._left, self._linger = self._plan["passing"], self._plan["linger"]

    def _take(self):
        try:
            self._path.rename(f"{self._path}.taken")
            return True
        except FileNotFoundError:  # another process was first
            return False
