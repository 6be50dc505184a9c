"""What bit widths are found, and what a phase takes; each run is an experiment of `mpx create`.

    python3 measure.py widths [--seeds 10] [--phases 60] [--finetune 0] [--tuners TPE ...]
    python3 measure.py best [--seeds 1]
    python3 measure.py seconds

`widths`: the smallest network that loses at most 1 point of accuracy on the validation part, and what it
loses on the test part, means over the seeds of the network and the tuner; then networks with one width in
all layers, and the smallest of these, for each network, that loses at most 1 point. `best`: the smallest
of all 15,625. `seconds`: what a phase takes in the process that has the network, and in one of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CONFIG = yaml.safe_load((HERE / "config.yml").read_text())
LAYERS = CONFIG["searchSpace"]
WIDTHS = LAYERS["conv1"]["_value"]
ALL = len(WIDTHS) ** len(LAYERS)
OWN = CONFIG["tuner"] | {"codeDir": str(HERE)}
FIRST_SEED = 10  # the tuner was written with smaller ones


@dataclass
class Run:
    """What an experiment did: the results of its phases in their order, and what they took in seconds."""

    phases: list[dict[str, Any]]
    trials: list[dict[str, Any]]

    def best(self):
        """Return the result of the smallest network that loses little enough, None if there is none."""
        best = max((phase["value"] for phase in self.phases), key=lambda value: value["default"])
        return best if best["default"] > 0 else None

    def seconds(self):
        """Return the seconds of each trial, and of each phase."""
        return [[_seconds(row) for row in rows] for rows in (self.trials, self.phases)]


def _seconds(row):
    began, ended = (datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at"))
    return (ended - began).total_seconds()


def run(tuner, seed, phases, finetune=0, **keys):
    """Run an experiment and return what it did."""
    command = f"'{sys.executable}' trial.py --seed {seed} --finetune {finetune}"
    trial = CONFIG["trial"] | {"codeDir": str(HERE), "command": command}
    own = {"tuner": tuner, "trial": trial, "seed": seed, "maxPhaseNum": phases}
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "config.json")
        file.write_text(json.dumps(CONFIG | own | keys))  # which is YAML as well
        mpx(home, "create", file, "--foreground", "--quiet")
        rows = map(
            json.loads, mpx(home, "export", "quantization", "--format", "jsonl").splitlines()
        )
        trials = json.loads(mpx(home, "trials", "quantization", "--json"))
    return Run(sorted(rows, key=lambda row: row["parameter_id"]), trials)


def mpx(home, *arguments):
    """Return what a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


def measure_widths(arguments):
    """Print what each tuner finds, and what is lost with the same width in all layers."""
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    print(line("", "bytes", "of float32", "points lost", "in the test"))
    for name in arguments.tuners:
        tuner = OWN if name == OWN["className"] else {"builtinTunerName": name}
        runs = [run(tuner, seed, arguments.phases, arguments.finetune) for seed in seeds]
        show(name, [done.best() for done in runs])
    alike = [dict.fromkeys(LAYERS, width) for width in sorted(WIDTHS, reverse=True)]
    space = {"widths": {"_type": "choice", "_value": alike}}
    tuner = {"builtinTunerName": "BatchTuner"}
    runs = [run(tuner, seed, len(alike), arguments.finetune, searchSpace=space) for seed in seeds]
    for phases in zip(*(done.phases for done in runs), strict=True):
        width = phases[0]["parameters"]["conv1"]
        show(f"all layers {width} bits", [phase["value"] for phase in phases])
    show("the best of these", [done.best() for done in runs])


def show(name, results):
    """Print a line: means of results, and the standard error of the first one; None is none at all."""
    found = [result for result in results if result is not None]
    cells = []
    if found:
        size, saved, lost, lost_in_test = (
            [result[key] for result in found] for key in ("size", "saved", "lost", "lost_in_test")
        )
        error = stdev(size) / len(size) ** 0.5 if len(size) > 1 else 0
        cells = [f"{fmean(size):.0f} ± {error:.0f}", f"{1 - fmean(saved):.1%}"]
        cells += [f"{100 * fmean(points):.2f}" for points in (lost, lost_in_test)]
    missing = f"   (none in {len(results) - len(found)} of {len(results)} seeds)"
    print(line(name, *cells) + (missing if len(found) < len(results) else ""), flush=True)


def line(name, *cells):
    """Return a line of a table."""
    return f"{name:22}" + "".join(f"{cell:>15}" for cell in cells)


def measure_best(arguments):
    """Print what the tuner finds, and the smallest network of all."""
    print(line("", "bytes", "of float32", "points lost", "in the test"))
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
        for tuner, phases in ((OWN, 60), ({"builtinTunerName": "GridSearch"}, ALL)):
            done = run(tuner, seed, phases)
            show(f"seed {seed}, {len(done.phases)} phases", [done.best()])
            (took,), _ = done.seconds()
            print(f"  {took:.0f} s", file=sys.stderr)


def measure_seconds(arguments):
    """Print what a phase takes."""
    resident = run(OWN, FIRST_SEED, 60)
    anew = run(OWN, FIRST_SEED, arguments.processes, multiPhase=False)
    (whole,), phases = resident.seconds()
    print(
        f"a process for all: {whole:.1f} s for {len(phases)} phases, {median(phases):.3f} s for one"
    )
    processes, _ = anew.seconds()
    print(f"a process for each: {median(processes):.1f} s for one")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = parser.add_subparsers(required=True, metavar="TABLE")
    widths = tables.add_parser("widths", help="what tuners find")
    widths.add_argument("--seeds", type=int, default=10, help="of the network and the tuner")
    widths.add_argument("--phases", type=int, default=60, help="of each experiment")
    widths.add_argument("--finetune", type=int, default=0, help="epochs in each phase")
    tuners = [OWN["className"], "RegularizedEvolution", "Random"]
    widths.add_argument("--tuners", nargs="+", default=tuners, help="each a line")
    widths.set_defaults(measure=measure_widths)
    best = tables.add_parser("best", help="what there is to find")
    best.add_argument("--seeds", type=int, default=1, help="each a network")
    best.set_defaults(measure=measure_best)
    seconds = tables.add_parser("seconds", help="what a phase takes")
    seconds.add_argument("--processes", type=int, default=6, help="with a phase each")
    seconds.set_defaults(measure=measure_seconds)
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
