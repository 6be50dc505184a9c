"""What the tuners that choose by one of Optuna's samplers have in common.

Optuna's study lives in memory alone: after a crash mpx makes the tuner's calls again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mpx.tuners.encoding import Dimension
from mpx.tuners.learning import LearningTuner, Observation, Proposal

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class OptunaTuner(LearningTuner):
    """A tuner that chooses by one of Optuna's samplers.

    A dimension is a categorical, an integer or a float parameter of Optuna's. A phase without a
    number for a result is a failed trial of Optuna's, from which no sampler learns. An infinite result
    is told as the worst or the best finite one.

    Attributes:
        conditional: the sampler is asked only for the parameters of options that were chosen, as it
            copes with parameters that some trials lack. Others are asked for all of them.
        most_results: whenever the sampler has seen twice as many results, it goes on with so many, a
            quarter of them the best and the others the latest, as its time grows with them; None: it
            sees all.
    """

    requires: ClassVar[dict[str, str]] = {"optuna": "optuna"}
    conditional: ClassVar[bool] = False
    most_results: ClassVar[int | None] = None

    def __init__(self, optimize_mode: str) -> None:
        super().__init__(optimize_mode)
        # Imported here, as it need not be installed, and is slow to import.
        from optuna import logging

        logging.set_verbosity(logging.WARNING)  # or it logs each trial
        self._seen: list[Observation] = []

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return a new sampler."""
        raise NotImplementedError

    def _attributes(self) -> dict[str, Any]:
        """Return what the sampler must find in a trial that it did not sample, to learn from it."""
        return {}

    def _begin(self, known: Sequence[Observation]) -> None:
        from optuna import create_study

        self._study = create_study(sampler=self._sampler(self._rng.getrandbits(32)))
        self._seen = []
        for observation in known:
            self._learn(observation)

    def _propose(self) -> Proposal:
        self._forget()
        trial = self._study.ask()
        if not self.conditional:
            for dimension in self._encoding.dimensions:
                _suggest(trial, dimension)
        parameters, point = self._encoding.decode(lambda dimension: _suggest(trial, dimension))
        return Proposal(parameters, point, trial)

    def _conclude(self, proposal: Proposal, loss: float | None) -> None:
        from optuna.trial import TrialState

        trial = proposal.token
        if trial is None:
            super()._conclude(proposal, loss)
        elif loss is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, self._finite(loss))
            observation = self._note(proposal.parameters, loss)
            assert observation is not None
            self._seen.append(observation)

    def _learn(self, observation: Observation) -> None:
        from optuna.trial import create_trial

        distributions: dict[str, BaseDistribution] = {}
        coordinates: dict[str, float] = {}
        for dimension in self._encoding.dimensions:
            if dimension.name in observation.point:
                coordinates[dimension.name] = observation.point[dimension.name]
            elif self.conditional:
                continue
            else:  # an option that was not chosen: where in it does not matter
                coordinates[dimension.name] = dimension.draw(self._rng)
            distributions[dimension.name] = _distribution(dimension)
        self._study.add_trial(
            create_trial(
                params=coordinates,
                distributions=distributions,
                value=self._finite(observation.loss),
                system_attrs=self._attributes(),
            )
        )
        self._seen.append(observation)

    def _finite(self, loss: float) -> float:
        """Return an infinite result as the worst or the best finite one so far: models need numbers."""
        if math.isfinite(loss):
            return loss
        finite = [each.loss for each in self._seen if math.isfinite(each.loss)]
        return (max if loss > 0 else min)(finite, default=0.0)

    def _forget(self) -> None:
        """Begin anew with some of the results when they have become twice too many."""
        if self.most_results is None or len(self._seen) < 2 * self.most_results:
            return
        best = self.most_results // 4
        latest = len(self._seen) - (self.most_results - best)
        ranked = sorted(range(latest), key=lambda index: self._seen[index].loss)
        kept = [self._seen[index] for index in sorted(ranked[:best])]
        for proposal in self._open.values():
            proposal.token = None
        self._begin(kept + self._seen[latest:])


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if dimension.size is None:
        return distributions.FloatDistribution(0.0, 1.0)
    if dimension.ordered:
        return distributions.IntDistribution(0, dimension.size - 1)
    return distributions.CategoricalDistribution(range(dimension.size))


def _suggest(trial: optuna.Trial, dimension: Dimension) -> float:
    if dimension.size is None:
        return trial.suggest_float(dimension.name, 0.0, 1.0)
    if dimension.ordered:
        return trial.suggest_int(dimension.name, 0, dimension.size - 1)
    # Options by their index, as an option may be a list or a sub-space.
    index: int = trial.suggest_categorical(dimension.name, range(dimension.size))
    return index
