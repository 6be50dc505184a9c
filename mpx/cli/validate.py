"""`mpx validate`"""

from __future__ import annotations

from pathlib import Path

import click

from mpx.cli.options import json_option, print_json
from mpx.config.validation import read_config
from mpx.errors import ConfigError
from mpx.render.text import visible


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Check a configuration and report every mistake in it.

    Each with its place, what was found and what is allowed. Nothing of the user's code is run.
    """
    try:
        read_config(config)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"valid": False, "problems": [each.to_json() for each in error.problems]})
        ctx.exit(error.exit_code)
    if as_json:
        print_json({"valid": True, "problems": []})
    else:
        click.echo(f"{visible(str(config))} is good; run it: mpx create {visible(str(config))}")
