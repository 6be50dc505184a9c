"""The controller of one experiment: when trials begin and end, and when the experiment does.

One short handler for each incoming event. Events come from trials (`on_output`, `on_exit`), from the
tuner (`on_answers`) and from the user (`on_stop`). A handler changes rows and notes what is to be done
at the end of the turn (`turn.Outbox`). What trials say of their phases, `phases` handles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mpx.config.model import ExperimentConfig
from mpx.errors import RemoteProtocolError
from mpx.lifecycle import ENDED, Limits
from mpx.phases import NO_MORE, Phases
from mpx.protocol import ASKED, Event, ManagerConnection
from mpx.records import (
    ErrorRecord,
    ExitStatus,
    ExperimentStatus,
    TrialSpec,
    TrialStatus,
    new_id,
)
from mpx.rows import ExperimentRow, PhaseRow, TrialRow
from mpx.store import Store
from mpx.training_service.base import TrainingService
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_host import (
    Answer,
    AskFirst,
    Failed,
    Finish,
    Finished,
    Loaded,
    Parameters,
    TrialEnd,
)
from mpx.turn import Mailbox, Outbox, Turns


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
    ) -> None:
        self.row = row
        self._config = config
        self._store = store
        self._service = service
        self._turns = turns
        self._environment = environment
        self._clock = clock
        self._limits = Limits(
            max_trial_num=config.max_trial_num,
            max_phase_num=config.max_phase_num,
            max_phases_per_trial=config.max_phases_per_trial,
            max_exec_duration=config.max_exec_duration,
            multi_phase=config.multi_phase,
        )
        self._outbox = Outbox(store, tuner, service, turns, self._start, clock)
        self._phases = Phases(
            row,
            self._limits,
            config.max_line_length,
            store,
            self._outbox,
            clock,
            self._duration,
            self._on_news,
            self._on_impatience,
        )
        self._trials: dict[str, TrialRun] = {}
        self._first_asks = 0
        self._empty: list[tuple[TrialRun, PhaseRow]] = []  # trials whose first ask found nothing
        self._next_sequence_id = 0
        self._trials_begun = 0
        self._tuner_is_empty = False
        self._has_news = False  # for the tuner, since it was last asked for first phases
        self._finishing = False

    @property
    def trial_count(self) -> int:
        """How many trials wait to start or run."""
        return len(self._trials)

    def end_turn(self) -> None:
        """Commit what the turn changed, and do what it noted."""
        self._outbox.end_turn()

    def commit(self) -> None:
        """Commit what waits for no one."""
        if self._store.pending:
            self._store.commit()

    def _put_experiment(self) -> None:
        self._store.put_experiment(self.row)
        self._outbox.commit()

    # -- what the tuner answers -------------------------------------------------------------------

    def on_answers(self, answers: list[Answer]) -> None:
        """Take in the tuner's answers, in order."""
        for answer in answers:
            if type(answer) is Parameters:
                self._on_parameters(answer)
            elif type(answer) is Loaded:
                self._on_loaded(answer)
            elif type(answer) is Failed:
                self.on_failure(answer.error)
            elif type(answer) is Finished:
                self._turns.finished()

    def _on_loaded(self, answer: Loaded) -> None:
        if self.row.status is not ExperimentStatus.INITIALIZING:
            return  # stopped meanwhile
        now = self._clock()
        self._store.set_experiment_status(self.row, ExperimentStatus.RUNNING)
        self.row.started_at = self.row.running_since = now
        self.row.optimize_mode = (
            self._config.optimize_mode or answer.optimize_mode or self.row.optimize_mode
        )
        self._put_experiment()
        self._fill()
        self._check_end()

    def _on_parameters(self, answer: Parameters) -> None:
        trial = self._phases.asking.pop(answer.parameter_id, None)
        if trial is None:
            return  # its trial has ended, or the experiment is stopping
        row, trial.asking = trial.asking, None
        assert row is not None
        if trial.row.status is TrialStatus.WAITING:
            self._on_first_parameters(trial, row, answer.text)
        else:
            self._phases.on_parameters(trial, row, answer.text)

    def _on_first_parameters(self, trial: TrialRun, row: PhaseRow, text: str | None) -> None:
        if text is None:
            self._empty.append((trial, row))
        else:
            row.parameters = text
            self._store.put_phase(row)
            trial.prepared = row
            self._outbox.start(trial)
        self._first_asks -= 1
        if not self._first_asks:
            if self._empty:
                # What it was told since it was asked, it did not know when it answered.
                self._tuner_is_empty = not self._has_news
                self._drop_empty()
            self._fill()  # the slots that became free meanwhile
            self._check_end()

    def on_failure(self, error: ErrorRecord, what: str = "the tuner failed") -> None:
        """The experiment cannot go on: nothing new begins, open phases finish.

        Args:
            error: goes on record.
            what: what failed, in the words that users see.
        """
        if self.row.error is not None or self.row.status in ENDED:
            return
        message, traceback = as_text(error.message), error.traceback
        self.row.error = ErrorRecord(error.type, message, traceback and as_text(traceback))
        self._outbox.takes_calls = False
        self._phases.closing = self.row.reason = f"{what}: {error.type}: {message}"
        self._store.set_experiment_status(self.row, ExperimentStatus.ERROR)
        self._put_experiment()
        self._outbox.ready()
        for parameter_id in list(self._phases.asking):
            self._on_parameters(Parameters(parameter_id, None))
        self._check_end()

    # -- what trials say --------------------------------------------------------------------------

    def on_output(self, trial_id: str, data: bytes) -> None:
        """Take in what a trial wrote: text for its log, and messages."""
        trial = self._trials[trial_id]
        self._take_in(trial, trial.connection.receive(data))

    def _take_in(self, trial: TrialRun, events: Iterable[Event]) -> None:
        for event in events:
            if type(event) is dict:
                self._phases.on_message(trial, event)
            elif type(event) is bytes:
                self._service.log(trial.row.trial_id, event)
            elif type(event) is RemoteProtocolError:
                self._phases.on_violation(trial, event)

    # -- trials begin and end ---------------------------------------------------------------------

    def _on_news(self) -> None:
        """A tuner that had nothing is asked again after a result or the end of a trial."""
        self._has_news = True
        if self._tuner_is_empty:
            self._tuner_is_empty = False
            self._fill()

    def _fill(self) -> None:
        """Ask for the first phases of as many trials as may begin now."""
        if self._first_asks or self._tuner_is_empty or self._why_no_trial():
            return
        count = self._free_slots()
        if count <= 0:
            return
        trials = [self._new_trial() for _ in range(count)]
        self._first_asks = count
        self._has_news = False
        self._outbox.post(
            AskFirst(
                [trial.first_parameter_id for trial in trials],
                [trial.row.trial_id for trial in trials],
            )
        )

    def _free_slots(self) -> int:
        free = self._config.trial_concurrency - len(self._trials)
        if self._limits.max_trial_num is not None:
            free = min(free, self._limits.max_trial_num - self._trials_begun)
        left = self._limits.phases_left(self._phases.begun)
        return free if left is None else min(free, left)

    def _why_no_trial(self) -> str | None:
        if self.row.status is not ExperimentStatus.RUNNING:
            return self._phases.closing or self.row.status.value
        return self._phases.closing or self._limits.why_no_trial(
            self._trials_begun, self._phases.begun, self._duration()
        )

    def _new_trial(self) -> TrialRun:
        row = TrialRow(new_id(), self._next_sequence_id, self._clock())
        self._next_sequence_id += 1
        self._trials_begun += 1
        trial = TrialRun(
            row, ManagerConnection(self._config.max_line_length), self._phases.next_parameter_id
        )
        self._trials[row.trial_id] = trial
        self._store.put_trial(row)
        self._phases.open(trial)
        return trial

    def _drop_empty(self) -> None:
        while self._empty:  # the last first, so that their sequence ids are used again
            self._drop(*self._empty.pop())

    def _drop(self, trial: TrialRun, phase: PhaseRow) -> None:
        """Forget a trial for which there were no parameters: it never was."""
        del self._trials[trial.row.trial_id]
        self._trials_begun -= 1
        self._phases.begun -= 1
        if trial.row.sequence_id == self._next_sequence_id - 1:
            self._next_sequence_id -= 1
        self._store.remove_phase(phase)
        self._store.remove_trial(trial.row)
        self._outbox.changed()

    def _start(self, trial: TrialRun) -> None:
        if trial.canceled is not None or self._phases.closing is not None:
            self._end_trial(trial, ExitStatus(None))
            return
        row = trial.row
        environment = self._environment(row.trial_id, row.sequence_id)
        spec = TrialSpec(
            trial_id=row.trial_id,
            sequence_id=row.sequence_id,
            command=self._config.trial.command,
            code_dir=self._config.trial.code_dir,
            environment=environment,
            grace_period=self._config.trial.grace_period,
        )
        try:
            identity = self._service.start(spec)
        except OSError as error:
            self.on_failure(
                ErrorRecord(type(error).__name__, str(error)), "a trial cannot be started"
            )
            trial.canceled = (TrialStatus.FAILED, f"it cannot be started: {as_text(error)}")
            self._end_trial(trial, ExitStatus(None))
            return
        row.pid, row.process_start = identity.pid, identity.start
        row.started_at = self._clock()
        self._store.set_trial_status(row, TrialStatus.RUNNING)
        self._outbox.ready()

    def on_exit(self, trial_id: str, status: ExitStatus) -> None:
        """A trial and all it started are gone."""
        trial = self._trials[trial_id]
        self._take_in(trial, trial.connection.end_of_output())
        self._end_trial(trial, status)

    def _end_trial(self, trial: TrialRun, exit_status: ExitStatus) -> None:
        row = trial.row
        del self._trials[row.trial_id]
        outcome, reason = trial.outcome(exit_status)
        self._phases.lose(trial, f"its trial ended: {reason}")
        row.exit_status = exit_status.code
        row.reason = reason
        row.ended_at = self._clock()
        self._store.set_trial_status(row, outcome)
        self._outbox.commit()
        self._outbox.post(TrialEnd(trial.first_parameter_id, exit_status.code == 0, row.trial_id))
        self._has_news = True
        self._tuner_is_empty = False
        self._fill()
        self._check_end()

    def _on_impatience(self, trial: TrialRun, reason: str) -> None:
        self._cancel(trial, TrialStatus.SYS_CANCELED, reason)

    def _cancel(self, trial: TrialRun, status: TrialStatus, reason: str) -> None:
        if trial.canceled is None:
            trial.canceled = (status, reason)
            self._service.end(trial.row.trial_id)

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
        self._drop_empty()
        for trial in list(self._trials.values()):
            if trial.row.status is TrialStatus.WAITING:
                self._stop_waiting(trial)
            elif trial.asking is not None and trial.connection.state is ASKED:
                self._phases.turn_away(trial, "the experiment was stopped")
        if not drain:
            for trial in list(self._trials.values()):
                self._cancel(trial, TrialStatus.USER_CANCELED, "mpx stop")
        self._check_end()

    def _stop_waiting(self, trial: TrialRun) -> None:
        """End a trial whose process has not started."""
        trial.canceled = (TrialStatus.USER_CANCELED, "mpx stop")
        if trial.asking is not None:
            self._end_trial(trial, ExitStatus(None))

    def kill(self) -> None:
        """End all trials without grace."""
        for trial_id in list(self._trials):
            self._service.kill(trial_id)

    def _check_end(self) -> None:
        """End the experiment when nothing runs and nothing more may begin."""
        if self._trials or self._finishing:
            return
        if self.row.status is ExperimentStatus.RUNNING:
            reason = self._why_no_trial() or (self._tuner_is_empty and NO_MORE)
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
        self._outbox.post_last(Finish(well=self.row.error is None))

    def _duration(self) -> float:
        since = self.row.running_since
        return self.row.duration + (self._clock() - since if since is not None else 0.0)
