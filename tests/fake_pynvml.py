"""A stand-in for `pynvml`, whose GPUs are what a JSON file says: put on PYTHONPATH under that name.

The file, named by FAKE_GPUS, holds a list with one list of `[pid, bytes]` for each GPU, an `{"error":
"what NVML says"}` in place of a GPU that is lost, or of the whole list where there is no driver.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace


class NVMLError(Exception):
    pass


_KINDS = {
    f"NVMLError_{kind}": type(kind, (NVMLError,), {})
    for kind in ("NotSupported", "NoPermission", "FunctionNotFound")
}
globals().update(_KINDS)
_begun = False


def _gpus():
    return json.loads(Path(os.environ["FAKE_GPUS"]).read_text())


def _raise_if_bad(found):
    if isinstance(found, dict):
        raise _KINDS.get(found["error"], NVMLError)(found["error"])
    return found


def nvmlInit():
    global _begun
    _raise_if_bad(_gpus())
    _begun = True


def nvmlDeviceGetCount():
    global _begun
    assert _begun
    found = _gpus()
    _begun = isinstance(found, list)
    return len(_raise_if_bad(found))


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetUUID(handle):
    return f"GPU-{handle}{handle}".encode()


def nvmlDeviceGetComputeRunningProcesses(handle):
    return [
        SimpleNamespace(pid=pid, usedGpuMemory=memory)
        for pid, memory in _raise_if_bad(_gpus()[handle])
    ]


def nvmlDeviceGetComputeRunningProcesses_v2(handle):
    return [SimpleNamespace(pid=2, usedGpuMemory=None)]
