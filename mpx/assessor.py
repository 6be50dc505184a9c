"""The base class of assessors.

An assessor stops hopeless work early. After each intermediate result it is shown the curve so far and
says whether to go on. What it judges as one is a *phase*, or a whole *trial* (`assessor.history` in the
configuration): the curve of a trial runs on over its phases, as in NNI.

All its methods are called from one thread, one at a time, and never wait for the tuner.
"""

from __future__ import annotations

import enum
from typing import Any


class AssessResult(enum.Enum):
    """What an assessor may say of a curve; a plain `bool` says the same."""

    Good = True
    Bad = False


class Assessor:
    """Judges curves. Subclass it and write `assess_trial`.

    Attributes:
        history: what it judges as one, `phase` or `trial`, where the configuration does not say.
    """

    history = "phase"

    def assess_trial(self, trial_job_id: str, trial_history: list[Any]) -> AssessResult | bool:
        """Judge a curve after a new intermediate result.

        Args:
            trial_job_id: names what is judged: the trial, or with `history: phase` one phase of it.
            trial_history: its intermediate results so far, as reported, the newest last.

        Returns:
            `AssessResult.Good` (or True) to go on, `AssessResult.Bad` (or False) to stop.
        """
        raise NotImplementedError(type(self).__name__ + " has no assess_trial method")

    def trial_end(self, trial_job_id: str, success: bool) -> None:
        """Called once for each curve that ended, if it had any intermediate result.

        Args:
            trial_job_id: as in `assess_trial`.
            success: it was not stopped, and the trial exited with status 0, or the phase has a result.
        """

    def load_checkpoint(self) -> None:
        """Not called by mpx, which makes an assessor's calls again instead; NNI has it."""

    def save_checkpoint(self) -> None:
        """Not called by mpx; NNI has it."""

    def _on_exit(self) -> None:
        """Called last when the experiment ends well."""

    def _on_error(self) -> None:
        """Called last when the experiment ends because the tuner or the assessor failed."""
