"""Bayesian optimisation with a Gaussian process, under its own name and under two of NNI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpx.tuners.built_in import class_args
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.optuna_tuner import OptunaTuner

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_COLD_START_NUM: dict[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "default": 10,
    "description": "so many phases are drawn at random first",
}


def _unused(kind: str, default: Any, **more: Any) -> dict[str, Any]:
    """Return the JSON Schema of an argument of NNI's that has no meaning here."""
    description = "accepted for NNI's sake, without effect"
    return {"type": kind, "default": default, "description": description, **more}


class GP(OptunaTuner):
    """Fits a Gaussian process to the results and picks the greatest expected improvement.

    Results that are still out are reckoned with, so it suits several trials at a time. It is for
    dear phases: one choice takes a tenth of a second and more. The parameters of sub-spaces that were
    not chosen have a place in the model all the same, anywhere.

    Source: Snoek, Larochelle and Adams, "Practical Bayesian Optimization of Machine Learning
    Algorithms", NIPS 2012; Ament et al., "Unexpected Improvements to Expected Improvement", NeurIPS
    2023, for the criterion. Optuna's `GPSampler` (Matérn kernel, nu = 2.5) does the work.

    Args:
        optimize_mode: "maximize" or "minimize".
        cold_start_num: so many phases are drawn at random first.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"), cold_start_num=_COLD_START_NUM
    )
    requires = {"optuna": "gp", "scipy": "gp", "torch": "gp"}
    most_results = 200

    def __init__(self, optimize_mode: str = "maximize", cold_start_num: int = 10) -> None:
        super().__init__(optimize_mode)
        self._cold_start_num = cold_start_num

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=self._cold_start_num)


class GPTuner(GP):
    """`GP` with the arguments of NNI's tuner of this name.

    Args:
        optimize_mode: "maximize" or "minimize".
        utility: NNI's criterion; here it is always the expected improvement.
        kappa: of NNI's criterion "ucb".
        xi: of NNI's criteria "ei" and "poi".
        nu: of NNI's kernel; here it is always 2.5.
        alpha: the noise that NNI assumes; here it is estimated.
        cold_start_num: so many phases are drawn at random first.
        selection_num_warm_up: points at which NNI first looks for the maximum.
        selection_num_starting_points: points from which NNI then climbs.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        utility=_unused("string", "ei", enum=["ei", "ucb", "poi"]),
        kappa=_unused("number", 5),
        xi=_unused("number", 0),
        nu=_unused("number", 2.5),
        alpha=_unused("number", 1e-6),
        cold_start_num=_COLD_START_NUM,
        selection_num_warm_up=_unused("integer", 100000),
        selection_num_starting_points=_unused("integer", 250),
    )

    def __init__(
        self,
        optimize_mode: str = "maximize",
        utility: str = "ei",
        kappa: float = 5,
        xi: float = 0,
        nu: float = 2.5,
        alpha: float = 1e-6,
        cold_start_num: int = 10,
        selection_num_warm_up: int = 100000,
        selection_num_starting_points: int = 250,
    ) -> None:
        super().__init__(optimize_mode, cold_start_num)


class MetisTuner(GP):
    """`GP` with the arguments of NNI's tuner of this name, which is one with a Gaussian process too.

    NNI's asks for a set of parameters again when its result looks doubtful; this one, whose model
    knows of noise, does not.

    Args:
        optimize_mode: "maximize" or "minimize".
        no_resampling: whether NNI asks for nothing again.
        no_candidates: whether NNI goes without its mixture model.
        selection_num_starting_points: points from which NNI climbs.
        cold_start_num: so many phases are drawn at random first.
        exploration_probability: how often NNI explores.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        no_resampling=_unused("boolean", True),
        no_candidates=_unused("boolean", False),
        selection_num_starting_points=_unused("integer", 600),
        cold_start_num=_COLD_START_NUM,
        exploration_probability=_unused("number", 0.9, minimum=0, maximum=1),
    )

    def __init__(
        self,
        optimize_mode: str = "maximize",
        no_resampling: bool = True,
        no_candidates: bool = False,
        selection_num_starting_points: int = 600,
        cold_start_num: int = 10,
        exploration_probability: float = 0.9,
    ) -> None:
        super().__init__(optimize_mode, cold_start_num)
