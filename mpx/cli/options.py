"""What several commands have in common: arguments, options, and output that is no table."""

from __future__ import annotations

import sys
from typing import Any

import click

from mpx import api
from mpx.render.text import visible

experiment_argument = click.argument("experiment", metavar="ID")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class SafeOutput:
    """stdout as something to write text from users to: a terminal gets it with its escapes made visible."""

    def __init__(self) -> None:
        self._write = sys.stdout.write
        self._is_terminal = sys.stdout.isatty()

    def write(self, text: str) -> None:
        self._write(visible(text, keep="\n\t") if self._is_terminal else text)


def print_json(value: Any) -> None:
    """Print one value as JSON."""
    click.echo(api.dumps(value, indent=2))
