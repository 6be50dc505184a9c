"""Staying with an experiment that this command started or resumed, until it runs or until it ends.

The first SIGINT, SIGTERM or SIGHUP, and a terminal or pipe that goes away, stop it cleanly; a second
signal kills it. Either way nothing of it is left when the command returns. But as long as a resume has
taken over nothing, they end its manager alone: what still runs of the experiment is no work of this
command.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import click

from mpx import api
from mpx.errors import MpxError
from mpx.render.progress import Progress

_LEFT_ALONE = "experiment {} is left as it was"
_SILENCE = 2.0  # seconds until a resume says what it waits for
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Makes the first signal something to select on; a later one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self._reader, self._writer = os.pipe()
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return the descriptor that is readable once a signal came."""
        return self._reader

    def ignore(self) -> None:
        """Let further signals do nothing."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, _: FrameType | None) -> None:
        # The shell and the kernel both send SIGHUP when a terminal closes.
        if number == signal.SIGHUP and signal.SIGHUP in self._received:
            return
        self._received.append(number)
        if len(self._received) > 1:
            raise KeyboardInterrupt
        os.write(self._writer, b"!")


def stay(
    started: api.Launch, interrupts: Interrupts, progress: Progress, is_over: Callable[[], bool]
) -> bool:
    """Follow an experiment; say whether it was left in peace, False if it was stopped instead.

    Args:
        started: the experiment.
        interrupts: the signals, taken over before it was started.
        progress: shows how it goes.
        is_over: says whether to stay no longer; asked whenever the manager said something.

    Raises:
        SurvivorsError: it was to be stopped, and something could not be.
    """
    try:
        if _follow(started, interrupts, progress, is_over):
            return True
        if started.has_changed_nothing and started.withdraw():
            _say(_LEFT_ALONE.format(started.paths.id))
        else:
            _say("stopping the experiment; a second Ctrl-C kills it")
            for _ in api.stop([started.paths]):
                pass
    except KeyboardInterrupt:
        interrupts.ignore()
        if started.has_changed_nothing:
            started.kill_manager()
            _say(_LEFT_ALONE.format(started.paths.id))
        else:
            api.kill(started.paths)
    return False


def _follow(
    started: api.Launch, interrupts: Interrupts, progress: Progress, is_over: Callable[[], bool]
) -> bool:
    """Say whether it went on until `is_over`, with no signal and somebody looking."""
    try:
        with progress:
            next_look = 0.0
            next_word = time.monotonic() + _SILENCE
            waiting: list[api.Launch | Interrupts] = [started, interrupts]
            while not is_over():
                if time.monotonic() >= next_look:
                    if not started.has_changed_nothing:
                        _look(started, progress)
                    next_look = time.monotonic() + progress.interval
                if time.monotonic() >= next_word:
                    if started.has_changed_nothing:
                        _say("rebuilding the tuner; Ctrl-C leaves the experiment as it is")
                    next_word = math.inf
                patience = max(0.0, min(next_look, next_word) - time.monotonic())
                readable, _, _ = select.select(waiting, [], [], patience)
                if interrupts in readable:
                    return False
                if started in readable and not started.read():
                    return True
    except OSError:  # the terminal or the pipe that it is shown on has gone
        return False
    return True


def _look(started: api.Launch, progress: Progress) -> None:
    try:
        now_so = api.detail(started.paths)
    except MpxError:  # the next look may succeed, and the end tells
        return
    progress.update(now_so)


def _say(text: str) -> None:
    try:
        click.echo(f"mpx: {text}", err=True)
    except OSError:  # nobody is there to read it
        pass
