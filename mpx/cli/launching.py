"""What `mpx create` and `mpx resume` do once they have started a manager."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command goes on behind the start: the options of `launch_options`."""

    foreground: bool
    quiet: bool
    as_json: bool


def launch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make a `Manner`."""
    options = (
        click.option(
            "-f",
            "--foreground",
            is_flag=True,
            help="Stay, show progress, and end with the experiment.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print the experiment's id alone."),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def follow(launch: Callable[[], api.Launch], manner: Manner) -> int:
    """Start an experiment, see that it runs or stay until it ends, and return the exit code.

    Args:
        launch: starts the manager; called when signals are taken over.
        manner: the user's options.

    Raises:
        UsageError: the options exclude each other.
        StartError: no trial ran.
    """
    if manner.quiet and manner.as_json:
        raise UsageError("--quiet and --json exclude each other")
    go_on = _follow if manner.foreground else _start
    with Interrupts() as interrupts, launch() as started:
        return go_on(started, interrupts, manner)


def _start(started: api.Launch, interrupts: Interrupts, manner: Manner) -> int:
    if not stay(started, interrupts, Silence(), lambda: started.beginning is not None):
        return EXIT_INTERRUPTED
    _check(started, manner.as_json)
    if manner.as_json:
        _print_record(started.paths)
    elif manner.quiet:
        click.echo(started.paths.id)
    else:
        _print_start(started.paths)
    return 0


def _follow(started: api.Launch, interrupts: Interrupts, manner: Manner) -> int:
    if manner.quiet:
        click.echo(started.paths.id)
    progress = _progress(manner.quiet or manner.as_json)
    in_peace = stay(started, interrupts, progress, lambda: False)
    if in_peace:
        _check(started, manner.as_json)
    record = api.show(started.paths)
    code = exit_code(record.status, record.phases.get("SUCCEEDED", 0))
    try:
        if manner.as_json:
            _print_record(started.paths)
        elif not manner.quiet:
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
    console.show([detail.headline(record), *detail.notices(record), *detail.running_trials(now_so)])
    console.show(
        detail.next_commands(
            (f"mpx status {record.id} --watch", "how it goes"),
            (f"mpx logs {record.id} -f", "what its trials print"),
            (f"mpx stop {record.id}", "end it"),
        )
    )
