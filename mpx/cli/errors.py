"""What a command ends with: an exit code, and on stderr one message that says what went wrong."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click

from mpx.errors import ConfigError, MpxError, StartError
from mpx.lifecycle import EXIT_INTERRUPTED


@dataclass(slots=True)
class Settings:
    """What holds for all commands. `debug`: show tracebacks."""

    debug: bool = False


def report(error: BaseException, settings: Settings) -> int:
    """Tell the user of an error that ended a command, and return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, OSError):
        forget_stdout()
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return EXIT_INTERRUPTED
    _say(_message(error))
    if settings.debug:
        _say(_traceback(error))
    return error.exit_code if isinstance(error, MpxError | click.ClickException) else 1


def _message(error: BaseException) -> str:
    if isinstance(error, ConfigError):
        count = len(error.problems)
        return f"{error}\nmpx: error: the configuration has {count} mistake{'s' * (count != 1)}"
    if isinstance(error, MpxError):
        return f"mpx: error: {error}"
    if isinstance(error, click.UsageError) and error.ctx:
        return f"mpx: error: {error.format_message()}\n{error.ctx.get_usage()}"
    if isinstance(error, click.ClickException):
        return f"mpx: error: {error.format_message()}"
    if isinstance(error, OSError):
        return f"mpx: error: {error}"
    return (
        f"mpx: error: {type(error).__name__}: {error}\n"
        "This is a mistake in mpx. The same command with --debug shows where."
    )


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, StartError) and error.traceback:
        return f"{error.traceback.rstrip()}\n\nReported by:\n\n{text}"
    return text


def _say(text: str) -> None:
    # Loaded for errors alone.
    from mpx.render.text import visible

    try:
        print(visible(text, keep="\n\t"), file=sys.stderr, flush=True)
    except OSError:  # the terminal has gone; there is nobody left to tell
        pass


def forget_stdout() -> None:
    """Let what is printed from now on, and what waits in a buffer, go nowhere: nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
