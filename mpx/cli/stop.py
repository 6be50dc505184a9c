"""`mpx stop`"""

from __future__ import annotations

import click

from mpx import api
from mpx.cli.options import json_option, print_json
from mpx.errors import UsageError
from mpx.records import ExperimentPaths
from mpx.render.text import plural, visible


@click.command()
@click.argument("experiments", metavar="[ID]...", nargs=-1)
@click.option("--all", "stop_all", is_flag=True, help="All that run.")
@click.option("--drain", is_flag=True, help="Let open phases finish first.")
@json_option
def command(experiments: tuple[str, ...], stop_all: bool, drain: bool, as_json: bool) -> None:
    """End experiments and everything they started.

    ID is an experiment's id, the beginning of it, or its name; without it, the one that runs.
    Trials get SIGTERM, `trial.gracePeriod` to end, then SIGKILL. Returns when nothing of them is
    left. A manager that does not answer, or has died, makes no difference.
    """
    if experiments and stop_all:
        raise UsageError("give experiments or --all, not both")
    ended = []
    for stopped in api.stop(_targets(experiments, stop_all), drain):
        ended.append(stopped)
        if not as_json:
            click.echo(_described(stopped))
    if as_json:
        print_json([_as_json(stopped) for stopped in ended])
    elif not ended:
        click.echo("no experiment runs")


def _targets(experiments: tuple[str, ...], stop_all: bool) -> list[ExperimentPaths]:
    if stop_all:
        return api.running_experiments()
    if not experiments:
        return [api.the_running_experiment()]
    return [*dict.fromkeys(map(api.find, experiments))]


def _described(stopped: api.Stopped) -> str:
    record = stopped.after
    name = f"{record.id} ({visible(record.name)})"
    killed = ""
    if stopped.killed:
        killed = f"; {plural(len(stopped.killed), 'process', 'es')} had to be killed"
    if stopped.had_ended:
        return f"{name} had ended already: {record.status}{killed}"
    if record.ended_at is None:  # the store is gone, or the manager had not begun to write it
        return f"{name} left no record of its trials; nothing of it runs any more{killed}"
    ended = f"ended {plural(stopped.trials, 'trial')}"
    lost = f" and {plural(stopped.phases, 'open phase')}" if stopped.phases else ""
    return f"{name} is {record.status}: {ended}{lost}{killed}"


def _as_json(stopped: api.Stopped) -> dict[str, object]:
    return {
        "id": stopped.after.id,
        "name": stopped.after.name,
        "had_ended": stopped.had_ended,
        "status": stopped.after.status,
        "trials": stopped.trials,
        "phases": stopped.phases,
        "killed": stopped.killed,
    }
