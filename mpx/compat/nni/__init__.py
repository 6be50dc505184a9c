"""`import nni` for tuners and trials that mpx runs: NNI v1's names on mpx's SDK.

Trials and tuners find this package as `nni` because their experiment's `sdk` folder links to it;
outside mpx it shadows nothing. Names and arguments are those of NNI v1.9, and those of v0.3-v0.8 where
they differ by name. What differs in behaviour:

- A phase takes one final result; mpx drops another with one line on stderr. NNI passes on each.
- With no manager, `get_next_parameter()` returns `{}` (or what MPX_PARAMETERS says) ten times and then
  None, so that a loop over phases ends. NNI returns `{}` for ever.
- Nothing here needs json_tricks, schema or numpy.

Names that few programs use are loaded on first use. Standard library alone, Python ≥ 3.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mpx.errors import NoMoreTrialError

from .trial import (
    get_current_parameter,
    get_experiment_id,
    get_next_parameter,
    get_sequence_id,
    get_trial_id,
    report_final_result,
    report_intermediate_result,
)

if TYPE_CHECKING:
    from .nas_utils import training_update
    from .smartparam import (
        choice,
        function_choice,
        lognormal,
        loguniform,
        mutable_layer,
        normal,
        qlognormal,
        qloguniform,
        qnormal,
        quniform,
        randint,
        uniform,
    )
    from .utils import ClassArgsValidator

__version__ = "1.9"  # the interface this package speaks

_HOME_OF = {
    "ClassArgsValidator": "utils",
    "choice": "smartparam",
    "function_choice": "smartparam",
    "lognormal": "smartparam",
    "loguniform": "smartparam",
    "mutable_layer": "smartparam",
    "normal": "smartparam",
    "qlognormal": "smartparam",
    "qloguniform": "smartparam",
    "qnormal": "smartparam",
    "quniform": "smartparam",
    "randint": "smartparam",
    "training_update": "nas_utils",
    "uniform": "smartparam",
}
_MODULES = (
    "env_vars",
    "platform",
    "smartparam",
    "trial",
    "utils",
)  # that `import nni` gives in NNI

__all__ = [
    "ClassArgsValidator",
    "NoMoreTrialError",
    "choice",
    "function_choice",
    "get_current_parameter",
    "get_experiment_id",
    "get_next_parameter",
    "get_sequence_id",
    "get_trial_id",
    "lognormal",
    "loguniform",
    "mutable_layer",
    "normal",
    "qlognormal",
    "qloguniform",
    "qnormal",
    "quniform",
    "randint",
    "report_final_result",
    "report_intermediate_result",
    "training_update",
    "uniform",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *globals()})
