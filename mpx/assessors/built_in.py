"""What all assessors that come with mpx have in common: they compare numbers, whichever way is better."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from mpx.assessor import Assessor
from mpx.errors import UsageError
from mpx.lifecycle import objective

OPTIMIZE_MODE = {
    "enum": ["maximize", "minimize"],
    "default": "maximize",
    "description": "Which results are better.",
}


class BuiltInAssessor(Assessor):
    """An assessor that sees results as scores, of which more is better.

    Args:
        optimize_mode: `maximize` or `minimize`, which results are better.

    Raises:
        UsageError: `optimize_mode` is neither.
    """

    # The JSON Schema of its `classArgs`, which the validation of a configuration reads.
    class_args_schema: ClassVar[dict[str, Any]]
    # What it imports beyond the standard library: module → the extra of mpx-experiments that has it.
    requires: ClassVar[dict[str, str]] = {}

    def __init__(self, optimize_mode: str = "maximize") -> None:
        if optimize_mode not in OPTIMIZE_MODE["enum"]:
            allowed = ", ".join(OPTIMIZE_MODE["enum"])
            raise UsageError(f"optimize_mode: found {optimize_mode!r}; allowed: {allowed}")
        self._sign = 1.0 if optimize_mode == "maximize" else -1.0

    def score(self, result: Any) -> float | None:
        """Return what a result is worth; None for NaN, an infinity, or what is no number.

        Args:
            result: a number, or a dict whose `default` is one.
        """
        number = objective(result)
        return None if number is None or math.isinf(number) else self._sign * number
