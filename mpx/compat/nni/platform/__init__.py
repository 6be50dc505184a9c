"""NNI's `nni.platform`: who answers a trial. Chosen once, when this package is imported:

- `nni.platform.test`, for unit tests, where NNI_PLATFORM is `unittest`;
- `nni.platform.managed`, where a manager of mpx started this trial;
- `nni.platform.standalone` else.

Each has the five functions named here. `send_metric` takes what `get_next_parameter` returned last, the
kind of result (`PERIODICAL` or `FINAL`), its number and itself.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Callable

if os.environ.get("NNI_PLATFORM") == "unittest":
    _name = "test"
elif "MPX_TRIAL_DIR" in os.environ:
    _name = "managed"
else:
    _name = "standalone"

_chosen = import_module("." + _name, __name__)
is_standalone = _name == "standalone"
get_experiment_id: Callable[[], str] = _chosen.get_experiment_id
get_next_parameter = _chosen.get_next_parameter
get_sequence_id: Callable[[], int] = _chosen.get_sequence_id
get_trial_id: Callable[[], str] = _chosen.get_trial_id
send_metric = _chosen.send_metric

__all__ = [
    "get_experiment_id",
    "get_next_parameter",
    "get_sequence_id",
    "get_trial_id",
    "is_standalone",
    "send_metric",
]
