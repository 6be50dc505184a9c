"""Bayesian optimisation and Hyperband."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from mpx.errors import UsageError
from mpx.tuners.brackets import bracket_sizes
from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Point
from mpx.tuners.hyperband import BUDGET, ETA, MOST_BUDGET, BudgetTuner
from mpx.tuners.kde import KernelDensity
from mpx.tuners.learning import Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema

# Of each budget: a quarter of them the best and the others the latest, as time grows with them.
_MOST_RESULTS = 500

_Result = tuple[float, Point]


class BOHB(BudgetTuner):
    """Hyperband whose configurations come from a model of the good and the bad ones.

    The model is of the greatest budget that has enough results: a kernel density of the best
    `top_n_percent`, and one of the others. `num_samples` are drawn from the first, and the one where
    the ratio of the two is greatest is tried. The parameters of sub-spaces that were not chosen have a
    place in the model all the same, anywhere.

    Source: Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at
    Scale", ICML 2018, section 4 and algorithm 2; budgets are rounded down to whole numbers, and
    `mpx.tuners.kde` says where its densities differ.

    Args:
        optimize_mode: "maximize" or "minimize".
        min_budget: the smallest budget.
        max_budget: the greatest.
        eta: factor between budgets, and the share of a rung that does not go on to the next.
        min_points_in_model: a budget has a model from so many good and so many bad results on; None,
            as less: one more than there are parameters.
        top_n_percent: so many results are good.
        num_samples: candidates for a choice.
        random_fraction: so many configurations are random all the same.
        bandwidth_factor: so much wider than the model candidates are drawn.
        min_bandwidth: kernels keep this width even where all results agree.

    Raises:
        UsageError: max_budget is smaller than min_budget.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        min_budget={
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_BUDGET,
            "default": 1,
            "description": "the smallest TRIAL_BUDGET",
        },
        max_budget={
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_BUDGET,
            "default": 3,
            "description": "the greatest TRIAL_BUDGET",
        },
        eta=ETA,
        min_points_in_model={
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
            "description": "a budget has a model from so many good and so many bad results on;"
            " null: one more than there are parameters",
        },
        top_n_percent={
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 100,
            "default": 15,
            "description": "so many results are good",
        },
        num_samples={
            "type": "integer",
            "minimum": 1,
            "default": 64,
            "description": "candidates for a choice",
        },
        random_fraction={
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 1 / 3,
            "description": "so many configurations are random all the same",
        },
        bandwidth_factor={
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 3,
            "description": "so much wider than the model candidates are drawn",
        },
        min_bandwidth={
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 1e-3,
            "description": "kernels keep this width even where all results agree",
        },
    )

    @staticmethod
    def check_class_args(given: dict[str, Any]) -> list[tuple[str, str]]:
        """Return, by argument, what is wrong between the budgets."""
        least, most = given.get("min_budget", 1), given.get("max_budget", 3)
        message = f"found {most}; allowed: at least min_budget, {least}"
        return [("max_budget", message)] if most < least else []

    def __init__(
        self,
        optimize_mode: str = "maximize",
        min_budget: int = 1,
        max_budget: int = 3,
        eta: int = 3,
        min_points_in_model: int | None = None,
        top_n_percent: float = 15,
        num_samples: int = 64,
        random_fraction: float = 1 / 3,
        bandwidth_factor: float = 3,
        min_bandwidth: float = 1e-3,
    ) -> None:
        if max_budget < min_budget:
            raise UsageError(
                f"found max_budget {max_budget}; allowed: at least min_budget, {min_budget}"
            )
        super().__init__(optimize_mode, bracket_sizes(max_budget, min_budget, eta))
        self._max_budget = max_budget
        self._min_points = min_points_in_model
        self._good_share = top_n_percent / 100
        self._num_samples = num_samples
        self._random_fraction = random_fraction
        self._bandwidth_factor = bandwidth_factor
        self._min_bandwidth = min_bandwidth
        self._results_of: dict[int, list[_Result]] = defaultdict(list)

    def _begin(self, known: list[Observation]) -> None:
        super()._begin(known)
        self._results_of.clear()
        for observation in known:
            self._learn(observation)

    def _learn(self, observation: Observation) -> None:
        self._add(observation.parameters.get(BUDGET), observation.point, observation.loss)

    def _conclude(self, proposal: Proposal, loss: float | None) -> None:
        super()._conclude(proposal, loss)
        if loss is None and proposal.token is not None:
            self._add(proposal.parameters[BUDGET], proposal.point, math.inf)

    def _add(self, budget: Any, point: Point, loss: float) -> None:
        # What came without a budget was tried in full.
        results = self._results_of[budget if isinstance(budget, int) else self._max_budget]
        complete = {each.name: each.draw(self._rng) for each in self._encoding.dimensions}
        results.append((loss, {**complete, **point}))
        if len(results) > 2 * _MOST_RESULTS:
            latest = len(results) - _MOST_RESULTS * 3 // 4
            best = sorted(results[:latest], key=_loss)[: _MOST_RESULTS // 4]
            results[:latest] = best

    def _configuration(self) -> Point:
        model = None if self._rng.random() < self._random_fraction else self._model()
        if model is None:
            return self._anywhere()[1]
        good, bad = model
        candidates = [
            good.draw(self._rng, self._bandwidth_factor) for _ in range(self._num_samples)
        ]
        return max(candidates, key=lambda point: good.density(point) / bad.density(point))

    def _model(self) -> tuple[KernelDensity, KernelDensity] | None:
        """Return the densities of the good and of the bad results, None if there are too few."""
        dimensions = self._encoding.dimensions
        least = max(len(dimensions) + 1, self._min_points or 0)
        for budget in sorted(self._results_of, reverse=True):
            ranked = [point for _, point in sorted(self._results_of[budget], key=_loss)]
            good = max(least, int(self._good_share * len(ranked)))
            if len(ranked) >= good + least:
                return (
                    KernelDensity(dimensions, ranked[:good], self._min_bandwidth),
                    KernelDensity(dimensions, ranked[good:], self._min_bandwidth),
                )
        return None


def _loss(result: _Result) -> float:
    return result[0]
