"""`mpx phases`"""

from __future__ import annotations

import sys
import time

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option
from mpx.render import console, tables


@click.command()
@experiment_argument
@click.option("--top", type=click.IntRange(min=1), help="Only the N best, best first.", metavar="N")
@click.option("--trial", help="Only those of this trial: its id or number.", metavar="TRIAL")
@json_option
def command(experiment: str, top: int | None, trial: str | None, as_json: bool) -> None:
    """List the phases of an experiment.

    ID is an experiment's id, the beginning of it, or its name. `--json` prints the rows of the
    export; floats that JSON has not are the strings "NaN", "Infinity" and "-Infinity".
    """
    paths = api.find(experiment)
    trial_id = None if trial is None else api.find_trial(paths, trial).trial_id
    found = api.phases(paths, trial_id, top)
    if as_json:
        api.write_array(map(api.phase_json, found), sys.stdout)
    else:
        console.show(tables.phases(found, time.time(), api.has_lineage(paths)), crop=True)
