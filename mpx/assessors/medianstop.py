"""The median stopping rule."""

from __future__ import annotations

from array import array
from bisect import insort
from typing import Any, ClassVar

from mpx.assessor import AssessResult
from mpx.assessors.built_in import OPTIMIZE_MODE, BuiltInAssessor

# A longer curve is judged as if it stood here, so that no curve takes more than 80 kB.
_LAST_STEP = 10_000


class Medianstop(BuiltInAssessor):
    """Stops a curve whose best result so far is worse than what half of the completed ones had by then.

    At its step s, a curve's best result is compared with the median, over all completed curves that
    came as far, of the mean of their first s results. A curve is completed when it ended well: one that
    failed or was stopped is compared with nothing. NaN, infinities and what is no number are steps that
    improve nothing; a curve of such steps alone is worse than every number.

    A verdict takes constant time, however many curves there were.

    Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section
    3.2.2.

    Args:
        optimize_mode: `maximize` or `minimize`, which results are better.
        start_step: how many results a curve must have before it is judged.

    Raises:
        UsageError: `optimize_mode` is neither.
    """

    class_args_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "optimize_mode": OPTIMIZE_MODE,
            "start_step": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "How many results a curve must have before it is judged.",
            },
        },
        "additionalProperties": False,
    }

    def __init__(self, optimize_mode: str = "maximize", start_step: int = 0) -> None:
        super().__init__(optimize_mode)
        self._start_step = start_step
        self._running: dict[str, _Curve] = {}
        # Of each step, from 1: the means of the completed curves, sorted.
        self._means: list[array[float]] = []

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult:
        """Judge a curve; see the class."""
        curve = self._running.setdefault(trial_job_id, _Curve())
        for result in trial_history[curve.steps :]:
            curve.add(self.score(result))
        compared = min(curve.steps, _LAST_STEP)
        if curve.steps < self._start_step or not 0 < compared <= len(self._means):
            return AssessResult.Good
        return AssessResult(curve.best >= _median(self._means[compared - 1]))

    def trial_end(self, trial_job_id: str, success: bool) -> None:
        """Compare later curves with this one if it ended well."""
        curve = self._running.pop(trial_job_id, None)
        if curve is None or not success:
            return
        for step, mean in enumerate(curve.means):
            if step == len(self._means):
                self._means.append(array("d"))
            insort(self._means[step], mean)


class _Curve:
    """The scores of a curve that goes on, as far as the rule needs them."""

    def __init__(self) -> None:
        self.steps = 0
        self.best = float("-inf")
        self.means = array("d")  # of each step, up to the last that is compared
        self._mean = float("-inf")
        self._numbers = 0

    def add(self, score: float | None) -> None:
        """Take the next step, to a score or to none."""
        self.steps += 1
        if score is not None:
            self._numbers += 1
            self.best = max(self.best, score)
            # In this form, rounding moves the mean of equal scores not at all, and none above the best.
            change = 0.0 if self._numbers == 1 else (score - self._mean) / self._numbers
            self._mean = score if self._numbers == 1 else min(self.best, self._mean + change)
        if self.steps <= _LAST_STEP:
            self.means.append(self._mean)


def _median(numbers: array[float]) -> float:
    """Return the median of sorted numbers."""
    middle = len(numbers) // 2
    if len(numbers) % 2:
        return numbers[middle]
    return (numbers[middle - 1] + numbers[middle]) / 2
