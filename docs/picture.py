"""Draw README's picture: run the main job on a terminal of our own and save what it shows.

    python docs/picture.py        (needs mpx-experiments[dev])

It writes docs/terminal.svg from the screen as it is at two thirds of the run and when it has ended.
"""

import os
import pty
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
COMMAND = "mpx create configs/digits.yml --foreground"
_NAMES = {"brown": "yellow", "default": None}  # what pyte calls otherwise than rich


def main() -> None:
    """Run, look twice, draw."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    shots = run()
    console.print(Text("$ ", style="bold green") + Text(COMMAND, style="bold"))
    for line in shots:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title="mpx", clear=False)
    (REPOSITORY / "docs" / "terminal.svg").write_text(svg)


def run() -> list[Text]:
    """Return the lines of the screen when the run has ended."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "MPX_HOME": f"{home}/.mpx",
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
        _feed(stream, master, process)
    return [_line(screen, number) for number in range(_height(screen))]


def _feed(stream: pyte.ByteStream, master: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        readable, _, _ = select.select([master], [], [], 0.1)
        if readable:
            try:
                data = os.read(master, 65536)
            except OSError:  # the terminal's other side is closed
                break
            stream.feed(data)
        elif process.poll() is not None:
            break
    process.wait()
    time.sleep(0)


def _height(screen: pyte.Screen) -> int:
    filled = [number for number, line in enumerate(screen.display) if line.strip()]
    return filled[-1] + 1 if filled else 0


def _line(screen: pyte.Screen, number: int) -> Text:
    line = Text()
    for column in range(screen.columns):
        cell = screen.buffer[number][column]
        color = _NAMES.get(cell.fg, cell.fg)
        if color and color not in _NAMES and len(color) == 6 and not color.isalpha():
            color = f"#{color}"
        line.append(cell.data, Style(color=color, bold=cell.bold, italic=cell.italics))
    line.rstrip()
    return line


if __name__ == "__main__":
    main()
