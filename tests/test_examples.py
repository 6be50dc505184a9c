"""Every example runs as it is, and README tells the truth about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from mpx.config.validation import read_config
from tests.lab import REPOSITORY, Lab

EARLY_STOP = REPOSITORY / "examples/early_stop/config.yml"
NAS_BENCH = REPOSITORY / "examples/nas_bench/config.yml"
CONFIGS = [
    *sorted((REPOSITORY / "configs").glob("*.yml")),
    *sorted((REPOSITORY / "examples/pbt").glob("*.yml")),
    *(EARLY_STOP, NAS_BENCH),
]
README = (REPOSITORY / "README.md").read_text()

# Looked for, not imported: that takes seconds, and only the trials need it.
needs_sklearn = pytest.mark.skipif(find_spec("sklearn") is None, reason="no scikit-learn here")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_config_is_valid_and_tells_editors_where_its_schema_is(config: Path) -> None:
    read_config(config)
    hint = re.match(r"# yaml-language-server: \$schema=(\S+)\n", config.read_text())
    assert hint is not None
    assert (config.parent / hint[1]).resolve() == REPOSITORY / "mpx/config/schema.json"


def test_quickstart_walks_down(lab: Lab) -> None:
    experiment = lab.finish(REPOSITORY / "configs/quickstart.yml")
    status = lab.status(experiment)
    assert status["phases"] == {"SUCCEEDED": 120}
    firsts = [p["value"] for p in lab.phases(experiment) if p["phase_index"] == 0]
    assert status["best"]["value"] < min(firsts) / 100


@needs_sklearn
def test_digits_ends_with_a_good_network(lab: Lab) -> None:
    short = _with_other_numbers(REPOSITORY / "configs/digits.yml", maxPhasesPerTrial=6)
    experiment = lab.finish(lab.write("digits.yml", short))
    status = lab.status(experiment)
    assert status["phases"] == {"SUCCEEDED": 12}
    best = status["best"]["trial_id"]
    accuracy = json.loads(lab.trial_file(experiment, best, "output/accuracy.json").read_text())
    assert accuracy["validation_accuracy"] == status["best"]["value"]
    assert accuracy["test_accuracy"] >= 0.97
    assert f"test accuracy {accuracy['test_accuracy']:.4f}" in lab.mpx("status", experiment)


@needs_sklearn
def test_early_stop_trains_few_networks_to_their_end(lab: Lab) -> None:
    short = yaml.safe_load(EARLY_STOP.read_text().replace("243", "9"))
    short["trial"]["codeDir"] = str(EARLY_STOP.parent)
    short |= {"maxTrialNum": 1, "maxPhaseNum": 25}
    phases = lab.phases(lab.finish(lab.write("short.yml", json.dumps(short))))
    lengths: dict[str, list[int]] = {"EARLY_STOPPED": [], "SUCCEEDED": [], "FAILED": []}
    for phase in phases:
        lengths[phase["status"]].append(len(phase["intermediates"]))
    assert set(lengths["EARLY_STOPPED"]) == {1, 3}  # the rungs
    assert set(lengths["SUCCEEDED"]) == {9}
    assert len(lengths["EARLY_STOPPED"]) > 12
    results = [phase["value"]["default"] for phase in phases if phase["status"] == "SUCCEEDED"]
    assert max(results) > 0.8


def test_networks_are_found_as_its_readme_says(lab: Lab) -> None:
    one = ["--seeds", "1", "--data-sets", "cifar10", "--tuners", "RegularizedEvolution"]
    done = subprocess.run(
        [sys.executable, NAS_BENCH.parent / "measure.py", *one],
        env=lab.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    evolved, by_chance, of_all = done.stdout.splitlines()[1:]
    assert f"{by_chance}\n{of_all}\n" in (NAS_BENCH.parent / "README.md").read_text()
    after_100, after_300 = map(float, evolved.split()[-2:])
    assert 91.4 < after_100 < after_300 <= 91.607


def test_population_climbs_where_fixed_hyperparameters_do_not(lab: Lab) -> None:
    measure = [sys.executable, REPOSITORY / "examples/pbt/measure.py", "toy", "--seeds", "1"]
    told = subprocess.run(measure, env=lab.environment, capture_output=True, text=True, check=True)
    means = dict(re.findall(r"^(grid search|PBT) +(\S+)", told.stdout, re.MULTILINE))
    assert means["grid search"] == "0.3900"
    assert float(means["PBT"]) > 1.1


@needs_sklearn
def test_population_learns_digits(lab: Lab) -> None:
    numbers = {"trialConcurrency": 2, "population_size": 2, "phases_per_member": 8}
    short = _with_other_numbers(REPOSITORY / "examples/pbt/digits.yml", **numbers)
    experiment = lab.finish(lab.write("digits.yml", short))
    status = lab.status(experiment)
    assert status["phases"] == {"SUCCEEDED": 16}
    best = lab.trial_file(experiment, status["best"]["trial_id"], "output/test.json")
    assert json.loads(best.read_text())["accuracy"] > 0.9


def test_example_of_nnis_multi_phase_page_runs(lab: Lab) -> None:
    simple = REPOSITORY / "examples/nni_multi_phase/simple/config.yml"
    experiment = lab.finish(lab.write("simple.yml", _with_other_numbers(simple, maxTrialNum=3)))
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 15}


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


def _with_other_numbers(config: Path, **numbers: int) -> str:
    """Return a configuration that works anywhere, with other numbers for some keys."""
    text = re.sub(
        r"codeDir: (\S+)", lambda m: f"codeDir: {config.parent / m[1]}", config.read_text()
    )
    for key, number in numbers.items():
        text, found = re.subn(rf"\b{key}: \d+", f"{key}: {number}", text)
        assert found == 1
    return text


def _with_absolute_paths(config: Path) -> dict[str, Any]:
    keys: dict[str, Any] = yaml.safe_load(config.read_text())
    for section in (keys["tuner"], keys["trial"]):
        section["codeDir"] = (config.parent / section["codeDir"]).resolve()
    return keys


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
