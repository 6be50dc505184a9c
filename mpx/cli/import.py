"""`mpx import`"""  # noqa: N999 (a command is called as its module)

from __future__ import annotations

from pathlib import Path

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option, print_json
from mpx.render.text import results, visible


@click.command("import")
@experiment_argument
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(experiment: str, file: Path, as_json: bool) -> None:
    """Tell the tuner of results from elsewhere.

    ID is an experiment's id, the beginning of it, or its name. FILE is what NNI v1 exports, or what
    `mpx export` does as json, jsonl or nni; rows whose value is null are skipped. A running experiment's
    tuner is told at once; any other's when `mpx resume` lets it go on.
    """
    paths = api.find(experiment)
    found = api.read_results(file)
    delivery = api.import_results(paths, found) if found.data else None
    if as_json:
        taken = delivery and delivery.taken
        counts = {"results": len(found.data), "skipped": found.skipped}
        print_json({"id": paths.id, **counts, "taken": taken})
    else:
        click.echo(_described(delivery, results(len(found.data), found.skipped), file))


def _described(delivery: api.Delivery | None, found: str, file: Path) -> str:
    if delivery is None:
        return f"{visible(str(file))} has {found}: there is nothing to tell"
    record = delivery.experiment
    name = f"{record.id} ({visible(record.name)})"
    if delivery.taken is api.Taken.NOW:
        return f"{name}: its tuner is told of {found}"
    if delivery.taken is api.Taken.SOON:
        return f"{name}: its tuner will be told of {found} as soon as its manager is ready"
    return (
        f"{name} does not run ({record.status}): its tuner will be told of {found} by"
        f" mpx resume {record.id}"
    )
