"""Every example that needs torch runs as it is."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import REPOSITORY, Lab

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("sklearn")

PACKING = REPOSITORY / "examples/packing/config.yml"
QUANTIZATION = REPOSITORY / "examples/quantization/config.yml"
CHOICE = {"_type": "choice", "_value": [2, 8]}
ONE = {"_type": "choice", "_value": [1]}
RANGE = {"_type": "randint", "_value": [2, 8]}


def test_networks_trained_together_are_those_trained_one_by_one(lab: Lab) -> None:
    losses = []
    for script in ("trial.py --together 4", "one_by_one.py"):
        phases = lab.phases(
            lab.finish(_changed(lab, PACKING, f"{script} --epochs 4 --device cpu", maxPhaseNum=6))
        )
        assert [phase["status"] for phase in phases] == ["SUCCEEDED"] * 6
        losses.append({phase["parameter_id"]: phase["value"]["loss"] for phase in phases})
    together, one_by_one = losses
    assert together == pytest.approx(one_by_one, abs=1e-4)
    assert min(together.values()) < 0.7  # they have learned: log(10) is chance


def test_bit_widths_are_lowered_one_layer_at_a_time(lab: Lab) -> None:
    phases = lab.phases(
        lab.finish(_changed(lab, QUANTIZATION, "trial.py --epochs 6", maxPhaseNum=30))
    )
    assert [phase["status"] for phase in phases] == ["SUCCEEDED"] * 30
    best = first = phases[0]
    assert set(first["parameters"].values()) == {8}
    for phase in phases[1:]:
        start = best["parameters"]
        changes = [phase["parameters"][layer] - start[layer] for layer in start]
        lowered = sum(change < 0 for change in changes)
        raised = sum(change > 0 for change in changes)
        assert (lowered, raised) in ((1, 0), (1, 1), (2, 1))
        if phase["value"]["default"] > best["value"]["default"]:
            best = phase
    assert best["value"]["saved"] > first["value"]["saved"] + 0.1
    assert best["value"]["lost"] <= 0.01


@pytest.mark.parametrize(
    ("config", "keys", "message"),
    [
        (
            PACKING,
            {"searchSpace": {"momentum": CHOICE, "hidden": CHOICE}},
            "missing: gain, label_smoothing, learning_rate, weight_decay; unknown: hidden",
        ),
        (
            QUANTIZATION,
            {"searchSpace": {"conv9": CHOICE}},
            "no layer 'conv9' with weights; the network has conv1,",
        ),
        (
            QUANTIZATION,
            {"searchSpace": {"conv2": ONE}, "tuner": {"builtinTunerName": "Random"}},
            "conv2: 1 bits; allowed are whole numbers, at least 2",
        ),
        (QUANTIZATION, {"searchSpace": {"conv2": ONE}}, f"searchSpace.conv2: found {ONE}; "),
        (QUANTIZATION, {"searchSpace": {"conv2": RANGE}}, f"searchSpace.conv2: found {RANGE}; "),
    ],
)
def test_a_search_space_that_cannot_be_is_refused(
    lab: Lab, config: Path, keys: dict[str, Any], message: str
) -> None:
    # A network would be trained for longer than the command may take.
    changed = _changed(lab, config, "trial.py --epochs 9999999", maxPhaseNum=1, **keys)
    done = lab.run("create", changed, "--foreground")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr


def test_losses_that_are_nan_are_alike() -> None:
    measure = runpy.run_path(str(PACKING.with_name("measure.py")))
    rows = {0: {"value": {"default": 0.1, "loss": "NaN"}}}  # as `mpx export` writes it
    (loss,) = measure["Run"]({}, rows, [], []).results("loss").values()
    assert measure["alike"](loss, loss)


def _changed(lab: Lab, config: Path, command: str, **keys: Any) -> Path:
    """Write a configuration with another command for this Python, and other values for some keys."""
    changed = yaml.safe_load(config.read_text()) | keys
    changed["trial"] |= {"codeDir": str(config.parent), "command": f"'{sys.executable}' {command}"}
    if "codeDir" in changed["tuner"]:
        changed["tuner"]["codeDir"] = str(config.parent)
    return lab.write("changed.yml", json.dumps(changed))
