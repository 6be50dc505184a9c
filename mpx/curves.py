"""Curves: the intermediate results of phases, and what the assessor says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpx.assessor_calls import Assess, PhaseOver, Verdict
from mpx.records import PhaseStatus
from mpx.rows import PhaseRow
from mpx.slow_verdicts import SlowVerdicts
from mpx.store import Store
from mpx.trial_run import TrialRun
from mpx.turn import Outbox, Turns
from mpx.wire import encode


class Curves:
    """The curves of one experiment's phases.

    Args:
        store: where they are recorded.
        outbox: takes notes.
        turns: the loop, for its timers.
        clock: seconds since the epoch.
        on_deaf: called with a trial that cannot be told that its open phases are stopped, and the reason.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        turns: Turns,
        clock: Callable[[], float],
        on_deaf: Callable[[TrialRun, str], None],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._on_deaf = on_deaf
        self._slow_verdicts = SlowVerdicts(store, outbox, turns, clock)
        self._untold: set[PhaseRow] = set()  # stopped, and their trials do not listen

    def on_intermediate(self, trial: TrialRun, row: PhaseRow, message: dict[str, Any]) -> None:
        """Take in an intermediate result of an open phase."""
        seq = trial.connection.last_seq
        value, is_awaited, number = message.get("value"), message.get("verdict") is True, None
        if row.stopped is None and self._outbox.has_assessor:
            nth = row.intermediates + 1
            call = Assess(trial.row.trial_id, row.phase_index, value, nth, seq, is_awaited)
            number = self._outbox.assess(call)
            if is_awaited:
                self._slow_verdicts.begin(row)
        self._store.add_intermediate(row, encode(value), seq, self._clock(), number, is_awaited)
        if is_awaited and number is None:
            self._outbox.send(trial, trial.connection.verdict(row.stopped))
        elif message.get("ack") is True:
            self._outbox.acknowledge(trial)
        else:
            self._outbox.changed()
        if row.stopped is not None and not is_awaited:
            self._untold.add(row)
            self.look(trial)

    def on_verdict(self, trial: TrialRun, verdict: Verdict) -> None:
        """Take in what the assessor says of a trial's phase, which may have ended by now."""
        call, row = verdict.call, trial.open.get(verdict.call.phase_index)
        if row is None:
            if verdict.is_of_trial and not verdict.is_good:
                self._stop_late(trial, call)
            return
        self._slow_verdicts.end(row)
        if row.stopped is None and not verdict.is_good:
            row.stopped = f"the assessor stopped it at its {_ordinal(call.number)} result"
            self._store.put_phase(row)
            self._outbox.mark(trial, f"phase {row.phase_index}: {row.stopped}")
            self._outbox.commit()
        if not call.is_awaited:
            if row.stopped is not None:
                self._untold.add(row)
                self.look(trial)
        elif trial.connection.last_seq == call.seq:
            self._outbox.send(trial, trial.connection.verdict(row.stopped))

    def _stop_late(self, trial: TrialRun, call: Assess) -> None:
        """End a trial whose curve, which runs on, was bad in a phase that has ended by now."""
        reason = (
            f"the assessor stopped it at the {_ordinal(call.number)} result of phase"
            f" {call.phase_index}"
        )
        for row in trial.open.values():
            if row.stopped is None:
                row.stopped = reason
                self._store.put_phase(row)
        self._outbox.commit()
        self._on_deaf(trial, reason)

    def look(self, trial: TrialRun) -> None:
        """End a trial that cannot be told, unless a phase that it has open is worth going on with."""
        untold = next((row for row in trial.open.values() if row in self._untold), None)
        if untold is None or any(row.stopped is None for row in trial.open.values()):
            return
        assert untold.stopped is not None
        self._on_deaf(trial, untold.stopped)

    def end(self, trial_id: str, row: PhaseRow) -> None:
        """Tell the assessor of the end of a phase, if it was shown anything of it."""
        self._untold.discard(row)
        if row.intermediates and row.assessed is None:
            success = row.status is PhaseStatus.SUCCEEDED
            row.assessed = self._outbox.assess(PhaseOver(trial_id, row.phase_index, success))


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else endings.get(number % 10, "th")
    return f"{number}{ending}"
