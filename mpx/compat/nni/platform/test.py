"""NNI's `nni.platform.test`: a unit test answers the trial (NNI_PLATFORM=unittest).

A test calls `init_params` before its subject asks, and looks at `get_last_metric` after it reported.
"""

from __future__ import annotations

import copy
from typing import Any

from mpx.wire import decode, encode

from ..env_vars import trial_env_vars  # noqa: TID252 (known as `nni` and as `mpx.compat.nni`)

_params: dict[str, Any] = {}
_last_metric = "null"


def init_params(params: dict[str, Any]) -> None:
    """Set what `get_next_parameter` returns.

    Args:
        params: {"parameter_id": …, "parameters": …}; the trial sees what stands under `parameters`.
    """
    global _params
    _params = copy.deepcopy(params)


def get_last_metric() -> Any:
    """Return the last report: parameter_id, trial_job_id, type, sequence and value, from JSON."""
    return decode(_last_metric)


def get_next_parameter() -> dict[str, Any]:
    """Return what `init_params` set."""
    return _params


def get_experiment_id() -> str:
    """Return `fakeidex`."""
    return "fakeidex"


def get_trial_id() -> str:
    """Return `fakeidtr`."""
    return "fakeidtr"


def get_sequence_id() -> int:
    """Return 0."""
    return 0


def send_metric(params: dict[str, Any] | None, kind: str, sequence: int, value: Any) -> None:
    """Keep a report for `get_last_metric`.

    Raises:
        AssertionError: no parameters were asked for.
    """
    global _last_metric
    if params is None:
        raise AssertionError("a result was reported before nni.get_next_parameter() was called")
    _last_metric = encode(
        {
            "parameter_id": params["parameter_id"],
            "trial_job_id": trial_env_vars.NNI_TRIAL_JOB_ID,
            "type": kind,
            "sequence": sequence,
            "value": value,
        }
    )
