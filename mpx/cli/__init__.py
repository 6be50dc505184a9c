"""The command line. Each command is a module here with a function `command`, loaded when it is called.

So `mpx --help` loads none of them: it reads the table below, which a test keeps in step with them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

import click

from mpx import __version__
from mpx.cli.errors import Settings, report

# In the order a user meets them: command → what it does, the first sentence of its help.
COMMANDS = {
    "validate": "Check a configuration and report every mistake in it.",
    "create": "Start an experiment.",
    "status": "Show experiments, or one of them in full.",
    "stop": "End experiments and everything they started.",
    "resume": "Let an interrupted, stopped or ended experiment go on.",
    "trials": "List the trials of an experiment.",
    "phases": "List the phases of an experiment.",
    "lineage": "Show which phases a phase goes back to.",
    "logs": "Print what trials, or the manager, printed.",
    "export": "Write every phase as CSV, JSON or JSON lines.",
    "import": "Tell the tuner of results from elsewhere.",
    "enqueue": "Choose the parameters of one phase yourself.",
    "delete": "Remove an experiment and all its files.",
    "schema": "Print the JSON Schema of configurations.",
    "sdk": "Print where the package `nni` is, for code run by hand.",
}


def _set_debug(ctx: click.Context, _: click.Parameter, debug: bool) -> None:
    ctx.ensure_object(Settings).debug |= debug


DEBUG = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)


class LazyGroup(click.Group):
    """A group whose commands are loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"mpx.cli.{cmd_name}").command
        if DEBUG not in command.params:  # behind the command's name it is as welcome as before
            command.params.append(DEBUG)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            # Loaded for a mistake alone.
            from mpx.config.suggestions import closest

            near = closest(name, COMMANDS)
            hint = f"did you mean {near!r}?" if near else "`mpx --help` lists all"
            ctx.fail(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[DEBUG],
    epilog="Experiments are kept in $MPX_HOME (default: ~/.mpx).",
)
@click.version_option(__version__, message="mpx %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Run multi-phase experiments: one trial process, many parameter sets."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line and exit."""
    settings = Settings()
    sys.stdout, sys.stderr = _output(sys.stdout), _output(sys.stderr)
    try:
        code = group.main(prog_name="mpx", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 (the edge: each becomes a message and an exit code)
        code = report(error, settings)
    sys.exit(code)


def _output(stream: TextIO | None) -> TextIO:
    if stream is None:  # the caller closed it
        return open(os.devnull, "w")
    if isinstance(stream, TextIOWrapper):  # what users print need not fit the terminal's encoding
        stream.reconfigure(errors="backslashreplace")
    return stream
