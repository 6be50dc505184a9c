"""What phases have saved: where it is, and which of it is kept.

A long experiment would fill any disk, so what nobody needs is removed. Kept is

- what the best phases have saved,
- what each trial that has not ended has saved last, and the last of all,
- what a phase that has not ended, or waits for a trial, is to go on from,
- what the tuner may yet go on from (`Tuner.checkpoints_in_use`), and what it was not told of yet.

Without a word from the configuration only that is removed of which the tuner says that it has no use
for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from mpx.history import Past
from mpx.offers import Offers
from mpx.records import KEEP_ALL, PhaseStatus
from mpx.rows import ExperimentRow, PhaseRow, SavedCheckpoint
from mpx.store import Store
from mpx.trial_run import TrialRun
from mpx.tuner_calls import InUse
from mpx.turn import Outbox

_MOST_BEST = 5


class PhaseCheckpoints:
    """The checkpoints of one experiment's phases that have ended.

    Args:
        keeps: of how many of the best phases, or `KEEP_ALL`; None: as the tuner allows.
        experiment: its row, for which result is better.
        store: where it is recorded that one is removed.
        outbox: takes notes.
        offers: parameters that wait for a phase.
        trials: returns the trials that have not ended.
        owns: says of a trial's id and a path whether that is a copy, which may be removed.
    """

    def __init__(
        self,
        keeps: int | str | None,
        experiment: ExperimentRow,
        store: Store,
        outbox: Outbox,
        offers: Offers,
        trials: Callable[[], Iterable[TrialRun]],
        owns: Callable[[str, str], bool],
    ) -> None:
        self._keeps = keeps
        self._experiment = experiment
        self._store = store
        self._outbox = outbox
        self._offers = offers
        self._trials = trials
        self._owns = owns
        self._copies: dict[int, SavedCheckpoint] = {}  # by the phase's id, in the order of saving
        self._usable: dict[int, SavedCheckpoint] = {}  # by parameter_id: those with a result
        self._in_use: frozenset[int] | None = None
        self._untold: set[int] = set()  # parameter_ids of which `_in_use` does not know yet
        self._is_due = False

    def restore(self, past: Past) -> None:
        """Go on with those of an earlier manager, and remove what it did not come to remove."""
        for saved in past.checkpoints:
            self._add(saved)
        kept = {saved.path for saved in past.checkpoints}
        for saved in past.removed_checkpoints:
            if saved.path not in kept:
                self._outbox.remove_checkpoint(saved.trial_id, saved.path)

    def path(self, parameter_id: int) -> str | None:
        """Return what a phase that has a result has saved; None if that is nothing, or gone."""
        saved = self._usable.get(parameter_id)
        return None if saved is None else saved.path

    def note(self, row: PhaseRow, trial_id: str) -> None:
        """Take in that a phase ended, with a result or without, which may have saved something."""
        if row.checkpoint is None:
            return
        if row.value is not None:
            self._untold.add(row.parameter_id)
        self._is_due = True
        score = row.score if row.status is PhaseStatus.SUCCEEDED else None
        self._add(
            SavedCheckpoint(
                row.id, row.parameter_id, trial_id, row.checkpoint, score, row.value is not None
            )
        )

    def _add(self, saved: SavedCheckpoint) -> None:
        if self._owns(saved.trial_id, saved.path):
            self._copies[saved.phase] = saved
        if saved.has_result:
            self._usable[saved.parameter_id] = saved

    def begin(self, in_use: frozenset[int] | None) -> None:
        """Take in what the tuner may go on from, as it knows all that it was told by now.

        Args:
            in_use: parameter_ids; None: it cannot say.
        """
        self._in_use = in_use

    def on_answer(self, answer: InUse) -> None:
        """Take in what the tuner may go on from, once it was told of one more checkpoint."""
        self._in_use = answer.parameter_ids
        self._untold.discard(answer.told)
        self._is_due = True
        self._outbox.changed()

    def end_trial(self, trial_id: str) -> set[str]:
        """Take in that a trial has ended; return what its phases have saved, as far as it is kept."""
        self._is_due = True
        return {saved.path for saved in self._copies.values() if saved.trial_id == trial_id}

    def tidy(self) -> None:
        """Remove what nobody needs, if that has changed; once a turn, for it looks at all of them."""
        if not self._is_due:
            return
        self._is_due = False
        most = self._most_best()
        if most is None:
            return
        needed = set(self._needed(most))
        for saved in [saved for saved in self._copies.values() if saved.phase not in needed]:
            self._remove(saved)

    def _most_best(self) -> int | None:
        """Return of how many of the best phases to keep what they saved; None: of all."""
        if self._keeps == KEEP_ALL:
            return None
        if isinstance(self._keeps, int):
            return self._keeps
        return None if self._in_use is None else _MOST_BEST

    def _needed(self, most_best: int) -> Iterator[int]:
        """Yield the ids of the phases whose checkpoints are kept."""
        yield from self._best(most_best)
        yield from self._newest()
        for parameter_id in self._referenced():
            if parameter_id in self._usable:
                yield self._usable[parameter_id].phase

    def _best(self, most: int) -> list[int]:
        sign = 1 if self._experiment.optimize_mode == "minimize" else -1
        scored = (
            (sign * saved.score, saved.phase)
            for saved in self._copies.values()
            if saved.score is not None
        )
        return [phase for _, phase in heapq.nsmallest(most, scored)]

    def _newest(self) -> Iterator[int]:
        """Yield the phases that saved last, of those with a result and of all."""
        living = {trial.row.trial_id for trial in self._trials()}
        copies = [*self._copies.values()]
        for saved in (copies, [copy for copy in copies if copy.has_result]):
            newest = {each.trial_id: each.phase for each in saved}
            yield from (phase for trial_id, phase in newest.items() if trial_id in living)
            yield from (each.phase for each in saved[-1:])

    def _referenced(self) -> Iterator[int]:
        for trial in self._trials():
            yield from (row.parent for row in trial.unended if row.parent is not None)
        yield from self._offers.parents()
        if self._in_use is not None:
            yield from self._in_use
            yield from self._untold

    def _remove(self, saved: SavedCheckpoint) -> None:
        del self._copies[saved.phase]
        if self._usable.get(saved.parameter_id) is saved:
            del self._usable[saved.parameter_id]
        self._untold.discard(saved.parameter_id)
        self._store.remove_checkpoint(saved.phase)
        if all(other.path != saved.path for other in self._copies.values()):
            self._outbox.remove_checkpoint(saved.trial_id, saved.path)
