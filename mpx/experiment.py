"""The controller of one experiment: one short handler for each incoming event.

Events come from trials (`on_output`, `on_exit`), from the tuner (`on_answers`) and from the user
(`on_stop`). A handler changes rows and *notes* what is to be done: bytes to send, calls to post, trials to
start. Nothing of that happens until the turn ends. `end_turn` then commits once, and only then sends,
posts and starts; so a trial never sees what the store might lose, and each result is posted to the
tuner before the next request of its trial. Acknowledgements wait for the disk as well.

Rows that nothing waits for (a request that the tuner is about to answer, an intermediate result) do not
force a commit: they go with the next one, or soon (`Turns.commit_soon`).
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mpx.config.model import ExperimentConfig
from mpx.errors import RemoteProtocolError
from mpx.lifecycle import ENDED, Limits, is_better, objective
from mpx.protocol import ASKED, Event, ManagerConnection, encode, too_long
from mpx.records import (
    LOG_MARK,
    ErrorRecord,
    ExitStatus,
    ExperimentStatus,
    PhaseStatus,
    TrialSpec,
    TrialStatus,
)
from mpx.rows import ExperimentRow, PhaseRow, TrialRow
from mpx.store import Store
from mpx.training_service.base import TrainingService
from mpx.tuner_host import (
    Answer,
    Ask,
    AskFirst,
    Call,
    Failed,
    Finish,
    Finished,
    Loaded,
    Parameters,
    PhaseEnd,
    Tell,
    TrialEnd,
)

# How often a trial may ask on after it was told that there are no more parameters.
_PATIENCE = 100
_NO_MORE = "the tuner has no more parameters"


class Turns(Protocol):
    """What the controller needs of the manager's loop."""

    def end_turn_soon(self) -> None:
        """Call `end_turn` when the events at hand are handled."""

    def commit_soon(self) -> None:
        """Call `commit` within a moment, unless a turn commits first."""

    def when_durable(self, then: Callable[[], None]) -> None:
        """Call `then` once all that is committed now would survive a loss of power."""

    def ready(self) -> None:
        """The first trial runs, or the experiment ended before one could."""

    def finished(self) -> None:
        """The experiment ended and the tuner said goodbye."""


class Mailbox(Protocol):
    """Where calls for the tuner go; a `TunerHost`."""

    def post(self, calls: list[Call]) -> None:
        """Have the tuner called in this order."""


@dataclass(slots=True, eq=False)
class _Trial:
    """A trial that waits to start or runs."""

    row: TrialRow
    connection: ManagerConnection
    first_parameter_id: int
    phases: int = 0
    refusals: int = 0
    asking: PhaseRow | None = None  # the tuner has not answered
    prepared: PhaseRow | None = None  # the tuner answered, the trial has not asked (again)
    open: PhaseRow | None = None
    canceled: tuple[TrialStatus, str] | None = None


@dataclass(slots=True)
class _Turn:
    """What one turn notes."""

    commit: bool = False
    ready: bool = False
    sends: list[tuple[str, bytes]] = field(default_factory=list)
    acks: list[tuple[str, bytes]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    starts: list[_Trial] = field(default_factory=list)


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
        self._tuner = tuner
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
        self._turn = _Turn()
        self._turn_is_ending = False
        self._trials: dict[str, _Trial] = {}
        self._asking: dict[int, _Trial] = {}
        self._first_asks = 0
        self._empty: list[tuple[_Trial, PhaseRow]] = []  # trials whose first ask found nothing
        self._next_sequence_id = 0
        self._trials_begun = 0
        self._phases_begun = 0
        self._next_phase_id = 1
        self._next_parameter_id = 0
        self._best_score: float | None = None
        self._tuner_is_empty = False
        self._has_news = False  # for the tuner, since it was last asked for first phases
        self._closing: str | None = None  # why no phase begins any more, if that is so
        self._finishing = False

    @property
    def trial_count(self) -> int:
        """How many trials wait to start or run."""
        return len(self._trials)

    # -- the turn ---------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Commit what the turn changed, then send, post and start what it noted."""
        self._turn_is_ending = False
        turn, self._turn = self._turn, _Turn()
        if turn.commit:
            self._store.commit()
        elif self._store.pending:
            self._turns.commit_soon()
        if turn.ready:
            self._turns.ready()
        if turn.acks:
            self._turns.when_durable(lambda: self._send_all(turn.acks))
        self._send_all(turn.sends)
        if turn.calls:
            self._tuner.post(turn.calls)
        for trial in turn.starts:
            self._start(trial)

    def _send_all(self, sends: list[tuple[str, bytes]]) -> None:
        for trial_id, data in sends:
            self._service.send(trial_id, data)

    def commit(self) -> None:
        """Commit what waits for no one."""
        if self._store.pending:
            self._store.commit()

    def _note(self) -> _Turn:
        if not self._turn_is_ending:
            self._turn_is_ending = True
            self._turns.end_turn_soon()
        return self._turn

    def _send(self, trial: _Trial, data: bytes) -> None:
        turn = self._note()
        turn.commit = True
        turn.sends.append((trial.row.trial_id, data))

    def _post(self, call: Call) -> None:
        if self.row.error is None:
            self._note().calls.append(call)

    def _put_experiment(self) -> None:
        self._store.put_experiment(self.row)
        self._note().commit = True

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
        trial = self._asking.pop(answer.parameter_id, None)
        if trial is None:
            return  # its trial has ended, or the experiment is stopping
        row = trial.asking
        assert row is not None
        trial.asking = None
        if row.phase_index == 0 and trial.row.status is TrialStatus.WAITING:
            self._on_first_parameters(trial, row, answer.text)
        elif answer.text is None:
            self._withdraw(trial, row)
            self._refuse(trial, self._closing or _NO_MORE)
        else:
            row.parameters = answer.text
            self._store.put_phase(row)
            if trial.connection.state is ASKED:
                self._hand_over(trial, row)
            else:
                trial.prepared = row  # the process that asked is gone; the next one gets it

    def _on_first_parameters(self, trial: _Trial, row: PhaseRow, text: str | None) -> None:
        if text is None:
            self._empty.append((trial, row))
        else:
            row.parameters = text
            self._store.put_phase(row)
            trial.prepared = row
            turn = self._note()
            turn.commit = True
            turn.starts.append(trial)
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
        message, traceback = _as_text(error.message), error.traceback
        self.row.error = ErrorRecord(error.type, message, traceback and _as_text(traceback))
        self._closing = self.row.reason = f"{what}: {error.type}: {message}"
        self._store.set_experiment_status(self.row, ExperimentStatus.ERROR)
        self._put_experiment()
        self._note().ready = True
        for parameter_id in list(self._asking):
            self._on_parameters(Parameters(parameter_id, None))
        self._check_end()

    # -- what trials say --------------------------------------------------------------------------

    def on_output(self, trial_id: str, data: bytes) -> None:
        """Take in what a trial wrote: text for its log, and messages."""
        trial = self._trials[trial_id]
        self._take_in(trial, trial.connection.receive(data))

    def _take_in(self, trial: _Trial, events: Iterable[Event]) -> None:
        for event in events:
            if type(event) is dict:
                self._HANDLERS[event["type"]](self, trial, event)
            elif type(event) is bytes:
                self._service.log(trial.row.trial_id, event)
            elif type(event) is RemoteProtocolError:
                self._on_violation(trial, event)

    def _on_hello(self, trial: _Trial, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close_phase(
                trial, PhaseStatus.ABANDONED, "the process that asked for it ended without a result"
            )
        trial.row.session = trial.connection.session
        self._store.put_trial(trial.row)
        self._send(trial, trial.connection.welcome())

    def _on_request(self, trial: _Trial, message: dict[str, Any]) -> None:
        if trial.open is not None:
            self._close_phase(
                trial, PhaseStatus.ABANDONED, "the trial asked for the next without a final result"
            )
        if trial.prepared is not None and self._closing is None:
            row, trial.prepared = trial.prepared, None
            self._hand_over(trial, row)
        elif trial.asking is None:
            reason = self._closing or self._limits.why_no_phase(
                self._phases_begun, trial.phases, self._duration()
            )
            if reason:
                self._refuse(trial, reason)
            else:
                self._ask(trial)

    def _ask(self, trial: _Trial) -> None:
        row = self._open_phase(trial)
        row.request_seq = trial.connection.last_seq
        self._post(Ask(row.parameter_id, trial.row.trial_id))

    def _open_phase(self, trial: _Trial) -> PhaseRow:
        row = PhaseRow(
            id=self._next_phase_id,
            sequence_id=trial.row.sequence_id,
            phase_index=trial.phases,
            parameter_id=self._next_parameter_id,
            requested_at=self._clock(),
        )
        self._next_phase_id += 1
        self._next_parameter_id += 1
        self._phases_begun += 1
        trial.phases += 1
        trial.asking = row
        self._asking[row.parameter_id] = trial
        self._store.add_phase(row)
        return row

    def _hand_over(self, trial: _Trial, row: PhaseRow) -> None:
        """Give a trial the parameters it asked for."""
        assert row.parameters is not None
        trial.open = row
        trial.refusals = 0
        row.request_seq = trial.connection.last_seq
        if len(row.parameters) > self._config.max_line_length:
            reason = f"its parameters are {too_long(self._config.max_line_length)}"
            self._close_phase(trial, PhaseStatus.FAILED, reason)
            self._send(trial, trial.connection.error(reason))
            return
        self._store.set_phase_status(row, PhaseStatus.RUNNING)
        row.started_at = self._clock()
        self._mark(trial, f"phase {row.phase_index} · parameter_id {row.parameter_id}")
        data = trial.connection.parameters(row.parameter_id, row.phase_index, row.parameters)
        self._send(trial, data)

    def _refuse(self, trial: _Trial, reason: str) -> None:
        """Answer a request by: no more."""
        trial.refusals += 1
        if trial.refusals == 1:
            trial.row.reason = f"no more phases: {reason}"
            self._store.put_trial(trial.row)
            self._mark(trial, trial.row.reason)
        elif trial.refusals > _PATIENCE:
            self._cancel(
                trial,
                TrialStatus.SYS_CANCELED,
                f"it asked {_PATIENCE} times more after it was told: {reason}",
            )
        if trial.connection.state is ASKED:
            self._send(trial, trial.connection.no_more(reason))

    def _on_intermediate(self, trial: _Trial, message: dict[str, Any]) -> None:
        assert trial.open is not None
        value = encode(message.get("value"))
        self._store.add_intermediate(trial.open, value, trial.connection.last_seq, self._clock())
        self._note()

    def _on_final(self, trial: _Trial, message: dict[str, Any]) -> None:
        row, trial.open = trial.open, None
        assert row is not None
        value = message.get("value")
        row.value = encode(value)
        row.score = objective(value)
        row.final_seq = trial.connection.last_seq
        row.ended_at = self._clock()
        self._store.set_phase_status(row, PhaseStatus.SUCCEEDED)
        self._rank(row)
        self._acknowledge(trial)
        self._post(Tell(row.parameter_id, value, trial.row.trial_id))
        self._tuner_may_have_more()

    def _on_failed(self, trial: _Trial, message: dict[str, Any]) -> None:
        error = message.get("error", {})
        row = trial.open
        assert row is not None
        row.traceback = _as_text(error["traceback"]) if error.get("traceback") else None
        row.final_seq = trial.connection.last_seq
        said = [_as_text(error[key]) for key in ("type", "message") if error.get(key)]
        self._close_phase(trial, PhaseStatus.FAILED, ": ".join(said) or "the trial gave no reason")
        self._acknowledge(trial)

    def _acknowledge(self, trial: _Trial) -> None:
        turn = self._note()
        turn.commit = True
        if trial.connection.greeted:
            turn.acks.append((trial.row.trial_id, trial.connection.ack()))

    def _on_violation(self, trial: _Trial, error: RemoteProtocolError) -> None:
        """Say what was illegal in the trial's log, and to a trial that said hello."""
        reason = str(error)
        self._mark(trial, f"protocol error: {reason}")
        if trial.open is not None and reason == too_long(self._config.max_line_length):
            trial.connection.close_phase()
            self._close_phase(trial, PhaseStatus.FAILED, reason)
        if trial.connection.greeted:
            self._send(trial, trial.connection.violation(error))

    def _rank(self, row: PhaseRow) -> None:
        if row.score is not None and is_better(self.row.optimize_mode, row.score, self._best_score):
            self._best_score = row.score
            self.row.best_phase = row.id
            self._store.put_experiment(self.row)

    def _close_phase(self, trial: _Trial, status: PhaseStatus, reason: str) -> None:
        """End the open phase without a result."""
        row, trial.open = trial.open, None
        assert row is not None
        self._end_without_result(trial, row, status, reason)
        self._mark(trial, f"phase {row.phase_index} {status.value}: {reason}")

    def _end_without_result(
        self, trial: _Trial, row: PhaseRow, status: PhaseStatus, reason: str
    ) -> None:
        self._store.set_phase_status(row, status)
        row.reason = reason
        row.ended_at = self._clock()
        self._post(PhaseEnd(row.parameter_id, trial.row.trial_id))
        self._note()

    def _withdraw(self, trial: _Trial, row: PhaseRow) -> None:
        """Forget a phase for which there were no parameters: it never was."""
        self._phases_begun -= 1
        trial.phases -= 1
        self._store.remove_phase(row)
        self._note()

    def _mark(self, trial: _Trial, text: str) -> None:
        """Say in the trial's log what happens between its lines."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        self._service.log(trial.row.trial_id, f"{LOG_MARK}{stamp}] {text}\n".encode())

    # -- trials begin and end ---------------------------------------------------------------------

    def _tuner_may_have_more(self) -> None:
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
        self._post(
            AskFirst(
                [trial.first_parameter_id for trial in trials],
                [trial.row.trial_id for trial in trials],
            )
        )

    def _free_slots(self) -> int:
        free = self._config.trial_concurrency - len(self._trials)
        if self._limits.max_trial_num is not None:
            free = min(free, self._limits.max_trial_num - self._trials_begun)
        left = self._limits.phases_left(self._phases_begun)
        return free if left is None else min(free, left)

    def _why_no_trial(self) -> str | None:
        if self.row.status is not ExperimentStatus.RUNNING:
            return self._closing or self.row.status.value
        return self._closing or self._limits.why_no_trial(
            self._trials_begun, self._phases_begun, self._duration()
        )

    def _new_trial(self) -> _Trial:
        row = TrialRow(_new_trial_id(), self._next_sequence_id, self._clock())
        self._next_sequence_id += 1
        self._trials_begun += 1
        trial = _Trial(
            row, ManagerConnection(self._config.max_line_length), self._next_parameter_id
        )
        self._trials[row.trial_id] = trial
        self._store.put_trial(row)
        self._open_phase(trial)
        return trial

    def _drop_empty(self) -> None:
        while self._empty:  # the last first, so that their sequence ids are used again
            self._drop(*self._empty.pop())

    def _drop(self, trial: _Trial, phase: PhaseRow) -> None:
        """Forget a trial for which there were no parameters: it never was."""
        del self._trials[trial.row.trial_id]
        self._trials_begun -= 1
        self._phases_begun -= 1
        if trial.row.sequence_id == self._next_sequence_id - 1:
            self._next_sequence_id -= 1
        self._store.remove_phase(phase)
        self._store.remove_trial(trial.row)
        self._note()

    def _start(self, trial: _Trial) -> None:
        if trial.canceled is not None or self._closing is not None:
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
            trial.canceled = (TrialStatus.FAILED, f"it cannot be started: {_as_text(error)}")
            self._end_trial(trial, ExitStatus(None))
            return
        row.pid, row.process_start = identity.pid, identity.start
        row.started_at = self._clock()
        self._store.set_trial_status(row, TrialStatus.RUNNING)
        turn = self._note()
        turn.commit = turn.ready = True

    def on_exit(self, trial_id: str, status: ExitStatus) -> None:
        """A trial and all it started are gone."""
        trial = self._trials[trial_id]
        self._take_in(trial, trial.connection.end_of_output())
        self._end_trial(trial, status)

    def _end_trial(self, trial: _Trial, exit_status: ExitStatus) -> None:
        row = trial.row
        del self._trials[row.trial_id]
        outcome, reason = _outcome(trial, exit_status)
        for phase in (trial.open, trial.prepared, trial.asking):
            if phase is not None:
                self._asking.pop(phase.parameter_id, None)
                self._end_without_result(
                    trial, phase, PhaseStatus.LOST, f"its trial ended: {reason}"
                )
        row.exit_status = exit_status.code
        row.reason = reason
        row.ended_at = self._clock()
        self._store.set_trial_status(row, outcome)
        self._note().commit = True
        self._post(TrialEnd(trial.first_parameter_id, exit_status.code == 0, row.trial_id))
        self._has_news = True
        self._tuner_is_empty = False
        self._fill()
        self._check_end()

    def _cancel(self, trial: _Trial, status: TrialStatus, reason: str) -> None:
        if trial.canceled is None:
            trial.canceled = (status, reason)
            self._service.end(trial.row.trial_id)

    # -- the end ----------------------------------------------------------------------------------

    def on_stop(self, drain: bool = False) -> None:
        """End the experiment, at once or when the open phases have ended."""
        if self._finishing:
            return
        if self._closing is None:
            self._closing = "the experiment is being stopped"
        if self.row.status in (ExperimentStatus.INITIALIZING, ExperimentStatus.RUNNING):
            self._store.set_experiment_status(self.row, ExperimentStatus.STOPPING)
            self._put_experiment()
        self._drop_empty()
        for trial in list(self._trials.values()):
            if trial.row.status is TrialStatus.WAITING:
                self._stop_waiting(trial)
            elif trial.asking is not None and trial.connection.state is ASKED:
                self._answer_waiting(trial)
        if not drain:
            for trial in list(self._trials.values()):
                self._cancel(trial, TrialStatus.USER_CANCELED, "mpx stop")
        self._check_end()

    def _stop_waiting(self, trial: _Trial) -> None:
        """End a trial whose process has not started."""
        trial.canceled = (TrialStatus.USER_CANCELED, "mpx stop")
        if trial.asking is not None:
            self._first_asks -= 1
            self._end_trial(trial, ExitStatus(None))

    def _answer_waiting(self, trial: _Trial) -> None:
        """Tell a trial that waits for the tuner that there is no more."""
        row, trial.asking = trial.asking, None
        assert row is not None
        self._asking.pop(row.parameter_id)
        self._end_without_result(trial, row, PhaseStatus.LOST, "the experiment was stopped")
        assert self._closing is not None
        self._refuse(trial, self._closing)

    def kill(self) -> None:
        """End all trials without grace."""
        for trial_id in list(self._trials):
            self._service.kill(trial_id)

    def _check_end(self) -> None:
        """End the experiment when nothing runs and nothing more may begin."""
        if self._trials or self._finishing:
            return
        if self.row.status is ExperimentStatus.RUNNING:
            reason = self._why_no_trial() or (self._tuner_is_empty and _NO_MORE)
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
        self._note().calls.append(Finish(well=self.row.error is None))

    def _duration(self) -> float:
        since = self.row.running_since
        return self.row.duration + (self._clock() - since if since is not None else 0.0)

    _HANDLERS: dict[str, Callable[[Experiment, _Trial, dict[str, Any]], None]] = {
        "hello": _on_hello,
        "request": _on_request,
        "intermediate": _on_intermediate,
        "final": _on_final,
        "failed": _on_failed,
    }


def _outcome(trial: _Trial, exit_status: ExitStatus) -> tuple[TrialStatus, str]:
    """Return a trial's status and the reason for it."""
    if trial.canceled is not None:
        status, reason = trial.canceled
    elif trial.row.status is TrialStatus.WAITING:
        status, reason = TrialStatus.SYS_CANCELED, "the experiment ended before it started"
    elif exit_status.code == 0:
        status, reason = TrialStatus.SUCCEEDED, trial.row.reason or "exit status 0"
    else:
        status, reason = TrialStatus.FAILED, exit_status.describe()
    if exit_status.survivors:
        pids = ", ".join(map(str, exit_status.survivors))
        reason = f"{reason}; these processes of it could not be ended: {pids}"
    return status, reason


def _new_trial_id() -> str:
    letters = string.ascii_letters
    return secrets.choice(letters) + "".join(
        secrets.choice(letters + string.digits) for _ in range(7)
    )


def _as_text(value: Any) -> str:
    """Return a trial's text without what no database takes (lone surrogates)."""
    return str(value).encode("utf-8", "backslashreplace").decode()
