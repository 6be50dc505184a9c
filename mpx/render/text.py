"""Values as text for people: short, and with nothing in it that a terminal would obey."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpx.api import dumps

_LONGEST_VALUE = 40


def place(path: Path) -> str:
    """Return a path as a user types it: `~` for their home."""
    home = Path.home()
    shown = Path("~") / path.relative_to(home) if path.is_relative_to(home) else path
    return visible(str(shown))


def visible(text: str, keep: str = "") -> str:
    """Return the text with control characters and terminal escapes written out: `\\x1b[31m`.

    Args:
        text: from a user, a log or a metric.
        keep: control characters that may stay, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter: `850 µs`, `1.3 s`, `2m 05s`, `3h 10m`."""
    if seconds < 0.001:
        return f"{max(0.0, seconds) * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


def size(count: int) -> str:
    """Return a number of bytes in three digits and a unit: 1.25 GB."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def clock(seconds: float) -> str:
    """Return a time, in seconds since the epoch, on the clock of this place."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def value(result: Any) -> str:
    """Return a result or a parameter in a few characters."""
    if isinstance(result, dict) and "default" in result:
        return value(result["default"])
    if isinstance(result, float):
        return f"{result:.6g}"
    if result is None:
        return "-"
    text = result if isinstance(result, str) else dumps(result)
    text = visible(text)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def parameters(chosen: Any) -> str:
    """Return what a tuner chose: `lr=0.01, layers=3`."""
    if not isinstance(chosen, dict):
        return value(chosen)
    return ", ".join(f"{visible(str(key))}={value(item)}" for key, item in chosen.items()) or "{}"


def counts(numbers: Mapping[str, int]) -> str:
    """Return how many there are, in all and by status: `12: 10 SUCCEEDED, 2 FAILED`."""
    by_status = ", ".join(f"{count} {status}" for status, count in numbers.items() if count)
    return f"{sum(numbers.values())}: {by_status}" if by_status else "0"


def results(found: int, skipped: int) -> str:
    """Return `12 results (skipped: 3 rows without a value)`."""
    rest = f" (skipped: {plural(skipped, 'row')} without a value)" if skipped else ""
    return plural(found, "result") + rest


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Return `1 trial`, `2 trials`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}{ending}"
