"""The random generators that a tuner shares with its process: `random`, and numpy's global one.

A rebuilt tuner draws what it drew before if these begin alike. numpy may be imported late, in the
middle of a tuner's method: then its generator gets its state right behind the import.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def seed(number: int) -> None:
    """Begin both generators at a number."""
    random.seed(number)
    _when_numpy_is_there(lambda numpy: numpy.random.seed(number % 2**32))


def get_state() -> dict[str, Any]:
    """Return where they are, as something JSON can say."""
    state: dict[str, Any] = {"random": random.getstate()}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        kind, keys, *rest = numpy.random.get_state()
        state["numpy"] = [kind, keys.tolist(), *rest]
    return state


def set_state(state: dict[str, Any]) -> None:
    """Let them go on from where `get_state` found them."""
    version, internal, gauss = state["random"]
    random.setstate((version, tuple(internal), gauss))
    if "numpy" in state:
        kind, keys, *rest = state["numpy"]
        _when_numpy_is_there(lambda numpy: numpy.random.set_state((kind, keys, *rest)))


def _when_numpy_is_there(then: Callable[[Any], None]) -> None:
    """Call `then` with numpy, now or when it is imported; the last such call counts."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Watch)]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        then(numpy)
    else:
        sys.meta_path.insert(0, _Watch(then))


class _Watch(MetaPathFinder):
    """Finds numpy as everybody else does, and has something to do once it is imported."""

    def __init__(self, then: Callable[[Any], None]) -> None:
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "numpy" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("numpy")
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return None
        execute = spec.loader.exec_module

        def execute_and_set(module: ModuleType) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = execute_and_set  # type: ignore[method-assign]
        return spec
