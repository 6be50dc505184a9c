"""An evolutionary algorithm."""

from __future__ import annotations

from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Dimension
from mpx.tuners.learning import LearningTuner, Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema


class Evolution(LearningTuner):
    """Mutates the better of two random individuals; the other one dies when there is no more room.

    The first `population_size` phases are drawn at random. From then on one parameter of the better
    one is drawn anew; an option that is a sub-space brings parameters of its own. A phase that failed
    joins nobody. Whoever asks is answered at once: where nobody lives, at random.

    Source: Real et al., "Large-Scale Evolution of Image Classifiers", ICML 2017, section 3.1, as in
    NNI's tuner of that name.

    Args:
        optimize_mode: "maximize" or "minimize".
        population_size: individuals that live at a time.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        population_size={
            "type": "integer",
            "minimum": 1,
            "maximum": 99999,
            "default": 32,
            "description": "individuals that live at a time",
        },
    )

    def __init__(self, optimize_mode: str = "maximize", population_size: int = 32) -> None:
        super().__init__(optimize_mode)
        self._size = population_size
        self._population: list[Observation] = []
        self._founders = 0

    def _begin(self, known: list[Observation]) -> None:
        self._population = sorted(known, key=_loss)[: self._size]
        self._founders = len(self._population)

    def _learn(self, observation: Observation) -> None:
        self._population.append(observation)
        while len(self._population) > self._size:
            self._population.remove(max(self._population, key=_loss))

    def _propose(self) -> Proposal:
        if self._founders < self._size or not self._population:
            self._founders += 1
            return Proposal(*self._anywhere())
        two = self._rng.sample(self._population, min(2, len(self._population)))
        better, *others = sorted(two, key=_loss)
        if len(self._population) >= self._size:
            self._population = [
                each for each in self._population if all(each is not other for other in others)
            ]
        return Proposal(*self._mutated(better))

    def _mutated(self, parent: Observation) -> tuple[dict[str, object], dict[str, float]]:
        changeable = [
            dimension.name
            for dimension in self._encoding.dimensions
            if dimension.name in parent.point and dimension.size != 1
        ]
        mutated = self._rng.choice(changeable) if changeable else None

        def coordinate(dimension: Dimension) -> float:
            if dimension.name == mutated or dimension.name not in parent.point:
                return dimension.draw(self._rng)
            return parent.point[dimension.name]

        return self._encoding.decode(coordinate)


def _loss(observation: Observation) -> float:
    return observation.loss
