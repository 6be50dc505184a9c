"""Trials that wait for GPUs, in order: each starts as soon as those it needs are free.

The GPUs are looked at when a trial comes, when one that had some is gone, and, while nothing but others'
processes are in the way, from time to time. What trials of this experiment have is known without a look,
also to a manager that adopts them: it is on record with each trial before that starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from mpx.gpus import Allotment, Devices, Gpu, GpuError, Look, Sharing
from mpx.records import ErrorRecord
from mpx.store import Store
from mpx.trial_run import TrialRun, as_text
from mpx.turn import Cancellable, Outbox, Turns

# Seconds until the GPUs are looked at again: soon, for the driver may list a process for a moment longer
# than it lives, then ever less often.
_FIRST_LOOK, _LAST_LOOK = 0.25, 5.0


class GpuQueue:
    """Gives trials their GPUs.

    Args:
        sharing: what a trial needs, and how trials share.
        devices: looks at the GPUs.
        experiment_id: whose trials they are.
        trials: returns all trials that have not ended.
        store: where it is recorded what a trial was given, or waits for.
        outbox: starts those that were given something.
        turns: the loop.
        why_end: returns why no trial may begin any more; None if one may.
        on_expiry: called with a trial that waited until then, and the reason.
        on_failure: called when no trial can be given what it needs: the error, and the rest as for
            `Trials`.
    """

    def __init__(
        self,
        sharing: Sharing,
        devices: Devices,
        experiment_id: str,
        trials: Callable[[], Iterable[TrialRun]],
        store: Store,
        outbox: Outbox,
        turns: Turns,
        why_end: Callable[[], str | None],
        on_expiry: Callable[[TrialRun, str], None],
        on_failure: Callable[[ErrorRecord, str, bool], None],
    ) -> None:
        self._sharing = sharing
        self._devices = devices
        self._experiment_id = experiment_id
        self._trials = trials
        self._store = store
        self._outbox = outbox
        self._turns = turns
        self._why_end = why_end
        self._on_expiry = on_expiry
        self._on_failure = on_failure
        self._waiting: list[TrialRun] = []
        self._starting: set[TrialRun] = set()  # they were given what they need
        self._is_looking = False
        self._is_outdated = False  # what the look that is going on will find
        self._has_seen = False  # enough GPUs, at least once
        self._timer: Cancellable | None = None
        self._delay = _FIRST_LOOK

    def add(self, trial: TrialRun) -> None:
        """Start a trial as soon as the GPUs that it needs are free."""
        self._waiting.append(trial)
        self._say(trial, "the GPUs are being looked at")
        if not self._is_looking:
            self.look()

    def remove(self, trial: TrialRun) -> bool:
        """Let a trial wait no longer; False if it did not wait."""
        if trial not in self._waiting:
            return False
        self._waiting.remove(trial)
        return True

    def note_start(self, trial: TrialRun) -> None:
        """A trial that was given its GPUs has started, or never will."""
        self._starting.discard(trial)
        self._let_others_look()

    def look(self) -> None:
        """See whether those that wait can start: something has changed."""
        self._delay = _FIRST_LOOK
        self._look()

    def _look(self) -> None:
        self._set_timer(None)
        if self._is_looking:
            self._is_outdated = True
        elif self._waiting:
            self._is_looking = True
            self._devices.look(self._on_look)

    def _on_look(self, found: Look) -> None:
        is_outdated, self._is_looking, self._is_outdated = self._is_outdated, False, False
        self._expire()
        if self._waiting:
            self._use(found)
        if is_outdated:
            self._look()
        self._let_others_look()

    def _expire(self) -> None:
        why_end = self._why_end()
        if why_end is not None:
            for trial in [*self._waiting]:
                self._on_expiry(trial, why_end)

    def _use(self, found: Look) -> None:
        try:
            if isinstance(found, GpuError):
                raise found
            self._allot(self._allotment(found))
        except GpuError as error:
            self._on_trouble(error)

    def _let_others_look(self) -> None:
        if not self._starting and not self._is_looking:
            self._devices.release()

    def _allot(self, allotment: Allotment) -> None:
        self._has_seen = True
        while self._waiting:
            trial = self._waiting[0]
            given = allotment.give(trial.row.trial_id)
            if given is None:
                break
            del self._waiting[0]
            trial.row.gpus = json.dumps(given)
            trial.row.reason = None
            self._store.put_trial(trial.row)
            self._starting.add(trial)
            self._outbox.start(trial)
        for trial in self._waiting:
            self._say(trial, allotment.why_not())
        if self._waiting:
            self._outbox.ready()
            if allotment.waits_for_others:
                self._look_later()

    def _allotment(self, gpus: tuple[Gpu, ...]) -> Allotment:
        trials = [*self._trials()]
        return Allotment(
            self._sharing,
            gpus,
            {trial.row.trial_id: _given(trial) for trial in trials if trial not in self._waiting},
            self._experiment_id,
            {trial.row.pid for trial in trials if trial.row.pid is not None},
        )

    def _on_trouble(self, error: GpuError) -> None:
        """End the experiment if no trial ever had a GPU to run on; else it may pass."""
        if not self._has_seen:
            record = ErrorRecord("GpuError", as_text(error))
            self._on_failure(record, "no trial can be given a GPU", True)
            return
        for trial in self._waiting:
            self._say(trial, as_text(error))
        self._outbox.ready()
        self._look_later()

    def _say(self, trial: TrialRun, reason: str) -> None:
        if trial.row.reason != reason:
            trial.row.reason = reason
            self._store.put_trial(trial.row)
            self._outbox.changed()

    def _look_later(self) -> None:
        self._set_timer(self._turns.call_later(self._delay, self._look))
        self._delay = min(2 * self._delay, _LAST_LOOK)

    def _set_timer(self, timer: Cancellable | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer


def _given(trial: TrialRun) -> list[int]:
    """Return the GPUs that a trial has."""
    given: list[int] = json.loads(trial.row.gpus or "[]")
    return given
