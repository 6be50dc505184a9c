"""NNI's `nni.multi_phase.multi_phase_tuner` (v0.3-v0.8)."""

from __future__ import annotations

from typing import Any

from mpx import tuner as _tuner

# Relative, for this package is known as `nni` and as `mpx.compat.nni`.
from ..base_class import of_base_class  # noqa: TID252
from ..recoverable import Recoverable  # noqa: TID252

__all__ = ["MultiPhaseTuner"]


class MultiPhaseTuner(_tuner.MultiPhaseTuner, Recoverable):
    """A tuner whose choice for one phase may depend on the results of the trial's earlier ones.

    As in NNI it is no `nni.tuner.Tuner`. Its methods take `trial_job_id` by position as well as by name:
    `generate_parameters(parameter_id, trial_job_id=None)`,
    `receive_trial_result(parameter_id, parameters, value, trial_job_id)`,
    `trial_end(parameter_id, success, trial_job_id)`. When `generate_parameters` of a first phase raises
    NoMoreTrialError, fewer trials start, where NNI's dispatcher would end.
    """

    # mpx's tuner host reads it: `generate_parameters` is told no `trial_job_id` for a first phase.
    first_phase_names_trial = False

    @of_base_class
    def receive_customized_trial_result(
        self, parameter_id: int, parameters: Any, value: Any, trial_job_id: str | None = None
    ) -> None:
        """Take in the result of parameters that a user offered; the default ignores it."""
