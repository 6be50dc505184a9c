"""Experiments of this folder, by `mpx create` and with other numbers than its configurations have."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from top import HERE, judged, retraining

SHORT = "--channels 8"
SHORT_SEARCH = f"{SHORT} --warm-up 40 --batches 4 --steps 10 --judged 10"


class Run(NamedTuple):
    """An experiment that has ended."""

    rows: list  # one for each phase, as `mpx export` tells them
    seconds: float
    weights: Path  # of the supernet, if it trained one


class Lab:
    """Runs experiments in a home of its own.

    Args:
        source: as in data.py.
        short: seconds, not minutes: fewer and smaller steps, by which nothing is proved.
    """

    def __init__(self, home, source, short=False):
        self.home, self.source, self.short = home, source, short

    def search(self, name, tuner, seed):
        """Run config.yml with another tuner or seed."""
        config = yaml.safe_load((HERE / "config.yml").read_text()) | {"seed": seed}
        if tuner != config["tuner"]["builtinTunerName"]:
            config["tuner"] = {"builtinTunerName": tuner}
        options = SHORT_SEARCH if self.short else ""
        return self._run(name, config, f"search.py {self.source} --seed {seed} {options}")

    def judge(self, name, architectures, weights):
        """Return the accuracies of architectures in a supernet that is there already."""
        config = retraining(architectures, self.source) | {"trialConcurrency": 1}
        options = SHORT if self.short else ""
        command = (
            f"search.py {self.source} --weights {weights} {options} --judged {len(architectures)}"
        )
        return [accuracy for accuracy, _ in judged(self._run(name, config, command).rows)]

    def retrain(self, name, architectures, seed):
        """Train architectures from scratch; return what their phases found."""
        options = SHORT if self.short else ""
        command = f"retrain.py {self.source} --seed {seed} {options}"
        return [
            row["value"]
            for row in self._run(name, retraining(architectures, self.source), command).rows
        ]

    def _run(self, name, config, command):
        config["experimentName"] = name
        config["trial"] = {"command": f"python3 {command}", "codeDir": str(HERE)}
        file = self.home / f"{name}.json"
        file.write_text(json.dumps(config))
        self._mpx("create", file, "--foreground", "--quiet")
        status = json.loads(self._mpx("status", name, "--json"))
        if {*status["phases"], *status["trials"]} != {"SUCCEEDED"}:
            raise SystemExit(
                f"{name}: phases {status['phases']}, trials {status['trials']}\n"
                f"{self._mpx('logs', name)}"
            )
        rows = map(json.loads, self._mpx("export", name, "--format", "jsonl").splitlines())
        trial = Path(status["directory"]) / "trials" / status["best"]["trial_id"]
        ordered = sorted(rows, key=lambda row: row["parameter_id"])
        return Run(ordered, status["duration"], trial / "output" / "supernet.pt")

    def _mpx(self, *arguments):
        """Run a command; return what it prints."""
        command = [sys.executable, "-m", "mpx", *map(str, arguments)]
        environment = {**os.environ, "MPX_HOME": str(self.home)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout
