"""The examples in docs/trials.md, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.bench import REPOSITORY, Bench

TEXT = (REPOSITORY / "docs/trials.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
# Of ten phases, x = 0, 1, 2 …: which ones end otherwise than with a result, by example.
FAILED: list[dict[int, str]] = [
    {},
    {0: "ZeroDivisionError"},
    {3: "PhaseStopped"},
    {},
    {},
    {},
    {0: "ZeroDivisionError"},
    {},
]
# What the page leaves to the reader.
STUBS = """
import json, mpx

def load():
    return 1

def train(data, x):
    return data * x

data = load()

class Network:
    def __init__(self, x=0):
        self.x = x
    def train(self, **parameters):
        self.x = parameters.get("x", self.x)
        return self.x
    def accuracy(self):
        return self.x
    def save(self, path):
        json.dump(self.x, open(path, "w"))
    @classmethod
    def load(cls, path):
        return cls(json.load(open(path)))
"""


def test_there_are_as_many_examples_as_are_told_how_they_end():
    assert len(EXAMPLES) == len(FAILED)


@pytest.mark.parametrize("number", range(len(FAILED)))
def test_an_example_trains_every_phase(tmp_path, number):
    bench = Bench(tmp_path, [{"x": x} for x in range(10)])
    bench.connection.has_assessor = True
    bench.stops = lambda value: "it is the third" if value == 3 else None
    saved = bench.code / "saved.npz"
    saved.write_text("7")
    bench.parents = {2: (11,), 3: (10, str(saved))}
    output = tmp_path / "output"
    output.mkdir()
    place = f"import os; os.environ['MPX_OUTPUT_DIR'] = {str(output)!r}\n"
    assert bench.python(place + STUBS + EXAMPLES[number]) == 0, bench.log()
    assert bench.errors == []
    failed = [m["error"]["type"] for m in bench.heard if m["type"] == "failed"]
    assert failed == [*FAILED[number].values()]
    succeeded = [x for x in range(10) if x not in FAILED[number]]
    results = [1 / x for x in succeeded] if 0 in FAILED[number] else succeeded
    assert sorted(bench.values()) == sorted(results)
    assert not bench.connection.open_phases
    shared = {path.name for path in bench.code.iterdir()}
    assert shared == {"saved.npz", "trial.py"}


def test_an_example_runs_by_hand(tmp_path):
    (command,) = re.findall(r"^```\n(MPX_PARAMETERS=.*)\n```$", TEXT, re.MULTILINE)
    (tmp_path / "trial.py").write_text(STUBS + EXAMPLES[0])
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("MPX_", "NNI_"))}
    done = subprocess.run(
        command.replace("python3", f"'{sys.executable}'"),
        shell=True,
        cwd=tmp_path,
        env={**ours, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [f"mpx: phase {n}: final result: 0.1" for n in range(10)]
    assert done.stderr.splitlines() == [*said, "mpx: no manager: no more parameters after 10 asks"]
