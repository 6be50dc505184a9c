"""The tree-structured Parzen estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpx.tuners.built_in import class_args
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.optuna_tuner import OptunaTuner

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

PARALLEL_OPTIMIZE: dict[str, Any] = {
    "type": "boolean",
    "default": False,
    "description": "take parameters whose result is still out for bad ones, and keep away from them",
}
CONSTANT_LIAR_TYPE: dict[str, Any] = {
    "type": "string",
    "enum": ["min", "max", "mean"],
    "default": "min",
    "description": "accepted for NNI's sake: what is out always counts as bad",
}


class TPE(OptunaTuner):
    """Models good and bad parameters by a density each, and picks where their ratio is greatest.

    The first ten phases are drawn at random. The parameters of a sub-space are modelled from the
    phases that chose it.

    Source: Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization", NIPS
    2011, section 4; Watanabe, "Tree-Structured Parzen Estimator", arXiv 2304.11127, for Optuna's
    `TPESampler`, which does the work.

    Args:
        optimize_mode: "maximize" or "minimize"; as in NNI's code, not its manual, the default is the
            latter.
        parallel_optimize: take parameters whose result is still out for bad ones.
        constant_liar_type: for NNI's sake.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("minimize"),
        parallel_optimize=PARALLEL_OPTIMIZE,
        constant_liar_type=CONSTANT_LIAR_TYPE,
    )
    conditional = True
    most_results = 500

    def __init__(
        self,
        optimize_mode: str = "minimize",
        parallel_optimize: bool = False,
        constant_liar_type: str = "min",
    ) -> None:
        super().__init__(optimize_mode)
        self._parallel = parallel_optimize

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, constant_liar=self._parallel)
