"""Every example runs as it is, and README tells the truth about them."""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
import venv
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from tests.lab import REPOSITORY, Lab

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yml"))
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_is_valid_and_tells_editors_where_its_schema_is(lab: Lab, config: Path) -> None:
    lab.mpx("validate", config)
    hint = re.match(r"# yaml-language-server: \$schema=(\S+)\n", config.read_text())
    assert hint is not None
    assert (config.parent / hint[1]).resolve() == REPOSITORY / "mpx/config/schema.json"


def test_quickstart_walks_down(lab: Lab) -> None:
    experiment = lab.finish(REPOSITORY / "configs/quickstart.yml")
    status = lab.status(experiment)
    assert status["phases"] == {"SUCCEEDED": 120}
    firsts = [p["value"] for p in lab.phases(experiment) if p["phase_index"] == 0]
    assert status["best"]["value"] < min(firsts) / 100


def test_digits_ends_with_a_good_network(lab: Lab) -> None:
    pytest.importorskip("sklearn")
    experiment = lab.finish(REPOSITORY / "configs/digits.yml", timeout=240)
    status = lab.status(experiment)
    assert status["phases"] == {"SUCCEEDED": 80}
    best = status["best"]["trial_id"]
    accuracy = json.loads(lab.trial_file(experiment, best, "output/accuracy.json").read_text())
    assert accuracy["validation_accuracy"] == status["best"]["value"]
    assert accuracy["test_accuracy"] >= 0.97
    assert f"test accuracy {accuracy['test_accuracy']:.4f}" in lab.mpx("status", experiment)


def test_example_of_nnis_multi_phase_page_runs(lab: Lab) -> None:
    experiment = lab.finish(REPOSITORY / "examples/nni_multi_phase/simple/config.yml")
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 100}


def test_controller_of_nnis_time_learns(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setattr(sys, "executable", str(_python_that_finds_nni(lab.root / "venv")))
    # The trials' `src` must not hide the controller's, which has a module of the same name.
    lab.environment["PYTHONPATH"] += f":{REPOSITORY / 'examples/nni_multi_phase'}"
    experiment = lab.finish(REPOSITORY / "configs/nni_multi_phase.yml")
    phases = sorted(lab.phases(experiment), key=lambda phase: phase["parameter_id"])
    assert [phase["status"] for phase in phases] == ["SUCCEEDED"] * 60

    rewards = [fmean(phase["value"]) for phase in phases]
    assert max(rewards[:2]) < 0.3
    assert fmean(rewards[-10:]) > 0.9
    for phase in phases:
        assert len(phase["value"]) == len(phase["parameters"]) == 300
        assert {(x["dtype"], *x["shape"]) for x in phase["parameters"]} == {("int32", 12)}

    log = (lab.home / "experiments" / experiment / "nni_controller.log").read_text()
    assert log.startswith("hello\n")
    told = [float(mean) for mean in re.findall(r"mean reward (\S+)", log)]
    assert sorted(told) == pytest.approx(sorted(rewards), abs=1e-3)
    assert "% are the best there is" in lab.log(experiment)


def test_both_configurations_of_the_controller_are_one() -> None:
    one, other = (
        _with_absolute_paths(REPOSITORY / config)
        for config in ("configs/nni_multi_phase.yml", "examples/nni_multi_phase/config.yml")
    )
    assert one == other


def test_config_that_readme_explains_is_the_quickstart() -> None:
    (block,) = [b for b in _blocks("yaml") if "experimentName" in b]
    explained = yaml.safe_load(block)
    quickstart = yaml.safe_load((REPOSITORY / "configs/quickstart.yml").read_text())
    assert {key: explained[key] for key in quickstart} == quickstart


def test_readmes_tuner_and_trial_run_together(lab: Lab) -> None:
    trial, tuner = _blocks("python")
    lab.write("tuner.py", tuner)
    stubs = "def load(): return 1\ndef train(data, weights, x): return x, (x - 1) ** 2\n"
    keys = {"codeDir": ".", "classFileName": "tuner.py", "className": "HillClimb"}
    config = lab.config("", maxPhaseNum=5, tuner=keys, optimizeMode="minimize")
    lab.write("trial.py", stubs + trial)
    experiment = lab.finish(config)
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 5}


def test_readme_names_every_command(lab: Lab) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", lab.mpx("--help"), re.MULTILINE)
    assert listed
    assert [name for name in listed if f"`mpx {name}" not in README] == []


def _python_that_finds_nni(place: Path) -> Path:
    """Make an environment like one that mpx was installed into: its scripts may set PYTHONPATH."""
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    shutil.copy(REPOSITORY / "mpx/install/mpx-sdk.pth", packages)
    (packages / "outer.pth").write_text(f"{REPOSITORY}\n{sysconfig.get_path('purelib')}\n")
    return place / "bin/python"


def _with_absolute_paths(config: Path) -> dict[str, Any]:
    keys: dict[str, Any] = yaml.safe_load(config.read_text())
    for section in (keys["tuner"], keys["trial"]):
        section["codeDir"] = (config.parent / section["codeDir"]).resolve()
    return keys


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
