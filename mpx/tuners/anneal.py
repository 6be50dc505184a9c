"""Simulated annealing."""

from __future__ import annotations

import math
from bisect import insort

from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Dimension
from mpx.tuners.learning import LearningTuner, Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.tpe import CONSTANT_LIAR_TYPE

_MEAN_RANK = 2.0  # of the result whose neighbourhood is drawn from, the best one being 1
_COOLING = 0.1


class Anneal(LearningTuner):
    """Draws near one of the best results, ever nearer the more results there are.

    The result is chosen by its rank, from a geometric distribution with mean 2. After n results the
    neighbourhood is 1 / (1 + n / 10) of a parameter's range, in the shares of `mpx.tuners.encoding`;
    so likely is it too that a choice is drawn anew.

    Source: the algorithm of that name in hyperopt (Bergstra, Yamins and Cox, "Making a Science of
    Model Search", ICML 2013), which NNI's tuner calls; here all parameters of a phase start from one
    and the same result.

    Args:
        optimize_mode: "maximize" or "minimize"; as in NNI's code, not its manual, the default is the
            latter.
        parallel_optimize: for NNI's sake; what is out is not reckoned with.
        constant_liar_type: for NNI's sake.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("minimize"),
        parallel_optimize={
            "type": "boolean",
            "default": False,
            "description": "accepted for NNI's sake, without effect",
        },
        constant_liar_type={
            **CONSTANT_LIAR_TYPE,
            "description": "accepted for NNI's sake, without effect",
        },
    )

    def __init__(
        self,
        optimize_mode: str = "minimize",
        parallel_optimize: bool = False,
        constant_liar_type: str = "min",
    ) -> None:
        super().__init__(optimize_mode)
        self._ranked: list[Observation] = []

    def _begin(self, known: list[Observation]) -> None:
        self._ranked = sorted(known, key=_loss)

    def _learn(self, observation: Observation) -> None:
        insort(self._ranked, observation, key=_loss)

    def _propose(self) -> Proposal:
        if not self._ranked:
            return Proposal(*self._anywhere())
        start = self._ranked[min(self._rank(), len(self._ranked) - 1)].point
        width = 1 / (1 + len(self._ranked) * _COOLING)
        return Proposal(
            *self._encoding.decode(
                lambda dimension: self._near(start.get(dimension.name), dimension, width)
            )
        )

    def _rank(self) -> int:
        """Draw from the geometric distribution: 0 with probability 1/2, 1 with 1/4 ..."""
        return int(math.log(1 - self._rng.random()) / math.log(1 - 1 / _MEAN_RANK))

    def _near(self, coordinate: float | None, dimension: Dimension, width: float) -> float:
        if coordinate is None:  # of an option that was not chosen then
            return dimension.draw(self._rng)
        if not dimension.ordered:
            return dimension.draw(self._rng) if self._rng.random() < width else coordinate
        middle = min(max(dimension.share(coordinate), width / 2), 1 - width / 2)
        return dimension.coordinate(self._rng.uniform(middle - width / 2, middle + width / 2))


def _loss(observation: Observation) -> float:
    return observation.loss
