"""Printing lines: in colour and cut to the width on a terminal, plain and whole elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text


def open_console() -> Console:
    """Return the terminal on stdout, or what stands for it. `NO_COLOR` and `TERM=dumb` are obeyed."""
    return Console(markup=False, emoji=False, highlight=False)


def show(lines: Iterable[Text], crop: bool = False) -> None:
    """Print lines on stdout.

    Args:
        lines: what to print.
        crop: cut what is wider than the terminal, as in a table; else the terminal wraps it.
    """
    console = open_console()
    for line in lines:
        if not console.is_terminal:
            console.file.write(f"{line.plain}\n")
        elif crop:
            console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            console.print(line, soft_wrap=True)
