"""`mpx export`"""

from __future__ import annotations

from pathlib import Path

import click

from mpx import api
from mpx.cli.options import SafeOutput, experiment_argument


@click.command()
@experiment_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*api.FORMATS]),
    help="Default: by the suffix of FILE; csv on stdout.",
)
@click.option("--json", "file_format", flag_value="json", help="The same as --format json.")
def command(experiment: str, output: Path | None, file_format: str | None) -> None:
    """Write every phase as CSV, JSON or JSON lines.

    ID is an experiment's id, the beginning of it, or its name. No manager need run. CSV has a
    column for each parameter, JSON keeps them together; floats that JSON has not are the strings
    "NaN", "Infinity" and "-Infinity". With --format nni, the phases that have a result, as NNI v1
    exports them: parameter, value as JSON text, id of the trial.
    """
    paths = api.find(experiment)
    if output is None:
        api.export(paths, SafeOutput(), file_format or "csv")
    else:
        api.export_to_file(paths, output, file_format or api.format_of(output))
