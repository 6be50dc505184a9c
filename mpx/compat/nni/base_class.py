"""Methods of NNI's base classes that mpx's do not have."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])


def of_base_class(method: _Method) -> _Method:
    """Mark a method that does nothing of its own: a tuner that has only it counts as one without it."""
    method.of_base_class = True  # type: ignore[attr-defined]  # mpx.adapted_tuner looks for it
    return method
