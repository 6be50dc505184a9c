"""What one turn of the manager's loop notes, and the order in which it is done.

Handlers change rows and *note* what is to be done: bytes to send, calls to post, trials to start. When
the turn ends, `Outbox.end_turn` commits once, and only then sends, posts and starts. So a trial never
sees what the store might lose, and a result is posted to the tuner before the next request of its
trial. Acknowledgements wait for the disk as well.

A commit that fails leaves the notes as they are: the next turn tries again, and does all of it.

Rows that nothing waits for (a request that the tuner is about to answer, an intermediate result) do not
force a commit: they go with the next one, or soon (`Turns.commit_soon`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mpx.assessor_calls import AssessorCall, LoadAssessor
from mpx.host import Finish
from mpx.records import LOG_MARK, ErrorRecord
from mpx.store import Store
from mpx.training_service.base import TrainingService
from mpx.trial_run import TrialRun
from mpx.tuner_calls import Call, ForgetCheckpoints, SaveCheckpoint


class Cancellable(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Let it not be called."""


class Turns(Protocol):
    """What the controller needs of the manager's loop."""

    def end_turn_soon(self) -> None:
        """Call `end_turn` when the events at hand are handled."""

    def commit_soon(self) -> None:
        """Call `commit` within a moment, unless a turn commits first."""

    def when_durable(self, then: Callable[[], None]) -> None:
        """Call `then` once all that is committed now would survive a loss of power."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        """Call back in so many seconds, unless it is cancelled."""

    def ready(self) -> None:
        """The first trial runs, or the experiment ended before one could."""

    def read_inbox(self) -> None:
        """Call `on_letters` with those from the user that wait."""

    def resumed(self) -> None:
        """What an earlier manager left is taken over."""

    def abandon(self, error: ErrorRecord, reason: str) -> None:
        """What an earlier manager left cannot be taken over; nothing of it was changed."""

    def finished(self) -> None:
        """The experiment ended and the tuner said goodbye."""


class Mailbox(Protocol):
    """Where calls for the tuner go; a `TunerHost`."""

    def post(self, calls: list[Call]) -> None:
        """Have the tuner called in this order."""


class AssessorMailbox(Protocol):
    """Where calls for the assessor go; an `AssessorHost`."""

    def post(self, calls: list[AssessorCall]) -> None:
        """Have the assessor called in this order."""


@dataclass(slots=True)
class _Notes:
    """What is to be done at the end of a turn."""

    commit: bool = False
    sync: bool = False
    ready: bool = False
    sends: list[tuple[str, bytes]] = field(default_factory=list)
    acks: list[tuple[TrialRun, str | None, bytes]] = field(default_factory=list)
    removals: list[tuple[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    assessor_calls: list[AssessorCall] = field(default_factory=list)
    starts: list[TrialRun] = field(default_factory=list)


class Outbox:
    """Takes notes during a turn and acts on them at its end.

    Args:
        store: committed first.
        tuner: takes the calls.
        service: takes what is sent to trials.
        turns: the loop.
        start: starts a trial.
        clock: seconds since the epoch.
        assessor: takes its calls; None where there is none.

    Attributes:
        takes_calls: the tuner has not failed.
        last_call: number of the last call for the tuner.
        last_assessor_call: and of the last one for the assessor.
    """

    def __init__(
        self,
        store: Store,
        tuner: Mailbox,
        service: TrainingService,
        turns: Turns,
        start: Callable[[TrialRun], None],
        clock: Callable[[], float],
        assessor: AssessorMailbox | None = None,
    ) -> None:
        self._store = store
        self._tuner = tuner
        self._assessor = assessor
        self._service = service
        self._turns = turns
        self._start = start
        self._clock = clock
        self._notes = _Notes()
        self._is_ending = False
        self._stamped = 0
        self._stamp_text = "1970-01-01T00:00:00Z"
        self.takes_calls = True
        self.last_call = 0
        self.last_assessor_call = 0

    def end_turn(self) -> None:
        """Commit what the turn changed, then send, post and start what it noted.

        Raises:
            StoreError: nothing was committed, and nothing done.
        """
        self._is_ending = False
        if self._notes.commit:
            self._store.commit()
        elif self._store.pending:
            self._turns.commit_soon()
        notes, self._notes = self._notes, _Notes()
        if notes.ready:
            self._turns.ready()
        if notes.sync:
            self._turns.when_durable(lambda: self._send_acks(notes.acks))
        self._send_all(notes.sends)
        if notes.calls:
            self._tuner.post(notes.calls)
        if notes.assessor_calls and self._assessor is not None:
            self._assessor.post(notes.assessor_calls)
        for trial in notes.starts:
            self._start(trial)
        if notes.removals:  # a loss of power must not bring back the record of a file that is gone
            self._turns.when_durable(lambda: self._remove_all(notes.removals))

    def changed(self) -> None:
        """Note that rows changed which nobody waits for."""
        self._note()

    def commit(self) -> None:
        """Note that this turn's rows are to be on record when it ends."""
        self._note().commit = True

    def ready(self) -> None:
        """Note that the experiment runs, or never will."""
        notes = self._note()
        notes.commit = notes.ready = True

    def send(self, trial: TrialRun, data: bytes) -> None:
        """Note bytes for a trial; what they tell is committed before."""
        notes = self._note()
        notes.commit = True
        notes.sends.append((trial.row.trial_id, data))

    def acknowledge(self, trial: TrialRun) -> None:
        """Note that what the trial reported is to be durable, and the trial, if it listens, told."""
        notes = self._note()
        notes.commit = notes.sync = True
        if trial.connection.greeted:
            connection = trial.connection
            if notes.acks and notes.acks[-1][0] is trial:
                notes.acks.pop()  # the next one says that as well
            notes.acks.append((trial, connection.session, connection.ack()))

    def post(self, call: Call) -> int | None:
        """Note a call for the tuner, unless it has failed.

        Returns:
            The call's number, to be recorded in this turn; None if the tuner has failed.
        """
        if not self.takes_calls:
            return None
        self._note().calls.append(call)
        self.last_call += 1
        return self.last_call

    def post_unnumbered(self, call: Call) -> None:
        """Note a call for the tuner that needs no replay: what it tells is on record otherwise."""
        if self.takes_calls:
            self._note().calls.append(call)

    @property
    def has_assessor(self) -> bool:
        """Whether there is one to be told of intermediate results and ends."""
        return self._assessor is not None

    def load_assessor(self, call: LoadAssessor) -> None:
        """Note the call that every other one for the assessor follows."""
        self._note().assessor_calls.append(call)

    def assess(self, call: AssessorCall) -> int | None:
        """Note a call for the assessor.

        Returns:
            The call's number, to be recorded in this turn; None if there is no assessor.
        """
        if self._assessor is None:
            return None
        self._note().assessor_calls.append(call)
        self.last_assessor_call += 1
        return self.last_assessor_call

    def save_checkpoint(self) -> None:
        """Note that the tuner is to save what it knows by now, unless it has failed."""
        if self.takes_calls:
            self._note().calls.append(SaveCheckpoint(self.last_call))

    def forget_older_checkpoints(self, number: int) -> None:
        """Note that once this turn is on record no checkpoint older than this one is needed."""
        notes = self._note()
        notes.commit = True
        notes.calls.append(ForgetCheckpoints(number))

    def remove_checkpoint(self, trial_id: str, path: str) -> None:
        """Note that what a trial's phase has saved goes once that is on record."""
        notes = self._note()
        notes.commit = True
        notes.removals.append((trial_id, path))

    def post_last(self, call: Finish) -> None:
        """Note the call that ends the tuner, failed or not, and the assessor."""
        notes = self._note()
        notes.calls.append(call)
        notes.assessor_calls.append(call)

    def start(self, trial: TrialRun) -> None:
        """Note that a trial is to start; the store knows of it before."""
        notes = self._note()
        notes.commit = True
        notes.starts.append(trial)

    def mark(self, trial: TrialRun, text: str) -> None:
        """Say in the trial's log, now, what happens between its lines."""
        self._service.log(trial.row.trial_id, f"{LOG_MARK}{self._stamp()}] {text}\n".encode())

    def _stamp(self) -> str:
        second = int(self._clock())
        if second != self._stamped:
            self._stamped = second
            self._stamp_text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        return self._stamp_text

    def _note(self) -> _Notes:
        if not self._is_ending:
            self._is_ending = True
            self._turns.end_turn_soon()
        return self._notes

    def _send_all(self, sends: list[tuple[str, bytes]]) -> None:
        for trial_id, data in sends:
            self._service.send(trial_id, data)

    def _remove_all(self, removals: list[tuple[str, str]]) -> None:
        for trial_id, path in removals:
            self._service.remove_checkpoint(trial_id, path)

    def _send_acks(self, acks: list[tuple[TrialRun, str | None, bytes]]) -> None:
        for trial, session, data in acks:
            # Another process that speaks by now would take the number for one of its own.
            if trial.connection.session == session:
                self._service.send(trial.row.trial_id, data)
