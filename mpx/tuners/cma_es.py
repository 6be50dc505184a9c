"""The covariance matrix adaptation evolution strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpx.search_space import TYPE_NAMES
from mpx.tuners.built_in import class_args
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.optuna_tuner import OptunaTuner

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class CmaEs(OptunaTuner):
    """Draws from a normal distribution whose mean and covariance follow the better results.

    For numbers alone: a choice, or a decision of an architecture, has no neighbours, and so no
    covariance. Results that `import_data` brought do not move the distribution, and it begins anew when
    the search space changes.

    Source: Hansen and Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies",
    Evolutionary Computation 9 (2001); Optuna's `CmaEsSampler` on the package `cmaes` does the work.

    Args:
        optimize_mode: "maximize" or "minimize".
        population_size: results that make a generation; by default 4 + 3 log(dimensions).
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        population_size={
            "type": ["integer", "null"],
            "minimum": 4,
            "default": None,
            "description": "results that make a generation; null: 4 + 3 log(dimensions)",
        },
    )
    requires = {"optuna": "optuna", "cmaes": "optuna"}
    types = tuple(name for name in TYPE_NAMES if name not in ("choice", "macro", "cell"))

    def __init__(self, optimize_mode: str = "maximize", population_size: int | None = None) -> None:
        super().__init__(optimize_mode)
        self._population_size = population_size

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(
            seed=seed, popsize=self._population_size, warn_independent_sampling=False
        )
