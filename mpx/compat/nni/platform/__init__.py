"""NNI's `nni.platform`: who answers a trial. Chosen once, when this package is imported:

- `nni.platform.test`, for unit tests, where NNI_PLATFORM is `unittest`;
- `nni.platform.managed`, where a manager of mpx started this trial;
- `nni.platform.standalone` else.

Each has the five functions named here. `send_metric` takes what `get_next_parameter` returned last, the
kind of result (`PERIODICAL` or `FINAL`), its number and itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .managed import (
        get_experiment_id,
        get_next_parameter,
        get_sequence_id,
        get_trial_id,
        send_metric,
    )

    is_standalone: bool
elif os.environ.get("NNI_PLATFORM") == "unittest":
    from .test import (
        get_experiment_id,
        get_next_parameter,
        get_sequence_id,
        get_trial_id,
        send_metric,
    )

    is_standalone = False
elif "MPX_TRIAL_DIR" in os.environ:
    from .managed import (
        get_experiment_id,
        get_next_parameter,
        get_sequence_id,
        get_trial_id,
        send_metric,
    )

    is_standalone = False
else:
    from .standalone import (
        get_experiment_id,
        get_next_parameter,
        get_sequence_id,
        get_trial_id,
        send_metric,
    )

    is_standalone = True

__all__ = [
    "get_experiment_id",
    "get_next_parameter",
    "get_sequence_id",
    "get_trial_id",
    "is_standalone",
    "send_metric",
]
