"""A manager of mpx answers the trial: NNI's calls on mpx's SDK."""

from __future__ import annotations

import os
import sys
from typing import Any

from mpx import trial as _trial
from mpx.errors import LocalProtocolError
from mpx.trial import get_experiment_id, get_sequence_id, get_trial_id

__all__ = [
    "get_experiment_id",
    "get_next_parameter",
    "get_sequence_id",
    "get_trial_id",
    "send_metric",
]


def get_next_parameter() -> dict[str, Any] | None:
    """Ask for the next phase, and wait for it."""
    phase = next(_trial.phases(), None)
    if phase is not None:
        return {"parameter_id": phase.parameter_id, "parameters": phase.parameters}
    if os.environ.get("MULTI_PHASE") == "false":
        return None
    return {"parameter_id": None, "parameters": None}


def send_metric(params: dict[str, Any] | None, kind: str, sequence: int, value: Any) -> None:
    """Report a result; one that no open phase takes is dropped with one line.

    Raises:
        AssertionError: no parameters were asked for, in this process or in another one of the trial.
    """
    try:
        if kind == "FINAL":
            _trial.report_final_result(value)
        else:
            _trial.report_intermediate_result(value, wait=False)
    except LocalProtocolError as error:
        if params is None:
            raise AssertionError(
                "a result was reported before nni.get_next_parameter() gave any parameters for it"
            ) from None
        print(f"nni: dropped: {error}", file=sys.stderr, flush=True)
