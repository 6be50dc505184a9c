"""NNI's `nni.assessor`."""

from __future__ import annotations

from mpx import assessor as _assessor
from mpx.assessor import AssessResult

from .recoverable import Recoverable

__all__ = ["AssessResult", "Assessor"]


class Assessor(_assessor.Assessor, Recoverable):
    """Judges the curve of a trial, which runs on over its phases. Write `assess_trial`."""

    history = "trial"
