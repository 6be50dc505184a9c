"""The controller of one experiment: when trials begin and end, and when the experiment does.

One short handler for each incoming event. Events come from trials (`trials.Trials`, which says what they
are to `phases`), from the tuner and the assessor (`on_answers`) and from the user (`on_stop`,
`on_letters`). A handler changes rows and notes what is to be done at the end of the turn (`turn.Outbox`).

An experiment that an earlier manager left begins with `restore`. Until its tuner is rebuilt nothing of
it is touched, so that a failure there costs nothing; then its trials are adopted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mpx.assessor_calls import AssessorAnswer, AssessorFailed, AssessorLoaded, LoadAssessor, Verdict
from mpx.config.model import ExperimentConfig
from mpx.gpus import Devices
from mpx.history import Past
from mpx.host import Finish, Finished
from mpx.inbox import PARAMETERS, Letter
from mpx.lifecycle import ENDED, Limits
from mpx.phases import NO_MORE, Phases
from mpx.records import ErrorRecord, ExperimentStatus, TrialStatus
from mpx.rows import ExperimentRow
from mpx.store import Store
from mpx.training_service.base import Listener, TrainingService
from mpx.trial_run import TrialRun, as_text
from mpx.trials import Trials
from mpx.tuner_calls import (
    Answer,
    Failed,
    Import,
    InUse,
    Launched,
    Loaded,
    Parameters,
    Saved,
    Warned,
)
from mpx.turn import AssessorMailbox, Mailbox, Outbox, Turns
from mpx.wire import encode

# The tuner saves its state, if it can, after so many results.
_RESULTS_PER_CHECKPOINT = 100


class Experiment:
    """Runs one experiment.

    Args:
        config: what to run.
        row: its row in the store.
        store: where everything is recorded.
        tuner: takes calls; its answers come to `on_answers`.
        service: runs trials; it calls `on_output` and `on_exit`.
        turns: the loop.
        environment: for every trial, before what concerns that trial alone.
        clock: seconds since the epoch.
        assessor: takes its calls; its answers come to `on_answers` as well. None where there is none.
        load_assessor: the first of them.
        devices: the GPUs, where trials are to be given some.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        row: ExperimentRow,
        store: Store,
        tuner: Mailbox,
        service: TrainingService,
        turns: Turns,
        environment: Callable[[str, int], dict[str, str]],
        clock: Callable[[], float] = time.time,
        assessor: AssessorMailbox | None = None,
        load_assessor: LoadAssessor | None = None,
        devices: Devices | None = None,
    ) -> None:
        self.row = row
        self._config = config
        self._store = store
        self._turns = turns
        self._clock = clock
        limits = Limits(
            max_trial_num=config.max_trial_num,
            max_phase_num=config.max_phase_num,
            max_phases_per_trial=config.max_phases_per_trial,
            max_exec_duration=config.max_exec_duration,
            multi_phase=config.multi_phase,
            phase_timeout=config.phase_timeout,
            trial_timeout=config.trial_timeout,
        )
        self._outbox = Outbox(store, tuner, service, turns, self._start, clock, assessor)
        self._phases = Phases(
            row,
            limits,
            config.max_line_length,
            config.keep_checkpoints,
            config.tuner.include_intermediate_results,
            store,
            self._outbox,
            turns,
            clock,
            self._duration,
            self._watch,
            lambda: self._trials,
            service.owns_checkpoint,
            self._on_result,
            self._on_impatience,
            self._on_deaf,
        )
        self._trials = Trials(
            config,
            row,
            limits,
            self._phases,
            store,
            self._outbox,
            service,
            turns,
            environment,
            clock,
            self._duration,
            self._check_end,
            self.on_failure,
            devices,
        )
        self._past: Past | None = None  # until it is taken over
        self._early_answers: list[Parameters | Launched | Verdict] = []
        self._load_assessor = load_assessor
        self._loaded: Loaded | None = None  # while the assessor is not
        self._saves = False
        self._unsaved_results = 0
        self._finishing = False
        self._farewells = 1 if assessor is None else 2

    @property
    def trial_count(self) -> int:
        """How many trials wait to start or run."""
        return len(self._trials)

    @property
    def listener(self) -> Listener:
        """What takes in the events of trials."""
        return self._trials

    @property
    def takes_letters(self) -> bool:
        """Whether letters from the user are of use now: it runs, and its tuner is there."""
        return self._past is None and self.row.status is ExperimentStatus.RUNNING

    @property
    def is_resuming(self) -> bool:
        """Whether what an earlier manager left is still to be taken over."""
        return self._past is not None

    def restore(self, past: Past) -> None:
        """Begin where an earlier manager left the experiment.

        Called before anything else; `self.row` is the row of `past`.
        """
        self._past = past
        self.row.warning = None  # whether the tuner answers as before is seen anew
        self._outbox.last_call = past.last_call
        self._outbox.last_assessor_call = past.last_assessor_call
        self._phases.restore(past)
        self._trials.restore(past)

    def end_turn(self) -> None:
        """Commit what the turn changed, and do what it noted."""
        self._phases.checkpoints.tidy()
        self._outbox.end_turn()

    def commit(self) -> None:
        """Commit what waits for no one."""
        if self._store.pending:
            self._store.commit()

    def _put_experiment(self) -> None:
        self._store.put_experiment(self.row)
        self._outbox.commit()

    # -- what the tuner and the assessor answer -----------------------------------------------------

    def on_answers(self, answers: Sequence[Answer | AssessorAnswer | Finished]) -> None:
        """Take in the answers of one of the two, in order."""
        for answer in answers:
            self._HANDLERS[type(answer)](self, answer)

    def _on_work(self, answer: Parameters | Launched | Verdict) -> None:
        if self._past is None:
            self._take_in(answer)
        else:
            self._early_answers.append(answer)

    def _take_in(self, answer: Parameters | Launched | Verdict) -> None:
        if type(answer) is Parameters:
            self._on_parameters(answer)
        elif type(answer) is Verdict:
            trial = self._trials.get(answer.call.trial_id)
            if trial is not None:
                self._phases.on_verdict(trial, answer)
        elif type(answer) is Launched:
            self._phases.on_launched(answer)
            self._trials.fill()

    def _on_failed(self, answer: Failed) -> None:
        self.on_failure(answer.error)

    def _on_assessor_failed(self, answer: AssessorFailed) -> None:
        self.on_failure(answer.error, "the assessor failed", tells_tuner=True)

    def _on_assessor_loaded(self, answer: AssessorLoaded) -> None:
        assert self._loaded is not None
        self._begin(self._loaded)

    def _on_warned(self, answer: Warned) -> None:
        self.row.warning = self.row.warning or as_text(answer.message)
        self._put_experiment()

    def _on_finished(self, answer: Finished) -> None:
        self._farewells -= 1
        if not self._farewells:
            self._turns.finished()

    def _on_saved(self, answer: Saved) -> None:
        # One that knows of an ask which is on no record would lose that ask's parameters.
        if not self._phases.took_back:
            self.row.checkpoint = answer.number
            self._put_experiment()
            self._outbox.forget_older_checkpoints(answer.number)

    def _on_in_use(self, answer: InUse) -> None:
        # A tuner that knows of an ask which is on no record may name another parent in a resume.
        if not self._phases.took_back:
            self._phases.checkpoints.on_answer(answer)

    def _on_loaded(self, answer: Loaded) -> None:
        if self._load_assessor is None:
            self._begin(answer)
        else:  # behind the tuner, for both draw from the same random generators
            self._loaded = answer
            self._outbox.load_assessor(self._load_assessor)

    def _begin(self, answer: Loaded) -> None:
        """The tuner and the assessor are there, and know what they knew."""
        self._saves = answer.saves
        self._phases.checkpoints.begin(answer.in_use)
        if self._past is not None:
            self._take_over(self._past)
            return
        if self.row.status is not ExperimentStatus.INITIALIZING:
            return  # stopped meanwhile
        now = self._clock()
        self._store.set_experiment_status(self.row, ExperimentStatus.RUNNING)
        self.row.started_at = self.row.running_since = now
        self.row.optimize_mode = (
            self._config.optimize_mode or answer.optimize_mode or self.row.optimize_mode
        )
        self._put_experiment()
        self._turns.read_inbox()
        self._trials.fill()
        self._check_end()

    def _take_over(self, past: Past) -> None:
        """Go on with what an earlier manager left, now that the tuner knows it."""
        self._past = None
        row, now = self.row, self._clock()
        self._store.reopen(row)
        row.started_at, row.running_since = row.started_at or now, now
        row.reason = row.ended_at = row.error = None
        for phase, trial_id in past.untold_phases:
            self._phases.ends.tell(phase, trial_id)
        if self._trials.adopt(past):
            self._outbox.ready()
        self._put_experiment()
        self._turns.resumed()
        for early in self._early_answers:
            self._take_in(early)
        self._turns.read_inbox()
        self._trials.fill()
        self._check_end()

    def _on_parameters(self, answer: Parameters) -> None:
        if answer.is_promised:
            self._phases.offers.promised.add(answer.parameter_id)
        trial = self._phases.asking.pop(answer.parameter_id, None)
        if trial is None:  # its trial has ended, or the experiment is stopping
            if self._phases.on_late_parameters(answer):
                self._trials.fill()
                self._check_end()
            return
        row = trial.asking.pop(answer.parameter_id)
        if trial.row.status is TrialStatus.WAITING:
            self._trials.on_first_parameters(trial, row, answer)
        else:
            self._phases.on_parameters(trial, row, answer)

    def on_failure(
        self, error: ErrorRecord, what: str = "the tuner failed", tells_tuner: bool = False
    ) -> None:
        """The experiment cannot go on: nothing new begins, open phases finish.

        Args:
            error: goes on record.
            what: what failed, in the words that users see.
            tells_tuner: the tuner is well, and is still told what becomes of its parameters.
        """
        if self._past is not None:
            self._turns.abandon(error, what)
            return
        if not tells_tuner:
            self._outbox.takes_calls = False
        if self.row.error is not None or self.row.status in ENDED:
            return
        message, traceback = as_text(error.message), error.traceback
        self.row.error = ErrorRecord(error.type, message, traceback and as_text(traceback))
        self._phases.closing = self.row.reason = f"{what}: {error.type}: {message}"
        self._store.set_experiment_status(self.row, ExperimentStatus.ERROR)
        self._put_experiment()
        self._outbox.ready()
        self._trials.turn_away()
        self._check_end()

    # -- what trials do ---------------------------------------------------------------------------

    def _start(self, trial: TrialRun) -> None:
        self._trials.start(trial)

    def _watch(self, trial: TrialRun) -> None:
        self._trials.watch_phase(trial)

    def _on_impatience(self, trial: TrialRun, reason: str) -> None:
        self._trials.cancel(trial, TrialStatus.SYS_CANCELED, reason)

    def _on_deaf(self, trial: TrialRun, reason: str) -> None:
        self._trials.cancel(trial, TrialStatus.EARLY_STOPPED, reason)

    def _on_result(self) -> None:
        if self._saves:
            self._unsaved_results += 1
            if self._unsaved_results >= _RESULTS_PER_CHECKPOINT:
                self._unsaved_results = 0
                self._outbox.save_checkpoint()
        self._trials.on_result()

    # -- what the user sends ----------------------------------------------------------------------

    def on_letters(self, letters: Sequence[Letter]) -> None:
        """Take in results from elsewhere, and parameters that the user chose for a phase."""
        for letter in letters:
            told, data = None, encode(letter.data)
            if letter.about == PARAMETERS:
                self._phases.enqueue(data)
            else:
                told = self._outbox.post(Import(data))
            self._store.add_letter(letter.name, told, data, self._clock())
            self._outbox.commit()
        self._trials.start_offers()
        self._trials.on_news()

    # -- the end ----------------------------------------------------------------------------------

    def on_stop(self, drain: bool = False) -> None:
        """End the experiment, at once or when the open phases have ended."""
        if self._finishing:
            return
        if self._phases.closing is None:
            self._phases.closing = "the experiment is being stopped"
        if self.row.status in (ExperimentStatus.INITIALIZING, ExperimentStatus.RUNNING):
            self._store.set_experiment_status(self.row, ExperimentStatus.STOPPING)
            self._put_experiment()
        self._trials.turn_away()
        if not drain:
            self._trials.stop()
        self._check_end()

    def kill(self) -> None:
        """End all trials without grace."""
        self._trials.kill()

    def _check_end(self) -> None:
        """End the experiment when nothing runs and nothing more may begin."""
        if self._trials or self._phases.offers.late or self._finishing:
            return
        if self.row.status is ExperimentStatus.RUNNING:
            reason = self._trials.why_none() or (self._trials.tuner_is_empty and NO_MORE)
            if not reason:
                return
            self._end(ExperimentStatus.DONE, reason)
        elif self.row.status is ExperimentStatus.STOPPING:
            self._end(ExperimentStatus.STOPPED, "mpx stop")
        elif self.row.status is ExperimentStatus.ERROR:
            self._end(ExperimentStatus.ERROR, self.row.reason)

    def _end(self, status: ExperimentStatus, reason: str | None) -> None:
        self._finishing = True
        if status is not self.row.status:
            self._store.set_experiment_status(self.row, status)
        self.row.reason = reason
        self.row.ended_at = self._clock()
        self.row.duration = self._duration()
        self.row.running_since = None
        self._put_experiment()
        if self._saves:
            self._outbox.save_checkpoint()
        self._outbox.post_last(Finish(well=self.row.error is None))

    def _duration(self) -> float:
        since = self.row.running_since
        return self.row.duration + (self._clock() - since if since is not None else 0.0)

    _HANDLERS: dict[type, Callable[[Experiment, Any], None]] = {
        Parameters: _on_work,
        Launched: _on_work,
        Verdict: _on_work,
        Loaded: _on_loaded,
        AssessorLoaded: _on_assessor_loaded,
        Failed: _on_failed,
        AssessorFailed: _on_assessor_failed,
        Saved: _on_saved,
        InUse: _on_in_use,
        Warned: _on_warned,
        Finished: _on_finished,
    }
