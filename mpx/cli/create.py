"""`mpx create`"""

from __future__ import annotations

from pathlib import Path

import click

from mpx import api
from mpx.cli.launching import Manner, follow, launch_options


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@launch_options
@click.pass_context
def command(ctx: click.Context, config: Path, foreground: bool, quiet: bool, as_json: bool) -> None:
    """Start an experiment.

    Returns when its first trial runs, or fails with the reason why none does. With --foreground,
    Ctrl-C stops the experiment cleanly, a second one kills it, and the exit code is the
    experiment's: 0 when a phase succeeded, 1 when it failed, 130 when it was stopped.
    """
    ctx.exit(follow(lambda: api.launch(config), Manner(foreground, quiet, as_json)))
