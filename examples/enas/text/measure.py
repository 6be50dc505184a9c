"""What the controller finds in the shared weights, what that is worth from scratch, and what it costs.

    python3 measure.py [--seeds 4] [--corpus kjv] ...

For each seed these experiments, by `mpx create` from config.yml and retrain.yml:

1. the search by `ENAS`, whose last phases are cells of the trained controller, judged in the final weights;
2. the same search by `Random`: weights that were trained as long by cells drawn uniformly, and so owe
   nothing to the controller; its last cells stand for chance;
3. the cells of each judged in the weights of the other, on the same text;
4. the controller's three best cells, and the first few random ones, trained from scratch.

Perplexities in shared weights are means over the cells, those from scratch are on text that chose nothing.
Seconds are of computing, on one core (`time.process_time`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, median

import yaml

from top import best_cells, handed_out

HERE = Path(__file__).resolve().parent
BEST = 3  # cells that are trained from scratch
SHARED = "perplexity in shared weights"
GROUPS = {  # the columns of the table
    f"{SHARED} of the search": ("controller", "random"),
    f"{SHARED} trained uniformly": ("controller", "random"),
    "perplexity from scratch": ("best 3", "random: median", "best"),
    "seconds": ("search", "a cell", "share"),
}


class Runs:
    """The experiments of a seed, in a home of their own."""

    def __init__(self, home, seed, arguments):
        self._home = Path(home)
        self._seed = seed
        self._arguments = arguments

    def search(self, tuner):
        """Return the phases of a search, and the path of the weights it ended with."""
        given = self._arguments
        config = read("config.yml") | {"tuner": {"builtinTunerName": tuner}}
        options = f"--search {given.search} --judged {given.judged} --warm-up {given.warm_up}"
        rows = self._run(f"search-{tuner}", config, options)
        trials = self._home / "experiments" / rows[0]["experiment_id"] / "trials"
        return rows, trials / rows[0]["trial_id"] / "output" / "shared.pt"

    def judge(self, name, cells, weights):
        """Return what cells are worth in shared weights."""
        options = f"--weights '{weights}' --judged {len(unique(cells))}"
        return self._hand_out(name, "config.yml", cells, options)

    def train(self, cells):
        """Return what cells are worth that are trained from scratch."""
        options = f"--minibatches {self._arguments.minibatches}"
        return self._hand_out("scratch", "retrain.yml", cells, options)

    def _hand_out(self, name, file, cells, options):
        rows = self._run(name, read(file) | handed_out(unique(cells)), options)
        results = {json.dumps(row["parameters"]["cell"]): row["value"] for row in rows}
        return [results[json.dumps(cell)] for cell in cells]

    def _run(self, name, config, options):
        script = config["trial"]["command"].split()[1]
        corpus, seed = self._arguments.corpus, self._seed
        command = f"'{sys.executable}' {script} '{corpus}' --seed {seed} {options}"
        trial = {"command": command, "codeDir": str(HERE)}
        own = {"experimentName": name, "seed": seed, "trial": trial}
        path = self._home / f"{name}.json"
        path.write_text(json.dumps(config | own))  # which is YAML as well
        self._mpx("create", path, "--foreground", "--quiet")
        rows = map(json.loads, self._mpx("export", name, "--format", "jsonl").splitlines())
        return sorted(rows, key=lambda row: row["parameter_id"])

    def _mpx(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "mpx", *arguments],
            env={**os.environ, "MPX_HOME": str(self._home)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout


def read(name):
    """Return one of the configurations."""
    return yaml.safe_load((HERE / name).read_text())


def unique(cells):
    """Return the cells in their order, each once."""
    return [cell for place, cell in enumerate(cells) if cell not in cells[:place]]


def figures(runs, random):
    """Run the experiments of a seed; return a line of the table.

    Args:
        random: how many random cells are trained from scratch.
    """
    searched, weights = runs.search("ENAS")
    drawn, uniform = runs.search("Random")
    found, chance = judged(searched), judged(drawn)
    by_chance = runs.judge("random", cells(chance), weights)
    in_uniform = runs.judge("controller", cells(found), uniform)

    best, others = best_cells(searched, BEST), unique(cells(chance))[:random]
    results = runs.train(best + others)
    tests = [result["test"] for result in results]
    best_tests, other_tests = tests[: len(best)], tests[len(best) :]
    search = searched[-1]["value"]["seconds"]
    one = fmean(result["seconds"] for result in results)
    all_of_them = len(unique(cells(searched))) * one
    return [
        *(mean_perplexity(values(found)), mean_perplexity(by_chance)),
        *(mean_perplexity(in_uniform), mean_perplexity(values(chance))),
        *(fmean(best_tests), median(other_tests), min(other_tests)),
        *(search, one, (search + len(best) * one) / all_of_them),
    ]


def judged(rows):
    """Return those of some phases that were judged."""
    return [row for row in rows if row["value"]["judged"]]


def cells(rows):
    """Return the cell of each phase."""
    return [row["parameters"]["cell"] for row in rows]


def values(rows):
    """Return the result of each phase."""
    return [row["value"] for row in rows]


def mean_perplexity(results):
    """Return the mean over some results."""
    return fmean(result["perplexity"] for result in results)


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=4, help="searches by ENAS, and as many by Random"
    )
    parser.add_argument("--corpus", default="kjv", help="kjv, python or the path of a text file")
    parser.add_argument("--warm-up", type=int, default=200, help="minibatches before a search")
    parser.add_argument("--search", type=int, default=300, help="phases that train")
    parser.add_argument("--judged", type=int, default=30, help="phases behind them")
    parser.add_argument("--random", type=int, default=7, help="random cells to train from scratch")
    parser.add_argument("--minibatches", type=int, default=800, help="that such a training has")
    arguments = parser.parse_args()
    if arguments.corpus not in ("kjv", "python"):
        arguments.corpus = str(Path(arguments.corpus).resolve())

    lines = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as home:
            lines.append(figures(Runs(home, seed, arguments), arguments.random))
        print(f"seed {seed}: " + " ".join(shown(lines[-1])), file=sys.stderr)
    lines.append([fmean(column) for column in zip(*lines, strict=True)])
    columns = iter(zip(*map(shown, lines), strict=True))
    for title, names in GROUPS.items():
        print(
            f"\n{title:46}" + "".join(f"{seed:>8}" for seed in range(arguments.seeds)) + "    mean"
        )
        for name in names:
            print(f"{name:46}" + "".join(f"{cell:>8}" for cell in next(columns)))


def shown(line):
    """Return the cells of a line of the table."""
    *perplexities, search, one, share = line
    return [
        *(f"{each:.2f}" for each in perplexities),
        f"{search:.0f}",
        f"{one:.0f}",
        f"{share:.1%}",
    ]


if __name__ == "__main__":
    main()
