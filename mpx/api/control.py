"""Talking to a manager: JSON lines over its control socket.

A connection stays open until the manager exits, so its end of file tells that the manager is gone.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

# The shortest limit of any system (macOS: 104 bytes with the final zero).
_LONGEST_ADDRESS = 103


class Control:
    """A connection to a manager.

    Args:
        path: the control socket.
        timeout: seconds to wait for an answer; None for as long as it takes.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, path: Path, timeout: float | None) -> None:
        self._timeout = timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            _connect(self._socket, path)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, command: dict[str, Any]) -> bool:
        """Send a command; say whether the manager took it."""
        try:
            self._socket.sendall(json.dumps(command).encode() + b"\n")
            answer = json.loads(self._line())
        except (OSError, ValueError):  # it hangs, or ends before it answers
            return False
        return bool(answer.get("ok"))

    def wait_end(self, timeout: float | None) -> bool:
        """Wait until the manager exits; say whether it has.

        Args:
            timeout: seconds to wait; None for as long as it takes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            self._socket.settimeout(left)
            try:
                if not self._socket.recv(4096):
                    return True
            except TimeoutError:
                return False
            except ConnectionError:
                return True

    def _line(self) -> bytes:
        self._socket.settimeout(self._timeout)
        received = b""
        while not received.endswith(b"\n"):
            data = self._socket.recv(4096)
            if not data:
                break
            received += data
        return received


def _connect(connection: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        connection.connect(str(path))
        return
    # Addresses of sockets end early; a relative one fits. The current directory is the whole
    # process's, so it is changed for this call alone.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        connection.connect(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
