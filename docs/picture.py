"""Draw README's picture: run the main job on a terminal of our own and save what it shows.

    python docs/picture.py        (needs mpx-experiments[dev])

It writes docs/terminal.svg: the screen three seconds into the run, and as it is left at the end.
"""

import itertools
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS, LINES = 100, 40
_FIRST_LOOK = 3.0
COMMAND = "mpx create configs/digits.yml --foreground"
_NAMES = {"brown": "yellow", "default": None}  # what pyte calls otherwise than rich


def main() -> None:
    """Run, look twice, draw."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text("$ ", style="bold green") + Text(COMMAND, style="bold"))
    for line in run():
        console.print(line, soft_wrap=True)
    # Without the web fonts that rich names: a picture in a README loads nothing.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="mpx"), flags=re.DOTALL)
    (REPOSITORY / "docs" / "terminal.svg").write_text(svg)


def run() -> list[Text]:
    """Return what the screen shows during the run, and when it has ended."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HOME": home,
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            "LINES": str(LINES),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "mpx", *COMMAND.split()[1:]],
            cwd=REPOSITORY,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
        )
        os.close(slave)
        _feed(stream, master, process, time.monotonic() + _FIRST_LOOK)
        during = _lines(screen)
        _feed(stream, master, process)
    return [*during, Text(), *_lines(screen)]


def _lines(screen: pyte.Screen) -> list[Text]:
    filled = [number for number, line in enumerate(screen.display) if line.strip()]
    return [_line(screen, number) for number in range(filled[-1] + 1)] if filled else []


def _feed(
    stream: pyte.ByteStream,
    master: int,
    process: subprocess.Popen[bytes],
    until: float = float("inf"),
) -> None:
    """Let the screen take in what the program writes, to its end or until a time."""
    while time.monotonic() < until:
        readable, _, _ = select.select([master], [], [], 0.1)
        if readable:
            try:
                data = os.read(master, 65536)
            except OSError:  # the terminal's other side is closed
                break
            stream.feed(data)
        elif process.poll() is not None:
            break


def _line(screen: pyte.Screen, number: int) -> Text:
    cells = [screen.buffer[number][column] for column in range(screen.columns)]
    line = Text()
    for style, run in itertools.groupby(cells, key=_style):
        line.append("".join(cell.data for cell in run), style)
    line.rstrip()
    return line


def _style(cell: pyte.screens.Char) -> Style:
    color = _NAMES.get(cell.fg, cell.fg)
    if color and len(color) == 6 and all(digit in "0123456789abcdef" for digit in color):
        color = f"#{color}"
    return Style(color=color, bold=cell.bold, italic=cell.italics)


if __name__ == "__main__":
    main()
