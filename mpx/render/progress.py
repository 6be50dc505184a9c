"""An experiment at work: a live picture on a terminal, a line for each change worth telling elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from mpx.api import Detail
from mpx.records import ExperimentRecord, TrialRecord, TrialStatus
from mpx.render.console import open_console, show
from mpx.render.detail import failed_trial, fields, headline, running_trials
from mpx.render.text import counts, duration, parameters, value, visible

_OPEN = ("RUNNING", "WAITING")
_INDENT = (0, 0, 0, 2)
_BAR_WIDTH = 50
_RATE_WINDOW = 10.0  # seconds
_FIRST_PAUSE = 10.0  # seconds between two lines that only say how far it is
_PAUSE_SHARE = 0.1  # later, this share of the time since the first look


class Progress(Protocol):
    """Shows how an experiment goes on. `interval` is the seconds between two updates."""

    interval: float

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, now_so: Detail) -> None:
        """Show this."""


class Silence:
    """Shows nothing: `--json` and `--quiet`."""

    interval = 60.0

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, now_so: Detail) -> None:
        return


class LiveProgress:
    """A picture that is drawn anew, and gone at the end.

    Args:
        console: a terminal.
        hint: what the user can do meanwhile.
    """

    interval = 0.25

    def __init__(self, console: Console, hint: str) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._rate = Rate()
        self._hint = hint

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, now_so: Detail) -> None:
        self._live.update(self.picture(now_so), refresh=True)

    def picture(self, now_so: Detail) -> Group:
        """Return all that is shown."""
        self._rate.add(now_so.now, ended_phases(now_so.experiment))
        lines = [
            Text(),
            headline(now_so.experiment),
            *fields(now_so),
            Text(f"  {'rate':<10}{self._rate.describe()}"),
            *running_trials(now_so),
            Text(self._hint, "dim"),
        ]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        parts: list[RenderableType] = [*lines]
        bar = _bar(now_so.experiment)
        # A bar alone would not end its line.
        return Group(*parts[:2], Padding(bar, _INDENT), *parts[2:]) if bar else Group(*parts)


class PlainProgress:
    """Lines for a log file: each says something new."""

    interval = 0.5

    def __init__(self) -> None:
        self._rate = Rate()
        self._status = ""
        self._best: int | None = None
        self._told_failures = -1
        self._told_wait = ""
        self._next_line = _FIRST_PAUSE
        self._began = time.time()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, now_so: Detail) -> None:
        elapsed = max(0.0, now_so.now - self._began)
        show(Text(f"[{duration(elapsed)}] {line}") for line in self.lines(now_so, elapsed))
        sys.stdout.flush()  # whoever reads a pipe wants the line now

    def lines(self, now_so: Detail, elapsed: float) -> Iterator[str]:
        """Yield what is new since the last call.

        Args:
            now_so: the experiment.
            elapsed: seconds since this began to look.
        """
        record = now_so.experiment
        self._rate.add(now_so.now, ended_phases(record))
        if record.status != self._status:
            self._status = record.status
            yield f"{visible(record.name)} ({record.id}) is {record.status}"
        if record.best and record.best.parameter_id != self._best:
            self._best = record.best.parameter_id
            best = record.best
            where = f"phase {best.phase_index} of trial {best.sequence_id}"
            yield f"best so far: {value(best.value)} in {where}: {parameters(best.parameters)}"
        for trial in reversed(now_so.failed):
            if trial.sequence_id > self._told_failures:
                self._told_failures = trial.sequence_id
                yield f"trial {trial.sequence_id} ({trial.trial_id}) {failed_trial(trial).plain}"
                yield from (f"  | {visible(line, keep=chr(9))}" for line in trial.last_lines)
        yield from self._new_wait(now_so)
        if elapsed >= self._next_line:
            self._next_line = elapsed + max(_FIRST_PAUSE, _PAUSE_SHARE * elapsed)
            phases, trials = counts(record.phases), counts(record.trials)
            yield f"phases {phases}; trials {trials}; {self._rate.describe()}"

    def _new_wait(self, now_so: Detail) -> Iterator[str]:
        """Yield what the first trial waits for, when none runs and that was not said yet."""
        waiting = [running.trial for running in now_so.running]
        if not waiting or any(not _waits(trial) for trial in waiting):
            self._told_wait = ""
            return
        reason = visible(waiting[0].reason or "")
        gist = reason.partition("(")[0]  # what is in parentheses changes all the time
        if gist != self._told_wait:
            self._told_wait = gist
            yield f"trial {waiting[0].sequence_id} ({waiting[0].trial_id}) waits: {reason}"


class Rate:
    """How many phases end in a second, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, ended: int) -> None:
        """Note how many phases had ended at a time."""
        self._seen.append((now, ended))
        while now - self._seen[0][0] > _RATE_WINDOW:
            self._seen.popleft()

    def describe(self) -> str:
        """Say it: `4.2 phases a second`, or `12 s a phase` where that is below one."""
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        if after == before or last == first:
            return f"no phase ended in the last {duration(last - first)}"
        rate = (after - before) / (last - first)
        return f"{rate:.3g} phases a second" if rate >= 1 else f"{duration(1 / rate)} a phase"


def _waits(trial: TrialRecord) -> bool:
    return trial.status is TrialStatus.WAITING and trial.reason is not None


def ended_phases(record: ExperimentRecord) -> int:
    """Return how many phases have ended."""
    return sum(count for status, count in record.phases.items() if status not in _OPEN)


def choose(hint: str) -> Progress:
    """Return a live picture on a terminal, lines elsewhere.

    Args:
        hint: what the user can do meanwhile.
    """
    console = open_console()
    can_draw = console.is_terminal and not console.is_dumb_terminal
    return LiveProgress(console, hint) if can_draw else PlainProgress()


def _bar(record: ExperimentRecord) -> ProgressBar | None:
    if record.max_phase_num:
        return ProgressBar(record.max_phase_num, ended_phases(record), width=_BAR_WIDTH)
    if record.max_trial_num:
        ended = sum(count for status, count in record.trials.items() if status not in _OPEN)
        return ProgressBar(record.max_trial_num, ended, width=_BAR_WIDTH)
    return None
