"""Stopping by the predicted end of a learning curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import mul
from typing import Any, ClassVar

from mpx.assessor import AssessResult
from mpx.assessors.built_in import OPTIMIZE_MODE, BuiltInAssessor
from mpx.errors import UsageError

# So many points of a curve at most are fitted, evenly spread, for which a verdict takes 5 ms.
_MOST_POINTS = 48
_FEWEST_POINTS = 4
_START_STEP = 6
# No curve follows a shape more closely than to this part of its range.
_LEAST_NOISE = 0.01
# A curve whose chance to end well is lower than this is stopped.
_LEAST_CHANCE = 0.05


class Curvefitting(BuiltInAssessor):
    """Stops a curve that is predicted to end clearly worse than the best of the completed ones.

    Many shapes of learning curves are fitted to the results so far, and count by how well they fit (see
    `predict`). The curve is stopped if, by less than one in twenty of them, it comes at step `epoch_num`
    to the best final result of the completed curves, less `1 - threshold` of its size: threshold 0.95
    and a best accuracy of 0.8 ask for 0.76, a lowest loss of 0.8 for 0.84. A curve whose last result is
    already that good goes on, and so does one of which nothing can be predicted: too short, with too few
    numbers, or at its end.

    A curve is completed when it ended well; its final result is its last number.

    Source: Domhan, Springenberg and Hutter, "Speeding up Automatic Hyperparameter Optimization of Deep
    Neural Networks by Extrapolation of Learning Curves", IJCAI 2015. Where they have a Markov chain's
    samples, here is a grid, of which only the shapes have to be listed: the best scale and offset
    of each are known in closed form. So the same curve always gets the same verdict, and no fit fails.
    One in twenty is their criterion too.

    Args:
        epoch_num: how many results a curve has at its end.
        start_step: how many it must have before it is judged.
        threshold: how good the predicted end must be, as a part of the best final result.
        gap: after `start_step`, a curve is judged at every so many results.
        optimize_mode: `maximize` or `minimize`, which results are better.

    Raises:
        UsageError: `optimize_mode` is neither, or `check_class_args` finds a problem.
    """

    class_args_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "epoch_num": {
                "type": "integer",
                "minimum": 1,
                "description": "How many results a curve has at its end.",
            },
            "start_step": {
                "type": "integer",
                "minimum": 0,
                "default": _START_STEP,
                "description": "How many results a curve must have before it is judged.",
            },
            "threshold": {
                "type": "number",
                "minimum": 0,
                "default": 0.95,
                "description": "How good the predicted end must be, as a part of the best result.",
            },
            "gap": {
                "type": "integer",
                "minimum": 1,
                "default": 1,
                "description": "A curve is judged at every so many results.",
            },
            "optimize_mode": OPTIMIZE_MODE,
        },
        "required": ["epoch_num"],
        "additionalProperties": False,
    }

    @staticmethod
    def check_class_args(given: dict[str, Any]) -> list[tuple[str, str]]:
        """Return, by argument, what keeps every curve from being judged."""
        start, end = given.get("start_step", _START_STEP), given.get("epoch_num")
        if end is None or start < end:
            return []
        found = f"{start}" if "start_step" in given else f"{start} (the default)"
        message = f"found {found}; allowed: less than epoch_num, {end}, or no curve is ever judged"
        return [("start_step", message)]

    def __init__(
        self,
        epoch_num: int,
        start_step: int = _START_STEP,
        threshold: float = 0.95,
        gap: int = 1,
        optimize_mode: str = "maximize",
    ) -> None:
        super().__init__(optimize_mode)
        given = {"epoch_num": epoch_num, "start_step": start_step}
        for argument, message in self.check_class_args(given):
            raise UsageError(f"{argument}: {message}")
        self._epoch_num = epoch_num
        self._start_step = start_step
        self._threshold = threshold
        self._gap = gap
        self._best: float | None = None  # of the completed curves' final scores
        self._last: dict[str, float] = {}  # of each running curve: its last score

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult:
        """Judge a curve; see the class."""
        last = self.score(trial_history[-1])
        if last is not None:
            self._last[trial_job_id] = last
        wanted = self._wanted()
        steps = len(trial_history)
        if wanted is None or not self._is_due(steps):
            return AssessResult.Good
        if self._last.get(trial_job_id, -math.inf) >= wanted:
            return AssessResult.Good
        prediction = predict(*self._points(trial_history), at=self._epoch_num)
        return AssessResult(prediction is None or prediction.chance(wanted) >= _LEAST_CHANCE)

    def trial_end(self, trial_job_id: str, success: bool) -> None:
        """Let later curves be as good as this one, if it ended well."""
        last = self._last.pop(trial_job_id, None)
        if success and last is not None:
            self._best = last if self._best is None else max(self._best, last)

    def _wanted(self) -> float | None:
        if self._best is None:
            return None
        return self._best - (1 - self._threshold) * abs(self._best)

    def _is_due(self, steps: int) -> bool:
        if not self._start_step <= steps < self._epoch_num:
            return False
        return (steps - self._start_step) % self._gap == 0

    def _points(self, history: list[Any]) -> tuple[list[int], list[float]]:
        """Return the steps, from 1, and the scores of what is to be fitted."""
        count = min(len(history), _MOST_POINTS)
        chosen = [len(history) * (i + 1) // count for i in range(count)]
        scored = [(step, self.score(history[step - 1])) for step in chosen]
        known = [(step, score) for step, score in scored if score is not None]
        return [step for step, _ in known], [score for _, score in known]


class Prediction:
    """What many shapes say of a learning curve's end.

    Args:
        ends: the score at the end, by each shape.
        weights: how much each counts.
    """

    def __init__(self, ends: Sequence[float], weights: Sequence[float]) -> None:
        self._ends = ends
        self._weights = weights
        self._total = math.fsum(weights)

    def mean(self) -> float:
        """Return the score to expect."""
        return math.fsum(map(mul, self._weights, self._ends)) / self._total

    def chance(self, wanted: float) -> float:
        """Return the probability that the curve ends at `wanted` or above."""
        pairs = zip(self._weights, self._ends, strict=True)
        return math.fsum(weight for weight, end in pairs if end >= wanted) / self._total


def predict(steps: Sequence[int], scores: Sequence[float], at: int) -> Prediction | None:
    """Predict a learning curve's score at a later step.

    The curve is taken for `limit - height * shape(step)`. A shape's weight is its profile likelihood
    under normal noise of unknown size; one that would have the curve move faster from now on than it
    did on average has none.

    Args:
        steps: of the points, increasing, from 1.
        scores: of the points, finite; nothing depends on which are better.
        at: the step to predict, behind those.

    Returns:
        The prediction; None if there is none, of less than four points for example.
    """
    if len(steps) < _FEWEST_POINTS:
        return None
    low, size = min(scores), max(scores) - min(scores)
    if size == 0:
        return Prediction([low], [1.0])
    if not math.isfinite(size):
        return None
    unit = [(score - low) / size for score in scores]
    furthest = at / steps[-1]
    fits = [
        (error, end)
        for shape in _shapes(at)
        for error, end in _fit([shape(step) for step in steps], unit, shape(at))
        if abs(end - unit[-1]) <= furthest
    ]
    if not fits:
        return None
    exponent = -(len(steps) - 2) / 2
    least = min(error for error, _ in fits)
    weights = [(error / least) ** exponent for error, _ in fits]
    return Prediction([low + size * end for _, end in fits], weights)


def _fit(
    basis: list[float], unit: list[float], basis_at_end: float
) -> Iterator[tuple[float, float]]:
    """Fit `limit - height * basis` by least squares; give its squared error and what it predicts."""
    count = len(basis)
    basis_mean, unit_mean = sum(basis) / count, sum(unit) / count
    deviation = [x - basis_mean for x in basis]
    variation = sum(map(mul, deviation, deviation))
    if variation < 1e-12:  # as good as flat where the points are: the curve says nothing of it
        return
    height = sum(map(mul, deviation, unit)) / variation
    error = sum((y - unit_mean - height * x) ** 2 for x, y in zip(deviation, unit, strict=True))
    end = unit_mean + height * (basis_at_end - basis_mean)
    yield error + count * _LEAST_NOISE**2, end


def _shapes(end: int) -> Iterator[Callable[[int], float]]:
    """Give functions of the step that fall from 1 towards 0, from at once to far behind `end`.

    Named as by Domhan et al.: pow4 (the lowest power is as good as a logarithm), Janoschek (exp3 where
    the power is 1) and Hill3.
    """
    for power in (0.01, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3):
        for offset in (0, 1, 4, 16):
            yield partial(_pow4, offset, power)
    scale = 4.0 * end
    while scale > 1:
        for power in (0.5, 0.75, 1, 1.5, 2):
            yield partial(_janoschek, scale, power)
        for power in (0.75, 1, 1.25, 1.5, 2):
            yield partial(_hill3, scale, power)
        scale /= math.sqrt(2)


def _pow4(offset: int, power: float, step: int) -> float:
    return math.pow(step + offset, -power)


def _janoschek(scale: float, power: float, step: int) -> float:
    return math.exp(-math.pow(step / scale, power))


def _hill3(scale: float, power: float, step: int) -> float:
    return 1 / (1 + math.pow(step / scale, power))
