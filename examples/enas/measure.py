"""What the controller has learned, what its best architectures are worth, and what that cost.

    python3 measure.py [--seeds 10] [--retrained 2] [--digits]

Each run is an experiment of `mpx create` in a home of its own. For each seed:

1. a search by `ENAS`, whose last phases are architectures of the trained controller, judged in the final
   shared weights; and as many of `Random`, judged in the same weights on the same images;
2. the same search by `Random`, that is a supernet trained by architectures drawn uniformly; in its weights,
   which owe nothing to the controller, the same architectures of both are judged again;
3. for `--retrained` seeds, the three best of the search and the first of the random ones, from scratch.
"""

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import correlation, fmean, median
from typing import NamedTuple

from runs import Lab, Run
from top import best, judged

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"


class Found(NamedTuple):
    """What one seed has found: accuracies, shares of 1."""

    seed: int
    search: Run
    chance: list  # accuracy and architecture of random ones, in the search's weights
    controllers: list  # accuracies of the controller's architectures, in the uniform supernet
    uniform: list  # and of the random ones


def look(lab, seed, tuner):
    """Search with one seed, and judge what was found."""
    search = lab.search(f"search-{seed}", tuner, seed)
    uniform = lab.search(f"uniform-{seed}", "Random", seed)
    by_chance = [architecture for _, architecture in judged(uniform.rows)]
    by_controller = [architecture for _, architecture in judged(search.rows)]
    chance = lab.judge(f"chance-{seed}", by_chance, search.weights)
    return Found(
        seed,
        search,
        list(zip(chance, by_chance, strict=True)),
        lab.judge(f"controllers-{seed}", by_controller, uniform.weights),
        [accuracy for accuracy, _ in judged(uniform.rows)],
    )


def print_sampled(found):
    """Print the mean accuracies of sampled architectures, seed by seed, and how often which is higher."""
    print("mean validation accuracy of sampled architectures, %")
    print(f"{'':8}{'in weights of the search':>28}{'in uniformly trained ones':>28}")
    table = [
        (
            fmean(accuracy for accuracy, _ in judged(each.search.rows)),
            fmean(accuracy for accuracy, _ in each.chance),
            fmean(each.controllers),
            fmean(each.uniform),
        )
        for each in found
    ]
    print(f"{'seed':8}" + "".join(f"{name:>14}" for name in ("controller", "random") * 2))
    for each, values in zip(found, table, strict=True):
        print(f"{each.seed:<8}" + "".join(f"{100 * value:14.2f}" for value in values))
    means = [100 * fmean(values) for values in zip(*table, strict=True)]
    print(f"{'mean':8}" + "".join(f"{value:14.2f}" for value in means))
    for place, where in ((0, "the search's weights"), (2, "uniformly trained ones")):
        wins = sum(values[place] > values[place + 1] for values in table)
        print(f"controller above random in {where}: {wins} of {len(found)}")


def print_retrained(lab, each, random):
    """Train the top three and random ones from scratch; print accuracy, ranking and cost."""
    top = best(judged(each.search.rows), 3)
    shared, by_chance = zip(*each.chance[:random], strict=True)
    results = lab.retrain(f"retrain-{each.seed}", [*top, *by_chance], each.seed)
    tests = [100 * result["test"] for result in results]
    print(f"\nfrom scratch, seed {each.seed}: test accuracy, %")
    print(f"{'':34}{'mean':>8}{'median':>8}{'least':>8}{'most':>8}")
    for name, values in ("top 3 of the search", tests[:3]), (f"{random} random ones", tests[3:]):
        numbers = fmean(values), median(values), min(values), max(values)
        print(f"{name:34}" + "".join(f"{number:8.2f}" for number in numbers))
    agreement = correlation(_ranks(shared), _ranks(tests[3:]))
    print(f"shared weights rank the random ones as that does: Spearman's rho = {agreement:.2f}")

    seconds = [result["seconds"] for result in results]
    looked_at = len({json.dumps(row["parameters"]) for row in each.search.rows})
    spent = each.search.seconds + sum(seconds[:3])
    all_of_them = looked_at * fmean(seconds)
    print(f"search {each.search.seconds:.0f} s, top 3 from scratch {sum(seconds[:3]):.0f} s")
    print(
        f"the {looked_at} that it looked at, from scratch at {fmean(seconds):.1f} s: {all_of_them:.0f} s"
    )
    print(f"cost of search and top 3, of that: {100 * spent / all_of_them:.2f} %")


def _ranks(values):
    """Return each value's place among them, the mean of places where several are equal."""
    ranked = sorted(values)
    return [ranked.index(value) + (ranked.count(value) - 1) / 2 for value in values]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="searches")
    parser.add_argument(
        "--retrained", type=int, default=2, help="seeds whose best are trained anew"
    )
    parser.add_argument("--random", type=int, default=7, help="architectures to compare these with")
    parser.add_argument("--tuner", default="ENAS", help="that searches")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    parser.add_argument("--source", default=FASHION_MNIST, help="the folder with the images")
    parser.add_argument(
        "--digits", action="store_true", help="the short form, on scikit-learn's digits"
    )
    arguments = parser.parse_args()
    source = "digits" if arguments.digits else Path(arguments.source).resolve()
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Path(home), source, arguments.digits)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            found = list(
                pool.map(lambda seed: look(lab, seed, arguments.tuner), range(arguments.seeds))
            )
        print_sampled(found)
        for each in found[: arguments.retrained]:
            print_retrained(lab, each, arguments.random)


if __name__ == "__main__":
    main()
