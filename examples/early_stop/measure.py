"""What stopping early is worth: the example with ASHA, with Medianstop and without, in equal time.

    python examples/early_stop/measure.py [--seeds 7] [--seconds 40]

Every run is an experiment of its own, created by the command line. For each seed the three take turns;
the tuner draws the same parameters for all of them, in the same order. Only phases that ended in time
count, and of the accuracies only those of fully trained networks. The table has medians over the seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CONFIG = yaml.safe_load((HERE / "config.yml").read_text())
ASSESSORS = {
    "none": {},
    "Medianstop": {"assessor": {"builtinAssessorName": "Medianstop"}},
    "ASHA": {"assessor": CONFIG.pop("assessor")},
}


@dataclass
class Run:
    """What an experiment did.

    Attributes:
        phases: as `mpx export` tells them.
        began: when it did.
        length: how long it ran.
    """

    phases: list[dict[str, Any]]
    began: datetime
    length: timedelta

    def in_time(self, share: float = 1.0) -> list[dict[str, Any]]:
        """Return the phases that ended within a share of the time."""
        end = self.began + share * self.length
        return [p for p in self.phases if datetime.fromisoformat(p["ended_at"]) <= end]

    def per_minute(self, count: int) -> float:
        """Return a count for a minute."""
        return count / (self.length / timedelta(minutes=1))

    def best(self, share: float = 1.0) -> dict[str, float]:
        """Return the best result, by its validation accuracy, within a share of the time."""
        results = [p["value"] for p in self.in_time(share) if p["status"] == "SUCCEEDED"]
        return max(results, key=lambda each: each["default"], default={"default": 0, "test": 0})


def run(assessor: str, seed: int, seconds: int) -> Run:
    """Run an experiment and return what it did."""
    command = CONFIG["trial"]["command"].replace("python3", f"'{sys.executable}'")
    trial = CONFIG["trial"] | {"codeDir": str(HERE), "command": command}
    own = {"trial": trial, "seed": seed, "maxExecDuration": f"{seconds}s"}
    config = CONFIG | own | ASSESSORS[assessor]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yml"
        file.write_text(yaml.safe_dump(config))
        _mpx(folder, "create", str(file), "--foreground", "--quiet")
        (status,) = json.loads(_mpx(folder, "status", "--json"))
        rows = _mpx(folder, "export", status["id"], "--format", "jsonl").splitlines()
    began = datetime.fromisoformat(status["started_at"])
    return Run([json.loads(row) for row in rows], began, timedelta(seconds=seconds))


def _mpx(home: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": home},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout


def figures(run: Run) -> Iterator[float]:
    """Yield a line of the table."""
    ended = run.in_time()
    yield run.per_minute(len(ended))
    yield run.per_minute(sum(len(phase["intermediates"]) for phase in ended))
    yield from (run.best(share)["default"] for share in (1 / 2, 1))
    yield run.best()["test"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=40)
    arguments = parser.parse_args()
    seconds = arguments.seconds
    times = [f"best at {time:g} s" for time in (seconds / 2, seconds)]
    heads = ["phases/min", "epochs/min", *times, "its test"]
    print(f"{'assessor':12}" + "".join(f"{head:>14}" for head in heads))
    lines: dict[str, list[list[float]]] = {name: [] for name in ASSESSORS}
    for seed in range(arguments.seeds):
        for name, found in lines.items():
            found.append(list(figures(run(name, seed, seconds))))
            show(f"{name} {seed}", found[-1], sys.stderr)
    for name, found in lines.items():
        show(name, [statistics.median(column) for column in zip(*found, strict=True)])


def show(name: str, line: list[float], file: Any = None) -> None:
    """Print a line of the table."""
    rates, accuracies = line[:2], line[2:]
    cells = [f"{rate:.0f}" for rate in rates] + [f"{each:.4f}" for each in accuracies]
    print(f"{name:12}" + "".join(f"{c:>14}" for c in cells), file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    main()
