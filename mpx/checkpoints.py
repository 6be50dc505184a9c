"""What tuners save, kept aside: each copy belongs to a tuner call, and one copy is on record.

A tuner writes into one directory again and again, and may die while it does. So what it has written is
copied, made durable, and only then recorded by the number of the last tuner call that is in it. With the
copy go the states of `random` and of numpy's global generator, which no tuner saves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mpx import generators
from mpx.durability import sync as _sync


class Checkpoints:
    """The checkpoints of one experiment.

    Args:
        current: the directory that the tuner writes to and loads from.
        kept: where copies are kept, each in a directory called by its number.
    """

    def __init__(self, current: Path, kept: Path) -> None:
        self._current = current
        self._kept = kept

    def keep(self, number: int) -> bool:
        """Copy what the tuner has saved; False if it left no file.

        Args:
            number: of the last tuner call that is in it.

        Raises:
            OSError: it cannot be copied.
        """
        if not any(path.is_file() for path in self._current.rglob("*")):
            return False
        copy = self._copy(number)
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True, mode=0o700)
        shutil.copytree(self._current, copy / "files", copy_function=_copy_durably)
        for directory in (path for path in copy.rglob("*") if path.is_dir()):
            _sync(directory)
        (copy / "random.json").write_text(json.dumps(generators.get_state()))
        for path in (copy / "random.json", copy, self._kept, self._kept.parent):
            _sync(path)
        return True

    def restore(self, number: int) -> bool:
        """Put a copy back where the tuner loads from; False if it is gone.

        Raises:
            OSError: it cannot be put back.
        """
        copy = self._copy(number)
        if not (copy / "random.json").exists():
            return False
        shutil.rmtree(self._current, ignore_errors=True)
        shutil.copytree(copy / "files", self._current)
        return True

    def restore_random(self, number: int) -> None:
        """Let `random`, and numpy if it is loaded, go on as they would have behind that call."""
        generators.set_state(json.loads((self._copy(number) / "random.json").read_text()))

    def forget_older(self, number: int) -> None:
        """Remove the copies that are older than one which is on record."""
        for copy in self._kept.iterdir():
            # A newer one is about to be recorded.
            if copy.name.isdigit() and int(copy.name) < number:
                shutil.rmtree(copy, ignore_errors=True)

    def _copy(self, number: int) -> Path:
        return self._kept / str(number)


def _copy_durably(source: str, target: str) -> str:
    copied = shutil.copy2(source, target)
    _sync(Path(copied))
    return copied
