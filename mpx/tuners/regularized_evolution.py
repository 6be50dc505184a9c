"""Regularized evolution, also called aging evolution."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from mpx.errors import UsageError
from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Dimension, Point
from mpx.tuners.learning import LearningTuner, Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema

_STEP = 0.2  # standard deviation of a mutation, as a share of the range
_MOST_DRAWS = 1000  # for a value other than the parent's, which may be out of reach
_POPULATION_SIZE = 20


class RegularizedEvolution(LearningTuner):
    """Mutates the best of a sample of the population; the oldest dies, however good it is.

    The first `population_size` phases are drawn at random. From then on `sample_size` individuals are
    drawn from the population, with replacement, and the best of them has a child, which differs in one
    parameter: a choice becomes another option, all equally likely; an architecture has one operation or
    one input that is another, or one skip more or less; a number moves by a normal distribution with a
    standard deviation of 0.2 of its range, in the shares of `mpx.tuners.encoding`, drawn again until it
    is in the range. An option that is a sub-space brings parameters of its own, at random.

    Age counts from the result; of imported results the best are the youngest. A phase that failed
    joins nobody. Whoever asks is answered at once, from those who live, or where nobody does at random.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019,
    algorithm 1. The mutation of numbers, of which it has none, is the neighbourhood of Hutter, Hoos
    and Leyton-Brown, "Sequential Model-Based Optimization for General Algorithm Configuration",
    LION 2011, section 4.3.

    Args:
        optimize_mode: "maximize" or "minimize".
        population_size: individuals that live at a time.
        sample_size: individuals of whom the best one has a child; None: half of the population.

    Raises:
        UsageError: `sample_size` is greater than `population_size`.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        population_size={
            "type": "integer",
            "minimum": 1,
            "maximum": 99999,
            "default": _POPULATION_SIZE,
            "description": "individuals that live at a time",
        },
        sample_size={
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
            "description": "individuals of whom the best one has a child; null: half of the population",
        },
    )

    @staticmethod
    def check_class_args(given: dict[str, Any]) -> list[tuple[str, str]]:
        """Return, by argument, what is wrong between the two sizes."""
        population = given.get("population_size", _POPULATION_SIZE)
        sample = given.get("sample_size")
        if sample is None or sample <= population:
            return []
        return [("sample_size", f"found {sample}; allowed: at most population_size, {population}")]

    def __init__(
        self,
        optimize_mode: str = "maximize",
        population_size: int = _POPULATION_SIZE,
        sample_size: int | None = None,
    ) -> None:
        super().__init__(optimize_mode)
        given = {"population_size": population_size, "sample_size": sample_size}
        for argument, message in self.check_class_args(given):
            raise UsageError(f"{argument}: {message}")
        self._size = population_size
        self._sample_size = (population_size + 1) // 2 if sample_size is None else sample_size
        self._population: deque[Observation] = deque(maxlen=population_size)
        self._founders = 0

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Let the results from elsewhere join, the best ones as the youngest."""
        super().import_data(sorted(data, key=self._imported_loss, reverse=True))

    def _imported_loss(self, row: dict[str, Any]) -> float:
        loss = self._signed(row["value"])
        return math.inf if loss is None else loss

    def _begin(self, known: list[Observation]) -> None:
        self._population.clear()
        self._population.extend(known)
        self._founders = 0

    def _learn(self, observation: Observation) -> None:
        self._population.append(observation)  # and the oldest one leaves, where it is full

    def _propose(self) -> Proposal:
        if not self._population or max(self._founders, len(self._population)) < self._size:
            self._founders += 1
            return Proposal(*self._anywhere())
        sample = self._rng.choices(self._population, k=self._sample_size)
        return Proposal(*self._mutated(min(sample, key=_loss)))

    def _mutated(self, parent: Observation) -> tuple[dict[str, Any], Point]:
        changeable = [
            dimension
            for dimension in self._encoding.dimensions
            if dimension.name in parent.point and dimension.size != 1
        ]
        for mutated in self._rng.sample(changeable, len(changeable)):
            for _ in range(_MOST_DRAWS):
                child = self._child(parent.point, mutated)
                if self._encode(child[0]) != parent.point:
                    return child
        return self._child(parent.point, None)  # the space has but one point

    def _child(self, parent: Point, mutated: Dimension | None) -> tuple[dict[str, Any], Point]:
        def coordinate(dimension: Dimension) -> float:
            if dimension.name not in parent:  # of an option that was not chosen then
                return dimension.draw(self._rng)
            inherited = parent[dimension.name]
            return self._elsewhere(dimension, inherited) if dimension is mutated else inherited

        return self._encoding.decode(coordinate)

    def _elsewhere(self, dimension: Dimension, coordinate: float) -> float:
        if not dimension.ordered:
            return dimension.draw(self._rng)
        share = math.inf
        while not 0 <= share <= 1:
            share = self._rng.gauss(dimension.share(coordinate), _STEP)
        return dimension.coordinate(share)


def _loss(observation: Observation) -> float:
    return observation.loss
