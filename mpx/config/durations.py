"""Durations as NNI writes them: one whole number and a unit, `90s`, `10m`, `24h` or `7d`."""

from __future__ import annotations

import re
from typing import Any

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])\s*")
_SPOKEN = re.compile(
    r"\s*([0-9]{1,9})\s*(s|m|h|d|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?)\b|"
    r"\s*([0-9]{1,9})([smhd])",
    re.IGNORECASE,
)


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: the text is no duration.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"found {text!r}; allowed: a duration such as 90s or 24h")
    return float(int(found[1]) * _SECONDS[found[2]])


def nearest_duration(value: Any) -> str | None:
    """Return the duration that a mistaken one, such as 3600 or `1h30m`, was meant to be."""
    seconds = _spoken_seconds(value) if isinstance(value, str) else value
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds <= 0:
        return None
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def _spoken_seconds(text: str) -> int | None:
    seconds, end = 0, 0
    while end < len(text):
        found = _SPOKEN.match(text, end)
        if not found:
            return None
        number, unit = found[1] or found[3], found[2] or found[4]
        seconds += int(number) * _SECONDS[unit[0].lower()]
        end = found.end()
    return seconds
