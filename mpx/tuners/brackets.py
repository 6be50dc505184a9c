"""The brackets of Hyperband: how many configurations, on which budgets, and who goes on."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from mpx.tuners.encoding import Point


@dataclass(slots=True)
class Rung:
    """Configurations that get one and the same budget.

    Attributes:
        budget: of each.
        size: how many they are.
        waiting: those not handed out yet; None stands for one that is still to be chosen.
        results: (loss, arrival, configuration) of those that ended.
    """

    budget: int
    size: int
    waiting: deque[Point | None] = field(default_factory=deque)
    results: list[tuple[float, int, Point]] = field(default_factory=list)


class Bracket:
    """Successive halving: the best 1/eta of each rung go on to the next, with eta times the budget.

    Args:
        rungs: (configurations, budget) of each rung.
    """

    def __init__(self, rungs: list[tuple[int, int]]) -> None:
        self.rungs = [Rung(budget, size) for size, budget in rungs]
        self.rungs[0].waiting.extend([None] * self.rungs[0].size)

    def take(self) -> tuple[int, Point | None] | None:
        """Return a rung and a configuration that is to be tried on its budget.

        The configuration is None where a new one is to be chosen. None alone says that there is
        nothing to do before results come.
        """
        for index in reversed(range(len(self.rungs))):
            if self.rungs[index].waiting:
                return index, self.rungs[index].waiting.popleft()
        return None

    def note(self, index: int, point: Point, loss: float | None) -> None:
        """Take in the end of a configuration on a rung; one that failed counts as the worst."""
        rung = self.rungs[index]
        rung.results.append((math.inf if loss is None else loss, len(rung.results), point))
        if len(rung.results) == rung.size and index + 1 < len(self.rungs):
            above = self.rungs[index + 1]
            best = sorted(rung.results, key=lambda result: result[:2])[: above.size]
            above.waiting.extend(point for _, _, point in best)

    @property
    def is_complete(self) -> bool:
        """All rungs have all their results."""
        return len(self.rungs[-1].results) == self.rungs[-1].size


def bracket_sizes(largest: int, smallest: int, eta: int) -> list[list[tuple[int, int]]]:
    """Return the rungs, (configurations, budget) each, of the brackets in the order they are run.

    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR
    18 (2018), algorithm 1: with a largest budget of 81 and eta = 3, the brackets begin with 81, 34,
    15, 8 and 5 configurations.

    Args:
        largest: budget of a bracket's last rung.
        smallest: no bracket begins with less.
        eta: factor between the budgets of rungs.
    """
    most = 0
    while smallest * eta ** (most + 1) <= largest:
        most += 1
    return [
        [
            (-(-(most + 1) * eta**s // (s + 1)) // eta**i, max(1, largest * eta**i // eta**s))
            for i in range(s + 1)
        ]
        for s in reversed(range(most + 1))
    ]
