"""Stand-ins for what surrounds the controller: they note what they are told, and do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mpx.experiment import Experiment
from mpx.gpus import Gpu, Look
from mpx.records import ErrorRecord, TrialSpec
from mpx.training_service.base import Identity
from mpx.tuner_calls import Call


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


class FakeTimer:
    """Rings when it is told to."""

    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self.delay = delay
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def ring(self) -> None:
        assert not self.is_cancelled
        self.callback()


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
        self.timers: list[FakeTimer] = []
        self.abandoned: str | None = None
        self.is_resumed = False
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

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(delay, callback)
        self.timers.append(timer)
        return timer

    def read_inbox(self) -> None:
        """Find nothing there."""

    def resumed(self) -> None:
        self.is_resumed = True

    def abandon(self, error: ErrorRecord, reason: str) -> None:
        self.abandoned = f"{reason}: {error.message}"

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


class FakeDevices:
    """GPUs that are taken as it is told, and looked at when it is told to.

    Attributes:
        found: what the next look finds.
        looks: who waits for what it finds.
        is_held: no other manager can look.
    """

    def __init__(self) -> None:
        self.is_held = False
        self.found: Look = (Gpu(0),)
        self.looks: list[Callable[[Look], None]] = []

    def look(self, then: Callable[[Look], None]) -> None:
        assert not self.looks, "one look at a time"
        self.looks.append(then)
        self.is_held = True

    def release(self) -> None:
        self.is_held = False

    def show(self) -> None:
        """Let whoever looks see."""
        (then,) = self.looks
        self.looks.clear()
        then(self.found)


class FakeService:
    """Starts nothing.

    Attributes:
        started: the trials, in order.
        ended: trial ids, as `end` was called.
        killed: trial ids, as `kill` was called.
        logs: what was logged for each trial.
        removed: trial id and path of each checkpoint, as `remove_checkpoint` was called.
        kept: trial id → paths, as `keep_checkpoints` was called.
        start_error: what the next `start` raises.
        living: trial ids of those that `find` finds.
        adopted: trial id → the identity it was adopted with, None if it had ended.
        on_start: called before a trial starts.
        on_send: called with a trial's id and what is sent to it.
    """

    def __init__(self) -> None:
        self.started: list[TrialSpec] = []
        self.ended: list[str] = []
        self.killed: list[str] = []
        self.logs: dict[str, bytes] = {}
        self.removed: list[tuple[str, str]] = []
        self.kept: dict[str, set[str]] = {}
        self.start_error: OSError | None = None
        self.living: set[str] = set()
        self.adopted: dict[str, Identity | None] = {}
        self.on_start: Callable[[TrialSpec], None] = lambda spec: None
        self.on_send: Callable[[str, bytes], None] = lambda trial_id, data: None

    def owns_checkpoint(self, trial_id: str, path: str) -> bool:
        return "/checkpoints/" in path

    def remove_checkpoint(self, trial_id: str, path: str) -> None:
        self.removed.append((trial_id, path))

    def keep_checkpoints(self, trial_id: str, paths: Collection[str]) -> None:
        self.kept[trial_id] = {*paths}

    def start(self, spec: TrialSpec) -> Identity:
        if self.start_error is not None:
            raise self.start_error
        self.on_start(spec)
        self.started.append(spec)
        self.logs[spec.trial_id] = b""
        self.living.add(spec.trial_id)
        return Identity(1000 + len(self.started), f"boot:{len(self.started)}")

    def find(self, trial_id: str, identity: Identity | None) -> Identity | None:
        return (identity or Identity(1, "boot:0")) if trial_id in self.living else None

    def adopt(self, spec: TrialSpec, identity: Identity | None, session: str | None) -> None:
        self.adopted[spec.trial_id] = identity
        self.logs.setdefault(spec.trial_id, b"")

    def send(self, trial_id: str, data: bytes) -> None:
        self.on_send(trial_id, data)

    def log(self, trial_id: str, data: bytes) -> None:
        self.logs[trial_id] += data

    def end(self, trial_id: str) -> None:
        self.ended.append(trial_id)

    def kill(self, trial_id: str) -> None:
        self.killed.append(trial_id)
