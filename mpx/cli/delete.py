"""`mpx delete`"""

from __future__ import annotations

import click

from mpx import api
from mpx.cli.options import experiment_argument
from mpx.errors import MpxError, UsageError
from mpx.records import ExperimentPaths
from mpx.render.text import plural, visible


@click.command()
@experiment_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(experiment: str, yes: bool) -> None:
    """Remove an experiment and all its files.

    ID is an experiment's id, the beginning of it, or its name. One that runs must be stopped first.
    """
    paths = api.find(experiment)
    if yes or _confirm(f"Remove {_what(paths)}?"):
        api.delete(paths)
        click.echo(f"removed {paths.id}")
    else:
        click.echo("nothing was removed")


def _confirm(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise UsageError("nobody answers: give --yes to remove without asking") from None
        raise


def _what(paths: ExperimentPaths) -> str:
    try:
        record = api.show(paths)
    except MpxError:  # what cannot be read can be removed all the same
        return f"experiment {paths.id}"
    count = plural(sum(record.phases.values()), "phase")
    return (
        f"experiment {paths.id} ({visible(record.name)}) with {count} and all that its trials wrote"
    )
