"""NNI's `nni.trial`: what a trial calls. Import these names from `nni`."""

from __future__ import annotations

from typing import Any

from . import platform

# Of the last ask, {"parameter_id": …, "parameters": …}; None before the first one and, in an experiment
# that is not multi-phase, after the second one.
_params: dict[str, Any] | None = None
_intermediate_seq = 0


def get_next_parameter() -> Any:
    """Ask for the parameters of the next phase, and wait for them.

    Returns:
        What the tuner chose; None when there are no more, and on every ask but the first one where the
        configuration does not say `multiPhase: true`.

    Raises:
        mpx.ProtocolError: another process speaks for this trial, or the manager is gone.
    """
    global _params
    _params = platform.get_next_parameter()
    return None if _params is None else _params["parameters"]


def get_current_parameter(tag: str | None = None) -> Any:
    """Return the parameters last asked for, or the one called `tag`; None where there are none."""
    parameters = None if _params is None else _params["parameters"]
    return parameters if tag is None or parameters is None else parameters[tag]


def get_experiment_id() -> str:
    """Return the experiment's id; `STANDALONE` with no manager."""
    return platform.get_experiment_id()


def get_trial_id() -> str:
    """Return the trial's id; `STANDALONE` with no manager."""
    return platform.get_trial_id()


def get_sequence_id() -> int:
    """Return the trial's number in the order of starting, from 0."""
    return platform.get_sequence_id()


def report_intermediate_result(metric: Any) -> None:
    """Report a result on the way to the phase's final one; no verdict on it is waited for.

    Args:
        metric: a number, or a dict whose `default` is one, or anything else JSON can say.

    Raises:
        AssertionError: no parameters were asked for.
        mpx.ProtocolError: JSON cannot say it, or the manager is gone.
    """
    global _intermediate_seq
    platform.send_metric(_params, "PERIODICAL", _intermediate_seq, metric)
    _intermediate_seq += 1


def report_final_result(metric: Any) -> None:
    """Report the phase's final result; a second one for the same phase is dropped with one line.

    Args:
        metric: a number, or a dict whose `default` is one, or anything else JSON can say.

    Raises:
        AssertionError: no parameters were asked for.
        mpx.ProtocolError: JSON cannot say it, or the manager is gone.
    """
    platform.send_metric(_params, "FINAL", 0, metric)
