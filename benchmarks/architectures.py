"""What tuners find among architectures with a made reward, and what a choice costs ENAS.

    python benchmarks/architectures.py [--tuners ENAS TPE ...] [--seeds 10] [--noise 1]
    python benchmarks/architectures.py --cost

Needs `pip install '.[torch]'`, for TPE `'.[optuna]'` as well.

Each decision of an architecture adds to its reward, and each depends on one earlier decision, by numbers
from normal distributions, those of the dependence half as wide. Rewards are measured from the mean of
random architectures in standard deviations of theirs; what a tuner is told is the reward and noise of
`--noise` such deviations. The table shows, without the noise, the mean reward of the 50 architectures up to
the 100th, 300th and 1000th, as a mean over the seeds, and what share it is of the best that there is (found
by climbing from 30 random ones). One phase is open at a time. `ENAS-no-bias` is ENAS with
`bias_learning_rate: 0`, which leaves the controller as it is in the paper.

`--cost` shows the milliseconds that ENAS takes for an ask and for a result, one architecture at a time and
16 at a time. Threads are torch's own choice, as in a manager.
"""

import argparse
import random
import statistics
import time
from typing import Any

from mpx import generators
from mpx.architectures import ARCHITECTURES, Architecture
from mpx.loader import load_built_in_tuner

SPACES: dict[str, tuple[str, dict[str, Any]]] = {
    "macro, 6 layers, 4 operations": (
        "macro",
        {"layers": 6, "operations": ["conv3", "conv5", "max_pool", "avg_pool"]},
    ),
    "cell of convolutions, 4 nodes, 3 operations": (
        "cell",
        {"nodes": 4, "operations": ["conv3", "conv5", "identity"]},
    ),
    "recurrent cell, 8 nodes, 4 operations": (
        "cell",
        {
            "nodes": 8,
            "operations": ["tanh", "relu", "sigmoid", "identity"],
            "inputs": 1,
            "inputs_per_node": 1,
        },
    ),
}
MARKS = (100, 300, 1000)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ENAS-no-bias": ("ENAS", {"bias_learning_rate": 0}),
}


class MadeReward:
    """A reward for the architectures of a space, in standard deviations from the mean of random ones."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        rng = random.Random(seed)
        self._architecture = architecture
        self._sizes = [each.size for each in architecture.decisions]
        self._alone = [[rng.gauss(0, 1) for _ in range(size)] for size in self._sizes]
        self._before = [rng.randrange(index) if index else 0 for index in range(len(self._sizes))]
        self._beside = [
            [[rng.gauss(0, 0.5) for _ in range(self._sizes[before])] for _ in range(size)]
            for size, before in zip(self._sizes, self._before, strict=True)
        ]
        drawn = [self._sum(self._draw(rng)) for _ in range(2000)]
        self._mean, self._deviation = statistics.fmean(drawn), statistics.pstdev(drawn)
        self.best = max(self._climb(self._draw(rng)) for _ in range(30))

    def __call__(self, built: list[dict[str, Any]]) -> float:
        """Return the reward of an architecture."""
        options = self._architecture.options(built)
        assert options is not None
        return self._scaled(self._sum(options))

    def _draw(self, rng: random.Random) -> list[int]:
        return [rng.randrange(size) for size in self._sizes]

    def _scaled(self, total: float) -> float:
        return (total - self._mean) / self._deviation

    def _sum(self, options: list[int]) -> float:
        return sum(
            self._alone[index][option] + self._beside[index][option][options[self._before[index]]]
            for index, option in enumerate(options)
        )

    def _climb(self, options: list[int]) -> float:
        best, improves = self._sum(options), True
        while improves:
            improves = False
            for index, size in enumerate(self._sizes):
                for option in range(size):
                    other = [*options[:index], option, *options[index + 1 :]]
                    if (total := self._sum(other)) > best:
                        options, best, improves = other, total, True
        return self._scaled(best)


def construct(name: str, kind: str, value: dict[str, Any], seed: int) -> Any:
    """Return a tuner as the manager constructs it."""
    generators.seed(seed)
    name, arguments = VARIANTS.get(name, (name, {}))
    tuner_class = load_built_in_tuner(name)
    if "optimize_mode" in tuner_class.class_args_schema["properties"]:
        arguments = {"optimize_mode": "maximize", **arguments}
    tuner = tuner_class(**arguments)
    tuner.update_search_space({"network": {"_type": kind, "_value": value}})
    return tuner


def run(name: str, space: tuple[str, dict[str, Any]], seed: int, noise: float) -> list[float]:
    """Return the mean reward around each mark, and behind them that of the best architecture."""
    kind, value = space
    reward = MadeReward(ARCHITECTURES[kind](**value), seed)
    tuner, rng = construct(name, kind, value, seed), random.Random(seed)
    rewards = []
    for number in range(MARKS[-1]):
        parameters = tuner.generate_parameters(number, "trial")
        rewards.append(reward(parameters["network"]))
        tuner.receive_trial_result(number, parameters, rewards[-1] + rng.gauss(0, noise), "trial")
        tuner.phase_end(number, True, "trial")
    return [*(statistics.fmean(rewards[mark - 50 : mark]) for mark in MARKS), reward.best]


def compare(arguments: argparse.Namespace) -> None:
    """Print what each tuner finds."""
    for title, space in SPACES.items():
        print(f"\n{title}; noise {arguments.noise:g}, {arguments.seeds} seeds")
        print(f"{'tuner':22}" + "".join(f"{f'at {mark}':>16}" for mark in MARKS))
        for name in arguments.tuners:
            runs = [run(name, space, seed, arguments.noise) for seed in range(arguments.seeds)]
            *means, best = (statistics.fmean(column) for column in zip(*runs, strict=True))
            cells = (f"{f'{mean:.2f} ({mean / best:.0%})':>16}" for mean in means)
            print(f"{name:22}" + "".join(cells), flush=True)


def cost(_arguments: argparse.Namespace) -> None:
    """Print what an ask and a result cost ENAS."""
    print(f"{'milliseconds per phase':46}{'ask':>8}{'result':>8}{'ask, 16':>9}{'result, 16':>12}")
    for title, (kind, value) in SPACES.items():
        print(f"{title:46}", end="")
        for count, widths in ((1, (8, 8)), (16, (9, 12))):
            tuner = construct("ENAS", kind, value, 0)
            asking, telling, rng = [], [], random.Random(0)
            for number in range(0, 320, count):
                numbers = list(range(number, number + count))
                began = time.perf_counter()
                drawn = tuner.generate_multiple_parameters(numbers)
                asked = time.perf_counter()
                for each, parameters in zip(numbers, drawn, strict=True):
                    tuner.receive_trial_result(each, parameters, rng.random())
                asking.append((asked - began) / count)
                telling.append((time.perf_counter() - asked) / count)
            for times, width in zip((asking, telling), widths, strict=True):
                print(f"{statistics.fmean(times[len(times) // 10 :]) * 1e3:{width}.2f}", end="")
        print(flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = ["Random", "RegularizedEvolution", "ENAS", "ENAS-no-bias"]
    parser.add_argument("--tuners", nargs="+", default=default)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--cost", action="store_true")
    arguments = parser.parse_args()
    (cost if arguments.cost else compare)(arguments)


if __name__ == "__main__":
    main()
