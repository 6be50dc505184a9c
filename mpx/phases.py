"""Phases: how they open, what trials say of them, and how they end.

One short handler for each message of a trial. Each changes rows and notes what is to be done
(`turn.Outbox`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpx.assessor_calls import Assess, PhaseOver, Verdict
from mpx.errors import PhaseStopped, RemoteProtocolError
from mpx.history import Past
from mpx.lifecycle import Limits, is_better, objective
from mpx.offers import Offers
from mpx.protocol import ASKED, IDLE
from mpx.records import PhaseStatus
from mpx.rows import ExperimentRow, Offer, PhaseRow
from mpx.slow_verdicts import SlowVerdicts
from mpx.store import Store
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_calls import Ask, Launched, PhaseEnd, Tell
from mpx.turn import Outbox, Turns
from mpx.wire import decode, encode, too_long

NO_MORE = "the tuner has no more parameters"
# How often a trial may ask on after it was told that there are no more parameters.
_PATIENCE = 100


class Phases:
    """The phases of one experiment.

    Args:
        experiment: its row, for the best phase.
        limits: when no phase may begin.
        max_line: bytes of the longest message.
        keeps_last: a phase that was stopped early has its last intermediate result for its final one.
        store: where phases are recorded.
        outbox: takes notes.
        turns: the loop, for its timers.
        clock: seconds since the epoch.
        duration: seconds the experiment has run.
        watch: called with a trial that was given parameters, if phases have a time limit.
        on_result: called after each final result.
        on_impatience: called with a trial that does not stop asking, and the reason to end it.
        on_deaf: called with a trial whose phase was stopped and that cannot be told, and the reason.

    Attributes:
        begun: phases open or ended, but for those that are offered again.
        offers: parameters that wait for a phase.
        asking: parameter_id → trial, where the tuner has not answered.
        took_back: an ask was taken back, or a launch left out, that the tuner knows of, and no resume
            will.
        closing: why no phase begins any more; None if they may.
    """

    def __init__(
        self,
        experiment: ExperimentRow,
        limits: Limits,
        max_line: int,
        keeps_last: bool,
        store: Store,
        outbox: Outbox,
        turns: Turns,
        clock: Callable[[], float],
        duration: Callable[[], float],
        watch: Callable[[TrialRun], None],
        on_result: Callable[[], None],
        on_impatience: Callable[[TrialRun, str], None],
        on_deaf: Callable[[TrialRun, str], None],
    ) -> None:
        self._experiment = experiment
        self._limits = limits
        self._max_line = max_line
        self._keeps_last = keeps_last
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._duration = duration
        self._watch = watch
        self._on_result = on_result
        self._on_impatience = on_impatience
        self._on_deaf = on_deaf
        self._next_id = 1
        self._next_parameter_id = 0
        self._last_unanswered = -1  # of an earlier manager
        self._best_score: float | None = None
        self.begun = 0
        self._slow_verdicts = SlowVerdicts(store, outbox, turns, clock)
        self.offers = Offers(store, outbox)
        self.asking: dict[int, TrialRun] = {}
        self.took_back = False
        self.closing: str | None = None

    def restore(self, past: Past) -> None:
        """Go on with the phases of an earlier manager."""
        self._next_id = past.next_phase_id
        self._next_parameter_id = past.next_parameter_id
        self._last_unanswered = past.last_unanswered
        self._best_score = past.best_score
        self.begun = past.phases_begun
        self.offers.restore(past.offers)

    def take_back(self, row: PhaseRow) -> None:
        """Forget a phase of an earlier manager that has no parameters: it never was."""
        self._store.remove_phase(row)
        self.begun -= 1
        if row.parameter_id == self._next_parameter_id - 1 > self._last_unanswered:
            self._next_parameter_id -= 1

    def greet(self, trial: TrialRun, error: str | None = None) -> None:
        """Tell a trial that its manager is another one, and again what the last one told it last.

        Args:
            trial: the trial.
            error: why its last message, a request, could not be met.
        """
        connection, row = trial.connection, trial.row
        self._outbox.send(trial, connection.welcome())
        if not connection.last_seq:
            return
        self._outbox.send(trial, connection.ack())
        phase = trial.open
        if phase is not None and phase.request_seq == connection.last_seq:
            assert phase.parameters is not None
            data = connection.parameters_again(
                phase.parameter_id, phase.phase_index, phase.parameters
            )
            self._outbox.send(trial, data)
        elif phase is not None and phase.stopped is not None:
            self._outbox.send(trial, connection.verdict(phase.stopped))
        elif error is not None:
            self._outbox.send(trial, connection.error(error))
        elif connection.state is IDLE and row.seq == connection.last_seq and row.reason:
            self._outbox.send(trial, connection.no_more_again(row.reason))

    def on_message(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """Take in one message of a trial."""
        self._HANDLERS[message["type"]](self, trial, message)

    def _on_hello(self, trial: TrialRun, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close(
                trial, PhaseStatus.ABANDONED, "the process that asked for it ended without a result"
            )
        waiting = trial.prepared or trial.asking
        if waiting is not None:  # its next request, whenever that comes, is this session's
            waiting.request_seq = None
            self._store.put_phase(waiting)
        row, connection = trial.row, trial.connection
        row.session, row.resends, row.seq = (
            connection.session,
            connection.resends,
            connection.last_seq,
        )
        row.session_start = trial.phases - (waiting is not None)
        self._store.put_trial(row)
        self._outbox.send(trial, trial.connection.welcome())

    def _on_request(self, trial: TrialRun, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close(
                trial, PhaseStatus.ABANDONED, "the trial asked for the next without a final result"
            )
        reason = self.closing or (trial.canceled and trial.canceled[1])
        if trial.prepared is not None and reason is None:
            row, trial.prepared = trial.prepared, None
            self._hand_over(trial, row)
        elif trial.asking is None:
            reason = reason or self._limits.why_no_phase(self.begun, trial.phases, self._duration())
            if reason:
                self._refuse(trial, reason)
            elif self.offers:
                self._hand_over(trial, self.open_offer(trial))
            else:
                self._ask(trial)

    def _ask(self, trial: TrialRun) -> None:
        row = self.open(trial)
        row.request_seq = trial.connection.last_seq
        row.asked = self._outbox.post(Ask(row.parameter_id, trial.row.trial_id))
        if trial.row.attempt:
            self._set_attempt(trial, 0)

    def open(self, trial: TrialRun) -> PhaseRow:
        """Begin a phase for which the tuner is about to be asked."""
        row = self._begin(trial, self._next_parameter_id)
        self._next_parameter_id += 1
        trial.asking = row
        self.asking[row.parameter_id] = trial
        return row

    def open_offer(self, trial: TrialRun) -> PhaseRow:
        """Begin a phase with parameters that were waiting for one."""
        offer = self.offers.take()
        row = self._begin(trial, offer.parameter_id)
        row.parameters, row.customized = offer.parameters, offer.customized
        self._set_attempt(trial, offer.attempt)
        return row

    def _begin(self, trial: TrialRun, parameter_id: int) -> PhaseRow:
        row = PhaseRow(
            id=self._next_id,
            sequence_id=trial.row.sequence_id,
            phase_index=trial.phases,
            parameter_id=parameter_id,
            requested_at=self._clock(),
        )
        self._next_id += 1
        self.begun += 1
        if not trial.phases:
            trial.first_parameter_id = parameter_id
        trial.phases += 1
        self._store.add_phase(row)
        return row

    def _set_attempt(self, trial: TrialRun, attempt: int) -> None:
        trial.row.attempt = attempt
        self._store.put_trial(trial.row)

    def on_parameters(self, trial: TrialRun, row: PhaseRow, text: str | None) -> None:
        """Take in the tuner's answer to a running trial; None: there are no more."""
        if text is None:
            self.note_unanswered(trial, row)
            self._withdraw(trial, row)
            self._refuse(trial, self.closing or NO_MORE)
            return
        row.parameters = text
        self._store.put_phase(row)
        if trial.connection.state is ASKED:
            self._hand_over(trial, row)
        else:
            trial.prepared = row  # the process that asked is gone; the next one gets it

    def note_unanswered(self, trial: TrialRun, row: PhaseRow) -> None:
        """Record that the tuner was asked, and had nothing; not if it failed."""
        if row.asked is not None and self._outbox.takes_calls:
            is_first = row.phase_index == 0
            trial_id = trial.row.trial_id
            self._store.add_unanswered(row.asked, row.parameter_id, trial_id, is_first)

    def lose(self, trial: TrialRun, reason: str, again: bool) -> None:
        """End what a trial that ended had open, asked for, or not yet asked for.

        Args:
            trial: the trial.
            reason: why its phases are LOST.
            again: it was not their fault: they count for no limit, and are offered again.
        """
        for phase in trial.unended:
            self.asking.pop(phase.parameter_id, None)
            if not again or phase.stopped is not None:
                self._end_without_result(trial, phase, PhaseStatus.LOST, reason)
            elif phase.parameters is not None:
                self._offer_again(trial, phase, reason)
            elif self.closing is not None:
                self._take_back_ask(trial, phase)
            else:
                self._end_without_result(trial, phase, PhaseStatus.LOST, reason)
            if phase.parameters is None:
                self.offers.end_ask(phase.parameter_id)

    def _take_back_ask(self, trial: TrialRun, row: PhaseRow) -> None:
        """Forget a phase for which the tuner has not answered: after a resume it is asked anew."""
        self.took_back = True
        self._withdraw(trial, row)

    def _offer_again(self, trial: TrialRun, row: PhaseRow, reason: str) -> None:
        assert row.parameters is not None
        self._store.set_phase_status(row, PhaseStatus.LOST)
        row.counts, row.reason, row.ended_at = False, reason, self._clock()
        self.begun -= 1
        self._end_curve(trial.row.trial_id, row)
        attempt = trial.row.attempt
        self.offers.try_again(Offer(row.parameter_id, row.parameters, attempt, row.customized))
        self._outbox.changed()

    def on_launched(self, launched: Launched) -> None:
        """Take in parameters for which the tuner was asked earlier, when it had none."""
        if self.closing is not None:
            self.took_back = True  # the tuner launches them again when its calls are made again
        else:
            self.offers.launch(launched)

    def enqueue(self, parameters: str) -> None:
        """Take in parameters, as JSON, that the user chose."""
        self.offers.enqueue(self._next_parameter_id, parameters)
        self._next_parameter_id += 1

    def turn_away(self, trial: TrialRun) -> None:
        """Tell a trial that waits for the tuner that nothing more begins."""
        row, trial.asking = trial.asking, None
        assert row is not None
        assert self.closing is not None
        self.asking.pop(row.parameter_id)
        self._take_back_ask(trial, row)
        self._refuse(trial, self.closing)

    def tell(self, row: PhaseRow, trial_id: str) -> None:
        """Tell the tuner of the end of a phase, and the assessor if it was shown anything of it."""
        is_kept = self._keeps_last and row.status is PhaseStatus.EARLY_STOPPED
        if is_kept and row.value is None and row.last_intermediate is not None:
            row.value = row.last_intermediate
            row.score = objective(decode(row.value))
        call: Tell | PhaseEnd = PhaseEnd(row.parameter_id, trial_id, row.customized)
        if row.value is not None:
            call = Tell(row.parameter_id, decode(row.value), trial_id, row.customized)
        row.told = self._outbox.post(call)
        self._end_curve(trial_id, row)
        self._store.put_phase(row)

    def _end_curve(self, trial_id: str, row: PhaseRow) -> None:
        if row.intermediates and row.assessed is None:
            success = row.status is PhaseStatus.SUCCEEDED
            row.assessed = self._outbox.assess(PhaseOver(trial_id, row.phase_index, success))

    def time_out(self, trial: TrialRun, reason: str) -> None:
        """End the open phase, which took too long."""
        trial.connection.close_phase()
        self._close(trial, PhaseStatus.FAILED, reason)

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
        if self._limits.phase_timeout is not None:
            self._watch(trial)

    def _refuse(self, trial: TrialRun, reason: str) -> None:
        """Answer a request by: no more."""
        trial.refusals += 1
        trial.cut_short = trial.cut_short or self.closing is not None
        trial.row.seq = trial.connection.last_seq
        self._store.put_trial(trial.row)
        if trial.refusals == 1:
            trial.row.reason = f"no more phases: {reason}"
            self._outbox.mark(trial, trial.row.reason)
        elif trial.refusals > _PATIENCE:
            self._on_impatience(
                trial,
                f"it asked {_PATIENCE} times more after it was told: {reason}",
            )
        if trial.connection.state is ASKED:
            self._outbox.send(trial, trial.connection.no_more(reason))

    def _on_intermediate(self, trial: TrialRun, message: dict[str, Any]) -> None:
        row, seq = trial.open, trial.connection.last_seq
        assert row is not None
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

    def on_verdict(self, trial: TrialRun, verdict: Verdict) -> None:
        """Take in what the assessor says of a trial's phase, which may have ended by now."""
        call, row = verdict.call, trial.open
        if row is None or row.phase_index != call.phase_index:
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
                self._on_deaf(trial, row.stopped)
        elif trial.connection.last_seq == call.seq:
            self._outbox.send(trial, trial.connection.verdict(row.stopped))

    def _stop_late(self, trial: TrialRun, call: Assess) -> None:
        """End a trial whose curve, which runs on, was bad in a phase that has ended by now."""
        reason = (
            f"the assessor stopped it at the {_ordinal(call.number)} result of phase"
            f" {call.phase_index}"
        )
        if trial.open is not None and trial.open.stopped is None:
            trial.open.stopped = reason
            self._store.put_phase(trial.open)
        self._outbox.commit()
        self._on_deaf(trial, reason)

    def _on_final(self, trial: TrialRun, message: dict[str, Any]) -> None:
        row, trial.open = trial.open, None
        assert row is not None
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
        row.told = self._outbox.post(Tell(row.parameter_id, value, trial_id, row.customized))
        if row.intermediates:
            self._end_curve(trial_id, row)
        self._on_result()

    def _on_failed(self, trial: TrialRun, message: dict[str, Any]) -> None:
        error = message.get("error", {})
        row = trial.open
        assert row is not None
        row.traceback = as_text(error["traceback"]) if error.get("traceback") else None
        row.final_seq = trial.connection.last_seq
        if row.stopped is not None and error.get("type") == PhaseStopped.__name__:
            self._close(trial, PhaseStatus.EARLY_STOPPED, row.stopped)
        else:
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
        self._outbox.mark(trial, f"phase {row.phase_index} {row.status.value}: {row.reason}")
        if row.value is not None:
            self._on_result()

    def _end_without_result(
        self, trial: TrialRun, row: PhaseRow, status: PhaseStatus, reason: str
    ) -> None:
        if row.stopped is not None and status is not PhaseStatus.FAILED:
            status, reason = PhaseStatus.EARLY_STOPPED, row.stopped
        self._store.set_phase_status(row, status)
        row.reason = reason
        row.ended_at = self._clock()
        self.tell(row, trial.row.trial_id)
        self._outbox.changed()

    def _withdraw(self, trial: TrialRun, row: PhaseRow) -> None:
        """Forget a phase that has no parameters: it never was."""
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


def _ordinal(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else endings.get(number % 10, "th")
    return f"{number}{ending}"
