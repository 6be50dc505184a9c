"""Trials: which begin, how they are adopted from an earlier manager, and how they end.

What trials say of their phases, `phases` handles; what their ends mean for the whole, `experiment`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from mpx.assessor_calls import TrialOver
from mpx.config.model import ExperimentConfig
from mpx.errors import RemoteProtocolError
from mpx.gpu_queue import GpuQueue
from mpx.gpus import Devices, Sharing, given_variables
from mpx.history import LeftTrial, Past
from mpx.lifecycle import EarlyDeaths, Limits
from mpx.phases import Phases
from mpx.protocol import Event, ManagerConnection
from mpx.records import (
    ErrorRecord,
    ExitStatus,
    ExperimentStatus,
    PhaseStatus,
    TrialSpec,
    TrialStatus,
    new_id,
)
from mpx.rows import ExperimentRow, PhaseRow, TrialRow
from mpx.store import Store
from mpx.time_limits import TimeLimits
from mpx.training_service.base import Identity, TrainingService
from mpx.trial_run import TrialRun, as_text
from mpx.tuner_calls import AskFirst, Parameters, TrialEnd
from mpx.turn import Outbox, Turns


class Trials:
    """The trials of one experiment that have not ended.

    Args:
        config: what to run.
        experiment: its row.
        limits: when no trial may begin.
        phases: the phases of all trials.
        store: where trials are recorded.
        outbox: takes notes.
        service: runs trials.
        turns: the loop.
        environment: returns a trial's variables, given its id and sequence_id.
        clock: seconds since the epoch.
        duration: seconds the experiment has run.
        on_end: called after a trial has ended, and when none could be started.
        on_failure: called when no further trial can or should be started: the error, what failed in
            words, and whether the tuner is told what becomes of its parameters.
        devices: the GPUs; asked only if trials are to be given some.

    Attributes:
        tuner_is_empty: the tuner had no parameters for a new trial, and was told nothing since.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        experiment: ExperimentRow,
        limits: Limits,
        phases: Phases,
        store: Store,
        outbox: Outbox,
        service: TrainingService,
        turns: Turns,
        environment: Callable[[str, int], dict[str, str]],
        clock: Callable[[], float],
        duration: Callable[[], float],
        on_end: Callable[[], None],
        on_failure: Callable[[ErrorRecord, str, bool], None],
        devices: Devices | None = None,
    ) -> None:
        self._config = config
        self._experiment = experiment
        self._limits = limits
        self._phases = phases
        self._store = store
        self._outbox = outbox
        self._service = service
        self._environment = environment
        self._clock = clock
        self._duration = duration
        self._on_end = on_end
        self._on_failure = on_failure
        self._times = TimeLimits(
            limits, turns, clock, self._on_phase_timeout, self._on_trial_timeout
        )
        self._gpus = self._gpu_queue(devices, turns)
        self._deaths = EarlyDeaths()
        self._trials: dict[str, TrialRun] = {}
        self._found: dict[
            str, Identity | None
        ] = {}  # of an earlier manager: trial id → its process
        self._first_asks = 0
        self._empty: list[tuple[TrialRun, PhaseRow]] = []  # trials whose first ask found nothing
        self._next_sequence_id = 0
        self._begun = 0
        self._has_news = False  # for the tuner, since it was last asked for first phases
        self.tuner_is_empty = False

    def _gpu_queue(self, devices: Devices | None, turns: Turns) -> GpuQueue | None:
        count, local = self._config.trial.gpu_num, self._config.local
        if not count:
            return None
        assert devices is not None
        sharing = Sharing(count, local.gpu_indices, local.max_trials_per_gpu, local.use_active_gpu)
        return GpuQueue(
            sharing,
            devices,
            self._experiment.id,
            lambda: self,
            self._store,
            self._outbox,
            turns,
            lambda: self._limits.why_end(0, self._duration()),
            self._expire,
            self._on_failure,
        )

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[TrialRun]:
        return iter([*self._trials.values()])

    # -- what an earlier manager left -------------------------------------------------------------

    def restore(self, past: Past) -> None:
        """Look for the trials of an earlier manager, and touch none.

        What the tuner never answered and nobody waits for is taken back, so that the tuner is not
        asked for it when its calls are made again.
        """
        self._begun = past.trials_begun
        self._next_sequence_id = past.next_sequence_id
        for left in reversed(past.trials):
            row = left.row
            known = None if row.pid is None else Identity(row.pid, row.process_start)
            found = self._found[row.trial_id] = self._service.find(row.trial_id, known)
            unanswered = [phase for phase in left.unended if phase.parameters is None]
            if found is None and unanswered:
                for phase in reversed(unanswered):
                    self._phases.take_back(phase)
                if row.status is TrialStatus.WAITING:
                    self._take_back(row)

    def adopt(self, past: Past) -> bool:
        """Take over the trials of an earlier manager; say whether any of them lives."""
        for row, parameter_id in past.untold_trials:
            self._tell_end(row, parameter_id)
        for left in past.trials:
            if left.row.trial_id in self._found:
                self._adopt(left, self._found[left.row.trial_id])
        return any(self._found.values())

    def _adopt(self, left: LeftTrial, found: Identity | None) -> None:
        """Take over a trial of an earlier manager, or what it left."""
        trial = _as_left(left, self._config.max_line_length, is_alive=found is not None)
        row = trial.row
        trial.connection.has_assessor = self._outbox.has_assessor
        self._trials[row.trial_id] = trial
        self._phases.asking.update(dict.fromkeys(trial.asking, trial))
        self._service.adopt(self._spec(row), found, row.session)
        if row.resends:
            trial.connection.skip_rest()  # in the pipe, behind what was left in a file
        if found is None:
            return
        if row.status is TrialStatus.WAITING:  # its start was not recorded
            row.pid, row.process_start = found.pid, found.start
            row.started_at = self._clock()
            self._store.set_trial_status(row, TrialStatus.RUNNING)
        if left.has_spoken and not row.resends:
            reason = "its hello, if it said one, did not promise to go on with another manager"
            trial.cut_short = True
            self.cancel(trial, TrialStatus.SYS_CANCELED, reason)
            return
        self._phases.greet(trial, left.error)
        self._times.watch_trial(trial)
        if trial.open:
            self._times.watch_phase(trial)

    # -- trials begin -----------------------------------------------------------------------------

    def get(self, trial_id: str) -> TrialRun | None:
        """Return a trial; None if it has ended."""
        return self._trials.get(trial_id)

    def on_news(self) -> None:
        """A tuner that had nothing is asked again after a result or the end of a trial."""
        self._has_news = True
        if self.tuner_is_empty:
            self.tuner_is_empty = False
            self.fill()

    def on_result(self) -> None:
        """A phase has a final result."""
        self._deaths.note_result()
        self.on_news()

    def start_offers(self) -> None:
        """Start as many trials as may begin now with what is offered."""
        while self._phases.offers and self._free_slots() > 0 and not self.why_none():
            trial = self._new_trial()
            trial.prepared.append(self._phases.open_offer(trial))
            self._outbox.start(trial)

    def fill(self) -> None:
        """Start as many trials as may begin now: with what is offered first, then ask the tuner."""
        self.start_offers()
        if self._first_asks or self.tuner_is_empty or self.why_none():
            return
        count = self._free_slots()
        if self._trials:
            count -= len(self._phases.offers.promised)  # kept free for what the tuner may launch
        else:
            self._phases.offers.promised.clear()  # nothing runs that it could learn of: it is asked again
        if count <= 0:
            return
        trials = [self._new_trial() for _ in range(count)]
        phases = [self._phases.open(trial) for trial in trials]
        self._first_asks = count
        self._has_news = False
        number = self._outbox.post(
            AskFirst(
                [phase.parameter_id for phase in phases],
                [trial.row.trial_id for trial in trials],
            )
        )
        for phase in phases:
            phase.asked = number

    def on_first_parameters(self, trial: TrialRun, row: PhaseRow, answer: Parameters) -> None:
        """Take in the tuner's answer for a trial that has not started."""
        if answer.text is None:
            self._phases.note_unanswered(row, trial.row.trial_id)
            self._empty.append((trial, row))
        else:
            self._phases.prepare(trial, row, answer)
            self._outbox.start(trial)
        self._first_asks -= 1
        if not self._first_asks:
            if self._empty:
                # What it was told since it was asked, it did not know when it answered.
                self.tuner_is_empty = not self._has_news
                self._drop_empty()
            self.fill()  # the slots that became free meanwhile
            self._on_end()

    def _free_slots(self) -> int:
        free = self._config.trial_concurrency - len(self._trials)
        if self._limits.max_trial_num is not None:
            free = min(free, self._limits.max_trial_num - self._begun)
        left = self._limits.phases_left(self._phases.begun)
        return free if left is None else min(free, left)

    def why_none(self) -> str | None:
        """Return why no further trial may begin; None if one may."""
        if self._experiment.status is not ExperimentStatus.RUNNING:
            return self._phases.closing or self._experiment.status.value
        return self._phases.closing or self._limits.why_no_trial(
            self._begun, self._phases.begun, self._duration()
        )

    def _new_trial(self) -> TrialRun:
        row = TrialRow(new_id(), self._next_sequence_id, self._clock())
        self._next_sequence_id += 1
        self._begun += 1
        trial = TrialRun(row, ManagerConnection(self._config.max_line_length))
        trial.connection.has_assessor = self._outbox.has_assessor
        self._trials[row.trial_id] = trial
        self._store.put_trial(row)
        return trial

    def _drop_empty(self) -> None:
        while self._empty:  # the last first, so that their sequence ids are used again
            self._drop(*self._empty.pop())

    def _drop(self, trial: TrialRun, phase: PhaseRow) -> None:
        """Forget a trial for which there were no parameters: it never was."""
        del self._trials[trial.row.trial_id]
        self._phases.begun -= 1
        self._store.remove_phase(phase)
        self._take_back(trial.row)
        self._outbox.changed()

    def _take_back(self, row: TrialRow) -> None:
        self._found.pop(row.trial_id, None)
        self._begun -= 1
        if row.sequence_id == self._next_sequence_id - 1:
            self._next_sequence_id -= 1
        self._store.remove_trial(row)

    def start(self, trial: TrialRun) -> None:
        """Start a trial whose first parameters are on record, as soon as it has its GPUs."""
        if trial.canceled is not None or self._phases.closing is not None:
            self._end_trial(trial, ExitStatus(None))
        elif self._gpus is not None and trial.row.gpus is None:
            self._gpus.add(trial)
        else:
            self._start(trial)
        if self._gpus is not None:
            self._gpus.note_start(trial)

    def _start(self, trial: TrialRun) -> None:
        row = trial.row
        try:
            identity = self._service.start(self._spec(row))
        except OSError as error:
            record = ErrorRecord(type(error).__name__, str(error))
            self._on_failure(record, "a trial cannot be started", False)
            trial.canceled = (TrialStatus.FAILED, f"it cannot be started: {as_text(error)}")
            self._end_trial(trial, ExitStatus(None))
            return
        row.pid, row.process_start = identity.pid, identity.start
        row.started_at = self._clock()
        self._store.set_trial_status(row, TrialStatus.RUNNING)
        self._times.watch_trial(trial)
        self._outbox.ready()

    def _spec(self, row: TrialRow) -> TrialSpec:
        environment = self._environment(row.trial_id, row.sequence_id)
        if row.gpus is not None:
            environment.update(given_variables(json.loads(row.gpus)))
        return TrialSpec(
            trial_id=row.trial_id,
            sequence_id=row.sequence_id,
            command=self._config.trial.command,
            code_dir=self._config.trial.code_dir,
            environment=environment,
            grace_period=self._config.trial.grace_period,
        )

    # -- trials speak and end ---------------------------------------------------------------------

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

    def watch_phase(self, trial: TrialRun) -> None:
        """A trial was given parameters: watch its time."""
        self._times.watch_phase(trial)

    def on_exit(self, trial_id: str, status: ExitStatus) -> None:
        """A trial and all it started are gone."""
        trial = self._trials[trial_id]
        self._take_in(trial, trial.connection.end_of_output())
        self._end_trial(trial, status)

    def _end_trial(self, trial: TrialRun, exit_status: ExitStatus) -> None:
        row = trial.row
        del self._trials[row.trial_id]
        self._times.forget(trial)
        outcome, reason = trial.outcome(exit_status)
        again = self._is_to_be_repeated(trial, outcome)
        if again:
            row.counts = False
            self._begun -= 1
        self._phases.lose(trial, f"its trial ended: {reason}", again)
        if not exit_status.survivors:
            kept = self._phases.checkpoints.end_trial(row.trial_id)
            self._service.keep_checkpoints(row.trial_id, kept)
        row.exit_status = exit_status.code
        row.reason = reason
        row.ended_at = self._clock()
        self._store.set_trial_status(row, outcome)
        self._outbox.commit()
        self._tell_end(row, trial.first_parameter_id)
        self._check_deaths(trial)
        self._has_news = True
        self.tuner_is_empty = False
        self.fill()
        if self._gpus is not None:
            self._gpus.look()
        self._on_end()

    def _is_to_be_repeated(self, trial: TrialRun, outcome: TrialStatus) -> bool:
        """Say whether no limit counts a trial that ended, and its unended phases are offered again."""
        if outcome is TrialStatus.EARLY_STOPPED:
            return False
        if trial.cut_short:
            return True
        if trial.missed_its_manager:
            return outcome is not TrialStatus.SUCCEEDED or bool(trial.unended)
        if outcome is not TrialStatus.FAILED or self._phases.closing is not None:
            return False
        if trial.row.attempt >= self._config.trial.retries or not trial.has_parameters:
            return False
        trial.row.attempt += 1
        return True

    def _tell_end(self, row: TrialRow, first_parameter_id: int) -> None:
        row.told = self._outbox.post(TrialEnd(first_parameter_id, row.success, row.trial_id))
        if row.assessed is None:
            row.assessed = self._outbox.assess(TrialOver(row.trial_id, row.success))
        self._store.put_trial(row)

    def _check_deaths(self, trial: TrialRun) -> None:
        """End the experiment if trials die as fast as they start."""
        row = trial.row
        if row.started_at is None or row.ended_at is None or trial.missed_its_manager:
            return
        lived = row.ended_at - row.started_at
        asked = not trial.prepared or trial.phases > 1
        why = self._deaths.note_end(row.status, lived, trial.results, asked)
        if why is not None and self.why_none() is None:
            message = (
                f"{why} (the last one: {row.status}, {row.reason}). `mpx logs"
                f" {self._experiment.id}` shows what they printed; when that is mended, `mpx resume"
                f" {self._experiment.id}` goes on"
            )
            error = ErrorRecord("TrialError", message)
            self._on_failure(error, "no further trial is started", True)

    def _on_phase_timeout(self, trial: TrialRun) -> None:
        reason = f"phaseTimeout ({self._limits.phase_timeout:g} s) is over"
        self._phases.time_out(trial, reason)
        self.cancel(trial, TrialStatus.SYS_CANCELED, reason)

    def _on_trial_timeout(self, trial: TrialRun) -> None:
        reason = f"trialTimeout ({self._limits.trial_timeout:g} s) is over"
        self.cancel(trial, TrialStatus.SYS_CANCELED, reason)

    def cancel(self, trial: TrialRun, status: TrialStatus, reason: str) -> None:
        """End a trial."""
        if trial.canceled is None:
            trial.canceled = (status, reason)
            self._times.forget(trial)
            self._service.end(trial.row.trial_id)
            self._stop_waiting(trial)

    def _stop_waiting(self, trial: TrialRun) -> None:
        """Let a trial that waits for GPUs go on to its end."""
        if self._gpus is not None and self._gpus.remove(trial):
            self._outbox.start(trial)

    def _expire(self, trial: TrialRun, reason: str) -> None:
        """End a trial that waited for GPUs until nothing more may begin."""
        trial.cut_short = True
        self.cancel(trial, TrialStatus.SYS_CANCELED, f"it waited for GPUs until {reason}")

    def stop(self) -> None:
        """End all trials, because the user wants it."""
        for trial in self:
            trial.cut_short = True
            self.cancel(trial, TrialStatus.USER_CANCELED, "mpx stop")

    def kill(self) -> None:
        """End all trials without grace."""
        for trial in self:
            self._service.kill(trial.row.trial_id)

    def turn_away(self) -> None:
        """Let no trial wait for the tuner, or to be started, any more."""
        self._drop_empty()
        self._phases.turn_away_late()
        for trial in self:
            if trial.row.status is TrialStatus.WAITING:
                trial.cut_short = True
                self._stop_waiting(trial)
                for phase in [*trial.asking.values()]:
                    self._phases.asking.pop(phase.parameter_id)
                    self._phases.took_back = True
                    self._drop(trial, phase)
            elif trial.asking:
                self._phases.turn_away(trial)


def _as_left(left: LeftTrial, max_line: int, is_alive: bool) -> TrialRun:
    """Return a trial as an earlier manager left it."""
    row = left.row
    running = {p.phase_index: p for p in left.unended if p.status is PhaseStatus.RUNNING}
    connection = ManagerConnection.adopted(
        max_line, left.state, left.last_seq, row.session, row.resends, running
    )
    trial = TrialRun(row, connection, left.first_parameter_id, left.phases, left.results)
    trial.open, trial.newest, trial.before = running, left.newest, left.before
    trial.found_dead, trial.unheard = not is_alive, not left.has_spoken
    if row.status is TrialStatus.WAITING and not is_alive:
        trial.canceled = (TrialStatus.SYS_CANCELED, "the manager died before it was started")
        trial.cut_short = True
    for phase in left.unended:
        if phase.status is PhaseStatus.RUNNING:
            continue
        if phase.parameters is not None:
            trial.prepared.append(phase)
        elif is_alive:
            trial.asking[phase.parameter_id] = phase
        else:
            trial.phases -= 1  # it was taken back
    return trial
