"""Phases: how they open, and what trials say of them; how they end, `phase_ends` handles.

One short handler for each message of a trial. Each changes rows and notes what is to be done
(`turn.Outbox`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mpx.assessor_calls import Verdict
from mpx.curves import Curves
from mpx.errors import RemoteProtocolError
from mpx.history import Past
from mpx.lifecycle import Limits
from mpx.lineage import Lineage
from mpx.offers import Offers
from mpx.phase_checkpoints import PhaseCheckpoints
from mpx.phase_ends import PhaseEnds
from mpx.protocol import ASKED, IDLE
from mpx.records import PhaseStatus, ranges
from mpx.rows import ExperimentRow, Offer, PhaseRow
from mpx.store import Store
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_calls import Ask, AskBatch, Launched, Parameters
from mpx.turn import Outbox, Turns
from mpx.wire import too_long

NO_MORE = "the tuner has no more parameters"
# How often a trial may ask on after it was told that there are no more parameters.
_PATIENCE = 100


class Phases:
    """The phases of one experiment.

    Args:
        experiment: its row, for the best phase.
        limits: when no phase may begin.
        max_line: bytes of the longest message.
        keeps_checkpoints: of how many of the best phases; see `PhaseCheckpoints`.
        keeps_last: a phase that was stopped early has its last intermediate result for its final one.
        store: where phases are recorded.
        outbox: takes notes.
        turns: the loop, for its timers.
        clock: seconds since the epoch.
        duration: seconds the experiment has run.
        watch: called with a trial that was given parameters, if phases have a time limit.
        trials: returns those that have not ended.
        owns_checkpoint: says of a trial's id and a path whether that is a copy, which may be removed.
        on_result: called after each final result.
        on_impatience: called with a trial that does not stop asking, and the reason to end it.
        on_deaf: called with a trial that cannot be told that its open phases are stopped, and the reason.

    Attributes:
        begun: phases open or ended, but for those that are offered again.
        ends: how they end.
        offers: parameters that wait for a phase.
        checkpoints: what phases have saved.
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
        keeps_checkpoints: int | str | None,
        keeps_last: bool,
        store: Store,
        outbox: Outbox,
        turns: Turns,
        clock: Callable[[], float],
        duration: Callable[[], float],
        watch: Callable[[TrialRun], None],
        trials: Callable[[], Iterable[TrialRun]],
        owns_checkpoint: Callable[[str, str], bool],
        on_result: Callable[[], None],
        on_impatience: Callable[[TrialRun, str], None],
        on_deaf: Callable[[TrialRun, str], None],
    ) -> None:
        self._experiment = experiment
        self._limits = limits
        self._max_line = max_line
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._duration = duration
        self._watch = watch
        self._on_impatience = on_impatience
        self._next_id = 1
        self._next_parameter_id = 0
        self._last_unanswered = -1  # of an earlier manager
        self.begun = 0
        self._curves = Curves(store, outbox, turns, clock, on_deaf)
        self.offers = Offers(store, outbox)
        self.checkpoints = PhaseCheckpoints(
            keeps_checkpoints, experiment, store, outbox, self.offers, trials, owns_checkpoint
        )
        self._lineage = Lineage(self.checkpoints, store, outbox, self._warn)
        self.ends = PhaseEnds(
            experiment, keeps_last, store, outbox, self._curves, self.checkpoints, clock, on_result
        )
        self.asking: dict[int, TrialRun] = {}
        self.took_back = False
        self.closing: str | None = None

    def restore(self, past: Past) -> None:
        """Go on with the phases of an earlier manager."""
        self._next_id = past.next_phase_id
        self._next_parameter_id = past.next_parameter_id
        self._last_unanswered = past.last_unanswered
        self.ends.restore(past.best_score)
        self.begun = past.phases_begun + len(past.late)
        self.offers.restore(past.offers, past.late)
        self.checkpoints.restore(past)

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
        given = [phase for phase in trial.open.values() if phase.request_seq == connection.last_seq]
        if given:
            phases = [self._lineage.given(trial, phase) for phase in given]
            self._outbox.send(trial, connection.parameters_again(phases, row.batch is not None))
        elif stopped := self._stopped_at_last(trial):
            self._outbox.send(trial, connection.verdict(stopped))
        elif error is not None:
            self._outbox.send(trial, connection.error(error))
        elif connection.state is IDLE and row.seq == connection.last_seq and row.reason:
            self._outbox.send(trial, connection.no_more_again(row.reason))

    def _stopped_at_last(self, trial: TrialRun) -> str | None:
        """Return why the phase was stopped that the trial's last message was a result of."""
        last = trial.connection.last_seq
        return next((p.stopped for p in trial.open.values() if p.intermediate_seq == last), None)

    def on_message(self, trial: TrialRun, message: dict[str, Any]) -> None:
        """Take in one message of a trial."""
        self._HANDLERS[message["type"]](self, trial, message)

    def _on_hello(self, trial: TrialRun, message: dict[str, Any]) -> None:
        self._abandon(trial, "the process that asked for it ended without a result")
        waiting = [*trial.prepared, *trial.asking.values()]
        for phase in waiting:  # the next request, whenever that comes, is this session's
            phase.request_seq = None
            self._store.put_phase(phase)
        row, connection = trial.row, trial.connection
        row.session, row.resends, row.seq = (
            connection.session,
            connection.resends,
            connection.last_seq,
        )
        row.session_start = trial.phases - len(waiting)
        row.batch = trial.newest = None
        self._store.put_trial(row)
        self._outbox.send(trial, trial.connection.welcome())

    def _on_request(self, trial: TrialRun, message: dict[str, Any]) -> None:
        if trial.open:
            self._abandon(trial, "the trial asked for the next without a final result")
        count = message.get("count")
        if trial.row.batch != count:
            trial.row.batch = count
            self._store.put_trial(trial.row)
        if not trial.asking:  # else a process that is gone by now had: this one gets that answer
            self._serve(trial)

    def _serve(self, trial: TrialRun) -> None:
        """Answer a trial's request, now or when the tuner has answered."""
        reason = self.closing or (trial.canceled and trial.canceled[1])
        missing = (trial.row.batch or 1) - len(trial.prepared)
        if reason is None and missing > 0:
            reason = self._prepare(trial, missing)
        if not trial.asking:
            self._answer(trial, reason)

    def _abandon(self, trial: TrialRun, reason: str) -> None:
        for row in [*trial.open.values()]:
            self.ends.close(trial, row, PhaseStatus.ABANDONED, reason)

    def _prepare(self, trial: TrialRun, missing: int) -> str | None:
        """Find parameters for so many further phases of a trial, or for as many as may begin.

        Returns:
            Why there are none; None if there are, or if the tuner is asked.
        """
        reason = self._limits.why_no_phase(self.begun, trial.phases, self._duration())
        if reason is not None:
            return None if trial.prepared else reason
        room = 1  # at least, or there were a reason
        if missing > 1:
            room = self._limits.room(missing, self.begun, trial.phases)
        while room and self.offers:
            trial.prepared.append(self.open_offer(trial))
            room -= 1
        if room:
            self._ask(trial, room)
        return None

    def _ask(self, trial: TrialRun, count: int) -> None:
        if trial.row.attempt and not trial.prepared:
            self._set_attempt(trial, 0)
        rows = [self.open(trial) for _ in range(count)]
        trial_id = trial.row.trial_id
        call = (
            Ask(rows[0].parameter_id, trial_id)
            if count == 1
            else AskBatch([row.parameter_id for row in rows], trial_id)
        )
        number = self._outbox.post(call)
        for row in rows:
            row.request_seq, row.asked = trial.connection.last_seq, number

    def _answer(self, trial: TrialRun, reason: str | None, said: str = "") -> None:
        """Give a trial the parameters that it asked for, if there is no reason why not.

        Args:
            trial: the trial.
            reason: why not.
            said: why there are none, in the tuner's words.
        """
        if reason is None and trial.prepared:
            wanted = trial.row.batch or 1
            rows, trial.prepared = trial.prepared[:wanted], trial.prepared[wanted:]
            self._hand_over(trial, rows)
        else:
            no_more = f"{NO_MORE}: {as_text(said)}" if said else NO_MORE
            self._refuse(trial, reason or no_more)

    def open(self, trial: TrialRun) -> PhaseRow:
        """Begin a phase for which the tuner is about to be asked."""
        row = self._begin(trial, self._next_parameter_id)
        self._next_parameter_id += 1
        trial.asking[row.parameter_id] = row
        self.asking[row.parameter_id] = trial
        return row

    def open_offer(self, trial: TrialRun) -> PhaseRow:
        """Begin a phase with parameters that were waiting for one."""
        offer = self.offers.take()
        row = self._begin(trial, offer.parameter_id)
        row.parameters, row.customized = offer.parameters, offer.customized
        row.parent = offer.parent
        # Phases of one batch are tried again together, as often as the one that had most tries.
        self._set_attempt(trial, max(offer.attempt, trial.row.attempt if trial.prepared else 0))
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

    def on_parameters(self, trial: TrialRun, row: PhaseRow, answer: Parameters) -> None:
        """Take in the tuner's answer to a running trial; the last one of a batch answers the trial."""
        if answer.text is None:
            self._do_without(trial, row)
        elif row.phase_index + len(trial.asking) + 1 == trial.phases:
            self.prepare(trial, row, answer)
        else:  # there was nothing for one before it, and the phases of a trial leave out no number
            self._do_without(trial, row)
            self.on_launched(Launched(answer.parameter_id, answer.text))
        if trial.asking:
            self._outbox.changed()
        elif trial.connection.state is ASKED and answer.text is not None:
            self._serve(trial)  # which may ask for more, where another process had asked
        elif trial.connection.state is ASKED or not trial.prepared:
            self._answer(trial, self.closing, answer.reason)
        else:  # the process that asked is gone, and the next one gets what there is
            self._outbox.changed()

    def _do_without(self, trial: TrialRun, row: PhaseRow) -> None:
        """Take a phase back for which the tuner has nothing."""
        self.note_unanswered(row, trial.row.trial_id)
        self._withdraw(trial, row)

    def prepare(self, trial: TrialRun, row: PhaseRow, answer: Parameters) -> None:
        """Keep a phase's parameters until its trial is given them."""
        row.parameters, row.parent = answer.text, answer.parent
        self._store.put_phase(row)
        trial.prepared.append(row)

    def note_unanswered(self, row: PhaseRow, trial_id: str) -> None:
        """Record that the tuner was asked, and had nothing; not if it failed."""
        if row.asked is not None and self._outbox.takes_calls:
            is_first = row.phase_index == 0
            self._store.add_unanswered(row.asked, row.parameter_id, trial_id, is_first)

    def lose(self, trial: TrialRun, reason: str, again: bool) -> None:
        """End what a trial that ended had open, asked for, or not yet asked for.

        Args:
            trial: the trial.
            reason: why its phases are LOST.
            again: it was not their fault: they count for no limit, and are offered again.
        """
        for phase in trial.unended:
            if phase.parameters is None:
                self._lose_ask(trial, phase, reason)
            elif again and phase.stopped is None:
                self._offer_again(trial, phase, reason)
            else:
                self.ends.without_result(trial, phase, PhaseStatus.LOST, reason)

    def _lose_ask(self, trial: TrialRun, row: PhaseRow, reason: str) -> None:
        """End a phase for which the tuner has not answered: what it answers, another trial is given."""
        self.asking.pop(row.parameter_id)
        if self.closing is not None:
            self._take_back_ask(trial, row)
            return
        self._store.set_phase_status(row, PhaseStatus.LOST)
        row.counts, row.reason, row.ended_at = False, reason, self._clock()
        # Until then it keeps its place under the limits.
        self.offers.await_answer(row, trial.row.trial_id)
        self._outbox.changed()

    def on_late_parameters(self, answer: Parameters) -> bool:
        """Take in the tuner's answer to a trial that died while it asked; say whether it is one."""
        if answer.parameter_id not in self.offers.late:
            return False
        row, trial_id = self.offers.late.pop(answer.parameter_id)
        self.begun -= 1
        if answer.text is None:
            self.note_unanswered(row, trial_id)
            self._store.remove_phase(row)
        else:
            self.offers.on_late(row, answer)
        self._outbox.changed()
        return True

    def turn_away_late(self) -> None:
        """Forget what the tuner is asked for and nobody waits for."""
        while self.offers.late:
            _, (row, _) = self.offers.late.popitem()
            self.took_back = True
            self.begun -= 1
            self._store.remove_phase(row)
            self._outbox.changed()

    def _take_back_ask(self, trial: TrialRun, row: PhaseRow) -> None:
        """Forget a phase for which the tuner has not answered: after a resume it is asked anew."""
        self.took_back = True
        self._withdraw(trial, row)

    def _offer_again(self, trial: TrialRun, row: PhaseRow, reason: str) -> None:
        assert row.parameters is not None
        self._store.set_phase_status(row, PhaseStatus.LOST)
        row.counts, row.reason, row.ended_at = False, reason, self._clock()
        self.begun -= 1
        self._curves.end(trial.row.trial_id, row)
        self.checkpoints.note(row, trial.row.trial_id)
        attempt = trial.row.attempt
        self.offers.try_again(
            Offer(row.parameter_id, row.parameters, attempt, row.customized, row.parent)
        )
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
        assert self.closing is not None
        rows, trial.asking = [*trial.asking.values()], {}
        for row in reversed(rows):
            self.asking.pop(row.parameter_id)
            self._take_back_ask(trial, row)
        self._refuse(trial, self.closing)

    def time_out(self, trial: TrialRun, reason: str) -> None:
        """End the open phases, which took too long."""
        trial.connection.close_phases()
        for row in [*trial.open.values()]:
            self.ends.close(trial, row, PhaseStatus.FAILED, reason)

    def _hand_over(self, trial: TrialRun, rows: list[PhaseRow]) -> None:
        """Give a trial the parameters it asked for."""
        trial.refusals = 0
        for row in rows:
            assert row.parameters is not None
            row.request_seq = trial.connection.last_seq
            trial.open[row.phase_index] = row
            if len(row.parameters) > self._max_line:
                reason = f"its parameters are {too_long(self._max_line)}"
                self.ends.close(trial, row, PhaseStatus.FAILED, reason)
        if trial.open:
            self._run(trial, [*trial.open.values()])
        else:
            self._outbox.send(trial, trial.connection.error(reason))

    def _run(self, trial: TrialRun, rows: list[PhaseRow]) -> None:
        """Let the phases begin that a trial is given now."""
        now = self._clock()
        for row in rows:
            self._store.set_phase_status(row, PhaseStatus.RUNNING)
            row.started_at = now
        given = self._lineage.begin(trial, rows)
        self._outbox.mark(trial, _title(rows))
        self._outbox.send(trial, trial.connection.parameters(given, trial.row.batch is not None))
        if self._limits.phase_timeout is not None:
            self._watch(trial)

    def _refuse(self, trial: TrialRun, reason: str) -> None:
        """Answer a request by: no more."""
        trial.refusals += 1
        trial.cut_short = trial.cut_short or self.closing is not None
        trial.row.seq = trial.connection.last_seq
        self._store.put_trial(trial.row)
        for row in trial.prepared:  # another request is answered by them
            row.request_seq = None
            self._store.put_phase(row)
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

    def on_verdict(self, trial: TrialRun, verdict: Verdict) -> None:
        """Take in what the assessor says of a trial's phase, which may have ended by now."""
        self._curves.on_verdict(trial, verdict)

    def _on_intermediate(self, trial: TrialRun, message: dict[str, Any]) -> None:
        self._curves.on_intermediate(trial, trial.open[trial.connection.about], message)

    def on_violation(self, trial: TrialRun, error: RemoteProtocolError) -> None:
        """Say what was illegal in the trial's log, and to a trial that said hello, or waits."""
        reason = str(error)
        self._outbox.mark(trial, f"protocol error: {reason}")
        only = trial.connection.only_open()  # else nobody knows whose result it was
        if only is not None and reason == too_long(self._max_line):
            trial.connection.close_phases()
            self.ends.close(trial, trial.open[only], PhaseStatus.FAILED, reason)
        if trial.connection.greeted or error.answers:
            self._outbox.send(trial, trial.connection.violation(error))

    def _warn(self, message: str) -> None:
        """Have `status` say what went wrong first, and ended nothing."""
        self._experiment.warning = self._experiment.warning or message
        self._store.put_experiment(self._experiment)

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
        "checkpoint": lambda self, trial, message: self.ends.on_checkpoint(trial, message),
        "final": lambda self, trial, message: self.ends.on_final(trial, message),
        "failed": lambda self, trial, message: self.ends.on_failed(trial, message),
    }


def _title(rows: list[PhaseRow]) -> str:
    """Return what a trial's log says where phases begin."""
    if len(rows) == 1:
        return f"phase {rows[0].phase_index} · parameter_id {rows[0].parameter_id}"
    indexes = ranges([row.phase_index for row in rows])
    ids = ranges([row.parameter_id for row in rows])
    return f"phases {indexes} · parameter_ids {ids}"
