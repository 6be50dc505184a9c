"""Examples that need torch run as they are, in a short form."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.example_modules import modules_of
from tests.lab import REPOSITORY, Lab, wait_until

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

ENAS = REPOSITORY / "examples/enas"


def test_search_in_shared_weights_and_its_best_from_scratch(lab: Lab) -> None:
    pytest.importorskip("sklearn")
    short = "--channels 8 --warm-up 60 --batches 3 --at-a-time 4 --steps 8 --judged 5"
    config = yaml.safe_load((ENAS / "config.yml").read_text())
    config["trial"] = {"command": f"python3 search.py digits {short}", "codeDir": str(ENAS)}
    search = lab.finish(lab.write("search.json", json.dumps(config)))
    values = [phase["value"] for phase in _in_order(lab, search)]
    assert [isinstance(value, dict) for value in values] == [False] * 12 + [True] * 5
    trial = lab.status(search)["best"]["trial_id"]
    weights = lab.trial_file(search, trial, "output/supernet.pt")

    # The best of the last set, put into retrain.yml.
    retrain = json.loads(_top(lab, search, "--top", "2").stdout) | {"trialConcurrency": 1}
    assert retrain["trial"]["command"] == "python3 retrain.py digits --epochs 3"  # its images
    chosen = [option["network"] for option in retrain["searchSpace"]["architectures"]["_value"]]
    accuracies = {
        json.dumps(phase["parameters"]["network"]): phase["value"]["default"]
        for phase in _in_order(lab, search)[12:]
    }
    assert [json.dumps(each) for each in chosen] == sorted(accuracies, key=accuracies.get)[:-3:-1]

    # In the saved weights they are worth what they were at the end of the search.
    judge = f"python3 search.py digits --channels 8 --weights {weights} --judged 3"
    retrain["trial"]["command"] = judge
    again = lab.finish(lab.write("judge.json", json.dumps(retrain)))
    assert [phase["value"]["default"] for phase in _in_order(lab, again)] == pytest.approx(
        [accuracies[json.dumps(each)] for each in chosen]
    )

    # It is told that one more was wanted.
    assert "2 phases were judged in the final weights, not 3" in lab.mpx("logs", again)
    assert "2 phases were judged, not 3" in _top(lab, again, "--top", "1").stderr

    retrain["trial"]["command"] = "python3 retrain.py digits --epochs 3 --channels 8"
    alone = lab.finish(lab.write("retrain.json", json.dumps(retrain)))
    for phase in _in_order(lab, alone):
        assert len(phase["intermediates"]) == 3
        assert phase["value"]["test"] > 0.5

    refused = _top(lab, alone)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "it is not a search by" in refused.stderr
    assert _top(lab, "nosuch").returncode == 3


def test_interrupted_search_is_searched_anew_to_its_end(lab: Lab) -> None:
    pytest.importorskip("sklearn")
    options = "--channels 4 --warm-up 0 --at-a-time 2 --steps 1 --judged 3"
    script = lab.write(
        "trial.sh", f"exec python3 '{ENAS}/search.py' digits {options} --batches 9999"
    )
    config = yaml.safe_load((ENAS / "config.yml").read_text())
    config["searchSpace"]["network"]["_value"] |= {"layers": 3, "operations": ["conv5", "max_pool"]}
    config["trial"] = {"command": f"sh '{script}'"}
    search = lab.create(lab.write("search.json", json.dumps(config)))
    wait_until(lambda: lab.status(search)["phases"].get("SUCCEEDED", 0) > 3, "results")
    lab.mpx("stop", search)
    script.write_text(script.read_text().replace("9999", "2"))
    lab.mpx("resume", search, "--foreground")
    anew = [phase for phase in _in_order(lab, search) if phase["sequence_id"] == 1]
    assert [isinstance(phase["value"], dict) for phase in anew] == [False] * 4 + [True] * 3
    assert len(json.loads(_top(lab, search, "--top", "1").stdout)["searchSpace"]) == 1


@pytest.mark.parametrize(
    ("parameters", "advice"),
    [
        ({}, "`network` has to be there"),
        ({"network": [{"operation": "conv7", "skips": []}]}, "operation conv7: there are weights"),
    ],
)
def test_parameters_of_another_kind_are_told_what_they_have_to_be(
    parameters: dict[str, Any], advice: str
) -> None:
    with modules_of(ENAS):
        from network import given

        with pytest.raises(SystemExit, match=advice):
            given(parameters)


def _in_order(lab: Lab, experiment: str) -> list[dict[str, Any]]:
    return sorted(lab.phases(experiment), key=lambda phase: phase["parameter_id"])


def _top(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ENAS / "top.py", *arguments]
    return subprocess.run(command, env=lab.environment, capture_output=True, text=True)
