"""The control socket: how commands speak to a running manager.

A connection carries one line of JSON in, one line of JSON out, as often as the other side likes. The
manager keeps it open, so that its end tells the other side of the manager's.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpx.loop import Loop

_BACKLOG = 16
_MAX_LINE = 65536

Command = Callable[[dict[str, Any]], None]


class ControlSocket:
    """Listens at a path and answers.

    Args:
        loop: the manager's.
        path: where to listen; a relative one, for a socket's address ends at 104 bytes.
        commands: what to do for each `command`, given the whole request.
    """

    def __init__(self, loop: Loop, path: str, commands: dict[str, Command]) -> None:
        self._loop = loop
        self._path = path
        self._commands = commands
        self._received: dict[socket.socket, bytes] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        Path(path).unlink(missing_ok=True)  # of a manager that died; who calls has the lock
        self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Listen no more. Open connections stay until the process ends."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        os.unlink(self._path)  # noqa: PTH108 (relative on purpose)

    def close_in_child(self) -> None:
        """Close everything in a fork, and leave the loop and the path to the parent."""
        self._listener.close()
        for connection in self._received:
            connection.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone already
            return
        connection.setblocking(False)
        self._received[connection] = b""
        self._loop.add_reader(connection.fileno(), lambda: self._read(connection))

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        *lines, rest = (self._received[connection] + data).split(b"\n")
        if not data or len(rest) > _MAX_LINE:
            self._drop(connection)
            return
        self._received[connection] = rest
        for line in lines:
            self._answer(connection, line)

    def _answer(self, connection: socket.socket, line: bytes) -> None:
        answer = json.dumps({"ok": self._obey(line), "pid": os.getpid()})
        try:
            connection.send(answer.encode() + b"\n")
        except OSError:  # it has gone, or never reads
            self._drop(connection)

    def _obey(self, line: bytes) -> bool:
        try:
            request = json.loads(line)
            command = self._commands[request["command"]]
        except (ValueError, TypeError, KeyError):
            return False
        command(request)
        return True

    def _drop(self, connection: socket.socket) -> None:
        if self._received.pop(connection, None) is not None:
            self._loop.remove_reader(connection.fileno())
            connection.close()
