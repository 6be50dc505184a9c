"""Nobody answers the trial: it runs by hand. Results are logged on stdout."""

from __future__ import annotations

import logging
from typing import Any

from mpx import trial as _trial
from mpx.wire import encode

from ..common import init_standalone_logger  # noqa: TID252 (known as `nni` and as `mpx.compat.nni`)

_logger = logging.getLogger("nni")
_has_warned = False

init_standalone_logger()


def get_next_parameter() -> dict[str, Any] | None:
    """Return no parameters, or those of MPX_PARAMETERS; None after the tenth time."""
    global _has_warned
    if not _has_warned:
        _has_warned = True
        _logger.warning(
            "get_next_parameter() was called with no manager: it returns {}, or what the variable"
            " MPX_PARAMETERS says, and None after the tenth time. `mpx create` starts an experiment"
        )
    phase = next(_trial.phases(), None)
    return None if phase is None else {"parameter_id": None, "parameters": phase.parameters}


def get_experiment_id() -> str:
    """Return `STANDALONE`."""
    return "STANDALONE"


def get_trial_id() -> str:
    """Return `STANDALONE`."""
    return "STANDALONE"


def get_sequence_id() -> int:
    """Return 0."""
    return 0


def send_metric(params: dict[str, Any] | None, kind: str, sequence: int, value: Any) -> None:
    """Log a result."""
    text = encode(value)
    if kind == "FINAL":
        _logger.info("Final result: %s", text)
    else:
        _logger.info("Intermediate result: %s  (Index %s)", text, sequence)
