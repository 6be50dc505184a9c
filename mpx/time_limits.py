"""Phases and trials that take too long: `phaseTimeout` and `trialTimeout`.

A trial has one timer for all its phases. When it rings, it is set again for what is left to the phase
that is open by then: so a phase costs no timer, however many there are in a second.
"""

from __future__ import annotations

from collections.abc import Callable

from mpx.lifecycle import Limits
from mpx.trial_run import TrialRun
from mpx.turn import Cancellable, Turns

# A trial whose time ran out while no manager watched may have its result on the way: it is heard out
# for so many seconds.
_HEARING = 5.0


class TimeLimits:
    """Watches the time of trials and of their phases; those of a batch begin at the same time.

    Args:
        limits: the two timeouts.
        turns: the loop, for its timers.
        clock: seconds since the epoch.
        on_phase_timeout: called with a trial whose open phases took too long.
        on_trial_timeout: called with a trial that took too long.
    """

    def __init__(
        self,
        limits: Limits,
        turns: Turns,
        clock: Callable[[], float],
        on_phase_timeout: Callable[[TrialRun], None],
        on_trial_timeout: Callable[[TrialRun], None],
    ) -> None:
        self._limits = limits
        self._turns = turns
        self._clock = clock
        self._on_phase_timeout = on_phase_timeout
        self._on_trial_timeout = on_trial_timeout
        self._phase_timers: dict[TrialRun, Cancellable] = {}
        self._trial_timers: dict[TrialRun, Cancellable] = {}

    def watch_trial(self, trial: TrialRun) -> None:
        """Watch a trial that has started, now or under an earlier manager."""
        if self._limits.trial_timeout is not None and trial.row.started_at is not None:
            left = self._limits.trial_timeout - (self._clock() - trial.row.started_at)
            self._trial_timers[trial] = self._turns.call_later(
                left if left > 0 else _HEARING, lambda: self._on_trial_timeout(trial)
            )

    def watch_phase(self, trial: TrialRun) -> None:
        """Watch the phases that a trial has open."""
        if self._limits.phase_timeout is not None and trial not in self._phase_timers:
            left = self._left(trial, self._limits.phase_timeout)
            self._set(trial, left if left > 0 else _HEARING)

    def forget(self, trial: TrialRun) -> None:
        """Watch a trial no more: it has ended, or is being ended."""
        for timers in (self._phase_timers, self._trial_timers):
            timer = timers.pop(trial, None)
            if timer is not None:
                timer.cancel()

    def _set(self, trial: TrialRun, delay: float) -> None:
        self._phase_timers[trial] = self._turns.call_later(delay, lambda: self._ring(trial))

    def _ring(self, trial: TrialRun) -> None:
        del self._phase_timers[trial]
        if not trial.open:
            return  # its next phase sets it again
        assert self._limits.phase_timeout is not None
        left = self._left(trial, self._limits.phase_timeout)
        if left > 0:
            self._set(trial, left)
        else:
            self._on_phase_timeout(trial)

    def _left(self, trial: TrialRun, timeout: float) -> float:
        started_at = next((row.started_at for row in trial.open.values()), None)
        return timeout - (self._clock() - started_at) if started_at is not None else timeout
