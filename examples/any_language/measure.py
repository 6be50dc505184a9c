"""The same trial in bash, C and Python: how fast it is, how alike, how near to the known optimum.

    python3 examples/any_language/measure.py [--runs 5] [--seeds 10]

Every run is an experiment of `mpx create`, with the language's own config; only numbers are changed.
The first table has the medians of so many runs, which the languages do in turns: of the config's plate,
and of one so small that little but mpx's own part is left. The others are by the program in C: the
sweeps that a time step takes with some omegas, and what the tuner finds.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
LANGUAGES = {"bash": "bash.yml", "C": "c.yml", "Python": "python.yml"}
ORDERS = ("lexicographic", "red_black")
SIZE, SMALL = 23, 3  # cells in a row
R = 50  # dt / h²

Phases = list[dict[str, Any]]


def run(language: str, size: int = SIZE, **keys: Any) -> Phases:
    """Run an experiment with other values for some keys; return its phases in order."""
    config = yaml.safe_load((HERE / LANGUAGES[language]).read_text()) | keys
    command = config["trial"]["command"].replace("python3", f"'{sys.executable}'")
    assert command.endswith(f" {SIZE}")
    command = command.removesuffix(str(SIZE)) + str(size)
    config["trial"] = {"command": command, "codeDir": str(HERE)}
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "config.json"
        file.write_text(json.dumps(config))  # which is YAML as well
        _mpx(home, "create", str(file), "--foreground", "--quiet")
        rows = _mpx(home, "export", config["experimentName"], "--format", "jsonl").splitlines()
    return sorted(map(json.loads, rows), key=lambda phase: phase["parameter_id"])


def _mpx(home: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": home},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


def seconds_a_phase(phases: Phases) -> float:
    """Return how long a phase took, with all that lies between it and the next one."""
    first, last = (datetime.fromisoformat(phases[i]["started_at"]) for i in (0, -1))
    return (last - first).total_seconds() / (len(phases) - 1)


def results(phases: Phases) -> list[Any]:
    """Return what must not depend on the language: parameters and all results."""
    return [(p["status"], p["parameters"], p["intermediates"], p["value"]) for p in phases]


def best_omega() -> float:
    """Return the best omega in theory.

    It is 2 / (1 + sqrt(1 - mu²)), with mu the spectral radius of the method of Jacobi.

    Source: Young, "Iterative Methods for Solving Partial Difference Equations of Elliptic Type",
    Trans. AMS 76 (1954).
    """
    mu = 4 * R / (1 + 4 * R) * math.cos(math.pi / (SIZE + 1))
    return 2 / (1 + math.sqrt(1 - mu * mu))


def tried(omegas: list[float]) -> dict[float, dict[str, float]]:
    """Return the sweeps with each omega and order, on a plate that is warm already."""
    warm_up = [{"omega": omega, "order": ORDERS[0]} for omega in (1.5, 1.6, 1.7)]
    chosen = [{"omega": omega, "order": order} for omega in omegas for order in ORDERS]
    space = {"all": {"_type": "choice", "_value": warm_up + chosen}}
    tuner = {"builtinTunerName": "BatchTuner"}
    phases = run("C", searchSpace=space, tuner=tuner, maxPhaseNum=len(warm_up + chosen))
    sweeps: dict[float, dict[str, float]] = {omega: {} for omega in omegas}
    for phase in phases[len(warm_up) :]:
        parameters = phase["parameters"]
        sweeps[parameters["omega"]][parameters["order"]] = phase["value"]["default"]
    return sweeps


def show_languages(runs: int) -> None:
    """Print the table of the languages."""
    print(f"{'':10}{'phases/s':>12}{'µs a phase':>14}{'µs, plate of 3 x 3':>22}   results")
    found: dict[tuple[str, int], list[Phases]] = {}
    for number in range(runs):
        for size, length in ((SIZE, 60), (SMALL, 200)):
            for language in LANGUAGES:
                phases = run(language, size, maxPhaseNum=length, seed=number)
                found.setdefault((language, size), []).append(phases)
    reference = {size: [results(each) for each in found["Python", size]] for size in (SIZE, SMALL)}
    for language in LANGUAGES:
        took = {s: median(map(seconds_a_phase, found[language, s])) for s in reference}
        alike = all([results(e) for e in found[language, s]] == reference[s] for s in reference)
        cells = f"{1 / took[SIZE]:12.1f}{1e6 * took[SIZE]:14.0f}{1e6 * took[SMALL]:22.0f}"
        print(f"{language:10}{cells}   {'the same' if alike else 'DIFFERENT'}", flush=True)


def show_optimum(seeds: int) -> None:
    """Print the table of the optimum, and what is found of it."""
    print(f"\n{'':34}{'omega':>14}{'lexicographic':>15}{'red_black':>11}")
    theory = best_omega()
    grid = [round(1 + 0.005 * i, 3) for i in range(191)]
    sweeps = tried([theory, *grid])
    for name, omega in (
        ("Gauss and Seidel", 1.0),
        ("best in theory", theory),
        ("best of 191 x 2, red_black", min(grid, key=lambda omega: sweeps[omega]["red_black"])),
    ):
        lexicographic, red_black = (sweeps[omega][order] for order in ORDERS)
        print(f"{name:34}{omega:14.4f}{lexicographic:15.2f}{red_black:11.2f}", flush=True)

    runs = [run("C", seed=seed) for seed in range(seeds)]
    best = [min(phases, key=lambda phase: phase["value"]["default"]) for phases in runs]
    values = [phase["value"]["default"] for phase in best]
    omegas = [phase["parameters"]["omega"] for phase in best]
    orders = {phase["parameters"]["order"] for phase in best}
    means = [fmean(phase["value"]["default"] for phase in phases) for phases in runs]
    print(f"\nfound by 60 phases, {seeds} seeds{'median':>20}{'least':>12}{'most':>12}")
    for name, column in (("omega", omegas), ("sweeps", values), ("sweeps, mean of all 60", means)):
        print(f"{name:30}{median(column):18.4f}{min(column):12.4f}{max(column):12.4f}")
    print(f"order: {', '.join(sorted(orders))}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    show_languages(arguments.runs)
    show_optimum(arguments.seeds)


if __name__ == "__main__":
    main()
