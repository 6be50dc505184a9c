"""`mpx logs`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import click

from mpx import api
from mpx.cli.options import experiment_argument, json_option
from mpx.records import ExperimentPaths
from mpx.render.text import visible

Lines = Iterable[tuple[api.Log, bytes]]


@click.command()
@experiment_argument
@click.argument("trial", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("--manager", is_flag=True, help="The manager's own log, with what the tuner prints.")
@click.option(
    "-n", "--lines", "last", type=click.IntRange(min=0), metavar="N", help="Only the last N lines."
)
@json_option
def command(
    experiment: str, trial: str | None, follow: bool, manager: bool, last: int | None, as_json: bool
) -> None:
    """Print what trials, or the manager, printed.

    ID is an experiment's id, the beginning of it, or its name; TRIAL a trial's id or number.
    Without TRIAL, the logs of all trials.
    """
    if trial is not None and manager:
        raise click.UsageError("a trial and --manager exclude each other")
    paths = api.find(experiment)
    trial_id = None if trial is None else api.find_trial(paths, trial).trial_id
    look = _looking(paths, trial_id, manager)
    lines = api.follow(look, last) if follow else _read(look()[1], last)
    headings = trial is None and not manager
    for piece in _as_json(lines) if as_json else _as_text(lines, headings):
        sys.stdout.buffer.write(piece)
        if follow:
            sys.stdout.flush()


def _looking(
    paths: ExperimentPaths, trial_id: str | None, manager: bool
) -> Callable[[], tuple[bool, list[api.Log]]]:
    def look() -> tuple[bool, list[api.Log]]:
        runs = api.show(paths).manager_alive
        if manager:
            return runs, [api.Log(paths.manager_log, None, runs)]
        logs = api.trial_logs(paths, trial_id)
        # Trials outlive a manager that dies.
        return (runs and trial_id is None) or any(log.is_growing for log in logs), logs

    return look


def _read(logs: Iterable[api.Log], last: int | None) -> Iterator[tuple[api.Log, bytes]]:
    return chain.from_iterable(((log, line) for line in api.read(log, last)) for log in logs)


def _as_text(lines: Lines, headings: bool) -> Iterator[bytes]:
    """Yield lines for a terminal with their escapes made visible; for all else as they are."""
    is_terminal = sys.stdout.isatty()
    before: Path | None = None
    for log, line in lines:
        if headings and log.path != before:
            yield f"==> {_name(log)} <==\n".encode()
        before = log.path
        yield _visible(line) if is_terminal else line.rstrip(b"\n") + b"\n"


def _as_json(lines: Lines) -> Iterator[bytes]:
    for log, line in lines:
        trial = log.trial
        origin = {"trial_id": trial.trial_id, "sequence_id": trial.sequence_id} if trial else {}
        yield api.dumps({**origin, "line": _decoded(line)}).encode() + b"\n"


def _name(log: api.Log) -> str:
    return f"trial {log.trial.sequence_id} ({log.trial.trial_id})" if log.trial else "manager"


def _visible(line: bytes) -> bytes:
    return visible(_decoded(line), keep="\t").encode("utf-8", "backslashreplace") + b"\n"


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")
