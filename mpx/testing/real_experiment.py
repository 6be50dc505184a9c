"""A short experiment with a manager and trials of its own, from its configuration to a resume."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpx import api
from mpx.errors import MpxError
from mpx.history import StoredHistory
from mpx.records import ExperimentPaths, ExperimentStatus, PhaseRecord
from mpx.testing.hosted_tuner import Record
from mpx.testing.promise import BrokenPromiseError
from mpx.testing.subject import Subject

_TRIAL = """\
import json, zlib
import mpx

for phase in mpx.phases(on_error="continue"):
    with phase:
        if phase.parameter_id % 7 == 3:
            raise ValueError("some phases fail")
        text = json.dumps(phase.parameters, sort_keys=True)
        phase.report_final(zlib.crc32(text.encode()) / 2**32)
"""


def run_and_resume(
    subject: Subject, phases: int, optimize_mode: str | None, seed: int, may_end_early: bool
) -> tuple[list[PhaseRecord], Record]:
    """Run an experiment of two trials at a time to its limit, raise that and go on.

    The trials report numbers from 0 to 1, as good as drawn; some of their phases fail.

    Args:
        subject: the tuner; its class can be named in a configuration.
        phases: until its limit; half as many follow the resume.
        optimize_mode: of the configuration.
        seed: likewise.
        may_end_early: the tuner may have no more parameters before the limit is reached.

    Returns:
        All phases, and the tuner's calls.

    Raises:
        BrokenPromiseError: it did not go as it should; the manager's own account of it.
    """
    config: dict[str, Any] = {
        "multiPhase": True,
        "trialConcurrency": 2,
        "maxPhaseNum": phases,
        "seed": seed,
        "durability": "process",
        "tuner": {**(subject.configuration or {}), "classArgs": subject.class_args},
        "trial": {"codeDir": ".", "command": f"'{sys.executable}' trial.py"},
    }
    if subject.search_space != "":
        config["searchSpace"] = subject.search_space
    if optimize_mode is not None:
        config["optimizeMode"] = optimize_mode
    with _home() as root:
        (root / "trial.py").write_text(_TRIAL)
        file = root / "config.yml"
        file.write_text(json.dumps(config))
        try:
            paths = _finish(api.launch(file))
            _check(paths, phases, may_end_early)
            if not may_end_early:
                more = phases + (phases + 1) // 2
                _finish(api.resume(paths, max_phases=more))
                _check(paths, more, may_end_early)
            if optimize_mode not in (None, mode := api.show(paths).optimize_mode):
                raise BrokenPromiseError(f"its optimize_mode is {mode}, not {optimize_mode}")
            made = list(StoredHistory(paths.store).calls(after=0))
            return list(api.phases(paths)), Record(made)
        except MpxError as error:
            raise BrokenPromiseError(str(error)) from None


@contextmanager
def _home() -> Iterator[Path]:
    """Make a directory for experiments of no interest to anybody else."""
    environment = {**os.environ}
    with tempfile.TemporaryDirectory(prefix="mpx-") as root:
        for name in environment:
            if name.startswith(("MPX_", "NNI_")):  # the test may run in an experiment
                del os.environ[name]
        os.environ["MPX_HOME"] = str(Path(root) / "home")
        try:
            yield Path(root)
        finally:
            os.environ.clear()
            os.environ.update(environment)


def _finish(started: api.Launch) -> ExperimentPaths:
    """Wait for the end of an experiment's manager; whatever interrupts that ends it."""
    try:
        with started:
            while started.read():
                pass
            started.check()
    except BaseException:
        list(api.stop([started.paths]))
        raise
    return started.paths


def _check(paths: ExperimentPaths, wanted: int, may_be_fewer: bool) -> None:
    record, ended = api.show(paths), list(api.phases(paths))
    if record.error is not None:
        raise BrokenPromiseError(f"{record.reason}\n{record.error.traceback}")
    if record.status is not ExperimentStatus.DONE or record.warning:
        raise BrokenPromiseError(f"{record.status.value}: {record.warning or record.reason}")
    if len(ended) != wanted and not (may_be_fewer and ended):
        raise BrokenPromiseError(
            f"it ended after {len(ended)} phases instead of {wanted}: {record.reason}"
        )
