"""mpx: an experiment manager for multi-phase experiments.

In a trial::

    import mpx

    for phase in mpx.phases():
        with phase:
            phase.report_final(train(phase.parameters))

A tuner derives from `mpx.Tuner` or `mpx.MultiPhaseTuner`. The command line is `mpx`.

Names are loaded on first use: a trial pays for the SDK alone, a tuner for its base class alone. In a
trial the import takes the protocol away from stdin and stdout (see `mpx.trial`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpx.assessor import Assessor, AssessResult
    from mpx.errors import MpxError, NoMoreTrialError, PhaseStopped, ProtocolError
    from mpx.trial import (
        Batch,
        Phase,
        batches,
        get_current_parameter,
        get_experiment_id,
        get_next_parameter,
        get_next_parameters,
        get_sequence_id,
        get_trial_id,
        phases,
        report_final_result,
        report_intermediate_result,
    )
    from mpx.tuner import Continued, MultiPhaseTuner, Tuner

__version__ = "0.1.0"

_HOME_OF = {
    "MpxError": "errors",
    "NoMoreTrialError": "errors",
    "PhaseStopped": "errors",
    "ProtocolError": "errors",
    "Batch": "trial",
    "Phase": "trial",
    "batches": "trial",
    "get_current_parameter": "trial",
    "get_experiment_id": "trial",
    "get_next_parameter": "trial",
    "get_next_parameters": "trial",
    "get_sequence_id": "trial",
    "get_trial_id": "trial",
    "phases": "trial",
    "report_final_result": "trial",
    "report_intermediate_result": "trial",
    "Assessor": "assessor",
    "AssessResult": "assessor",
    "Continued": "tuner",
    "MultiPhaseTuner": "tuner",
    "Tuner": "tuner",
}

__all__ = [  # noqa: RUF022 (in the order a reader meets them)
    "get_next_parameter",
    "get_current_parameter",
    "report_intermediate_result",
    "report_final_result",
    "phases",
    "Phase",
    "batches",
    "get_next_parameters",
    "Batch",
    "get_experiment_id",
    "get_trial_id",
    "get_sequence_id",
    "Tuner",
    "MultiPhaseTuner",
    "Continued",
    "Assessor",
    "AssessResult",
    "PhaseStopped",
    "NoMoreTrialError",
    "ProtocolError",
    "MpxError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mpx' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module("mpx." + _HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))


if "MPX_TRIAL_DIR" in os.environ:
    from mpx.trial import step_aside

    step_aside()
    del step_aside
