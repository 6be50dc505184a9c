"""`mpx enqueue`"""

from __future__ import annotations

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option, print_json
from mpx.render.text import visible


@click.command()
@experiment_argument
@click.argument("parameters")
@json_option
def command(experiment: str, parameters: str, as_json: bool) -> None:
    """Choose the parameters of one phase yourself.

    ID is an experiment's id, the beginning of it, or its name. PARAMETERS is JSON, or @FILE for a
    file that holds it. The trial that starts or asks next gets them; where none runs, one that
    `mpx resume` starts.
    """
    paths = api.find(experiment)
    chosen = api.read_parameters(parameters)
    doubts = api.doubts(paths, chosen)
    delivery = api.enqueue(paths, chosen)
    if as_json:
        found = {"parameters": chosen, "taken": delivery.taken, "warnings": doubts}
        print_json({"id": paths.id, **found})
        return
    for doubt in doubts:
        click.echo(f"mpx: warning: {visible(doubt)}", err=True)
    click.echo(_described(delivery))


def _described(delivery: api.Delivery) -> str:
    record = delivery.experiment
    name = f"{record.id} ({visible(record.name)})"
    if delivery.taken is api.Taken.NOW:
        return f"{name}: the trial that starts or asks next gets these parameters"
    if delivery.taken is api.Taken.SOON:
        return f"{name}: a trial gets these parameters as soon as the manager is ready"
    return (
        f"{name} does not run ({record.status}): a trial gets these parameters after"
        f" mpx resume {record.id}"
    )
