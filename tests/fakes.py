"""Stand-ins for what surrounds the controller: they note what they are told, and do nothing else."""

from __future__ import annotations

from collections.abc import Callable

from mpx.experiment import Experiment
from mpx.records import TrialSpec
from mpx.training_service.base import Identity
from mpx.tuner_host import Call


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeMailbox:
    """Takes the tuner's calls, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def post(self, calls: list[Call]) -> None:
        self.calls += calls


class FakeTurns:
    """A loop that turns when it is told to, and a disk that syncs when it is told to.

    Attributes:
        commit_is_due: `commit_soon` was called.
        is_ready: `ready` was called.
        is_finished: `finished` was called.
        syncs: how often `when_durable` was called.
        syncs_at_once: what waits for the disk is not kept waiting.
    """

    def __init__(self) -> None:
        self.commit_is_due = False
        self.is_ready = False
        self.is_finished = False
        self.syncs = 0
        self.syncs_at_once = True
        self._turn_is_due = False
        self._waiting: list[Callable[[], None]] = []

    def end_turn_soon(self) -> None:
        assert not self._turn_is_due, "one turn ends once"
        self._turn_is_due = True

    def commit_soon(self) -> None:
        self.commit_is_due = True

    def when_durable(self, then: Callable[[], None]) -> None:
        self.syncs += 1
        self._waiting.append(then)
        if self.syncs_at_once:
            self.sync()

    def ready(self) -> None:
        self.is_ready = True

    def finished(self) -> None:
        self.is_finished = True

    def run(self, experiment: Experiment) -> None:
        """End turns until there is none to end."""
        while self._turn_is_due:
            self._turn_is_due = False
            experiment.end_turn()

    def sync(self) -> None:
        """Do what waited for the disk."""
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


class FakeService:
    """Starts nothing.

    Attributes:
        started: the trials, in order.
        ended: trial ids, as `end` was called.
        killed: trial ids, as `kill` was called.
        logs: what was logged for each trial.
        start_error: what the next `start` raises.
        on_start: called before a trial starts.
        on_send: called with a trial's id and what is sent to it.
    """

    def __init__(self) -> None:
        self.started: list[TrialSpec] = []
        self.ended: list[str] = []
        self.killed: list[str] = []
        self.logs: dict[str, bytes] = {}
        self.start_error: OSError | None = None
        self.on_start: Callable[[TrialSpec], None] = lambda spec: None
        self.on_send: Callable[[str, bytes], None] = lambda trial_id, data: None

    def start(self, spec: TrialSpec) -> Identity:
        if self.start_error is not None:
            raise self.start_error
        self.on_start(spec)
        self.started.append(spec)
        self.logs[spec.trial_id] = b""
        return Identity(1000 + len(self.started), f"boot:{len(self.started)}")

    def send(self, trial_id: str, data: bytes) -> None:
        self.on_send(trial_id, data)

    def log(self, trial_id: str, data: bytes) -> None:
        self.logs[trial_id] += data

    def end(self, trial_id: str) -> None:
        self.ended.append(trial_id)

    def kill(self, trial_id: str) -> None:
        self.killed.append(trial_id)
