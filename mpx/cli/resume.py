"""`mpx resume`"""

from __future__ import annotations

from typing import Any

import click

from mpx import api
from mpx.cli.launching import Manner, follow, launch_options
from mpx.cli.options import experiment_argument
from mpx.config.durations import parse_duration


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer click alone
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@experiment_argument
@click.option("--max-phases", type=click.IntRange(1), metavar="N", help="Set maxPhaseNum.")
@click.option("--max-trials", type=click.IntRange(1), metavar="N", help="Set maxTrialNum.")
@click.option(
    "--max-duration", type=_Duration(), metavar="T", help="Set maxExecDuration, such as 2h."
)
@launch_options
@click.pass_context
def command(
    ctx: click.Context,
    experiment: str,
    max_phases: int | None,
    max_trials: int | None,
    max_duration: float | None,
    foreground: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Let an interrupted, stopped or ended experiment go on.

    ID is an experiment's id, the beginning of it, or its name. Trials that still run carry on, what
    was interrupted is tried again, and the tuner is rebuilt from the calls on record. One that
    reached a limit goes on if that is raised. Code and the shell's environment are taken anew; the
    configuration stays as it was at the start.
    """
    paths = api.find(experiment)
    manner = Manner(foreground, quiet, as_json)
    ctx.exit(follow(lambda: api.resume(paths, max_phases, max_trials, max_duration), manner))
