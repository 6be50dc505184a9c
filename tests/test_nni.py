"""`import nni`: the names that NNI v1's tuners and multi-phase trials import, and what differs from mpx."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mpx
from mpx import trial
from mpx.compat import nni

PACKAGE = Path(mpx.__file__).resolve().parent


@pytest.fixture
def phase(monkeypatch):
    """A trial that runs alone and has asked for parameters."""
    for name in [name for name in os.environ if name.startswith("MPX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(trial, "_the_session", None)
    monkeypatch.setenv("MPX_PARAMETERS", '{"lr": 0.1}')
    assert nni.get_next_parameter() == {"lr": 0.1}


@pytest.mark.parametrize(
    ("module", "name", "same"),
    [
        ("nni", "get_next_parameter", mpx.get_next_parameter),
        ("nni", "get_current_parameter", mpx.get_current_parameter),
        ("nni", "get_experiment_id", mpx.get_experiment_id),
        ("nni", "get_trial_id", mpx.get_trial_id),
        ("nni", "get_sequence_id", mpx.get_sequence_id),
        ("nni", "NoMoreTrialError", mpx.NoMoreTrialError),
        ("nni.tuner", "Tuner", mpx.Tuner),
        ("nni.multi_phase", "MultiPhaseTuner", mpx.MultiPhaseTuner),
        ("nni.multi_phase.multi_phase_tuner", "MultiPhaseTuner", mpx.MultiPhaseTuner),
    ],
)
def test_nnis_names_are_mpxs(module, name, same):
    assert getattr(importlib.import_module("mpx.compat." + module), name) is same


def test_all_that_is_promised_is_there():
    assert all(hasattr(nni, name) for name in nni.__all__)
    assert nni.__version__.startswith("1.")


def test_a_second_final_result_is_dropped_with_a_line(phase, capsys):
    nni.report_intermediate_result(0.5)
    nni.report_final_result({"default": 0.9})
    nni.report_final_result(1)
    nni.report_intermediate_result(1)
    *said, second, third = capsys.readouterr().err.splitlines()
    assert said == [
        "mpx: phase 0: intermediate result: 0.5",
        'mpx: phase 0: final result: {"default":0.9}',
    ]
    assert second == third
    assert second.startswith("nni: dropped: a result was reported, but no phase is open")


def test_a_result_that_cannot_be_sent_is_an_error_all_the_same(phase):
    with pytest.raises(mpx.ProtocolError, match="object is not something JSON can say"):
        nni.report_final_result(object())
    nni.report_final_result(1)


def test_the_current_parameters_by_name_and_whole(phase):
    assert nni.get_current_parameter() == {"lr": 0.1}
    assert nni.get_current_parameter("lr") == 0.1
    with pytest.raises(KeyError):
        nni.get_current_parameter("momentum")


def test_links_to_the_two_packages_are_enough_to_import_nni(tmp_path):
    """An experiment's `sdk` folder holds just these."""
    (tmp_path / "mpx").symlink_to(PACKAGE)
    (tmp_path / "nni").symlink_to(PACKAGE / "compat" / "nni")
    code = """
import nni
from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner
from nni.tuner import Tuner

class ENASTuner(MultiPhaseTuner):
    def __init__(self, say_hello):
        self.said = say_hello
    def generate_parameters(self, parameter_id, trial_job_id=None):
        raise nni.NoMoreTrialError("no more, " + self.said)

assert issubclass(MultiPhaseTuner, Tuner)
try:
    ENASTuner("hello").generate_parameters(0)
except nni.NoMoreTrialError as error:
    print(error, nni.get_trial_id(), nni.get_sequence_id())
while nni.get_next_parameter() is not None:
    nni.report_final_result([0.1] * 3)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPX_", "NNI_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "no more, hello STANDALONE 0\n"), done.stderr
    assert "mpx: phase 9: final result: [0.1,0.1,0.1]\n" in done.stderr
