"""Every example runs as it is, and README tells the truth about them."""

from __future__ import annotations

import json
import re
from pathlib import Path

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


@pytest.mark.parametrize(
    "config", ["configs/nni_multi_phase.yml", "examples/nni_multi_phase/config.yml"]
)
def test_example_of_nnis_multi_phase_page_runs(lab: Lab, config: str) -> None:
    experiment = lab.finish(REPOSITORY / config)
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 100}


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


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
