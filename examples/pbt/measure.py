"""What PBT finds on the toy and on the digits, against fixed hyperparameters.

    python3 measure.py toy [--seeds 20]
    python3 measure.py digits [--seeds 20] [--epochs 40 70]

Every run is an experiment of its own, created by `mpx create` from the configurations beside this file; a
seed changes the tuner's draws and, on the digits, the first weights. On the digits, random search is given
each of the `--epochs`; PBT's members have 40 each, but the weights they end with may be older.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(name, seed, home, trial=None):
    """Run an experiment; return its status as `mpx status --json` tells it.

    Args:
        trial: the trial's command, if not that of the configuration.
    """
    text = (HERE / f"{name}.yml").read_text()
    text = text.replace("seed: 1\n", f"seed: {seed}\n").replace("codeDir: .", f"codeDir: {HERE}")
    if trial is not None:
        text = re.sub("command: .*", f"command: {trial}", text)
    file = home / "config.yml"
    file.write_text(text)
    made = mpx(home, seed, "create", file, "--foreground", "--quiet")
    status = json.loads(mpx(home, seed, "status", made.split()[0], "--json"))
    if set(status["phases"]) != {"SUCCEEDED"}:
        raise SystemExit(f"{name}, seed {seed}: {status['phases']}")
    return status


def mpx(home, seed, *arguments):
    """Run a command; return what it printed."""
    command = [sys.executable, "-m", "mpx", *map(str, arguments)]
    environment = {**os.environ, "MPX_HOME": str(home), "SEED": str(seed)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout or done.stderr


def test_result(status):
    """Return what the trial with the best phase wrote after its last one."""
    trial = Path(status["directory"]) / "trials" / status["best"]["trial_id"]
    return json.loads((trial / "output" / "test.json").read_text())


def table(title, columns):
    """Print mean, standard deviation, median and ends of each column."""
    print(f"\n{title:44}{'mean':>9}{'sd':>9}{'median':>9}{'least':>9}{'most':>9}")
    for name, values in columns.items():
        sd = statistics.stdev(values) if len(values) > 1 else 0
        ends = min(values), max(values)
        found = (statistics.fmean(values), sd, statistics.median(values), *ends)
        print(f"{name:44}" + "".join(f"{each:9.4f}" for each in found))


def measure_toy(arguments, home):
    """Print how high members get: at best 1.2."""
    found = {"grid search": "toy_grid", "PBT": "toy"}
    table(
        f"toy, Q, {arguments.seeds} seeds",
        {
            name: [run(config, seed, home)["best"]["value"] for seed in range(arguments.seeds)]
            for name, config in found.items()
        },
    )


def measure_digits(arguments, home):
    """Print how good the best member of each run is, and how likely PBT looks as good by chance."""
    from scipy.stats import mannwhitneyu

    seeds = range(arguments.seeds)
    by_pbt = [run("digits", seed, home) for seed in seeds]
    found = {"PBT": [test_result(status) for status in by_pbt]}
    for epochs in arguments.epochs:
        command = f"python3 digits.py {epochs}"
        runs = [run("digits_random", seed, home, command) for seed in seeds]
        found[f"random search, {epochs} epochs"] = [test_result(status) for status in runs]

    titles = {
        "validation_loss": "cross-entropy, validation",
        "loss": "cross-entropy, test",
        "accuracy": "accuracy, test",
    }
    for key, title in titles.items():
        columns = {name: [row[key] for row in rows] for name, rows in found.items()}
        table(f"digits, {title}, {arguments.seeds} seeds", columns)
        better = "greater" if key == "accuracy" else "less"
        for name, values in columns.items():
            if name != "PBT":
                p = mannwhitneyu(columns["PBT"], values, alternative=better).pvalue
                print(f"PBT no better than {name}: p = {p:.2g}")

    ages = [epochs_behind_best(home, status) for status in by_pbt]
    table(f"epochs behind PBT's best, {arguments.seeds} seeds", {"PBT": ages})
    print(f"over 40: {sum(age > 40 for age in ages)} of {arguments.seeds}")


def epochs_behind_best(home, status):
    """Return how long the best weights were trained, in whatever members; a phase is one epoch."""
    return len(json.loads(mpx(home, 0, "lineage", status["id"], "--json")))


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", choices=["toy", "digits"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, nargs="+", default=[40, 70], help="of random search")
    arguments = parser.parse_args()
    measure = {"toy": measure_toy, "digits": measure_digits}[arguments.problem]
    with tempfile.TemporaryDirectory() as home:
        measure(arguments, Path(home))


if __name__ == "__main__":
    main()
