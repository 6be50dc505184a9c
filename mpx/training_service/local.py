"""Trials as processes of this machine.

A trial's stdin and stdout are named pipes in its directory, so that a new manager can take up the other
ends. Its stderr is its log. The keeper (`keeper.sh`) leads its process group and session.

Opening the pipes in the order of `_open_pipes` can neither block nor fail: each end that would wait for
its counterpart finds it there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from mpx.kept import directory_of, drop, is_copy
from mpx.loop import Loop, Timer
from mpx.processes import (
    command_line,
    descendants,
    find_by_environment,
    group_members,
    group_of,
    is_alive,
    send_signal,
    signal_group,
    start_of,
)
from mpx.records import TRIAL_MARK, ExitStatus, TrialPaths, TrialSpec
from mpx.training_service.base import Identity, Listener
from mpx.training_service.remover import Remover

_KEEPER = str(Path(__file__).with_name("keeper.sh"))
_READ_SIZE = 65536
_DRAIN_READS = 16  # a megabyte, which is as much as a pipe can be made to hold
# How often the end of what was signalled is looked for, in seconds: soon, then ever less often.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.2
# After SIGKILL only the kernel can keep a process, waiting for a device.
_KILL_PATIENCE = 5.0
# Seconds that the end of the manager waits for the removal of checkpoints.
_REMOVAL_PATIENCE = 10.0
_PRIVATE = 0o600

# A child that the tuner's thread forks while a trial is started would hold pipes that are not known
# yet, and `Popen` would wait until it closes one of them.
_no_fork = threading.Lock()
os.register_at_fork(
    before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release
)


class LocalService:
    """Runs trials on this machine. See `base` for the contract.

    Args:
        loop: the manager's.
        trial_paths: gives the paths of a trial's files by its id.
    """

    def __init__(self, loop: Loop, trial_paths: Callable[[str], TrialPaths]) -> None:
        self._loop = loop
        self._trial_paths = trial_paths
        self._trials: dict[str, _LocalTrial] = {}
        self._held: dict[str, int] = {}  # of trials that are found and not adopted: their stdin
        self._remover = Remover(drop)
        self.listener: Listener | None = None

    def start(self, spec: TrialSpec) -> Identity:
        assert self.listener is not None
        trial = _LocalTrial(self._loop, self.listener, spec, self._trial_paths(spec.trial_id))
        self._trials[spec.trial_id] = trial
        trial.on_gone = self._forget
        try:
            with _no_fork:
                return trial.start()
        except OSError:
            self._forget(spec.trial_id)
            trial.close()
            raise

    def find(self, trial_id: str, identity: Identity | None) -> Identity | None:
        paths = self._trial_paths(trial_id)
        if identity is None:
            identity = _find_keeper(trial_id, paths)
        if identity is None or not is_alive(identity.pid, identity.start):
            return None
        # Its end of file, and with it its wait for another manager, is over.
        with _no_fork:
            self._held[trial_id] = _open_if_there(paths.stdin, os.O_WRONLY)
        return identity

    def adopt(self, spec: TrialSpec, identity: Identity | None, session: str | None) -> None:
        assert self.listener is not None
        trial = _LocalTrial(self._loop, self.listener, spec, self._trial_paths(spec.trial_id))
        self._trials[spec.trial_id] = trial
        trial.on_gone = self._forget
        with _no_fork:
            trial.adopt(identity, self._held.pop(spec.trial_id, -1))
        if session is not None and session.isalnum():  # as the SDK's are, and no path
            trial.deliver(session)

    def send(self, trial_id: str, data: bytes) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            trial.send(data)

    def log(self, trial_id: str, data: bytes) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            trial.log(data)

    def owns_checkpoint(self, trial_id: str, path: str) -> bool:
        return is_copy(path, str(self._trial_paths(trial_id).root))

    def remove_checkpoint(self, trial_id: str, path: str) -> None:
        if self.owns_checkpoint(trial_id, path):
            self._remover.put(path)

    def keep_checkpoints(self, trial_id: str, paths: Collection[str]) -> None:
        copies = directory_of(str(self._trial_paths(trial_id).root))
        try:
            found = [str(copy) for copy in copies.iterdir()]
        except OSError:  # it has saved nothing
            return
        for path in found:
            if path not in paths:
                self._remover.put(path)

    def finish_removals(self) -> None:
        """Wait, not too long, until all is removed that was to be."""
        self._remover.finish(_REMOVAL_PATIENCE)

    def end(self, trial_id: str) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            trial.end()

    def kill(self, trial_id: str) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            trial.kill()

    def close_in_child(self) -> None:
        """Close the trials' pipes in a process that the tuner forked."""
        for trial in self._trials.values():
            trial.close_fds()
        for fd in self._held.values():
            if fd >= 0:
                os.close(fd)

    def _forget(self, trial_id: str) -> None:
        del self._trials[trial_id]


class _LocalTrial:
    """One trial: its process, the manager's ends of its pipes, and its end."""

    def __init__(
        self,
        loop: Loop,
        listener: Listener,
        spec: TrialSpec,
        paths: TrialPaths,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._spec = spec
        self._paths = paths
        self._stdin = self._stdout = self._log = -1
        self._unsent = bytearray()
        self._pid = -1  # the keeper's, which is its group's and session's
        self._watch: _ExitWatch | None = None
        self._keeper_has_ended = False
        self._exit_code: int | None = None
        self._group_is_gone = False
        self._is_terminated = False
        self._kill_at: float | None = None
        self._killed_at: float | None = None
        self._look_after = _FIRST_LOOK
        self._descendants: dict[int, str] = {}  # pid → start, as they were when first signalled
        self._look: Timer | None = None
        self.on_gone: Callable[[str], None] = lambda trial_id: None

    def start(self) -> Identity:
        self._paths.output.mkdir(parents=True)
        self._open_log()
        child_stdin, child_stdout = self._open_pipes()
        try:
            process = subprocess.Popen(
                ["/bin/sh", _KEEPER, self._spec.command, str(self._paths.root)],
                stdin=child_stdin,
                stdout=child_stdout,
                stderr=self._log,
                cwd=self._spec.code_dir,
                env=self._spec.environment,
                start_new_session=True,
            )
        finally:
            os.close(child_stdin)
            os.close(child_stdout)
        self._pid = process.pid
        self._loop.add_reader(self._stdout, self._on_readable)
        self._watch = _ExitWatch(self._loop, process.pid, process.wait, self._on_keeper_exit)
        return Identity(process.pid, start_of(process.pid))

    def adopt(self, identity: Identity | None, stdin: int) -> None:
        """Take over what an earlier manager started; `stdin` is the manager's end of it, if open."""
        self._paths.root.mkdir(parents=True, exist_ok=True)
        self._open_log()
        self._stdin = stdin
        self._stdout = _open_if_there(self._paths.stdout, os.O_RDONLY)
        if identity is None:
            self._group_is_gone = True  # its number may be another's by now
            self._keeper_has_ended, self._exit_code = True, self._recorded_exit()
            self._look = self._loop.call_later(0, self._pursue)
            return
        self._pid = identity.pid
        if self._stdout >= 0:
            self._loop.add_reader(self._stdout, self._on_readable)
        self._watch = _ExitWatch(
            self._loop, identity.pid, self._recorded_exit, self._on_keeper_exit, identity.start
        )

    def deliver(self, session: str) -> None:
        """Pass on what a process that spoke in this session told no manager."""
        try:
            unsent = self._paths.unsent(session).read_bytes()
        except OSError:
            return
        self._listener.on_output(self._spec.trial_id, unsent)

    def _recorded_exit(self) -> int | None:
        """Return the exit status that the keeper of somebody else wrote down; None if it did not."""
        try:
            return int(self._paths.exit_status.read_text())
        except (OSError, ValueError):
            return None

    def _open_log(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._log = os.open(self._paths.log, flags, _PRIVATE)

    def _open_pipes(self) -> tuple[int, int]:
        stdin, stdout = self._paths.stdin, self._paths.stdout
        os.mkfifo(stdin, _PRIVATE)
        os.mkfifo(stdout, _PRIVATE)
        child_stdin = os.open(stdin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stdin = os.open(stdin, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stdout = os.open(stdout, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        child_stdout = os.open(stdout, os.O_WRONLY | os.O_CLOEXEC)
        os.set_blocking(child_stdin, True)
        return child_stdin, child_stdout

    def _on_readable(self) -> None:
        try:
            data = os.read(self._stdout, _READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self._listener.on_output(self._spec.trial_id, data)
        else:
            self._loop.remove_reader(self._stdout)

    def send(self, data: bytes) -> None:
        if self._stdin < 0:  # it was ending when it was found
            return
        if not self._unsent:
            try:
                written = os.write(self._stdin, data)
            except BlockingIOError:
                written = 0
            except BrokenPipeError:  # the trial is ending; its exit tells the rest
                return
            if written == len(data):
                return
            data = data[written:]
            self._loop.add_writer(self._stdin, self._on_writable)
        self._unsent += data

    def _on_writable(self) -> None:
        try:
            written = os.write(self._stdin, self._unsent[:_READ_SIZE])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._unsent)
        del self._unsent[:written]
        if not self._unsent:
            self._loop.remove_writer(self._stdin)

    def log(self, data: bytes) -> None:
        try:
            os.write(self._log, data)
        except OSError:
            pass  # a full disk may cost text, not the trial

    def end(self) -> None:
        if self._kill_at is None:
            self._kill_at = self._loop.time() + self._spec.grace_period
            self._pursue()

    def kill(self) -> None:
        self._kill_at = self._loop.time()
        self._pursue()

    def _on_keeper_exit(self, code: int | None) -> None:
        self._keeper_has_ended = True
        self._exit_code = None if code is None else ExitStatus.code_of(code)
        self._pursue()

    def _drain(self) -> None:
        """Read what the trial wrote last, and not what one that cannot be ended may go on writing."""
        if self._stdout < 0:
            return
        self._loop.remove_reader(self._stdout)
        for _ in range(_DRAIN_READS):
            try:
                data = os.read(self._stdout, _READ_SIZE)
            except BlockingIOError:
                return
            if not data:
                return
            self._listener.on_output(self._spec.trial_id, data)

    def _pursue(self) -> None:
        """See whether all is gone; if not, do what it is time for, and look again."""
        members = self._members()
        now = self._loop.time()
        if self._keeper_has_ended and not members:
            self._gone(ExitStatus(self._exit_code))
        elif self._killed_at is not None and now > self._killed_at + _KILL_PATIENCE:
            self._gone(ExitStatus(self._exit_code, tuple(members)))
        else:
            self._press(members, now)
            self._look_again()

    def _press(self, members: list[int], now: float) -> None:
        """Terminate once; kill when the grace period is over."""
        if self._kill_at is None:  # the command has ended and left processes behind
            self._kill_at = now + self._spec.grace_period
        if now >= self._kill_at:
            self._killed_at = self._killed_at or now
            self._signal(signal.SIGKILL)
        elif not self._is_terminated and self._has_begun(members):
            self._is_terminated = True
            self._signal(signal.SIGTERM)

    def _has_begun(self, members: list[int]) -> bool:
        """Say whether the keeper has begun the command; before, it would swallow what is for that."""
        if self._keeper_has_ended:
            return True
        keeper = command_line(self._pid)
        return any(command_line(pid) not in (keeper, []) for pid in members if pid != self._pid)

    def _look_again(self) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look = self._loop.call_later(self._look_after, self._pursue)
        self._look_after = min(2 * self._look_after, _LAST_LOOK)

    def _members(self) -> list[int]:
        """Return the processes of the trial that still live."""
        found = set(self._marked())
        if not self._group_is_gone:
            group = group_members(self._pid)
            # When its leader is reaped and none is left, another group may be given its number.
            self._group_is_gone = self._keeper_has_ended and not group
            found.update(group)
        return sorted(found)

    def _marked(self) -> list[int]:
        """Return those that carry the trial's id, and descendants that have cast it off."""
        found = set(find_by_environment(TRIAL_MARK, self._spec.trial_id))
        found.update(pid for pid, start in self._descendants.items() if is_alive(pid, start))
        return sorted(found)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group, at one moment so that none of it is born meanwhile, then who left it."""
        # Now, for the death of its parent hides whose child a process was.
        self._descendants.update(descendants([self._pid, *self._members()]))
        group = self._pid
        if not self._group_is_gone:
            signal_group(group, number)
        strays = [pid for pid in self._marked() if group_of(pid) != group]
        send_signal(strays, number)
        # A stopped process acts on no other signal.
        if not self._group_is_gone:
            signal_group(group, signal.SIGCONT)
        send_signal(strays, signal.SIGCONT)

    def _gone(self, status: ExitStatus) -> None:
        self._kill_at = self._loop.time()  # `end` has nothing to do any more
        self._drain()
        self._listener.on_exit(self._spec.trial_id, status)
        self.close()
        self.on_gone(self._spec.trial_id)

    def close(self) -> None:
        """Close the manager's ends, and remove what only a living trial has."""
        if self._look is not None:
            self._look.cancel()
        if self._watch is not None:
            self._watch.abandon()
        for fd in (self._stdin, self._stdout):
            if fd >= 0:
                self._loop.remove_reader(fd)
                self._loop.remove_writer(fd)
        self.close_fds()
        for leftover in (self._paths.stdin, self._paths.stdout, self._paths.root / "owner"):
            leftover.unlink(missing_ok=True)

    def close_fds(self) -> None:
        """Close the manager's ends, and leave the loop alone: in a fork it is the parent's too."""
        for fd in (self._stdin, self._stdout, self._log):
            if fd >= 0:
                os.close(fd)
        self._stdin = self._stdout = self._log = -1


class _ExitWatch:
    """Tells the loop when a process has ended.

    By a pidfd where there is one. Else a child is waited for by a thread, and another's child is looked
    at again and again: nothing in POSIX tells of that.

    Args:
        loop: the manager's.
        pid: the process.
        exit_code: returns how it ended; of a child, once it has.
        on_exit: called with that.
        start: what `start_of` said of somebody else's child; None for a child.
    """

    def __init__(
        self,
        loop: Loop,
        pid: int,
        exit_code: Callable[[], int | None],
        on_exit: Callable[[int | None], None],
        start: str | None = None,
    ) -> None:
        self._loop = loop
        self._pid = pid
        self._exit_code = exit_code
        self._on_exit = on_exit
        self._start = start
        self._fd = _open_pidfd(pid)
        if start is not None and (self._fd < 0 or not is_alive(pid, start)):
            self._look()  # now, for the number may have become another's before the pidfd was opened
        elif self._fd >= 0:
            loop.add_reader(self._fd, self._ended)
        else:
            threading.Thread(target=self._wait, name="exit watch", daemon=True).start()

    def _look(self) -> None:
        if is_alive(self._pid, self._start):
            self._loop.call_later(_LAST_LOOK, self._look)
        else:
            self._loop.call_later(0, self._ended)

    def _wait(self) -> None:
        self._exit_code()
        self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._on_exit(self._exit_code())

    def abandon(self) -> None:
        """Tell nobody; a child that ends after all is still reaped."""
        self._on_exit = lambda code: None


def _find_keeper(trial_id: str, paths: TrialPaths) -> Identity | None:
    """Return the keeper of a trial whose start was not recorded, if there is one."""
    for pid in find_by_environment(TRIAL_MARK, trial_id):
        if command_line(pid)[1:2] == [_KEEPER] and command_line(pid)[-1:] == [str(paths.root)]:
            return Identity(pid, start_of(pid))
    return None


def _open_if_there(path: Path, flags: int) -> int:
    """Open a pipe without waiting; -1 if it is gone, or nobody has the other end of one to write to."""
    try:
        return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


def _open_pidfd(pid: int) -> int:
    """Return a descriptor that is readable when the process has ended; -1 where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or a kernel or sandbox without it
        return -1
