"""`mpx create`"""

from __future__ import annotations

from pathlib import Path

import click

from mpx import api
from mpx.cli.launching import Manner, follow, launch_options
from mpx.render import text


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--import",
    "results",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Tell the tuner of results from elsewhere first: a file as `mpx import` takes it.",
)
@launch_options
@click.pass_context
def command(
    ctx: click.Context,
    config: Path,
    results: Path | None,
    foreground: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Start an experiment.

    Returns when its first trial runs, or fails with the reason why none does. With --foreground,
    Ctrl-C stops the experiment cleanly, a second one kills it, and the exit code is the
    experiment's: 0 when a phase succeeded, 1 when it failed, 130 when it was stopped.
    """
    manner = Manner(foreground, quiet, as_json)
    ctx.exit(follow(lambda: _launch(config, results, manner), manner))


def _launch(config: Path, results: Path | None, manner: Manner) -> api.Launch:
    known = api.Results() if results is None else api.read_results(results)
    started = api.launch(config, known.data)
    if results is not None and not (manner.quiet or manner.as_json):
        found = text.results(len(known.data), known.skipped)
        click.echo(f"the tuner begins with {found} of {text.visible(str(results))}")
    return started
