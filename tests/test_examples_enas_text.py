"""Examples that train with torch run as they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.example_modules import modules_of
from tests.lab import REPOSITORY, Lab

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TEXT = REPOSITORY / "examples/enas/text"


@pytest.fixture(autouse=True)
def _its_modules() -> Iterator[None]:
    with modules_of(TEXT):
        yield


def test_recurrent_cell_computes_what_its_list_says() -> None:
    from network import SIZE, LanguageModel

    def node(taken: int, operation: str) -> dict[str, Any]:
        return {"inputs": [taken], "operations": [operation]}

    cell = [node(0, "tanh"), node(1, "relu"), node(0, "sigmoid"), node(2, "identity")]
    torch.manual_seed(0)
    model = LanguageModel(words=11, nodes=4)
    text, h = torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.randn(2, SIZE)
    found, state = model(cell, text, h)

    def highway(before: Any, both: Any, activation: Any) -> Any:
        gate, value = torch.sigmoid(both[:, :SIZE]), activation(both[:, SIZE:])
        return gate * value + (1 - gate) * before

    for words, scores in zip(text, found, strict=True):
        x = model.vectors.weight[words]
        pair = [x @ model.of_word[k].T + h @ model.of_state[k].T for k in (0, 2)]
        first, third = highway(h, pair[0], torch.tanh), highway(h, pair[1], torch.sigmoid)
        second = highway(first, first @ model.of_node[1][0].T, torch.relu)
        fourth = highway(second, second @ model.of_node[3][1].T, lambda value: value)
        h = (third + fourth) / 2  # no other node takes these
        torch.testing.assert_close(scores, h @ model.vectors.weight.T + model.bias)
    torch.testing.assert_close(state, h)


def test_recurrent_cells_are_searched_for_judged_and_retrained(lab: Lab) -> None:
    def run(config: dict[str, Any], command: str) -> list[dict[str, Any]]:
        trial = {"command": f"'{sys.executable}' {command}", "codeDir": str(TEXT)}
        file = lab.write("short.yml", json.dumps(config | {"trial": trial}))
        return lab.phases(lab.finish(file))

    config = yaml.safe_load((TEXT / "config.yml").read_text())
    phases = run(config, "search.py python --search 4 --warm-up 16 --judged 4")
    assert [phase["value"]["judged"] for phase in phases] == [False] * 4 + [True] * 4
    told = [phase["value"]["perplexity"] for phase in phases[4:]]
    assert max(told) < 500  # of 1000 words, after 32 minibatches

    from corpus import load_corpus
    from search import Supernet

    supernet = Supernet(load_corpus("python"), nodes=6)
    experiment, trial = phases[0]["experiment_id"], phases[0]["trial_id"]
    supernet.load(lab.trial_file(experiment, trial, "output/shared.pt"))
    again = [supernet.result(p["parameters"]["cell"], judged=True) for p in phases[4:]]
    assert [result["perplexity"] for result in again] == pytest.approx(told)

    best = json.loads(_top(lab, experiment, "--top", "1").stdout)
    command = best["trial"]["command"].removeprefix("python3 ")
    assert command == "retrain.py python"  # the search's text
    (trained,) = run(best, f"{command} --minibatches 30")
    assert trained["parameters"] == phases[4 + told.index(min(told))]["parameters"]
    assert trained["value"]["default"] < 500

    refused = _top(lab, trained["experiment_id"])
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "it is not a search by" in refused.stderr
    assert _top(lab, "nosuch").returncode == 3


@pytest.mark.parametrize(
    ("parameters", "advice"),
    [
        ({}, "`cell` has to be there"),
        ({"cell": [{"inputs": [0], "operations": ["gelu"]}]}, "tanh, relu, sigmoid, identity"),
        ({"cell": [{"inputs": [1], "operations": ["tanh"]}]}, "`inputs: 1, inputs_per_node: 1`"),
    ],
)
def test_parameters_of_another_kind_are_told_what_they_have_to_be(
    parameters: dict[str, Any], advice: str
) -> None:
    from network import given

    with pytest.raises(SystemExit, match=re.escape(advice)):
        given(parameters)


@pytest.mark.parametrize(
    ("source", "advice"),
    [("kjv", "apt-get install bible-kjv"), ("no_such_file", "allowed are `kjv`, `python` and")],
)
def test_corpus_that_is_not_here_is_told_how_to_get(
    source: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    from corpus import load_corpus

    with pytest.raises(SystemExit, match=re.escape(advice)):
        load_corpus(source)


def _top(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, TEXT / "top.py", *arguments]
    return subprocess.run(command, env=lab.environment, capture_output=True, text=True)
