"""Trials on GPUs by the command line, with a library in place of NVIDIA's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mpx.api.json_forms import trial_json
from mpx.store_reader import StoreReader
from tests import fake_pynvml
from tests.lab import Lab, wait_until

TRIAL = """
import os, time, mpx
while mpx.get_next_parameter() is not None:
    mpx.report_final_result(1)
    print("sees", os.environ["CUDA_DEVICE_ORDER"], os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    while os.path.exists("busy"):
        time.sleep(0.01)
"""
TUNER = """
    import os
    import mpx

    class Counter(mpx.Tuner):
        def __init__(self):
            print("the tuner sees", os.environ["CUDA_VISIBLE_DEVICES"] or "nothing", flush=True)
        def generate_parameters(self, parameter_id, **kwargs):
            return {"n": parameter_id}
        def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
            pass
"""


class GpuLab:
    """A lab with GPUs that are what `are` says."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._state = lab.root / "gpus.json"
        modules = lab.root / "modules"
        modules.mkdir()
        shutil.copy(fake_pynvml.__file__, modules / "pynvml.py")
        path = f"{modules}{os.pathsep}{lab.environment['PYTHONPATH']}"
        lab.environment.update(PYTHONPATH=path, FAKE_GPUS=str(self._state), TMPDIR=str(lab.root))
        lab.write("tuner.py", TUNER)

    def are(self, *found: Any, error: str | None = None) -> None:
        draft = self._state.with_suffix(".draft")
        draft.write_text(json.dumps(list(found) if error is None else {"error": error}))
        draft.rename(self._state)

    def config(self, gpu_num: int = 1, tuner: Any = None, **keys: Any) -> Path:
        path = self.lab.config(TRIAL, maxPhaseNum=1, trialConcurrency=1, **keys)
        content = json.loads(path.read_text())
        content["trial"]["gpuNum"] = gpu_num
        content["tuner"].update(tuner or {})
        path.write_text(json.dumps(content))
        return path

    def trial(self, experiment: str) -> dict[str, Any]:
        """Return the experiment's trial, as `mpx trials --json` would and sooner."""
        with StoreReader(self.lab.home / "experiments" / experiment / "experiment.db") as reader:
            (trial,) = reader.trials()
        return trial_json(trial)

    def wait_for(self, experiment: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.trial(experiment)["status"] == status, f"a trial that is {status}")
        return self.trial(experiment)


@pytest.fixture
def gpus(lab: Lab) -> GpuLab:
    return GpuLab(lab)


def test_a_trial_waits_until_another_program_leaves_the_gpu(gpus: GpuLab):
    lab = gpus.lab
    lab.environment["CUDA_VISIBLE_DEVICES"] = "1,2"
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            gpus.are([], [[stranger.pid, 2**30]], [])
            local = {"gpuIndices": "0,1", "maxTrialNumPerGpu": 2}
            said = lab.mpx("create", gpus.config(localConfig=local))
            (experiment,) = lab.ids()
            reason = f"needs 1 GPU; GPU 1: process {stranger.pid} (sleep, 1.0 GiB, user "
            assert reason in said
            assert reason in lab.mpx("status", experiment)
            (trial,) = json.loads(lab.mpx("trials", experiment, "--json"))
            assert (trial["status"], trial["gpus"]) == ("WAITING", None)
            assert trial["reason"].startswith(reason)
        finally:
            stranger.kill()
    gpus.are([], [], [])
    trial = gpus.wait_for(experiment, "SUCCEEDED")
    assert trial["gpus"] == (1,)
    assert "sees PCI_BUS_ID 1\n" in lab.log(experiment)
    title, row = lab.mpx("trials", experiment).splitlines()
    assert row[title.index("GPU")] == "1"
    assert "the tuner sees nothing\n" in lab.mpx("logs", experiment, "--manager")


def test_of_two_experiments_at_once_one_has_the_gpu(gpus: GpuLab):
    lab = gpus.lab
    gpus.are([])
    busy = lab.write("busy", "")
    config = gpus.config(tuner={"gpuIndices": 0})
    assert [create.wait() for create in [lab.start("create", config) for _ in "12"]] == [0, 0]
    first, second = sorted(lab.ids(), key=lambda experiment: gpus.trial(experiment)["status"])
    assert gpus.trial(first)["gpus"] == (0,)
    assert "  GPU 0  " in lab.mpx("status", first)
    taken = f"GPU 0: trial {gpus.trial(first)['trial_id']} of experiment {first}"
    assert taken in gpus.trial(second)["reason"]
    assert "the tuner sees 0\n" in lab.mpx("logs", second, "--manager")
    busy.unlink()
    assert gpus.wait_for(second, "SUCCEEDED")["gpus"] == (0,)


@pytest.mark.parametrize(
    ("found", "gpu_num", "message"),
    [
        (
            {"error": "Driver Not Loaded"},
            1,
            "NVML: Driver Not Loaded): does `nvidia-smi` work here?",
        ),
        ({}, 2, "trial.gpuNum is 2, and trials may be given no GPU: this machine has no GPU."),
    ],
)
def test_an_experiment_that_can_have_no_gpu_fails_as_it_is_created(
    gpus: GpuLab, found: dict[str, str], gpu_num: int, message: str
):
    gpus.are(**found)
    done = gpus.lab.run("create", gpus.config(gpu_num))
    assert done.returncode == 1
    assert "no trial can be given a GPU" in done.stderr
    assert message in done.stderr
    (experiment,) = gpus.lab.ids()
    assert gpus.lab.status(experiment)["status"] == "ERROR"
