"""GPUs by their numbers, as NNI writes them: `0`, or `"0,1"`."""

from __future__ import annotations

from typing import Any


def parse_gpu_indices(value: Any) -> tuple[int, ...]:
    """Return the numbers of GPUs in a value, each once, in its order.

    Raises:
        ValueError: the value names no GPUs.
    """
    return tuple(dict.fromkeys(int(index) for index in str(value).split(",")))


def nearest_gpu_indices(value: Any) -> str | None:
    """Return what a mistaken value, such as a list of numbers, was meant to be."""
    if not isinstance(value, list) or not value:
        return None
    if not all(type(index) is int and index >= 0 for index in value):
        return None
    return f'"{",".join(map(str, value))}"'
