"""NNI's `nni.tuner`: the base class of tuners from v0.5 to v1.9.

`update_search_space`, `receive_trial_result`, `import_data` and the others that are not here are mpx's
and mean the same.
"""

from __future__ import annotations

import logging
from typing import Any

from mpx import tuner as _tuner

from . import utils
from .base_class import of_base_class
from .recoverable import Recoverable

__all__ = ["Tuner"]

_logger = logging.getLogger(__name__)


class Tuner(_tuner.Tuner, Recoverable):
    """Chooses parameters. Subclass it and write `generate_parameters` at least."""

    # mpx's tuner host reads it: `generate_parameters` is told no `trial_job_id` for a first phase.
    first_phase_names_trial = False
    _accept_customized = False

    def _accept_customized_trials(self, accept: bool = True) -> None:
        """Say that results for parameters that a user offered are welcome (v1.2-v1.9)."""
        self._accept_customized = accept

    def accept_customized_trials(self, accept: bool = True) -> None:
        """Say the same as `_accept_customized_trials` (v1.1)."""
        self._accept_customized = accept

    @of_base_class
    def receive_customized_trial_result(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_job_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take in the result of parameters that a user offered; the default ignores it (v0.3-v1.0)."""
        _logger.info("the result of customized trial %s is ignored", trial_job_id)

    def extract_scalar_reward(self, value: Any, scalar_key: str = "default") -> float:
        """Return the number in a final result (v0.5-v0.6; see `nni.utils.extract_scalar_reward`).

        Raises:
            RuntimeError: there is none.
        """
        return utils.extract_scalar_reward(value, scalar_key)
