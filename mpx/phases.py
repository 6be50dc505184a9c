"""Phases: how they open, what trials say of them, and how they end.

One short handler for each message of a trial. Each changes rows and notes what is to be done
(`turn.Outbox`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpx.errors import RemoteProtocolError
from mpx.lifecycle import Limits, is_better, objective
from mpx.protocol import ASKED
from mpx.records import PhaseStatus
from mpx.rows import ExperimentRow, PhaseRow
from mpx.store import Store
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_host import Ask, PhaseEnd, Tell
from mpx.turn import Outbox
from mpx.wire import encode, too_long

NO_MORE = "the tuner has no more parameters"
# How often a trial may ask on after it was told that there are no more parameters.
_PATIENCE = 100


class Phases:
    """The phases of one experiment.

    Args:
        experiment: its row, for the best phase.
        limits: when no phase may begin.
        max_line: bytes of the longest message.
        store: where phases are recorded.
        outbox: takes notes.
        clock: seconds since the epoch.
        duration: seconds the experiment has run.
        on_result: called after each final result.
        on_impatience: called with a trial that does not stop asking, and the reason to end it.

    Attributes:
        begun: phases open or ended.
        asking: parameter_id → trial, where the tuner has not answered.
        closing: why no phase begins any more; None if they may.
    """

    def __init__(
        self,
        experiment: ExperimentRow,
        limits: Limits,
        max_line: int,
        store: Store,
        outbox: Outbox,
        clock: Callable[[], float],
        duration: Callable[[], float],
        on_result: Callable[[], None],
        on_impatience: Callable[[TrialRun, str], None],
    ) -> None:
        self._experiment = experiment
        self._limits = limits
        self._max_line = max_line
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._duration = duration
        self._on_result = on_result
        self._on_impatience = on_impatience
        self._next_id = 1
        self._next_parameter_id = 0
        self._best_score: float | None = None
        self.begun = 0
        self.asking: dict[int, TrialRun] = {}
        self.closing: str | None = None

    @property
    def next_parameter_id(self) -> int:
        """The parameter_id of the phase that is opened next."""
        return self._next_parameter_id

    def on_message(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """Take in one message of a trial."""
        self._HANDLERS[message["type"]](self, trial, message)

    def _on_hello(self, trial: TrialRun, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close(
                trial, PhaseStatus.ABANDONED, "the process that asked for it ended without a result"
            )
        trial.row.session = trial.connection.session
        self._store.put_trial(trial.row)
        self._outbox.send(trial, trial.connection.welcome())

    def _on_request(self, trial: TrialRun, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close(
                trial, PhaseStatus.ABANDONED, "the trial asked for the next without a final result"
            )
        if trial.prepared is not None and self.closing is None:
            row, trial.prepared = trial.prepared, None
            self._hand_over(trial, row)
        elif trial.asking is None:
            reason = self.closing or self._limits.why_no_phase(
                self.begun, trial.phases, self._duration()
            )
            if reason:
                self._refuse(trial, reason)
            else:
                self._ask(trial)

    def _ask(self, trial: TrialRun) -> None:
        row = self.open(trial)
        row.request_seq = trial.connection.last_seq
        self._outbox.post(Ask(row.parameter_id, trial.row.trial_id))

    def open(self, trial: TrialRun) -> PhaseRow:
        """Begin a phase for which the tuner is about to be asked."""
        row = PhaseRow(
            id=self._next_id,
            sequence_id=trial.row.sequence_id,
            phase_index=trial.phases,
            parameter_id=self._next_parameter_id,
            requested_at=self._clock(),
        )
        self._next_id += 1
        self._next_parameter_id += 1
        self.begun += 1
        trial.phases += 1
        trial.asking = row
        self.asking[row.parameter_id] = trial
        self._store.add_phase(row)
        return row

    def on_parameters(self, trial: TrialRun, row: PhaseRow, text: str | None) -> None:
        """Take in the tuner's answer to a running trial; None: there are no more."""
        if text is None:
            self._withdraw(trial, row)
            self._refuse(trial, self.closing or NO_MORE)
            return
        row.parameters = text
        self._store.put_phase(row)
        if trial.connection.state is ASKED:
            self._hand_over(trial, row)
        else:
            trial.prepared = row  # the process that asked is gone; the next one gets it

    def lose(self, trial: TrialRun, reason: str) -> None:
        """End what a trial that ended had open, asked for, or not yet asked for."""
        for phase in (trial.open, trial.prepared, trial.asking):
            if phase is not None:
                self.asking.pop(phase.parameter_id, None)
                self._end_without_result(trial, phase, PhaseStatus.LOST, reason)

    def turn_away(self, trial: TrialRun, reason: str) -> None:
        """Tell a trial that waits for the tuner that there is no more."""
        row, trial.asking = trial.asking, None
        assert row is not None
        self.asking.pop(row.parameter_id)
        self._end_without_result(trial, row, PhaseStatus.LOST, reason)
        self._refuse(trial, self.closing or reason)

    def _hand_over(self, trial: TrialRun, row: PhaseRow) -> None:
        """Give a trial the parameters it asked for."""
        assert row.parameters is not None
        trial.open = row
        trial.refusals = 0
        row.request_seq = trial.connection.last_seq
        if len(row.parameters) > self._max_line:
            reason = f"its parameters are {too_long(self._max_line)}"
            self._close(trial, PhaseStatus.FAILED, reason)
            self._outbox.send(trial, trial.connection.error(reason))
            return
        self._store.set_phase_status(row, PhaseStatus.RUNNING)
        row.started_at = self._clock()
        self._outbox.mark(trial, f"phase {row.phase_index} · parameter_id {row.parameter_id}")
        data = trial.connection.parameters(row.parameter_id, row.phase_index, row.parameters)
        self._outbox.send(trial, data)

    def _refuse(self, trial: TrialRun, reason: str) -> None:
        """Answer a request by: no more."""
        trial.refusals += 1
        if trial.refusals == 1:
            trial.row.reason = f"no more phases: {reason}"
            self._store.put_trial(trial.row)
            self._outbox.mark(trial, trial.row.reason)
        elif trial.refusals > _PATIENCE:
            self._on_impatience(
                trial,
                f"it asked {_PATIENCE} times more after it was told: {reason}",
            )
        if trial.connection.state is ASKED:
            self._outbox.send(trial, trial.connection.no_more(reason))

    def _on_intermediate(self, trial: TrialRun, message: dict[str, Any]) -> None:
        assert trial.open is not None
        value = encode(message.get("value"))
        self._store.add_intermediate(trial.open, value, trial.connection.last_seq, self._clock())
        self._outbox.changed()

    def _on_final(self, trial: TrialRun, message: dict[str, Any]) -> None:
        row, trial.open = trial.open, None
        assert row is not None
        value = message.get("value")
        row.value = encode(value)
        row.score = objective(value)
        row.final_seq = trial.connection.last_seq
        row.ended_at = self._clock()
        self._store.set_phase_status(row, PhaseStatus.SUCCEEDED)
        self._rank(row)
        self._outbox.acknowledge(trial)
        self._outbox.post(Tell(row.parameter_id, value, trial.row.trial_id))
        self._on_result()

    def _on_failed(self, trial: TrialRun, message: dict[str, Any]) -> None:
        error = message.get("error", {})
        row = trial.open
        assert row is not None
        row.traceback = as_text(error["traceback"]) if error.get("traceback") else None
        row.final_seq = trial.connection.last_seq
        said = [as_text(error[key]) for key in ("type", "message") if error.get(key)]
        self._close(trial, PhaseStatus.FAILED, ": ".join(said) or "the trial gave no reason")
        self._outbox.acknowledge(trial)

    def on_violation(self, trial: TrialRun, error: RemoteProtocolError) -> None:
        """Say what was illegal in the trial's log, and to a trial that said hello."""
        reason = str(error)
        self._outbox.mark(trial, f"protocol error: {reason}")
        if trial.open is not None and reason == too_long(self._max_line):
            trial.connection.close_phase()
            self._close(trial, PhaseStatus.FAILED, reason)
        if trial.connection.greeted:
            self._outbox.send(trial, trial.connection.violation(error))

    def _rank(self, row: PhaseRow) -> None:
        if row.score is not None and is_better(
            self._experiment.optimize_mode, row.score, self._best_score
        ):
            self._best_score = row.score
            self._experiment.best_phase = row.id
            self._store.put_experiment(self._experiment)

    def _close(self, trial: TrialRun, status: PhaseStatus, reason: str) -> None:
        """End the open phase without a result."""
        row, trial.open = trial.open, None
        assert row is not None
        self._end_without_result(trial, row, status, reason)
        self._outbox.mark(trial, f"phase {row.phase_index} {status.value}: {reason}")

    def _end_without_result(
        self, trial: TrialRun, row: PhaseRow, status: PhaseStatus, reason: str
    ) -> None:
        self._store.set_phase_status(row, status)
        row.reason = reason
        row.ended_at = self._clock()
        self._outbox.post(PhaseEnd(row.parameter_id, trial.row.trial_id))
        self._outbox.changed()

    def _withdraw(self, trial: TrialRun, row: PhaseRow) -> None:
        """Forget a phase for which there were no parameters: it never was."""
        self.begun -= 1
        trial.phases -= 1
        self._store.remove_phase(row)
        self._outbox.changed()

    _HANDLERS: dict[str, Callable[[Phases, TrialRun, dict[str, Any]], None]] = {
        "hello": _on_hello,
        "request": _on_request,
        "intermediate": _on_intermediate,
        "final": _on_final,
        "failed": _on_failed,
    }
