"""Which phase goes on from the weights of which, and where the weights are.

They are in the trial's process if that had just the parent before, and that alone; else they are in what
the parent saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mpx.phase_checkpoints import PhaseCheckpoints
from mpx.protocol import Given
from mpx.rows import PhaseRow
from mpx.store import Store
from mpx.trial_run import TrialRun
from mpx.turn import Outbox


class Lineage:
    """Says what a trial must load.

    Args:
        checkpoints: what phases have saved.
        store: where a phase's parent is recorded.
        outbox: takes notes.
        warn: called with what the user should know of.
    """

    def __init__(
        self,
        checkpoints: PhaseCheckpoints,
        store: Store,
        outbox: Outbox,
        warn: Callable[[str], None],
    ) -> None:
        self._checkpoints = checkpoints
        self._store = store
        self._outbox = outbox
        self._warn = warn

    def begin(self, trial: TrialRun, rows: Sequence[PhaseRow]) -> list[Given]:
        """Return what a trial is given for the phases that it begins now."""
        trial.before = trial.newest
        trial.newest = rows[0].parameter_id if len(rows) == 1 else None
        for row in rows:
            if row.parent is not None:
                self._settle(trial, row, row.parent)
        return [self.given(trial, row) for row in rows]

    def _settle(self, trial: TrialRun, row: PhaseRow, parent: int) -> None:
        """Let a phase begin anew if its parent's weights are gone."""
        if self._has_weights(trial, parent) or self._checkpoints.path(parent) is not None:
            return
        row.parent = None
        self._store.put_phase(row)
        what = (
            f"starts afresh, for there are no weights of parameter_id {parent}, from which it was to go"
            " on: that phase has saved no checkpoint, has no result, or its checkpoint was removed"
            " (keepCheckpoints)"
        )
        self._outbox.mark(trial, f"phase {row.phase_index} {what}")
        self._warn(f"phase {row.phase_index} of trial {row.sequence_id} {what}")

    def given(self, trial: TrialRun, row: PhaseRow) -> Given:
        """Return what a trial is given for a phase that it has begun."""
        assert row.parameters is not None
        checkpoint = None
        if row.parent is not None and not self._has_weights(trial, row.parent):
            checkpoint = self._checkpoints.path(row.parent)
        return Given(row.parameter_id, row.phase_index, row.parameters, row.parent, checkpoint)

    def _has_weights(self, trial: TrialRun, parent: int) -> bool:
        """Say whether a trial's process has the weights; one that trains a batch may have many."""
        return trial.row.batch is None and trial.before == parent
