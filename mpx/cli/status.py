"""`mpx status`"""

from __future__ import annotations

import time

import click

from mpx import api
from mpx.cli.options import json_option, print_json
from mpx.errors import UsageError
from mpx.records import ExperimentPaths
from mpx.render import console, detail, tables
from mpx.render.progress import choose


@click.command()
@click.argument("experiment", metavar="[ID]", required=False)
@click.option("-w", "--watch", is_flag=True, help="Stay until it ends; Ctrl-C leaves it running.")
@json_option
def command(experiment: str | None, watch: bool, as_json: bool) -> None:
    """Show experiments, or one of them in full.

    ID is an experiment's id, the beginning of it, or its name; without it, all experiments are
    listed. With --watch and no ID: the one that runs. `--json` says times as ISO 8601 in UTC, and
    floats that JSON has not as the strings "NaN", "Infinity" and "-Infinity".
    """
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    if watch:
        _watch(api.find(experiment) if experiment else api.the_running_experiment())
    elif experiment is None:
        _list(as_json)
    else:
        _show(api.find(experiment), as_json)


def _list(as_json: bool) -> None:
    records = api.list_experiments()
    if as_json:
        print_json([api.experiment_json(record) for record in records])
    elif records:
        console.show(tables.experiments(records), crop=True)
    else:
        click.echo(f"no experiments in {api.home()}; start one: mpx create CONFIG")


def _show(paths: ExperimentPaths, as_json: bool) -> None:
    if as_json:
        print_json(api.experiment_json(api.show(paths)))
    else:
        console.show(detail.detail(api.detail(paths)))


def _watch(paths: ExperimentPaths) -> None:
    with choose("Ctrl-C leaves the experiment running") as progress:
        while (now_so := api.detail(paths)).experiment.manager_alive:
            progress.update(now_so)
            time.sleep(progress.interval)
    console.show(detail.detail(now_so))
