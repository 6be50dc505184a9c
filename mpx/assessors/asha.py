"""Asynchronous successive halving, as a rule for stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush, heappushpop
from typing import Any, ClassVar

from mpx.assessor import AssessResult
from mpx.assessors.built_in import OPTIMIZE_MODE, BuiltInAssessor
from mpx.errors import UsageError

# The largest number of steps where none is given: no curve comes so far.
_ENDLESS = 2**63


class ASHA(BuiltInAssessor):
    """Stops a curve at a rung unless it is among the best 1/eta of those that have come there so far.

    Rungs are numbers of results (steps): `min_resource`, and eta, eta² … times that, below `max_resource`.
    A curve that comes to one is recorded on it, for good, whatever becomes of it later; of the n then on
    record there, itself included, it must be among the best n // eta, or it is stopped. So no curve waits
    for another, and no verdict is taken back.

    - Few results: while there are fewer than eta, the best one goes on; the first always does.
    - Equals: a curve goes on if it is as good as the last of the best, even if that makes more of them.
    - NaN, infinities and what is no number count among the n as worse than every number: such a curve
      goes on only where all on record are like it.
    - Several results in one call are judged as if they had come one by one. A curve that was stopped
      stays so.
    - From `max_resource` on a curve is at its end, and no longer judged.

    What counts on a rung is the result of that very step, as in the paper, and not the best so far:
    a curve that has fallen or diverged is judged by what it is now, and noise is no advantage.

    With several brackets, curves are dealt in the order of their first results to s = 0, 1 …, each with
    records of its own, and rungs that begin with eta^s times `min_resource`; in Hyperband's proportions
    (81, 34, 15, 8 and 5 for 1 to 81 steps and eta = 3). That helps where first results say little of last
    ones. The last bracket that is possible stops nothing.

    A verdict takes a time that grows with the logarithm of the number of curves.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020 (arXiv
    1810.05934), section 3, algorithms 1 (rungs and brackets) and 2. Theirs pauses a curve on its rung and
    may promote it later; this is the variant that stops it at once, called "stopping" by Klein et al.,
    arXiv 2003.10865. The proportions: Li et al., "Hyperband", JMLR 18 (2018), algorithm 1.

    Args:
        min_resource: how many results a curve has before it may be stopped; r in the paper.
        max_resource: how many it has at its end; R in the paper. None: rungs without end, the paper's
            infinite horizon.
        reduction_factor: one of so many goes on; eta in the paper.
        brackets: early-stopping rates s = 0, 1 … in use.
        optimize_mode: `maximize` or `minimize`, which results are better.

    Raises:
        UsageError: an argument is out of its range, or `check_class_args` finds a problem.
    """

    class_args_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "min_resource": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "How many results a curve has before it may be stopped.",
            },
            "max_resource": {
                "type": ["integer", "null"],
                "minimum": 2,
                "default": None,
                "description": "How many results a curve has at its end; null: any number.",
            },
            "reduction_factor": {
                "type": "integer",
                "minimum": 2,
                "default": 3,
                "description": "At each rung one of so many curves goes on, to so many times the results.",
            },
            "brackets": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "How many early-stopping rates are in use, from the most eager one on.",
            },
            "optimize_mode": OPTIMIZE_MODE,
        },
        "additionalProperties": False,
    }

    @staticmethod
    def check_class_args(given: dict[str, Any]) -> list[tuple[str, str]]:
        """Return, by argument, what is wrong between the arguments."""
        least, most = given.get("min_resource", 1), given.get("max_resource")
        factor, brackets = given.get("reduction_factor", 3), given.get("brackets", 1)
        if most is None:
            message = f"found {brackets}; allowed: 1, or max_resource with it"
            return [("brackets", message)] if brackets > 1 else []
        if most <= least:
            return [("max_resource", f"found {most}; allowed: more than min_resource, {least}")]
        possible = rungs(least, most, factor)
        if brackets > len(possible):
            steps = ", ".join(map(str, possible))
            message = f"found {brackets}; allowed: as many as there are rungs ({steps}), or fewer"
            return [("brackets", message)]
        return []

    def __init__(
        self,
        min_resource: int = 1,
        max_resource: int | None = None,
        reduction_factor: int = 3,
        brackets: int = 1,
        optimize_mode: str = "maximize",
    ) -> None:
        super().__init__(optimize_mode)
        given: dict[str, Any] = {
            "min_resource": min_resource,
            "max_resource": max_resource,
            "reduction_factor": reduction_factor,
            "brackets": brackets,
        }
        for argument, least in ("min_resource", 1), ("reduction_factor", 2), ("brackets", 1):
            if given[argument] < least:
                raise UsageError(f"{argument}: found {given[argument]}; allowed: at least {least}")
        for argument, message in self.check_class_args(given):
            raise UsageError(f"{argument}: {message}")
        end = max_resource or _ENDLESS
        spans = [rungs(min_resource, end, reduction_factor, rate) for rate in range(brackets)]
        self._brackets = [
            _Bracket(
                [_Rung(step, reduction_factor) for step in steps if step < end],
                share=_share(len(steps) - 1, len(spans[0]) - 1, reduction_factor),
            )
            for steps in spans
        ]
        self._running: dict[str, _Curve] = {}

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult:
        """Judge a curve; see the class."""
        curve = self._running.get(trial_job_id)
        if curve is None:
            curve = self._running[trial_job_id] = _Curve(self._deal().rungs)
        return AssessResult(curve.goes_on(trial_history, self.score))

    def trial_end(self, trial_job_id: str, success: bool) -> None:
        """Forget where a curve was; what is on record stays."""
        self._running.pop(trial_job_id, None)

    def _deal(self) -> _Bracket:
        """Return the bracket of the next curve: the one that is furthest behind its share."""
        bracket = min(self._brackets, key=lambda each: (2 * each.curves + 1) / each.share)
        bracket.curves += 1
        return bracket


def rungs(
    min_resource: int, max_resource: int, reduction_factor: int, early_stopping_rate: int = 0
) -> list[int]:
    """Return the steps of a bracket's rungs, the end included: r·eta^(s + k) up to R, for k = 0, 1 …

    Source: Li et al., arXiv 1810.05934, algorithm 1; with r = 1, R = 9 and eta = 3 they are 1, 3 and 9 for
    s = 0, 3 and 9 for s = 1, 9 for s = 2, as in its figure 1.

    Args:
        min_resource: r, at least 1.
        max_resource: R.
        reduction_factor: eta, at least 2.
        early_stopping_rate: s.
    """
    steps = []
    step = min_resource * reduction_factor**early_stopping_rate
    while step <= max_resource:
        steps.append(step)
        step *= reduction_factor
    return steps


@dataclass(slots=True)
class _Bracket:
    """Curves that are compared with each other.

    Attributes:
        rungs: where they are, in the order of their steps.
        share: how many curves it is dealt, in proportion to other brackets.
        curves: how many it was dealt.
    """

    rungs: list[_Rung]
    share: int
    curves: int = 0


class _Rung:
    """What is on record at one step: the best 1/eta apart from the rest, so that the border is at hand.

    Args:
        step: its number of results.
        reduction_factor: eta.
    """

    def __init__(self, step: int, reduction_factor: int) -> None:
        self.step = step
        self._reduction_factor = reduction_factor
        self._best: list[float] = []  # a heap, the lowest first
        self._rest: list[float] = []  # a heap of negated scores, the highest first
        self._has_numbers = False

    def admits(self, score: float | None) -> bool:
        """Record a score, or a result that has none; say whether it is among the best."""
        recorded = -math.inf if score is None else score
        heappush(self._rest, -heappushpop(self._best, recorded))
        count = len(self._best) + len(self._rest)
        if len(self._best) < max(1, count // self._reduction_factor):
            heappush(self._best, -heappop(self._rest))
        if score is None:
            return not self._has_numbers
        self._has_numbers = True
        return score >= self._best[0]


class _Curve:
    """How far a curve has come on the rungs of its bracket."""

    def __init__(self, rungs: list[_Rung]) -> None:
        self._rungs = rungs
        self._passed = 0
        self._is_stopped = False

    def goes_on(self, history: list[Any], score: Callable[[Any], float | None]) -> bool:
        """Take the curve as far as its history goes, or until it is stopped."""
        while not self._is_stopped and self._passed < len(self._rungs):
            rung = self._rungs[self._passed]
            if len(history) < rung.step:
                break
            self._is_stopped = not rung.admits(score(history[rung.step - 1]))
            self._passed += 1
        return not self._is_stopped


def _share(halvings: int, most_halvings: int, reduction_factor: int) -> int:
    """Return how many curves a bracket begins with in Hyperband."""
    curves: int = (most_halvings + 1) * reduction_factor**halvings
    return -(-curves // (halvings + 1))
