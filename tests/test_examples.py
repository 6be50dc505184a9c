"""Every example runs as it is, and README tells the truth about them."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from mpx.config.validation import read_config
from tests.lab import REPOSITORY, Lab, wait_until

ANY_LANGUAGE = REPOSITORY / "examples/any_language"
EARLY_STOP = REPOSITORY / "examples/early_stop/config.yml"
NAS_BENCH = REPOSITORY / "examples/nas_bench/config.yml"
CONFIGS = [
    *sorted((REPOSITORY / "configs").glob("*.yml")),
    *sorted(ANY_LANGUAGE.glob("*.yml")),
    *sorted((REPOSITORY / "examples/pbt").glob("*.yml")),
    *(EARLY_STOP, NAS_BENCH),
    *(REPOSITORY / f"examples/{name}/config.yml" for name in ("packing", "quantization")),
    *(
        pytest.param(
            path,
            marks=[
                pytest.mark.torch,
                pytest.mark.skipif(find_spec("torch") is None, reason="no torch here"),
            ],
        )
        for path in sorted((REPOSITORY / "examples/enas").rglob("*.yml"))
    ),
]
README = (REPOSITORY / "README.md").read_text()

# Parameters for examples/any_language: of seven phases that succeed, the first and the last six.
TRICKY = [
    {"omega": 1.5, "order": "red_black"},
    *({"omega": x, "order": "red_black"} for x in (math.nan, math.inf, -1, 2, 1e-4, "1.5", [1.5])),
    *({"omega": 1.5, "order": order} for order in ("Red", 1, None)),
    {"order": "red_black"},
    {},
    {"omega": 1, "order": "red_black"},
    {"omega": 12.5e-1, "order": "red_black"},
    {"note": 'ü "😀\\", ,"omega":1,"order":"Red"}', "omega": 1.6, "order": "red_black"},
    {'a"omega': 1.5, "omega": 1.7, "order": "red_black", 'b"omega': 1.5, "c": '{"order":"Red",'},
    {"omega": 1.8, "long": 50_000 * "ü", "order": "red_black"},
    {"omega": 1.5, "order": "lexicographic"},
]

# Prints, for each line of stdin, the member x of an object.
READ_X = r"""
    #include <stdio.h>

    #include "json.h"

    int main(void)
    {
        static char line[1 << 12], x[1 << 12], text[6 * sizeof x + 3];
        double number;
        while (fgets(line, sizeof line, stdin) != NULL) {
            const char *end = json_end(line);
            if (end == NULL || *end != '\n')
                printf("\"invalid\"\n");
            else if (json_number(line, "x", &number))
                printf("{\"x\":%s}\n", json_from_number(text, number));
            else if (json_string(line, "x", x, sizeof x))
                printf("{\"x\":%s}\n", json_from_string(text, x));
            else
                printf("\"neither\"\n");
        }
        return 0;
    }
"""

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
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


@needs_cc
def test_a_trial_has_the_same_results_in_every_language(lab: Lab) -> None:
    found = {}
    for language in ("bash", "c", "python"):
        found[language] = _results(lab, lab.finish(_any_language(lab, language, TRICKY)))
    statuses = ["SUCCEEDED", *(len(TRICKY) - 7) * ["FAILED"], *6 * ["SUCCEEDED"]]
    assert [status for status, _, _ in found["python"]] == statuses
    assert len({json.dumps(value) for _, value, _ in found["python"] if value}) == 7
    assert found["bash"] == found["c"] == found["python"]


@needs_cc
def test_a_program_in_c_outlives_its_manager(lab: Lab) -> None:
    search = [{"omega": 1 + i / 100, "order": "red_black"} for i in range(40)]
    config = _any_language(lab, "c", search, size=47)
    undisturbed = _results(lab, lab.finish(config))
    experiment = lab.create(config)
    place = lab.home / "experiments" / experiment
    (log,) = place.glob("trials/*/trial.log")
    wait_until(lambda: "phase 12 " in log.read_text(), "a phase in the middle")
    os.kill(json.loads((place / "manager.pid").read_text())["pid"], signal.SIGKILL)
    lab.mpx("resume", experiment)
    wait_until(lambda: lab.status(experiment)["status"] == "DONE", "the end")
    assert lab.status(experiment)["trials"] == {"SUCCEEDED": 1}
    assert _results(lab, experiment) == undisturbed


@needs_cc
def test_json_in_c_is_read_as_python_reads_it(lab: Lab) -> None:
    lab.write("read_x.c", READ_X)
    sources = [lab.root / "read_x.c", ANY_LANGUAGE / "json.c"]
    subprocess.run(
        ["cc", "-std=c99", "-I", ANY_LANGUAGE, "-o", lab.root / "read_x", *sources], check=True
    )
    lines = list(_json_sound_and_damaged())
    told = subprocess.run(
        [lab.root / "read_x"], input=b"".join(lines), stdout=subprocess.PIPE, check=True
    )
    expected = [_x_of(line) for line in lines]
    assert list(map(json.loads, told.stdout.splitlines())) == expected
    assert 500 < expected.count("invalid") < len(lines) - 500


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


def _any_language(lab: Lab, language: str, parameters: list[dict[str, Any]], size: int = 3) -> Path:
    """Write the language's configuration, with a plate of this size and these parameters in turn."""
    keys = yaml.safe_load((ANY_LANGUAGE / f"{language}.yml").read_text())
    keys["trial"]["command"] = re.sub(" 23$", f" {size}", keys["trial"]["command"])
    keys["trial"]["codeDir"] = str(ANY_LANGUAGE)
    keys["searchSpace"] = {"all": {"_type": "choice", "_value": parameters}}
    keys["tuner"] = {"builtinTunerName": "BatchTuner"}
    keys["maxPhaseNum"] = len(parameters)
    return lab.write(f"{language}.yml", yaml.safe_dump(keys))


def _results(lab: Lab, experiment: str) -> list[Any]:
    phases = sorted(lab.phases(experiment), key=lambda phase: phase["parameter_id"])
    return [(phase["status"], phase["value"], phase["intermediates"]) for phase in phases]


def _json_sound_and_damaged() -> Iterator[bytes]:
    """Yield objects, a line each, and each again with one byte changed, added or left out."""
    chance = random.Random(0)
    texts = ["", "x", 'a"\\', "\b\t", "é", "ß€", "😀", "/", "}", ",:", "\x1f"]
    values = [*texts, 0, -1.5e-9, 1e300, True, None, [], {}, [1, "]"], {"x": 2}]
    for _ in range(1500):
        chosen = {chance.choice(texts): chance.choice(values) for _ in range(3)}
        chosen |= {"x": chance.choice(values), chance.choice(texts[2:]): chance.choice(values)}
        whole = json.dumps(chosen, ensure_ascii=chance.random() < 0.5).encode()
        place = chance.randrange(len(whole))
        other = bytes(
            chance.choices(b'\x01"\\{}[],:.-019eEu \x80\xc3\xe2\xed\xf0', k=chance.randrange(2))
        )
        yield whole + b"\n"
        yield whole[:place] + other + whole[place + chance.randrange(2) :] + b"\n"


def _x_of(line: bytes) -> Any:
    """Return what READ_X is to print."""
    try:
        found = json.loads(line.decode())
    except ValueError:
        return "invalid"
    x = found.get("x")
    if isinstance(x, str) and "\0" not in x:
        return {"x": re.sub("[\ud800-\udfff]", "\ufffd", x)}
    return {"x": x} if isinstance(x, int | float) and not isinstance(x, bool) else "neither"


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
