"""What it is worth to train networks together: each line of the tables is an experiment of `mpx create`.

    python3 measure.py ways [--networks 64] [--epochs 40] [--repeats 1] [--threads 1] [--device cpu]
    python3 measure.py rounding [--networks 64] [--epochs 40] [--threads 1] [--device cpu]
    python3 measure.py widths [--widths 32 ...] [--together 16] [--threads 1] [--device cpu]

`ways`: the same networks, trained in six ways, and what each takes in all, medians of some repeats. The
milliseconds are those of training and of validation alone, for each network. `rounding`: whether networks
are the same, trained together and one by one; and, to compare with, one by one with the least change at
the start. `widths`: training alone, of larger and larger networks, medians.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
COLUMNS = "networks/min", "CPU s each", "MB", "MB on GPU", "train ms", "evaluate ms", "best"
LINE = "{:36}{:14.0f}{:14.2f}{:14.0f}{:14.0f}{:14.0f}{:14.2f}{:14.4f}"
NUDGE = 1e-6


class Way(NamedTuple):
    """A way to train so many networks: `together` in each of so many trials at a time."""

    trials: int
    together: int = 0  # 0: the ordinary code, one by one
    multi_phase: bool = True
    nudge: float = 0


def ways(networks):
    """Return the ways to train them, by name."""
    half, quarter = networks // 2, networks // 4
    return {
        "a process for each, 2 at a time": Way(2, multi_phase=False),
        "one after another": Way(1),
        "one after another, in 2 trials": Way(2),
        f"together, 4 x {quarter}": Way(1, quarter),
        f"together, {networks}": Way(1, networks),
        f"together, {half} in each of 2 trials": Way(2, half),
    }


@dataclass
class Run:
    """What an experiment did: its status, its phases by number, its trials and their costs."""

    status: dict[str, Any]
    phases: dict[int, dict[str, Any]]
    trials: list[dict[str, Any]]
    costs: list[dict[str, float]]

    def networks_per_minute(self):
        """Count all that it took, from the first process's start to the last one's end."""
        seconds = self._moment("ended_at", max) - self._moment("started_at", min)
        return len(self.phases) / (seconds / 60)

    def seconds(self, work):
        """Return the seconds of some work, block by block, in all trials."""
        return [seconds for costs in self.costs for seconds in costs[work]]

    def memory(self):
        """Return the most memory of trials that ran at once, in MB: the sum of their peaks."""
        return max(
            sum(
                costs["memory"]
                for trial, costs in zip(self.trials, self.costs, strict=True)
                if trial["started_at"] <= at["started_at"] < trial["ended_at"]
            )
            for at in self.trials
        )

    def device_memory(self):
        """Return the most memory in use on the device, in MB, as trials saw it at their ends."""
        return max(costs["device_memory"] for costs in self.costs)

    def results(self, name):
        """Return what phases reported under a name, by their numbers; `export` writes NaN as "NaN"."""
        return {number: float(phase["value"][name]) for number, phase in self.phases.items()}

    def _moment(self, name, which):
        return which(datetime.fromisoformat(trial[name]) for trial in self.trials).timestamp()


def run(way, networks, arguments, width=32):
    """Run an experiment and return what it did."""
    options = f"--epochs {arguments.epochs} --width {width}"
    if arguments.device:
        options += f" --device {arguments.device}"
    one_by_one = f"one_by_one.py --nudge {way.nudge}"
    script = f"trial.py --together {way.together}" if way.together else one_by_one
    config = yaml.safe_load((HERE / "config.yml").read_text())
    config["multiPhase"] = way.multi_phase
    config["trialConcurrency"] = way.trials
    config["maxPhaseNum"] = networks
    config["trial"]["command"] = f"'{sys.executable}' {script} {options}"
    config["trial"]["codeDir"] = str(HERE)
    config["trial"]["env"] = {"OMP_NUM_THREADS": str(arguments.threads)}
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, "config.json")
        file.write_text(json.dumps(config))  # which is YAML as well
        mpx(home, "create", file, "--foreground", "--quiet")
        (status,) = json.loads(mpx(home, "status", "--json"))
        rows = map(
            json.loads,
            mpx(home, "export", status["id"], "--format", "jsonl").splitlines(),
        )
        trials = json.loads(mpx(home, "trials", status["id"], "--json"))
        costs = [read_costs(status, trial) for trial in trials]
    phases = {row["parameter_id"]: row for row in rows}
    assert status["phases"] == {"SUCCEEDED": networks}, status
    return Run(status, phases, trials, costs)


def read_costs(status, trial):
    """Return what a trial wrote of its costs."""
    output = Path(status["directory"], "trials", trial["trial_id"], "output")
    return json.loads((output / "costs.json").read_text())


def mpx(home, *arguments):
    """Return what a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


def measure_ways(arguments):
    """Print what each way takes."""
    done = {name: [] for name in ways(arguments.networks)}
    for _ in range(arguments.repeats):
        for name, way in ways(arguments.networks).items():
            done[name].append(run(way, arguments.networks, arguments))
            print(LINE.format(name, *figures(done[name][-1])), file=sys.stderr)
    print(f"{'':36}" + "".join(f"{column:>14}" for column in COLUMNS))
    for name, runs in done.items():
        columns = zip(*map(figures, runs), strict=True)
        print(LINE.format(name, *map(median, columns)))


def figures(done):
    """Return a line of the table."""
    count = len(done.phases)
    return (
        done.networks_per_minute(),
        sum(costs["cpu"] for costs in done.costs) / count,
        done.memory(),
        done.device_memory(),
        sum(done.seconds("training")) / count * 1000,
        sum(done.seconds("evaluation")) / count * 1000,
        max(done.results("default").values()),
    )


def measure_rounding(arguments):
    """Print how many networks are the same, and at which learning rates the others were trained."""
    networks = arguments.networks
    reference = run(Way(1), networks, arguments)
    losses = reference.results("loss")
    for name, way in {
        "together": Way(1, networks),
        f"one by one, a bias {NUDGE} greater": Way(1, nudge=NUDGE),
    }.items():
        other = run(way, networks, arguments)
        rates = []
        for number, phase in other.phases.items():
            assert phase["parameters"] == reference.phases[number]["parameters"]
            if not alike(other.results("loss")[number], losses[number]):
                rates.append(phase["parameters"]["learning_rate"])
        others = ", ".join(f"{rate:.2f}" for rate in sorted(rates)) or "none"
        same = f"{networks - len(rates)} of {networks} the same"
        print(f"{name:36}{same}; learning rates of the others: {others}", flush=True)


def alike(one, other):
    """Return whether two results are the same up to rounding; both may be NaN."""
    return math.isclose(one, other, rel_tol=1e-4) or (math.isnan(one) and math.isnan(other))


def measure_widths(arguments):
    """Print how long larger networks train in one trial, one after another and in three batches."""
    at_once = arguments.together
    print(f"{'width':>6}{'weights':>12}{'one after another':>20}{'together':>12}{'ratio':>8}")
    for width in arguments.widths:
        one_by_one, together = (
            median(run(way, 3 * at_once, arguments, width).seconds("training"))
            for way in (Way(1), Way(1, at_once))
        )
        together /= at_once
        weights = (64 + 1) * width + (width + 1) * width + (width + 1) * 10
        print(
            f"{width:>6}{weights:>12,}{one_by_one * 1000:>17.0f} ms{together * 1000:>9.0f} ms"
            f"{one_by_one / together:>8.1f}",
            flush=True,
        )


def main():
    """Measure and print."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, default=1, help="of each trial")
    common.add_argument("--device", help="cpu, or cuda; by default cuda if there is one")
    several = argparse.ArgumentParser(add_help=False)
    several.add_argument("--networks", type=int, default=64, help="that each line trains")
    several.add_argument("--epochs", type=int, default=40, help="for how many each is trained")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = parser.add_subparsers(required=True, metavar="TABLE")
    table = tables.add_parser("ways", parents=[several, common], help="what six ways take")
    table.add_argument("--repeats", type=int, default=1, help="of which to take the medians")
    table.set_defaults(measure=measure_ways)
    table = tables.add_parser("rounding", parents=[several, common], help="what differs")
    table.set_defaults(measure=measure_rounding)
    table = tables.add_parser("widths", parents=[common], help="larger and larger networks")
    widths = [16, 32, 64, 128, 256, 512, 1024]
    table.add_argument("--widths", type=int, nargs="+", default=widths, help="of hidden layers")
    table.add_argument("--together", type=int, default=16, help="networks to train at a time")
    table.add_argument("--epochs", type=int, default=2, help="for how many each is trained")
    table.set_defaults(measure=measure_widths)
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
