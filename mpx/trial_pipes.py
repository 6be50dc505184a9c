"""A trial's ends of its pipes: how its messages are written, its answers read, and managers outlived.

The pipes have names, so they outlast a manager. While none is there, reading finds end-of-file and
writing, which the keeper keeps open, finds room until the pipe is full. Either way the trial waits for
another manager, whose welcome tells what to write again; end-of-file itself only starts the clock, for
one that is followed quickly by another manager is never seen.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time
from typing import Any

from mpx.errors import ProtocolError
from mpx.protocol import TrialConnection

DEFAULT_ORPHAN_TIMEOUT = 3600.0  # seconds
# Between two looks for another manager, in seconds. A phase never comes here.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
# A read that takes longer has waited for a manager, who was there.
_WAITED = 0.02


class TrialPipes:
    """The pipes of one trial, its lock, and what moves through them.

    Args:
        directory: the trial's.
        connection: makes the messages that are written, and takes in what is read.
        orphan_timeout: seconds to wait for another manager when the trial's own is gone.

    Attributes:
        has_given_up: that was in vain; from then on nothing is waited for.
    """

    def __init__(self, directory: str, connection: TrialConnection, orphan_timeout: float) -> None:
        self._directory = directory
        self._connection = connection
        self._orphan_timeout = orphan_timeout
        self._reader = self._writer = -1
        self.has_given_up = False

    def try_lock(self) -> int:
        """Return an fd that holds the trial's lock while it is open; -1 if another process does."""
        path = os.path.join(self._directory, "owner")
        lock = _move_high(self._open(path, os.O_RDWR | os.O_CREAT))
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(lock)
            return -1
        return lock

    def step_aside(self) -> None:
        """Take the pipes away from fds 0 and 1, where they are there."""
        self._reader = self._take(0, "stdin", os.O_RDONLY, os.devnull)
        # To write, the pipe is opened anew: an open file of our own can be set not to block.
        writer = self._take(1, "stdout", os.O_WRONLY, "trial.log")
        if writer >= 0:
            os.close(writer)

    def _take(self, fd: int, name: str, flags: int, instead: str) -> int:
        """Move the pipe `name` from `fd` to a private fd, and point `fd` at `instead`.

        Returns:
            The private fd; -1 if `fd` is not that pipe.
        """
        if not _is_same_file(fd, os.path.join(self._directory, name)):
            return -1
        path = os.path.join(self._directory, instead)  # /dev/null stays itself
        replacement = self._open(path, flags | os.O_APPEND | os.O_CREAT)
        private = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
        os.dup2(replacement, fd)
        os.close(replacement)
        return private

    def open(self) -> None:
        """Open what `step_aside` did not find."""
        if self._reader < 0:
            self._reader = self._open_pipe("stdin", os.O_RDONLY)
        os.set_blocking(self._reader, True)  # another process on the same pipe may have changed it
        if self._writer < 0:
            self._writer = self._open_pipe("stdout", os.O_WRONLY)

    def _open_pipe(self, name: str, flags: int) -> int:
        path = os.path.join(self._directory, name)
        return _move_high(self._open(path, flags | os.O_NONBLOCK))

    def _open(self, path: str, flags: int) -> int:
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            raise ProtocolError(
                f"the trial's own files cannot be opened: {error}. Has the trial ended? To run"
                " without a manager, unset MPX_TRIAL_DIR"
            ) from None

    def wait(self, *kinds: str) -> dict[str, Any]:
        """Write what waits, and read until a message of one of these kinds answers the last one.

        Raises:
            ProtocolError: the answer is an error, or no manager came.
        """
        connection = self._connection
        while True:
            self.flush()
            data = os.read(self._reader, 65536) or self._await_manager()
            for message in connection.receive(data):
                if message["type"] == "error":
                    raise ProtocolError(message["message"])
                if message["type"] in kinds and message["seq"] == connection.seq:
                    return message

    def flush(self) -> None:
        """Write the messages that wait for it; one that is cut short by Ctrl-C is written again.

        Raises:
            ProtocolError: the pipe is full, and no manager came.
        """
        to_write = self._connection.to_write
        try:
            while to_write:
                for data in to_write[0][1]:  # none over PIPE_BUF: all of it is written, or nothing
                    try:
                        os.write(self._writer, data)
                    except BlockingIOError:
                        self._write_when_read(data)
                to_write.popleft()
        except BrokenPipeError:  # the keeper, who kept the pipe open, is gone
            self._give_up("the trial's pipe is closed")

    def _write_when_read(self, data: bytes) -> None:
        while True:
            self._wait_for_room()
            try:
                os.write(self._writer, data)
                return
            except BlockingIOError:  # another writer was quicker
                pass

    def _await_manager(self) -> bytes:
        """The manager is gone: return the first words of another one."""
        self._connection.forget_rest()
        self._log_orphaned()
        pause, since = _FIRST_PAUSE, time.monotonic()
        while time.monotonic() - since < self._orphan_timeout:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            looked = time.monotonic()
            data = os.read(self._reader, 65536)
            if data:
                return data
            if time.monotonic() - looked > _WAITED:
                since = time.monotonic()  # one was there, and died before it spoke
        return self._give_up("the manager is gone")

    def _wait_for_room(self) -> None:
        """Wait until the pipe to the manager takes more."""
        room, manager = select.poll(), select.poll()
        room.register(self._writer, select.POLLOUT)
        manager.register(self._reader, 0)  # POLLHUP, which needs no asking: nobody writes to it
        since: float | None = None
        while not room.poll(_LONGEST_PAUSE * 1000):
            if not manager.poll(0):
                since = None
            elif since is None:
                self._log_orphaned()
                since = time.monotonic()
            elif time.monotonic() - since > self._orphan_timeout:
                self._give_up("the manager is gone")

    def _log_orphaned(self) -> None:
        log(
            f"the manager is gone; waiting up to {self._orphan_timeout:g} s for another one"
            f" ({_resume()})"
        )

    def _give_up(self, why: str) -> bytes:
        """Leave what is not on record where `mpx resume` looks for it.

        Raises:
            ProtocolError: always.
        """
        self.has_given_up, self._orphan_timeout = True, 0.0
        path = os.path.join(self._directory, f"unsent.{self._connection.session}")
        draft = os.path.join(self._directory, "unsent.draft")
        left = ""
        try:
            with open(draft, "wb") as file:
                file.write(self._connection.unsettled())
            os.replace(draft, path)
        except OSError as error:
            left = f" (what it has not recorded could not be kept: {error})"
        raise ProtocolError(f"{why}{left}; `{_resume()}` goes on with the experiment")


def log(text: str) -> None:
    """Say something to the user, in the trial's log."""
    print(f"mpx: {text}", file=sys.stderr, flush=True)


def _resume() -> str:
    return f"mpx resume {os.environ.get('MPX_EXPERIMENT_ID', 'ID')}"


def _is_same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:  # a closed fd
        return False


def _move_high(fd: int) -> int:
    """Keep clear of the fds that shells and launchers number themselves."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return high
