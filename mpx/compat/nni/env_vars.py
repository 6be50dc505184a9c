"""NNI's `nni.env_vars`: environment variables, as they were when this module was imported."""

from __future__ import annotations

import os
from typing import NamedTuple


class TrialEnvVars(NamedTuple):
    """What a trial is told; None where a variable is not set."""

    NNI_PLATFORM: str | None
    NNI_EXP_ID: str | None
    NNI_TRIAL_JOB_ID: str | None
    NNI_SYS_DIR: str | None
    NNI_OUTPUT_DIR: str | None
    NNI_TRIAL_SEQ_ID: str | None
    MULTI_PHASE: str | None
    NNI_CODE_DIR: str | None


class DispatcherEnvVars(NamedTuple):
    """What NNI tells a tuner's process, and mpx in part; None where a variable is not set."""

    SDK_PROCESS: str | None
    NNI_MODE: str | None
    NNI_CHECKPOINT_DIRECTORY: str | None
    NNI_LOG_DIRECTORY: str | None
    NNI_LOG_LEVEL: str | None
    NNI_INCLUDE_INTERMEDIATE_RESULTS: str | None


trial_env_vars = TrialEnvVars(*map(os.environ.get, TrialEnvVars._fields))
dispatcher_env_vars = DispatcherEnvVars(*map(os.environ.get, DispatcherEnvVars._fields))
