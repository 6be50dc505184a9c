"""`mpx sdk`"""

from __future__ import annotations

from pathlib import Path

import click

from mpx import compat


@click.command()
def command() -> None:
    """Print where the package `nni` is, for code run by hand.

    In an experiment trials, tuners and assessors find it by themselves. Else, and in unit tests:

    PYTHONPATH=$(mpx sdk) python3 trial.py
    """
    click.echo(Path(compat.__file__).parent)
