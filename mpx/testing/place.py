"""What a tuner finds around itself in a manager's process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpx import generators
from mpx.records import ExperimentPaths


@contextmanager
def experiment_directory() -> Iterator[ExperimentPaths]:
    """Make an experiment's directory and, until it is left, this process like its manager's.

    That is: the current directory, arguments that name nothing, the place for checkpoints. Behind it
    all is as it was, and so are the global random generators.
    """
    arguments, here, interval = sys.argv, Path.cwd(), sys.getswitchinterval()
    checkpoints = os.environ.get("NNI_CHECKPOINT_DIRECTORY")
    with tempfile.TemporaryDirectory(prefix="mpx-", ignore_cleanup_errors=True) as root:
        paths = ExperimentPaths(Path(root))
        paths.checkpoint.mkdir()
        try:
            sys.argv = ["mpx"]
            os.environ["NNI_CHECKPOINT_DIRECTORY"] = str(paths.checkpoint)
            os.chdir(root)
            with generators_as_they_were():
                yield paths
        finally:
            os.chdir(here)
            sys.argv = arguments
            sys.setswitchinterval(interval)  # the tuner's host changes it
            os.environ.pop("NNI_CHECKPOINT_DIRECTORY")
            if checkpoints is not None:
                os.environ["NNI_CHECKPOINT_DIRECTORY"] = checkpoints


@contextmanager
def generators_as_they_were() -> Iterator[None]:
    """Undo, at the end, what happens to the global random generators."""
    state = generators.get_state()
    try:
        yield
    finally:
        generators.set_state(state)
