"""`mpx create`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mpx import api
from mpx.cli.errors import forget_stdout
from mpx.cli.foreground import Interrupts, stay
from mpx.cli.options import json_option, print_json
from mpx.errors import StartError, UsageError
from mpx.lifecycle import EXIT_INTERRUPTED, exit_code
from mpx.records import ExperimentPaths
from mpx.render import console, detail
from mpx.render.progress import Progress, Silence, choose


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "-f", "--foreground", is_flag=True, help="Stay, show progress, and end with the experiment."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the experiment's id alone.")
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, foreground: bool, quiet: bool, as_json: bool) -> None:
    """Start an experiment.

    Returns when its first trial runs, or fails with the reason why none does. With --foreground,
    Ctrl-C stops the experiment cleanly, a second one kills it, and the exit code is the
    experiment's: 0 when a phase succeeded, 1 when it failed, 130 when it was stopped.
    """
    if quiet and as_json:
        raise UsageError("--quiet and --json exclude each other")
    follow = _follow if foreground else _start
    with Interrupts() as interrupts, api.launch(config) as started:
        ctx.exit(follow(started, interrupts, quiet, as_json))


def _start(started: api.Launch, interrupts: Interrupts, quiet: bool, as_json: bool) -> int:
    if not stay(started, interrupts, Silence(), lambda: started.beginning is not None):
        return EXIT_INTERRUPTED
    _check(started, as_json)
    if as_json:
        _print_record(started.paths)
    elif quiet:
        click.echo(started.paths.id)
    else:
        _print_start(started.paths)
    return 0


def _follow(started: api.Launch, interrupts: Interrupts, quiet: bool, as_json: bool) -> int:
    if quiet:
        click.echo(started.paths.id)
    in_peace = stay(started, interrupts, _progress(quiet or as_json), lambda: False)
    if in_peace:
        _check(started, as_json)
    record = api.show(started.paths)
    code = exit_code(record.status, record.phases.get("SUCCEEDED", 0))
    try:
        if as_json:
            _print_record(started.paths)
        elif not quiet:
            console.show(detail.summary(api.detail(started.paths)))
        sys.stdout.flush()
    except OSError:  # what it was shown on has gone, and that is why it was stopped
        forget_stdout()
    return code if in_peace else EXIT_INTERRUPTED


def _progress(silent: bool) -> Progress:
    return Silence() if silent else choose("Ctrl-C stops the experiment")


def _check(started: api.Launch, as_json: bool) -> None:
    """Raise StartError if no trial ever ran."""
    try:
        started.wait_ready()
    except StartError:
        if as_json:
            _print_record(started.paths)
        raise


def _print_record(paths: ExperimentPaths) -> None:
    print_json(api.experiment_json(api.show(paths)))


def _print_start(paths: ExperimentPaths) -> None:
    now_so = api.detail(paths)
    record = now_so.experiment
    console.show([detail.headline(record), *detail.running_trials(now_so)])
    console.show(
        detail.next_commands(
            (f"mpx status {record.id} --watch", "how it goes"),
            (f"mpx logs {record.id} -f", "what its trials print"),
            (f"mpx stop {record.id}", "end it"),
        )
    )
