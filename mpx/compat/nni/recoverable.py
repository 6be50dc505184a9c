"""NNI's `nni.recoverable`."""

from __future__ import annotations

import os


class Recoverable:
    """Something that can save its state and load it again."""

    def load_checkpoint(self) -> None:
        """Restore what `save_checkpoint` wrote."""

    def save_checkpoint(self) -> None:
        """Write the state to `get_checkpoint_path()`."""

    def get_checkpoint_path(self) -> str | None:
        """Return the directory for checkpoints, or None outside an experiment."""
        path = os.environ.get("NNI_CHECKPOINT_DIRECTORY")
        return path if path and os.path.isdir(path) else None  # noqa: PTH112 (stdlib, Python 3.7)
