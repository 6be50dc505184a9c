"""Every error mpx raises on purpose, and the exit code it ends a command with.

    MpxError                      1   something failed; the message says what, where and what to do
    ├── UsageError                2   the command line or an argument is wrong
    │   └── ConfigError           2   the configuration is wrong; lists every mistake found
    ├── NoSuchExperimentError     3   no experiment has that id or name
    ├── SurvivorsError            4   something could not be stopped
    ├── StartError                1   an experiment ended before its first trial ran
    ├── ClassLoadError            1   a tuner's or assessor's class could not be imported or constructed
    ├── TunerError                1   a tuner's method raised or answered nonsense
    ├── AssessorError             1   an assessor answered nonsense
    ├── StoreError                1   the experiment's database refused a write or a read
    └── ProtocolError             1   the conversation between manager and trial broke its rules
        ├── LocalProtocolError        this side tried something illegal
        ├── RemoteProtocolError       the other side sent something illegal
        └── MessageError              a value that no message can carry

`NoMoreTrialError` and `PhaseStopped` stand apart: a tuner raises the one to say that it has no more
parameters, a trial that wants it so meets the other when an assessor has stopped its phase.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

from typing import Any, Sequence


class MpxError(Exception):
    """Base of all errors that are a message to the user, never a traceback."""

    exit_code = 1


class UsageError(MpxError):
    """The command line or an argument is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration has mistakes.

    Args:
        problems: every mistake found, in the order of the file; each prints as one message.
    """

    def __init__(self, problems: Sequence[Any]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NoSuchExperimentError(MpxError):
    """No experiment has the id, prefix or name that was given."""

    exit_code = 3


class SurvivorsError(MpxError):
    """Processes outlived every attempt to end them."""

    exit_code = 4


class StartError(MpxError):
    """An experiment ended before its first trial ran.

    Args:
        message: what failed and where.
        experiment_id: its record stays, for `mpx status`.
        traceback: of the user's code that failed, if it was that.
    """

    def __init__(self, message: str, experiment_id: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.experiment_id = experiment_id
        self.traceback = traceback


class ClassLoadError(MpxError):
    """A user's class could not be imported or constructed."""


class TunerError(MpxError):
    """A tuner's method raised, or answered what it may not."""


class AssessorError(MpxError):
    """An assessor's method answered what it may not."""


class StoreError(MpxError):
    """The experiment's database refused a write or a read.

    Args:
        message: what failed, and why.
        may_pass: trying again can succeed: the disk is full, say, or another process has a lock.
    """

    def __init__(self, message: str, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class ProtocolError(MpxError):
    """The conversation between manager and trial broke its rules."""


class LocalProtocolError(ProtocolError):
    """This side tried something that the conversation does not allow now."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the conversation does not allow now.

    Args:
        message: what was wrong.
        seq: number of the message at fault; None where none could be read.
        answers: a trial waits for an answer to that message, and there is none but this.
    """

    def __init__(self, message: str, seq: int | None = None, answers: bool = False) -> None:
        super().__init__(message)
        self.seq = seq
        self.answers = answers


class MessageError(ProtocolError):
    """A value that no message can carry: JSON cannot say it, or it is too long."""


class NoMoreTrialError(Exception):
    """Raised by a tuner's `generate_parameters`: there are no more parameters (for now)."""


class PhaseStopped(Exception):  # noqa: N818 (an event, not an error)
    """The assessor has stopped the phase: nothing more need be computed for it."""
