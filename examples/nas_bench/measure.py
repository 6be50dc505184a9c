"""What tuners find in NAS-Bench-201, by experiments of `mpx create`.

    python3 measure.py [--seeds 30] [--data-sets cifar10 cifar100 imagenet] [--tuners TPE ...]

Each run is config.yml with another tuner, data set or seed, in a home of its own. The table shows the
best validation accuracy (%) of the first 100 and the first 300 phases: its mean over the seeds, and the
standard error of that mean. Below them, from the table itself: what random search finds on average, and
the best network of all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import yaml

from nas_bench_201 import DATA_SETS, read_accuracies

HERE = Path(__file__).resolve().parent
MARKS = (100, 300)  # phases


def run(home, data_set, tuner, seed):
    """Return the results of an experiment, in the order of its phases."""
    name = f"{data_set}-{tuner}-{seed}"
    config = yaml.safe_load((HERE / "config.yml").read_text())
    config["experimentName"] = name
    config["seed"] = seed
    config["tuner"] = {"builtinTunerName": tuner}
    config["trial"] = {"command": f"python3 trial.py {data_set}", "codeDir": str(HERE)}
    file = home / "config.json"
    file.write_text(json.dumps(config))  # which is YAML as well
    mpx(home, "create", file, "--foreground", "--quiet")
    rows = map(json.loads, mpx(home, "export", name, "--format", "jsonl").splitlines())
    return [row["value"] for row in sorted(rows, key=lambda row: row["parameter_id"])]


def mpx(home, *arguments):
    """Return what a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


def expected_best(accuracies, draws):
    """Return the mean of the best of so many networks that are drawn at random, with replacement."""
    ranked = sorted(accuracies)
    no_better = [(rank / len(ranked)) ** draws for rank in range(len(ranked) + 1)]
    return sum(
        accuracy * (after - before)
        for accuracy, (before, after) in zip(ranked, pairwise(no_better), strict=True)
    )


def main():
    """Run all experiments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--data-sets", nargs="+", choices=DATA_SETS, default=DATA_SETS)
    parser.add_argument("--tuners", nargs="+", default=("RegularizedEvolution", "Random"))
    arguments = parser.parse_args()
    print(_line("data set", "tuner", [f"best of {mark} phases" for mark in MARKS]))
    for data_set in arguments.data_sets:
        for tuner in arguments.tuners:
            with tempfile.TemporaryDirectory() as home:
                runs = [run(Path(home), data_set, tuner, seed) for seed in range(arguments.seeds)]
            best = [_summary([max(results[:mark]) for results in runs]) for mark in MARKS]
            print(_line(data_set, tuner, best), flush=True)
        accuracies = read_accuracies(data_set).values()
        expected = [f"{expected_best(accuracies, mark):.3f}" for mark in MARKS]
        print(_line(data_set, "(Random, expected)", expected))
        print(_line(data_set, "(best of all)", [f"{max(accuracies):.3f}"] * len(MARKS)), flush=True)


def _summary(values):
    mean = f"{fmean(values):.3f}"
    return f"{mean} ± {stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else mean


def _line(data_set, who, cells):
    return f"{data_set:10}{who:22}{''.join(f'{cell:22}' for cell in cells)}".rstrip()


if __name__ == "__main__":
    main()
