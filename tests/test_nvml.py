"""Looking at GPUs, with a library in place of NVIDIA's."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mpx.gpus import Gpu, GpuError, Occupant
from mpx.nvml import Nvml, NvmlDevices
from tests import fake_pynvml

GIB = 2**30


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Say what the GPUs are."""
    state = tmp_path / "gpus.json"
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml)
    monkeypatch.setattr(fake_pynvml, "_begun", False)
    monkeypatch.setenv("FAKE_GPUS", str(state))
    monkeypatch.delenv("MPX_TRIAL_ID", raising=False)

    def are(*found: Any, error: str | None = None) -> None:
        state.write_text(json.dumps(list(found) if error is None else {"error": error}))

    return are


@pytest.fixture
def sleeper() -> Iterator[Callable[..., int]]:
    """Start a process that does nothing, with these variables; return its pid."""
    started: list[subprocess.Popen[bytes]] = []

    def start(own_group: bool = True, **variables: str) -> int:
        environment = {**os.environ, **variables}
        started.append(
            subprocess.Popen(["sleep", "600"], env=environment, start_new_session=own_group)
        )
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_who_computes_is_named(gpus, sleeper):
    stranger = sleeper()
    trial = sleeper(MPX_TRIAL_ID="Trial123", MPX_EXPERIMENT_ID="Exp12345")
    unseen = 2**22 + 1  # above the highest pid
    gpus([], [[stranger, 3 * GIB], [trial, None], [unseen, GIB]])
    free, busy = Nvml(None).look()
    assert free == Gpu(0, (), "GPU-00")
    first, second, third = busy.occupants
    assert (first.pid, first.name, first.memory, first.group) == (
        stranger,
        "sleep",
        3 * GIB,
        stranger,
    )
    assert first.user
    assert (second.trial_id, second.experiment_id) == ("Trial123", "Exp12345")
    assert third == Occupant(unseen, memory=GIB)


def test_the_manager_and_the_trial_it_runs_in_take_nothing(gpus, sleeper, monkeypatch):
    monkeypatch.setenv("MPX_TRIAL_ID", "Outer123")
    own = sleeper(own_group=False, MPX_TRIAL_ID="")
    around = sleeper(MPX_GPUS="0")
    gpus([[os.getpid(), GIB], [own, GIB], [around, GIB]])
    assert Nvml(None).look() == (Gpu(0, (), "GPU-00"),)


def test_what_a_trial_was_given_is_taken_before_it_computes(gpus, sleeper):
    marks = {"MPX_TRIAL_ID": "Trial123", "MPX_EXPERIMENT_ID": "Exp12345", "MPX_GPUS": "1,2,x"}
    first, second = sleeper(**marks), sleeper(**marks)
    gpus([], [[first, GIB]], [])
    found = Nvml(None).look()
    assert [[occupant.pid for occupant in gpu.occupants] for gpu in found] == [[], [first], [first]]
    assert found[2].occupants[0].experiment_id == "Exp12345"
    assert second not in {occupant.pid for gpu in found for occupant in gpu.occupants}


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("GPU is lost", Gpu(0, trouble="it cannot be looked at (NVML: GPU is lost)", uuid="")),
        ("NVMLError_NotSupported", Gpu(0, (), "GPU-00")),
        ("NVMLError_NoPermission", Gpu(0, (), "GPU-00")),
    ],
)
def test_a_gpu_that_does_not_answer_spoils_no_other(gpus, gpu, expected):
    gpus({"error": gpu}, [])
    assert Nvml(None).look() == (expected, Gpu(1, (), "GPU-11"))


def test_an_old_driver_is_asked_in_its_own_way(gpus):
    gpus({"error": "NVMLError_FunctionNotFound"})
    (gpu,) = Nvml(None).look()
    assert [occupant.pid for occupant in gpu.occupants] == [2]


@pytest.mark.parametrize(("visible", "hidden"), [("1", [0]), ("GPU-0,1", []), ("", [0, 1])])
def test_what_the_user_hid_is_hidden(gpus, visible, hidden):
    gpus([], [])
    assert [gpu.index for gpu in Nvml(visible).look() if gpu.is_hidden] == hidden


def test_no_driver_is_an_error_until_there_is_one(gpus):
    nvml = Nvml(None)
    for trouble in ("Driver Not Loaded", "Unknown Error"):
        gpus(error=trouble)
        with pytest.raises(GpuError, match=f"NVML: {trouble}.*does `nvidia-smi` work here"):
            nvml.look()
        gpus([])
        assert len(nvml.look()) == 1


def test_a_missing_package_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpuError, match="-m pip install nvidia-ml-py` installs it"):
        Nvml(None).look()


@pytest.mark.parametrize("error", [None, "Driver Not Loaded"])
def test_a_look_is_taken_on_another_thread_and_told_on_the_loop(gpus, tmp_path, error):
    gpus([], error=error)
    threads, calls, called = [], [], threading.Event()
    nvml = Nvml(None)
    look = nvml.look
    nvml.look = lambda: (threads.append(threading.get_ident()), look())[1]

    def call_on_loop(callback):
        calls.append(callback)
        called.set()

    found: list[Any] = []
    NvmlDevices(nvml, call_on_loop, tmp_path / "none" / "lock").look(found.append)
    assert called.wait(30)
    assert threads != [threading.get_ident()]
    assert not found
    calls[0]()
    assert isinstance(found[0], tuple if error is None else GpuError)


def test_two_managers_do_not_look_at_once(gpus, tmp_path, monkeypatch):
    gpus([])
    lock, found, tried = tmp_path / "lock", queue.SimpleQueue(), threading.Event()
    monkeypatch.setattr("mpx.nvml.time.sleep", lambda seconds: tried.set())
    monkeypatch.setattr("mpx.nvml._PATIENCE", 600.0)
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX);"
        " print(flush=True); sys.stdin.read()"
    )
    devices = NvmlDevices(Nvml(None), lambda callback: callback(), lock)
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline()
        devices.look(found.put)
        assert tried.wait(30)
        assert found.empty()
        other.kill()
        assert found.get(timeout=30) == (Gpu(0, (), "GPU-00"),)
    with subprocess.Popen(
        [sys.executable, "-c", hold, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        devices.release()
        assert other.stdout.readline()
        other.kill()
