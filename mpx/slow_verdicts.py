"""Says of a phase whose verdict does not come that it waits for the assessor: `mpx status` shows it.

There is one timer for all phases, and only while one waits: an assessor that answers at once costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from mpx.records import PhaseStatus
from mpx.rows import PhaseRow
from mpx.store import Store
from mpx.turn import Cancellable, Outbox, Turns

# What takes so many seconds is told.
_SLOW = 1.0


class SlowVerdicts:
    """The phases of one experiment that wait for a verdict.

    Args:
        store: where the reason is recorded.
        outbox: takes notes.
        turns: the loop, for its timer.
        clock: seconds since the epoch.
    """

    def __init__(
        self, store: Store, outbox: Outbox, turns: Turns, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._turns = turns
        self._clock = clock
        self._since: dict[PhaseRow, float] = {}
        self._timer: Cancellable | None = None

    def begin(self, row: PhaseRow) -> None:
        """A phase waits from now on."""
        self._since[row] = self._clock()
        if self._timer is None:
            self._timer = self._turns.call_later(_SLOW, self._look)

    def end(self, row: PhaseRow) -> None:
        """A phase has its verdict."""
        self._since.pop(row, None)
        self._say(row, None)

    def _look(self) -> None:
        self._timer = None
        for row, since in [*self._since.items()]:
            if row.status is not PhaseStatus.RUNNING:
                del self._since[row]
            elif self._clock() - since >= _SLOW:
                self._say(row, f"waits for the assessor's verdict on result {row.intermediates}")
        if any(row.reason is None for row in self._since):
            self._timer = self._turns.call_later(_SLOW, self._look)

    def _say(self, row: PhaseRow, reason: str | None) -> None:
        if row.reason != reason:
            row.reason = reason
            self._store.put_phase(row)
            self._outbox.changed()
