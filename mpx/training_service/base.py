"""What a training service is to the rest of mpx.

A training service starts trials, carries bytes between each trial and the controller, keeps each
trial's log, and ends trials. It knows no phase and reads no message. Everything happens on the
manager's loop; no method blocks on a trial.

The life of a trial, as the controller sees it:

1. `start` returns the process's identity. From then on `Listener.on_output` brings what the trial
   writes to its stdout, in order.
2. `send` queues bytes for the trial's stdin; a trial that is gone is no error.
3. The trial ends by itself, or after `end`. All that it started ends with it, politely first: SIGTERM, the
   grace period, SIGKILL.
   A trial outlives the manager that started it. Another one calls `find` and `adopt` where that called
   `start`, and goes on from there; what the trial left for it comes by `on_output` like all else.
4. `Listener.on_exit` is called once, after the last `on_output`, when every process of the trial is
   checked to be gone (or listed as a survivor). Nothing may be asked of that trial afterwards.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from mpx.records import ExitStatus, TrialSpec


@dataclass(frozen=True, slots=True)
class Identity:
    """A trial's leading process: its pid, and a start time that tells it from any other."""

    pid: int
    start: str | None


class Listener(Protocol):
    """Takes in what happens to trials: the controller."""

    def on_output(self, trial_id: str, data: bytes) -> None:
        """The trial wrote this to its stdout."""

    def on_exit(self, trial_id: str, status: ExitStatus) -> None:
        """The trial and all it started are gone."""


class TrainingService(Protocol):
    """Starts, feeds and ends trials."""

    def start(self, spec: TrialSpec) -> Identity:
        """Start a trial. Called when the store knows of it.

        Raises:
            OSError: it cannot be started; nothing of it is left.
        """

    def find(self, trial_id: str, identity: Identity | None) -> Identity | None:
        """Look for a trial of an earlier manager; None if it has ended.

        What is found is held: it sees that a manager is there, and is not yet listened to.

        Args:
            trial_id: the trial.
            identity: as `start` returned it; None if that manager died before it was recorded.
        """

    def adopt(self, spec: TrialSpec, identity: Identity | None, session: str | None) -> None:
        """Take over a trial of an earlier manager.

        One that has ended is taken over too, to end what it left; its `on_exit` comes in a later turn.
        What a process of it could tell no manager comes by `on_output` before this returns.

        Args:
            spec: as for `start`.
            identity: what `find` returned.
            session: the last one on record.
        """

    def send(self, trial_id: str, data: bytes) -> None:
        """Write to the trial's stdin, as soon as it reads."""

    def log(self, trial_id: str, data: bytes) -> None:
        """Append to the trial's log."""

    def owns_checkpoint(self, trial_id: str, path: str) -> bool:
        """Say whether what a phase of a trial has saved is a copy, and no file of the user's own."""

    def remove_checkpoint(self, trial_id: str, path: str) -> None:
        """Remove such a copy, before long.

        The trial may have ended long ago, and what is gone already is no error.
        """

    def keep_checkpoints(self, trial_id: str, paths: Collection[str]) -> None:
        """Remove, before long, whatever else there is of what the phases of an ended trial have saved.

        Who dies while it saves leaves copies that are on no record.
        """

    def end(self, trial_id: str) -> None:
        """End the trial: SIGTERM, its grace period, SIGKILL. Asking twice is no error."""

    def kill(self, trial_id: str) -> None:
        """End the trial without grace."""
