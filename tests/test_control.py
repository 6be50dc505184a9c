"""The control socket, from the other side of it."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpx.control import ControlSocket
from mpx.loop import Loop

Connect = Callable[[], socket.socket]


@pytest.fixture
def requests() -> list[dict[str, Any]]:
    """The requests that came to the command `note`."""
    return []


@pytest.fixture
def connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: list[dict[str, Any]]
) -> Iterator[Connect]:
    """Connects to a control socket that a loop on another thread serves."""
    monkeypatch.chdir(tmp_path)
    loop = Loop()
    control = ControlSocket(loop, "control.sock", {"note": requests.append})
    thread = threading.Thread(target=loop.run)
    thread.start()
    opened: list[socket.socket] = []

    def new() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect("control.sock")
        opened.append(connection)
        return connection

    yield new
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    control.close()
    control.close_in_child()
    for connection in opened:
        connection.close()


def _answer(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile() as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def test_command_is_obeyed_and_answered(connect: Connect, requests: list[dict[str, Any]]) -> None:
    connection = connect()
    connection.sendall(b'{"command": "note", "n": 1}\n')
    assert _answer(connection) == {"ok": True, "pid": os.getpid()}
    assert requests == [{"command": "note", "n": 1}]


@pytest.mark.parametrize("line", [b"not json", b'{"command": "unknown"}', b"[]", b"{}", b"\xff"])
def test_nonsense_is_answered_and_does_no_harm(connect: Connect, line: bytes) -> None:
    connection = connect()
    connection.sendall(line + b"\n")
    assert _answer(connection)["ok"] is False
    connection.sendall(b'{"command": "note"}\n')
    assert _answer(connection)["ok"] is True


def test_request_may_come_in_parts(connect: Connect, requests: list[dict[str, Any]]) -> None:
    connection = connect()
    for byte in b'{"command": "note"}\n':
        connection.sendall(bytes([byte]))
    assert _answer(connection)["ok"] is True


def test_line_without_end_is_cut_off(connect: Connect) -> None:
    connection = connect()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        connection.sendall(b"x" * 100_000_000)


def test_many_speak_at_a_time(connect: Connect, requests: list[dict[str, Any]]) -> None:
    connections = [connect() for _ in range(10)]
    for connection in connections:
        connection.sendall(b'{"command": "note"}\n')
    assert all(_answer(connection)["ok"] for connection in connections)
    assert len(requests) == 10


def test_other_side_may_leave_at_any_time(connect: Connect) -> None:
    connect().close()
    leaving = connect()
    leaving.sendall(b'{"command": "note"}\n')
    leaving.close()
    staying = connect()
    staying.sendall(b'{"command": "note"}\n')
    assert _answer(staying)["ok"] is True


def test_path_is_gone_when_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ControlSocket(Loop(), "control.sock", {}).close()
    assert not Path("control.sock").exists()
