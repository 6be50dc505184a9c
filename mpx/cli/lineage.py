"""`mpx lineage`"""

from __future__ import annotations

import sys

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option
from mpx.render import console, tables


@click.command()
@experiment_argument
@click.argument("parameter_id", type=click.IntRange(min=0), required=False)
@json_option
def command(experiment: str, parameter_id: int | None, as_json: bool) -> None:
    """Show which phases a phase goes back to.

    ID is an experiment's id, the beginning of it, or its name. PARAMETER_ID names the phase; without it,
    the best one is shown. The first phase is on top, and each went on from the weights of the one above
    it. `--json` prints rows of the export.
    """
    found = api.lineage(api.find(experiment), parameter_id)
    if as_json:
        api.write_array(map(api.phase_json, found), sys.stdout)
    else:
        console.show(tables.lineage(found), crop=True)
