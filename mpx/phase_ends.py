"""How phases end: with a result or without one, which is the best, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpx.curves import Curves
from mpx.errors import PhaseStopped
from mpx.lifecycle import is_better, objective
from mpx.phase_checkpoints import PhaseCheckpoints
from mpx.records import PhaseStatus
from mpx.rows import ExperimentRow, PhaseRow
from mpx.store import Store
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_calls import PhaseEnd, Tell
from mpx.turn import Outbox
from mpx.wire import decode, encode


class PhaseEnds:
    """The ends of one experiment's phases.

    Args:
        experiment: its row, for the best phase.
        keeps_last: a phase that was stopped early has its last intermediate result for its final one.
        store: where they are recorded.
        outbox: takes notes.
        curves: end with their phases.
        checkpoints: are told what was saved.
        clock: seconds since the epoch.
        on_result: called after each final result.
    """

    def __init__(
        self,
        experiment: ExperimentRow,
        keeps_last: bool,
        store: Store,
        outbox: Outbox,
        curves: Curves,
        checkpoints: PhaseCheckpoints,
        clock: Callable[[], float],
        on_result: Callable[[], None],
    ) -> None:
        self._experiment = experiment
        self._keeps_last = keeps_last
        self._store = store
        self._outbox = outbox
        self._curves = curves
        self._checkpoints = checkpoints
        self._clock = clock
        self._on_result = on_result
        self._best_score: float | None = None

    def restore(self, best_score: float | None) -> None:
        """Go on from the best phase of an earlier manager."""
        self._best_score = best_score

    def on_checkpoint(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """An open phase has saved something."""
        row = trial.open[trial.connection.about]
        row.checkpoint, row.checkpoint_size = message["path"], message.get("size")
        self._store.put_phase(row)
        trial.row.seq = trial.connection.last_seq
        self._store.put_trial(trial.row)
        self._outbox.acknowledge(trial)

    def on_final(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """An open phase has its result."""
        row = trial.open.pop(trial.connection.about)
        value = message.get("value")
        row.value = encode(value)
        row.score = objective(value)
        row.final_seq = trial.connection.last_seq
        row.ended_at = self._clock()
        if row.stopped is None:
            self._store.set_phase_status(row, PhaseStatus.SUCCEEDED)
            self._rank(row)
        else:
            self._store.set_phase_status(row, PhaseStatus.EARLY_STOPPED)
        row.reason = row.stopped
        trial.results += 1
        self._outbox.acknowledge(trial)
        trial_id = trial.row.trial_id
        row.told = self._outbox.post(_tell(row, value, trial_id))
        self._checkpoints.note(row, trial_id)
        if row.intermediates:
            self._curves.end(trial_id, row)
        if trial.open:
            self._curves.look(trial)
        self._on_result()

    def on_failed(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """An open phase has none, its trial says."""
        error = message.get("error", {})
        row = trial.open[trial.connection.about]
        row.traceback = as_text(error["traceback"]) if error.get("traceback") else None
        row.final_seq = trial.connection.last_seq
        if row.stopped is not None and error.get("type") == PhaseStopped.__name__:
            self.close(trial, row, PhaseStatus.EARLY_STOPPED, row.stopped)
        else:
            said = [as_text(error[key]) for key in ("type", "message") if error.get(key)]
            reason = ": ".join(said) or "the trial gave no reason"
            self.close(trial, row, PhaseStatus.FAILED, reason)
        self._curves.look(trial)
        self._outbox.acknowledge(trial)

    def close(self, trial: TrialRun, row: PhaseRow, status: PhaseStatus, reason: str) -> None:
        """End an open phase without a result."""
        del trial.open[row.phase_index]
        self.without_result(trial, row, status, reason)
        self._outbox.mark(trial, f"phase {row.phase_index} {row.status.value}: {row.reason}")
        if row.value is not None:
            self._on_result()

    def without_result(
        self, trial: TrialRun, row: PhaseRow, status: PhaseStatus, reason: str
    ) -> None:
        """End a phase, open or not, without a result."""
        if row.stopped is not None and status is not PhaseStatus.FAILED:
            status, reason = PhaseStatus.EARLY_STOPPED, row.stopped
        self._store.set_phase_status(row, status)
        row.reason = reason
        row.ended_at = self._clock()
        self.tell(row, trial.row.trial_id)
        self._outbox.changed()

    def tell(self, row: PhaseRow, trial_id: str) -> None:
        """Tell the tuner of the end of a phase, and the assessor if it was shown anything of it."""
        is_kept = self._keeps_last and row.status is PhaseStatus.EARLY_STOPPED
        if is_kept and row.value is None and row.last_intermediate is not None:
            row.value = row.last_intermediate
            row.score = objective(decode(row.value))
        call: Tell | PhaseEnd = PhaseEnd(row.parameter_id, trial_id, row.customized)
        if row.value is not None:
            call = _tell(row, decode(row.value), trial_id)
        row.told = self._outbox.post(call)
        self._checkpoints.note(row, trial_id)
        self._curves.end(trial_id, row)
        self._store.put_phase(row)

    def _rank(self, row: PhaseRow) -> None:
        if row.score is not None and is_better(
            self._experiment.optimize_mode, row.score, self._best_score
        ):
            self._best_score = row.score
            self._experiment.best_phase = row.id
            self._store.put_experiment(self._experiment)


def _tell(row: PhaseRow, value: Any, trial_id: str) -> Tell:
    return Tell(row.parameter_id, value, trial_id, row.customized, row.checkpoint)
