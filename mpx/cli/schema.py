"""`mpx schema`"""

from __future__ import annotations

from importlib.resources import files

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of configurations.

    Editors complete and check configurations by it.
    """
    click.echo(files("mpx.config").joinpath("schema.json").read_text("utf-8"), nl=False)
