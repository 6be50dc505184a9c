"""`mpx trials`"""

from __future__ import annotations

import time

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option, print_json
from mpx.render import console, tables


@click.command()
@experiment_argument
@json_option
def command(experiment: str, as_json: bool) -> None:
    """List the trials of an experiment.

    ID is an experiment's id, the beginning of it, or its name.
    """
    found = api.trials(api.find(experiment))
    if as_json:
        print_json([api.trial_json(trial) for trial in found])
    else:
        console.show(tables.trials(found, time.time()), crop=True)
