"""Looking at the GPUs of this machine, by NVML: the library that `nvidia-smi` asks, too.

Only processes that compute count. A desktop, which draws, does not keep trials from its GPU.

A GPU that is cut into MIG instances counts as one, and CUDA gives a trial its first instance.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from mpx.gpus import GPUS_MARK, Gpu, GpuError, Look, Occupant, visible_indices
from mpx.records import EXPERIMENT_MARK, TRIAL_MARK

_PROC = Path("/proc")
_MARK = f"{GPUS_MARK}=".encode()
# Seconds for which another manager may keep this one from looking, and between two tries.
_PATIENCE, _PAUSE = 10.0, 0.01


class Nvml:
    """The GPUs of this machine.

    Args:
        visible: the user's CUDA_VISIBLE_DEVICES; None if it is not set.
    """

    def __init__(self, visible: str | None) -> None:
        self._visible = visible
        self._trial_id = os.environ.get(TRIAL_MARK)  # the manager may itself run in a trial
        self._has_begun = False
        self._missing: ImportError | None = None
        self._library: Any = None
        try:
            self._library = importlib.import_module("pynvml")
        except ImportError as error:
            self._missing = error

    def look(self) -> tuple[Gpu, ...]:
        """Return all GPUs, and who has them. It takes milliseconds, and seconds the first time.

        Raises:
            GpuError: the package or the driver is missing or does not work.
        """
        if self._library is None:
            raise GpuError(
                f"the package nvidia-ml-py, which looks at GPUs, cannot be imported ({self._missing}):"
                f" `{sys.executable} -m pip install nvidia-ml-py` installs it. Where there is no GPU,"
                " remove trial.gpuNum"
            ) from self._missing
        try:
            return self._look()
        except self._library.NVMLError as error:
            self._has_begun = False  # the driver may be there the next time
            raise GpuError(
                f"the GPUs cannot be looked at (NVML: {error}): does `nvidia-smi` work here? Where there"
                " is no GPU, or no NVIDIA driver, remove trial.gpuNum"
            ) from error

    def _look(self) -> tuple[Gpu, ...]:
        library = self._library
        if not self._has_begun:
            library.nvmlInit()
            self._has_begun = True
        claims = _claims(self._trial_id)
        gpus = [
            self._gpu(index, claims.get(index, [])) for index in range(library.nvmlDeviceGetCount())
        ]
        visible = visible_indices(self._visible, {gpu.index: gpu.uuid for gpu in gpus})
        return tuple(
            gpu if gpu.index in visible else Gpu(gpu.index, uuid=gpu.uuid, is_hidden=True)
            for gpu in gpus
        )

    def _gpu(self, index: int, claims: list[Occupant]) -> Gpu:
        """Return one GPU; that it is lost is no reason not to use the others."""
        try:
            handle = self._library.nvmlDeviceGetHandleByIndex(index)
            uuid = self._library.nvmlDeviceGetUUID(handle)
            uuid = uuid.decode() if isinstance(uuid, bytes) else uuid  # older releases
            computing = self._computing(handle)
        except self._library.NVMLError as error:
            return Gpu(index, trouble=f"it cannot be looked at (NVML: {error})")
        pids = {occupant.pid for occupant in computing}
        unseen = [occupant for occupant in claims if occupant.pid not in pids]
        return Gpu(index, (*computing, *unseen), uuid)

    def _computing(self, handle: Any) -> list[Occupant]:
        library = self._library
        try:
            processes = self._processes(handle)
        except (library.NVMLError_NotSupported, library.NVMLError_NoPermission):
            return []  # some GPUs tell nobody, some (with MIG) the administrator alone
        occupants = [_occupant(process.pid, process.usedGpuMemory) for process in processes]
        return [occupant for occupant in occupants if not self._is_own(occupant)]

    def _processes(self, handle: Any) -> list[Any]:
        library = self._library
        try:
            found: list[Any] = library.nvmlDeviceGetComputeRunningProcesses(handle)
        except library.NVMLError_FunctionNotFound:  # a driver before 510
            found = library.nvmlDeviceGetComputeRunningProcesses_v2(handle)
        return found

    def _is_own(self, occupant: Occupant) -> bool:
        """Say whether it is the manager, with its tuner, or the trial that this manager runs in."""
        if occupant.group is not None and occupant.group == os.getpgrp():
            return True
        return occupant.trial_id is not None and occupant.trial_id == self._trial_id


class NvmlDevices:
    """Looks at the GPUs on a thread of its own, for it may take long. See `gpus.Devices`.

    Args:
        nvml: what to look by.
        call_on_loop: calls back on the loop.
        lock: a file that all managers of the user on this machine lock while they look.
    """

    def __init__(
        self, nvml: Nvml, call_on_loop: Callable[[Callable[[], None]], None], lock: Path
    ) -> None:
        self._nvml = nvml
        self._call_on_loop = call_on_loop
        self._lock_fd = _open_lock(lock)

    def look(self, then: Callable[[Look], None]) -> None:
        threading.Thread(target=self._look, args=(then,), name="gpus", daemon=True).start()

    def release(self) -> None:
        if self._lock_fd >= 0:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN)

    def _look(self, then: Callable[[Look], None]) -> None:
        found: Look
        self._lock()
        try:
            found = self._nvml.look()
        except GpuError as error:
            found = error
        except Exception as error:  # noqa: BLE001 (whatever NVML does, a trial waits for an answer)
            found = GpuError(f"looking at the GPUs failed: {type(error).__name__}: {error}")
        self._call_on_loop(lambda: then(found))

    def _lock(self) -> None:
        """Wait until no other manager is giving GPUs away, but not for one that cannot go on."""
        deadline = time.monotonic() + _PATIENCE
        while self._lock_fd >= 0 and time.monotonic() < deadline:
            try:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except (BlockingIOError, PermissionError):
                time.sleep(_PAUSE)
            except OSError:  # no locks on that file system
                return


def _open_lock(path: Path) -> int:
    """Return a descriptor to lock; -1 where there can be none, and then two may take one GPU."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return -1


def _occupant(pid: int, memory: int | None) -> Occupant:
    try:
        process = psutil.Process(pid)
        name = process.name()
    except psutil.Error:
        return Occupant(pid, memory=memory)
    marks = _environment(pid)
    return Occupant(
        pid,
        name,
        _user(process),
        memory,
        marks.get(TRIAL_MARK),
        marks.get(EXPERIMENT_MARK),
        _group(pid),
    )


def _claims(own_trial: str | None) -> dict[int, list[Occupant]]:
    """Return who was given each GPU: the trials of all the user's experiments that live."""
    claims: defaultdict[int, dict[str, Occupant]] = defaultdict(dict)
    for pid in _marked():
        marks = _environment(pid)
        trial_id, given = marks.get(TRIAL_MARK), marks.get(GPUS_MARK)
        if trial_id is None or not given or trial_id == own_trial:
            continue
        occupant = Occupant(pid, "", trial_id=trial_id, experiment_id=marks.get(EXPERIMENT_MARK))
        for index in filter(str.isdigit, given.split(",")):
            claims[int(index)].setdefault(trial_id, occupant)
    return {index: [*by_trial.values()] for index, by_trial in claims.items()}


def _marked() -> Iterator[int]:
    """Yield the processes that were given GPUs. NVML is for Linux alone, so there is a /proc."""
    for entry in os.listdir(_PROC):  # noqa: PTH208 (names are enough)
        try:
            if entry.isdigit() and _MARK in _PROC.joinpath(entry, "environ").read_bytes():
                yield int(entry)
        except OSError:  # it is gone, or another user's
            continue


def _environment(pid: int) -> dict[str, str]:
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):  # it is gone, or another user's
        return {}


def _user(process: psutil.Process) -> str | None:
    try:
        return process.username()
    except (psutil.Error, KeyError):
        return None


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None
