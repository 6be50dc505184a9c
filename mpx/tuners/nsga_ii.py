"""The genetic algorithm NSGA-II, with one objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpx.tuners.built_in import class_args
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.optuna_tuner import OptunaTuner

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class NSGAII(OptunaTuner):
    """Breeds each generation from the best of all before it, by crossover and mutation.

    The parameters of sub-spaces that were not chosen are inherited all the same. Results that
    `import_data` brought belong to the first generation.

    Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm:
    NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2002); Optuna's `NSGAIISampler` does
    the work.

    Args:
        optimize_mode: "maximize" or "minimize".
        population_size: results that make a generation.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        population_size={
            "type": "integer",
            "minimum": 2,
            "default": 50,
            "description": "results that make a generation",
        },
    )

    def __init__(self, optimize_mode: str = "maximize", population_size: int = 50) -> None:
        super().__init__(optimize_mode)
        self._population_size = population_size

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self._population_size)

    def _attributes(self) -> dict[str, Any]:
        from optuna.samplers import NSGAIISampler

        return {NSGAIISampler._get_generation_key(): 0}
