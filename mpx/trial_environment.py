"""The environment variables of a trial: the user's, mpx's and NNI's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mpx.config.model import ExperimentConfig
from mpx.records import EXPERIMENT_MARK, TRIAL_MARK, ExperimentPaths


def trial_environment(
    config: ExperimentConfig,
    paths: ExperimentPaths,
    inherited: Mapping[str, str],
    trial_id: str,
    sequence_id: int,
) -> dict[str, str]:
    """Return a trial's variables.

    Args:
        config: the experiment's.
        paths: its files.
        inherited: the variables that it was created or resumed with.
        trial_id: the trial.
        sequence_id: its number.
    """
    trial, environment = paths.trial(trial_id), dict(inherited)
    if sys.prefix != sys.base_prefix:
        environment["PATH"] = _first_on_path(
            str(Path(sys.prefix) / "bin"), environment.get("PATH", os.defpath)
        )
    environment["PYTHONPATH"] = _first_on_path(str(paths.sdk), environment.get("PYTHONPATH", ""))
    if config.trial.gpu_num == 0:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    environment.update(config.trial.environment)
    environment.update({EXPERIMENT_MARK: paths.id, TRIAL_MARK: trial_id})
    environment.update(
        MPX_SEQUENCE_ID=str(sequence_id),
        MPX_TRIAL_DIR=str(trial.root),
        MPX_SDK=str(paths.sdk),
        MPX_OUTPUT_DIR=str(trial.output),
        MPX_MAX_LINE_LENGTH=str(config.max_line_length),
        MPX_ORPHAN_TIMEOUT=f"{config.trial.orphan_timeout:g}",
        NNI_PLATFORM="local",
        NNI_EXP_ID=paths.id,
        NNI_TRIAL_JOB_ID=trial_id,
        NNI_TRIAL_SEQ_ID=str(sequence_id),
        NNI_SYS_DIR=str(trial.root),
        NNI_OUTPUT_DIR=str(trial.output),
        NNI_CODE_DIR=config.trial.code_dir,
        MULTI_PHASE="true" if config.multi_phase else "false",
    )
    return environment


def _first_on_path(directory: str, path: str) -> str:
    """Return a search path that begins with `directory`, with no empty entry (it would mean cwd)."""
    entries = [entry for entry in path.split(os.pathsep) if entry and entry != directory]
    return os.pathsep.join([directory, *entries])
