"""`import nni` for tuners and trials that mpx runs: NNI v1's names on mpx's SDK.

Trials and tuners find this package as `nni` because their experiment's `sdk` folder links to it;
outside mpx it shadows nothing. Where mpx raises on a report that no open phase takes (NNI let a trial
report several finals), these functions say so on stderr and drop it.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

from mpx import trial as _trial
from mpx.errors import LocalProtocolError as _LocalProtocolError
from mpx.errors import NoMoreTrialError
from mpx.trial import (
    get_current_parameter,
    get_experiment_id,
    get_next_parameter,
    get_sequence_id,
    get_trial_id,
)

__version__ = "1.9"  # the interface this package speaks

__all__ = [
    "NoMoreTrialError",
    "get_current_parameter",
    "get_experiment_id",
    "get_next_parameter",
    "get_sequence_id",
    "get_trial_id",
    "report_final_result",
    "report_intermediate_result",
]


def report_intermediate_result(metric: Any) -> None:
    """Report a result on the way to the open phase's final one."""
    _report(_trial.report_intermediate_result, metric)


def report_final_result(metric: Any) -> None:
    """Report the open phase's final result; a second one for the same phase is dropped."""
    _report(_trial.report_final_result, metric)


def _report(report: Callable[[Any], None], metric: Any) -> None:
    try:
        report(metric)
    except _LocalProtocolError as error:
        print(f"nni: dropped: {error}", file=sys.stderr, flush=True)
