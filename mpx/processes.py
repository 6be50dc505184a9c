"""Processes by identity, not by number: who lives, and what a trial or an experiment left behind.

A pid is used again after its process ends, so a process is named by its pid and a start time that no
change of the clock moves: ticks since boot with the boot's id on Linux, psutil's creation time elsewhere.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psutil

_PROC = Path("/proc")
# Split here so that tests can force the way that needs no /proc.
_HAS_PROC = sys.platform.startswith("linux")
# In /proc/PID/stat, counted behind the command.
_STATE, _FLAGS, _START = 0, 6, 19
_KERNEL_THREAD = 0x00200000
# A process that is just executing a program has no environment for a moment: look again, in seconds.
_LOOKS_AGAIN = (0.0002, 0.0004, 0.0008, 0.0016, 0.0032)


def start_of(pid: int) -> str | None:
    """Return what tells this process from any other with the same pid; None if it is gone or a zombie."""
    return _start_by_proc(pid) if _HAS_PROC else _start_by_psutil(pid)


def is_alive(pid: int, start: str | None) -> bool:
    """Say whether the process that `start_of` described lives."""
    return start is not None and start_of(pid) == start


def find_by_environment(name: str, value: str) -> list[int]:
    """Return the pids of all living processes that were started with `name=value` in their environment.

    It finds what left its process group or called `setsid`. Processes of other users are not seen.
    """
    find = _find_by_proc if _HAS_PROC else _find_by_psutil
    return [pid for pid in find(name, value) if pid != os.getpid()]


def descendants(pids: Iterable[int]) -> dict[int, str]:
    """Return the living descendants of processes, each with what `start_of` says of it."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter(["ppid"]):  # once for all: there may be hundreds
        children[process.info["ppid"]].append(process.pid)
    found: dict[int, str] = {}
    parents = [*pids]
    while parents:
        for pid in children[parents.pop()]:
            start = start_of(pid)
            if start is not None and pid not in found:
                found[pid] = start
                parents.append(pid)
    return found


def group_members(group: int) -> list[int]:
    """Return the pids of all living processes of a process group."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        return []
    return [pid for pid in psutil.pids() if group_of(pid) == group and start_of(pid)]


def group_of(pid: int) -> int | None:
    """Return the process group of a process; None if it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def command_line(pid: int) -> list[str]:
    """Return the arguments that a process was executed with; none if it is gone."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal all processes of a group at once; one that is gone already is no error."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes; one that is gone already is no error."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def kill_all(name: str, value: str, patience: float = 10.0) -> list[int]:
    """SIGKILL every process with `name=value` in its environment, those born meanwhile too.

    Args:
        name: environment variable.
        value: its value.
        patience: seconds to wait for the kernel to end them.

    Returns:
        The pids of those that outlived it.
    """
    deadline = time.monotonic() + patience
    looks_in_vain = 0
    while looks_in_vain < 2:  # one look may miss a process that is just executing a program
        found = find_by_environment(name, value)
        looks_in_vain = 0 if found else looks_in_vain + 1
        if found and time.monotonic() > deadline:
            return found
        send_signal(found, signal.SIGKILL)
        time.sleep(0.01)
    return []


def _start_by_proc(pid: int) -> str | None:
    fields = _stat(pid)
    return f"{_boot_id()}:{fields[_START].decode()}" if fields else None


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat behind the command; None if it is gone or a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command in parentheses may hold anything; the fields after it are plain.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[_STATE] in (b"Z", b"X") else fields


@functools.cache
def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _start_by_psutil(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _find_by_proc(name: str, value: str) -> list[int]:
    wanted = f"\0{name}={value}\0".encode()
    entries = os.listdir(_PROC)  # noqa: PTH208 (a hundred Paths would be the dearest part)
    found, bare = _look_for(wanted, [int(entry) for entry in entries if entry.isdigit()])
    for pause in _LOOKS_AGAIN:
        bare = [pid for pid in bare if _is_program(pid)]
        if not bare:
            break
        time.sleep(pause)
        more, bare = _look_for(wanted, bare)
        found += more
    return found


def _is_program(pid: int) -> bool:
    """Say whether this lives and is no thread of the kernel."""
    fields = _stat(pid)
    return fields is not None and not int(fields[_FLAGS]) & _KERNEL_THREAD


def _look_for(wanted: bytes, pids: list[int]) -> tuple[list[int], list[int]]:
    """Return who has this in the environment, and who has no environment."""
    found, bare = [], []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
        except OSError:  # gone, or another user's
            continue
        if not environment:
            bare.append(pid)
        elif wanted in b"\0" + environment and start_of(pid):
            found.append(pid)
    return found, bare


def _find_by_psutil(name: str, value: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
