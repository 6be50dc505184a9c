"""A stage for the controller: a real store, real conversations, and fakes for all the rest.

What happens is written as a list of events, which `Stage.replay` plays one turn at a time; what the
controller may never do is checked while it plays.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mpx.assessor_calls import Assess, AssessorCall, LoadAssessor, PhaseOver, TrialOver
from mpx.assessor_host import AssessorHost
from mpx.config.model import ExperimentConfig, TrialConfig, TunerConfig
from mpx.experiment import Experiment
from mpx.history import StoredHistory
from mpx.host import Finish, Finished
from mpx.inbox import Letter
from mpx.protocol import TrialConnection
from mpx.records import ErrorRecord, ExitStatus, TrialSpec
from mpx.rows import ExperimentRow
from mpx.store import Store
from mpx.tuner import Continued
from mpx.tuner_calls import (
    Ask,
    AskBatch,
    AskFirst,
    Call,
    Enqueued,
    Failed,
    Import,
    InUse,
    Launched,
    Loaded,
    Parameters,
    PhaseEnd,
    Recorded,
    Tell,
    TrialEnd,
)
from mpx.wire import TAG, encode
from tests.counts import assert_counts
from tests.fakes import FakeClock, FakeDevices, FakeMailbox, FakeService, FakeTurns

_UNENDED = ("WAITING", "RUNNING")
_MEETS = {
    "parameters": ("parameters", "no_more", "error"),
    "ack": ("ack", "error"),
    "verdict": ("verdict", "error"),
}


class Peer:
    """The trial's end of one conversation.

    Attributes:
        heard: the manager's messages.
        raw: the bytes they came in.
        connection: the side of the process that spoke last; None where none said hello.
        awaits: what that process waits for: "parameters", "ack" or "verdict".
        verdicts: the answers to the results that waited for one: why to stop, None to go on.
        saved: session and number of message → the path that it named.
    """

    def __init__(self, write: Callable[[bytes], None], max_line: int) -> None:
        self.heard: list[dict[str, Any]] = []
        self.raw = b""
        self.connection: TrialConnection | None = None
        self.awaits: str | None = None
        self.verdicts: list[str | None] = []
        self.saved: dict[tuple[str, int], str] = {}
        self.is_alive = True
        self._write = write
        self._max_line = max_line
        self._sessions = 0

    def hello(self) -> TrialConnection:
        """Begin to speak as a new process of the trial."""
        self._sessions += 1
        self.connection = TrialConnection(self._max_line)
        self.connection.hello("test", self._sessions, f"session {self._sessions}")
        self._say()
        return self.connection

    def ask(self, count: int | None = None) -> None:
        self._speaker().request(count)
        self._say(awaits="parameters")

    def report(self, value: Any, *phases: int | None) -> None:
        """Report the same of some phases, before any is acknowledged; None is the only one open."""
        for phase in phases:
            self._speaker().final(value, phase)
        self._say(awaits="ack")

    def mention(self, value: Any, waits: bool = False, phase: int | None = None) -> None:
        self._speaker().intermediate(value, phase, verdict=waits)
        self._say(awaits="verdict" if waits else None)

    def fail(self, kind: str, message: str, traceback: str, phase: int | None = None) -> None:
        self._speaker().failed(kind, message, traceback, phase)
        self._say(awaits="ack")

    def save(self, path: str, phase: int | None = None) -> None:
        """Say that a phase has saved this."""
        connection = self._speaker()
        connection.checkpoint(path, phase)
        self.saved[connection.session, connection.seq] = path
        self._say(awaits="ack")

    def say_again(self) -> bool:
        """Say what another manager has to be told again; False if there is nothing."""
        if self.connection is None or not self.connection.to_write or not self.is_alive:
            return False
        self._say(self.awaits)
        return True

    def hear(self, data: bytes) -> None:
        self.raw += data
        if self.connection is None:
            self.heard += [json.loads(line) for line in data.splitlines() if line]
            return
        for message in self.connection.receive(data):
            self.heard.append(message)
            answers = message["type"] in _MEETS.get(self.awaits, ())
            if answers and message["seq"] in (self.connection.seq, None):  # None: an error's
                if message["type"] == "verdict":
                    self.verdicts.append(message.get("reason"))
                self.awaits = None

    def _speaker(self) -> TrialConnection:
        return self.connection or self.hello()

    def _say(self, awaits: str | None = None) -> None:
        self.awaits = awaits
        assert self.connection is not None
        waiting = self.connection.to_write
        data = b"".join(write for _, writes in waiting for write in writes)
        waiting.clear()
        self._write(data)

    def answers(self) -> list[str]:
        """Return what the manager answered to each ask: parameters, those of a batch side by side, or why
        there are none.
        """
        texts = {
            "parameters": lambda message: " ".join(
                encode(p["parameters"]) for p in phases_of(message)
            ),
            "no_more": lambda message: f"no more: {message['reason']}",
            "error": lambda message: f"error: {message['message']}",
        }
        return [texts[m["type"]](m) for m in self.heard if m["type"] in texts]


def phases_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the phases that a message with parameters opens."""
    found: list[dict[str, Any]] = message.get("phases", [message])
    return found


class Tuner:
    """Reads what is posted for the tuner, and checks that it comes in an order a tuner can stand.

    Args:
        counts: says whether a phase of that parameter_id, in that trial, is on record and is not to be
            tried again.

    Attributes:
        given: trial → the parameter_ids that it was given.
        ended: those that have ended, each once.
    """

    def __init__(self, counts: Callable[[int, str], bool]) -> None:
        self._counts = counts
        self.questions: deque[int] = deque()
        self.story: list[str] = []
        self.failed = False
        self.given: dict[str, list[int]] = {}
        self._asked: dict[str, list[int]] = {}  # by trial, in order
        self._batches: dict[int, set[int]] = {}  # parameter_id → those behind it in its batch
        self._refused: set[int] = set()
        self._behind_refused: set[int] = set()
        self._unasked: set[int] = set()  # has parameters, and no trial that asked for it
        self.ended: Counter[int] = Counter()
        self._gone: set[str] = set()
        self._finished = False

    def read(self, call: Call) -> None:
        assert not self._finished, f"{call} comes after the last call"
        assert not self.failed or isinstance(call, Finish), f"a failed tuner is called: {call}"
        self._READERS[type(call)](self, call)

    def answer(self, parameters: Any) -> Parameters:
        """Answer the question that has waited longest."""
        parameter_id = self.questions.popleft()
        if parameters is None or parameter_id in self._behind_refused:
            self._refuse(parameter_id)
            return Parameters(parameter_id, None)
        if isinstance(parameters, Continued):
            text = encode(parameters.parameters)
            return Parameters(parameter_id, text, parent=parameters.parent)
        return Parameters(parameter_id, encode(parameters))

    def _refuse(self, parameter_id: int) -> None:
        """There are no parameters for this, nor for what is behind it in its batch."""
        if (
            parameter_id not in self.ended
        ):  # else it was to be answered again, and nobody waits for that
            self._refused.add(parameter_id)
        self._behind_refused |= self._batches.get(parameter_id, set())

    def promise(self) -> Parameters:
        """Answer the question that has waited longest: none now, maybe later."""
        parameter_id = self.questions.popleft()
        self._refuse(parameter_id)
        return Parameters(parameter_id, None, is_promised=True)

    def launch(self, parameter_id: int, parameters: Any) -> Launched:
        """Have parameters for what had none."""
        self.knows(parameter_id)
        return Launched(parameter_id, encode(parameters))

    def knows(self, parameter_id: int) -> None:
        """There are parameters for it, whoever asked."""
        self._refused.discard(parameter_id)
        self._unasked.add(parameter_id)

    def read_again(self, recorded: Recorded) -> None:
        """Read a call of an earlier manager, whose answers are on record."""
        self.read(recorded.call)
        for parameter_id, text in recorded.answers.items():
            self.questions.remove(parameter_id)
            if text is None and parameter_id not in self._unasked:
                self._refuse(parameter_id)

    def fail(self) -> None:
        """Answer nothing any more; nothing but the last call may come."""
        self.failed = True
        self.questions.clear()

    def check_end(self) -> None:
        """Everything that was handed out has ended, every trial is gone, and that was said last."""
        assert self._finished
        for trial_id, asked in self._asked.items():
            if not self.failed and any(self._counts(number, trial_id) for number in asked):
                assert trial_id in self._gone
                self._check_ended(asked, trial_id)

    def _read_first(self, call: AskFirst) -> None:
        self.story.append("first " + " ".join(map(str, call.parameter_ids)))
        for parameter_id, trial_id in zip(call.parameter_ids, call.trial_ids, strict=True):
            assert trial_id not in self._asked
            self._asked[trial_id] = [parameter_id]
            self.questions.append(parameter_id)

    def _read_ask(self, call: Ask) -> None:
        self._read_asks(call.trial_id, [call.parameter_id])

    def _read_batch(self, call: AskBatch) -> None:
        assert len(call.parameter_ids) > 1
        self._read_asks(call.trial_id, [*call.parameter_ids])

    def _read_asks(self, trial_id: str, parameter_ids: list[int]) -> None:
        self.story.append(f"ask {' '.join(map(str, parameter_ids))}")
        self._check_ended(self.given.get(trial_id, []), trial_id)
        self._asked.setdefault(trial_id, []).extend(parameter_ids)
        self.questions.extend(parameter_ids)
        for n, parameter_id in enumerate(parameter_ids):
            self._batches[parameter_id] = {*parameter_ids[n + 1 :]}

    def _read_tell(self, call: Tell) -> None:
        self.story.append(f"tell {call.parameter_id} {encode(call.value)}")
        self._end_phase(call.trial_id, call.parameter_id)

    def _read_phase_end(self, call: PhaseEnd) -> None:
        self.story.append(f"end {call.parameter_id}")
        self._end_phase(call.trial_id, call.parameter_id)

    def _end_phase(self, trial_id: str, parameter_id: int) -> None:
        assert parameter_id in self._unasked.union(*self._asked.values())
        assert parameter_id not in self._refused
        assert trial_id not in self._gone
        self.ended[parameter_id] += 1
        assert self.ended[parameter_id] == 1, f"{parameter_id} ended twice"

    def _read_trial_end(self, call: TrialEnd) -> None:
        self.story.append(f"gone {call.parameter_id} {'well' if call.success else 'ill'}")
        assert call.parameter_id == self._first(call)
        assert call.trial_id not in self._gone
        self._check_ended(self._asked.get(call.trial_id, []), call.trial_id)
        self._gone.add(call.trial_id)

    def _read_enqueued(self, call: Enqueued) -> None:
        self.story.append(f"enqueued {call.parameter_id} {call.text}")
        self._unasked.add(call.parameter_id)

    def _read_import(self, call: Import) -> None:
        self.story.append(f"import {call.text}")

    def _read_finish(self, call: Finish) -> None:
        self.story.append(f"finish {'well' if call.well else 'ill'}")
        self._finished = True

    def _check_ended(self, parameter_ids: list[int], trial_id: str) -> None:
        """All these phases of a trial have ended; before it asks, that is the promise of order."""
        for parameter_id in parameter_ids:
            if parameter_id not in self._refused and self._counts(parameter_id, trial_id):
                assert self.ended[parameter_id] == 1, parameter_id

    def _first(self, call: TrialEnd) -> int:
        """Return the parameter_id of the trial's first phase; one that was tried again is not asked for."""
        if call.parameter_id in self._unasked:
            return call.parameter_id
        asked = self._asked.get(call.trial_id, [])
        others = {p for trial, ids in self._asked.items() if trial != call.trial_id for p in ids}
        return call.parameter_id if call.parameter_id in others else asked[0]

    _READERS: dict[type, Callable[[Tuner, Any], None]] = {
        AskFirst: _read_first,
        Ask: _read_ask,
        AskBatch: _read_batch,
        Tell: _read_tell,
        PhaseEnd: _read_phase_end,
        TrialEnd: _read_trial_end,
        Enqueued: _read_enqueued,
        Import: _read_import,
        Finish: _read_finish,
    }


class Judge:
    """An assessor to whom a number below zero is bad, and "boom" a reason to fail.

    Args:
        number_of: returns the number of a trial, by its id.

    Attributes:
        story: what it was shown, and which curves ended.
    """

    def __init__(self, number_of: Callable[[str], int]) -> None:
        self._number_of = number_of
        self.story: list[str] = []

    def assess_trial(self, name: str, history: list[Any]) -> bool:
        self._note(name, encode(history))
        if history[-1] == "boom":
            raise ValueError("boom")
        return bool(history[-1] >= 0)

    def trial_end(self, name: str, success: bool) -> None:
        self._note(name, "well" if success else "ill")

    def _on_exit(self) -> None:
        self.story.append("finish well")

    def _on_error(self) -> None:
        self.story.append("finish ill")

    def _note(self, name: str, what: str) -> None:
        trial, dot, phase = name.partition(".")
        self.story.append(f"{self._number_of(trial)}{dot}{phase} {what}")


class Assessor:
    """A `Judge` in its host, which makes calls when it is told to, and what must be true of those.

    Attributes:
        calls: those that were posted and wait.
        at_once: none is kept waiting.
        closed_meanwhile: `mpx stop` ended what a dead manager left, and could tell nobody.
    """

    def __init__(self, judge: Judge, judges_trials: bool) -> None:
        self.judge = judge
        self._judges_trials = (
            judges_trials  # it may be told of the end of phases that it was not shown
        )
        self.calls: deque[AssessorCall] = deque()
        self.at_once = True
        self.closed_meanwhile = False
        self._host = AssessorHost()
        self._open: set[tuple[str, int]] = set()
        self._over: set[tuple[str, int] | str] = set()

    def post(self, calls: list[AssessorCall]) -> None:
        self.calls += calls

    def load(self, history: str, calls: list[Any]) -> LoadAssessor:
        for call in calls:
            self._check(call)
        return LoadAssessor(lambda: Judge, lambda judge_class: self.judge, history, calls)

    def answers(self) -> list[Any]:
        """Make the calls up to one that is answered, and return that answer."""
        found: list[Any] = []
        while self.calls and not found:
            found = self._make(self.calls.popleft())
        return found

    def _make(self, call: AssessorCall) -> list[Any]:
        self._check(call)
        self._host._run(call)
        return self._host.collect()

    def _check(self, call: AssessorCall) -> None:
        if isinstance(call, (Assess, PhaseOver)):
            phase = (call.trial_id, call.phase_index)
            assert not {phase, call.trial_id} & self._over, f"{call} comes after the end"
            if isinstance(call, Assess):
                self._open.add(phase)
            else:
                is_shown = phase in self._open or self._judges_trials
                assert is_shown, f"{call} tells of what was never shown"
                self._open.discard(phase)
                self._over.add(phase)
        elif isinstance(call, TrialOver):
            assert call.trial_id not in self._over
            left = {phase for phase in self._open if phase[0] == call.trial_id}
            assert self.closed_meanwhile or not left, "a trial ends before its phases"
            self._open -= left
            self._over.add(call.trial_id)

    def check_end(self) -> None:
        """Every curve has ended."""
        assert not self._open
        assert not self._host._curves or self._host._failed

    def close(self) -> None:
        os.close(self._host.fileno())


class Stage:
    """One experiment with everything around it.

    Args:
        directory: for the store.
        assessor: what an assessor judges as one, `phase` or `trial`; None: there is none.
        config: fields of the experiment's configuration.
    """

    def __init__(self, directory: Path, assessor: str | None = None, **config: Any) -> None:
        trial = TrialConfig("train", "/code", grace_period=3.0)
        usual = {"tuner": TunerConfig("Random"), "trial": trial, "multi_phase": True}
        self.config = ExperimentConfig("stage", **{**usual, **config})
        self._history_is_of = assessor
        self.assessor = self._new_assessor()
        self.clock = FakeClock()
        self.turns = FakeTurns()
        self.mailbox = FakeMailbox()
        self.service = FakeService()
        self.devices = FakeDevices()
        self.service.on_send, self.service.on_start = self._on_send, self._on_start
        self.tuner = Tuner(self._counts)
        self.peers: dict[str, Peer] = {}
        self.path = directory / "experiment.db"
        self.store = Store(self.path)
        self._disk = sqlite3.connect(self.path, isolation_level=None)  # sees only what is committed
        self._calls_read = 0
        self.in_use: frozenset[int] | None = None  # what the tuner says of itself
        self.row = ExperimentRow(
            "Stage123",
            "stage",
            self.clock.now,
            self.config.multi_phase,
            self.config.trial_concurrency,
            self.config.max_trial_num,
            self.config.max_phase_num,
            self.config.optimize_mode or "maximize",
            7,
        )
        self.store.put_experiment(self.row)
        self.store.commit()
        self.experiment = self._experiment()

    def _new_assessor(self) -> Assessor | None:
        kind = self._history_is_of
        return Assessor(Judge(self.number_of), kind == "trial") if kind else None

    def _experiment(self, assessor_calls: Iterable[Any] = ()) -> Experiment:
        load_assessor = None
        if self.assessor is not None and self._history_is_of is not None:
            load_assessor = self.assessor.load(self._history_is_of, [*assessor_calls])
        return Experiment(
            self.config,
            self.row,
            self.store,
            self.mailbox,
            self.service,
            self.turns,
            lambda trial_id, sequence_id: {"MPX_TRIAL_ID": trial_id},
            clock=self.clock,
            assessor=self.assessor,
            load_assessor=load_assessor,
            devices=self.devices,
        )

    def crash(self, *dead: int) -> None:
        """The manager dies, and with it the trials of these numbers; another one begins.

        What was not committed is gone. The tuner's calls on record are made again; what it never
        answered, it answers now.
        """
        for number in dead:
            self.service.living.discard(self.trial_id(number))
        self.store._connection.close()  # as a death does, and unlike `close`
        os.close(self.store._wal_fd)
        syncs_at_once = self.turns.syncs_at_once
        self.turns, self.mailbox, self._calls_read = FakeTurns(), FakeMailbox(), 0
        self.turns.syncs_at_once = syncs_at_once
        self.devices.looks.clear()
        self.store = Store(self.path)
        history = StoredHistory(self.path)
        past = history.read()
        assert past is not None
        self.row = past.experiment
        before = self.assessor
        self._close_assessor()
        self.assessor = self._new_assessor()
        self.experiment = self._experiment(history.assessor_calls())
        self.experiment.restore(past)
        self.store.commit()
        given, self.tuner = self.tuner.given, Tuner(self._counts)
        for parameter_id in history.parameters(0):
            self.tuner.knows(parameter_id)
        for recorded in history.calls(0):
            self.tuner.read_again(recorded)
        self.tuner.given = given
        if self.assessor is not None and before is not None:
            self.assessor.at_once = before.at_once
            self.assessor.closed_meanwhile = before.closed_meanwhile

    def resume(self) -> None:
        """The tuner is rebuilt, and the trials that live are adopted; the others have their end."""
        late = [self.tuner.answer("late") for _ in [*self.tuner.questions]]
        self.experiment.on_answers([*late, Loaded(None, in_use=self.in_use)])
        self.turn()
        self.load_assessor()
        for trial_id, identity in [*self.service.adopted.items()]:
            if identity is None:
                del self.service.adopted[trial_id]
                self.experiment.listener.on_exit(trial_id, ExitStatus(None))
                self.turn()

    def _close_assessor(self) -> None:
        if self.assessor is not None:
            self.assessor.close()

    def close(self) -> None:
        self._close_assessor()
        self._disk.close()
        self.store.close()

    def replay(self, *events: Callable[[Stage], None]) -> None:
        """Play events, each in a turn of its own."""
        for event in events:
            event(self)
            self.turn()

    def turn(self) -> None:
        """End the turn, and let the tuner read its mail."""
        self._turn_once()
        while sum(peer.say_again() for peer in self.peers.values()):
            self._turn_once()

    def _turn_once(self) -> None:
        self.turns.run(self.experiment)
        self._read_mail()
        while self.assessor is not None and self.assessor.at_once and self.judge():
            self.turns.run(self.experiment)
            self._read_mail()

    def judge(self) -> bool:
        """Let the assessor answer once; say whether it had anything to answer."""
        assert self.assessor is not None
        found = self.assessor.answers()
        # The end is for `check_end` to tell.
        self.experiment.on_answers([each for each in found if not isinstance(each, Finished)])
        return bool(found)

    def load_assessor(self) -> None:
        """The assessor, if there is one, is constructed and makes its calls on record again."""
        if self.assessor is not None and not self.assessor.at_once:
            self.judge()
            self.turn()

    def _read_mail(self) -> None:
        while self._calls_read < len(self.mailbox.calls):
            self.tuner.read(self.mailbox.calls[self._calls_read])
            self._calls_read += 1

    # -- what a trial does ------------------------------------------------------------------------

    def trial_id(self, number: int) -> str:
        """Return the id of the trial that started as number `number`."""
        return self.service.started[number].trial_id

    def number_of(self, trial_id: str) -> int:
        """Return the number of the trial of this id."""
        return [spec.trial_id for spec in self.service.started].index(trial_id)

    def peer(self, number: int) -> Peer:
        return self.peers[self.trial_id(number)]

    def says(self, trial_id: str, data: bytes) -> None:
        self.experiment.listener.on_output(trial_id, data)

    def _on_start(self, spec: TrialSpec) -> None:
        (parameters,) = self._one(
            """SELECT parameters FROM phases JOIN trials USING (sequence_id)
            WHERE trial_id = ? AND trials.status = 'WAITING'""",
            spec.trial_id,
        )
        assert parameters is not None, "a trial starts before its parameters are on disk"
        self.peers[spec.trial_id] = Peer(
            lambda data: self.says(spec.trial_id, data), self.config.max_line_length
        )

    def _on_send(self, trial_id: str, data: bytes) -> None:
        peer = self.peers[trial_id]
        before, seq = len(peer.heard), peer.connection and peer.connection.seq
        awaits_ack = peer.awaits == "ack"
        peer.hear(data)
        for message in peer.heard[before:]:
            # To another manager's welcome belongs an ack of whatever came last.
            if message["type"] != "ack" or (awaits_ack and message["seq"] == seq):
                self._check_is_on_disk(trial_id, message)

    def _check_is_on_disk(self, trial_id: str, message: dict[str, Any]) -> None:
        """Nothing is sent before it is committed."""
        if message["type"] == "parameters":
            for phase in phases_of(message):
                self._check_given(trial_id, phase, message)
        elif message["type"] == "ack" and (path := self._saved(trial_id, message["seq"])):
            assert self._one("SELECT 1 FROM phases WHERE checkpoint = ?", path) is not None
        elif message["type"] == "ack":
            (status,) = self._one(
                """SELECT p.status FROM phases p JOIN trials t USING (sequence_id)
                WHERE t.trial_id = ? AND p.final_seq = ? ORDER BY p.id DESC""",
                trial_id,
                message["seq"],
            )
            assert status in ("SUCCEEDED", "FAILED", "EARLY_STOPPED")
        elif message["type"] == "verdict" and message["stop"]:
            found = self._one(
                """SELECT 1 FROM phases JOIN trials USING (sequence_id)
                WHERE trial_id = ? AND phases.status = 'RUNNING' AND stopped = ?""",
                trial_id,
                message["reason"],
            )
            assert found is not None

    def _saved(self, trial_id: str, seq: int) -> str | None:
        peer = self.peers[trial_id]
        return peer.saved.get((peer.connection.session, seq)) if peer.connection else None

    def _check_given(self, trial_id: str, phase: dict[str, Any], message: dict[str, Any]) -> None:
        number = phase["parameter_id"]
        self.tuner.given.setdefault(trial_id, []).append(number)
        text, parent = self._one(
            "SELECT parameters, parent FROM phases WHERE parameter_id = ? AND status = 'RUNNING'",
            number,
        )
        assert (text, parent) == (encode(phase["parameters"]), phase.get("parent"))
        if "checkpoint" in phase:
            query = "SELECT checkpoint FROM phases WHERE parameter_id = ? AND value IS NOT NULL"
            assert self._one(query, parent) == (phase["checkpoint"],)
            assert phase["checkpoint"] not in self.removed()
        elif parent is not None:  # the process has it
            assert "phases" not in message
            assert self._last_of_process(trial_id, message) == parent

    def _last_of_process(self, trial_id: str, message: dict[str, Any]) -> int | None:
        """Return the phase that a trial's process had before a message, if it had that alone."""
        last, session = None, None
        for earlier in self.peers[trial_id].heard:
            if earlier is message:
                break
            if earlier["type"] == "welcome" and earlier["session"] != session:
                last, session = None, earlier["session"]
            elif earlier["type"] == "parameters":
                phases = phases_of(earlier)
                last = phases[0]["parameter_id"] if len(phases) == 1 else None
        return last

    def _counts(self, parameter_id: int, trial_id: str) -> bool:
        query = """SELECT count(*) FROM phases p JOIN trials t USING (sequence_id)
            WHERE p.parameter_id = ? AND t.trial_id = ? AND p.counts"""
        (found,) = self._one(query, parameter_id, trial_id)
        return bool(found)

    def _one(self, query: str, *values: Any) -> Any:
        return self._disk.execute(query, values).fetchone()

    # -- how it stands ----------------------------------------------------------------------------

    def phases(self) -> list[str]:
        """Return each phase on disk as `trial.phase #parameter_id STATUS`."""
        self.experiment.commit()
        rows = self._disk.execute(
            "SELECT sequence_id, phase_index, parameter_id, status FROM phases ORDER BY id"
        )
        return ["{}.{} #{} {}".format(*row) for row in rows]

    def trials(self) -> list[str]:
        """Return each trial on disk as `STATUS: reason`."""
        self.experiment.commit()
        rows = self._disk.execute("SELECT status, reason FROM trials ORDER BY sequence_id")
        return ["{}: {}".format(*row) for row in rows]

    def reasons(self) -> list[str]:
        """Return why each phase ended that did not succeed."""
        self.experiment.commit()
        rows = self._disk.execute("SELECT reason FROM phases WHERE reason IS NOT NULL ORDER BY id")
        return [reason for (reason,) in rows]

    def ending(self) -> str:
        """Return how the experiment ended, after checking that it did so in every respect."""
        self.check_end()
        return "{}: {}".format(*self._one("SELECT status, reason FROM experiment"))

    def removed(self) -> list[str]:
        """Return what was removed of what phases saved, after checking that it is on record."""
        removed = [path for _, path in self.service.removed]
        query = "SELECT checkpoint FROM phases WHERE checkpoint_removed"
        assert {*removed} <= {path for (path,) in self._disk.execute(query)}
        return removed

    def log(self, number: int) -> str:
        return self.service.logs[self.trial_id(number)].decode()

    def check_end(self) -> None:
        self.tuner.check_end()
        if self.assessor is not None:
            while self.assessor.calls:
                self.judge()
            self.assessor.check_end()
            self.experiment.on_answers([Finished()])
        self.experiment.on_answers([Finished()])
        assert self.turns.is_finished
        assert not self.store.pending
        ended_at, running_since = self._one("SELECT ended_at, running_since FROM experiment")
        assert ended_at is not None
        assert running_since is None
        for table in ("phases", "trials"):
            unended = f"SELECT count(*) FROM {table} WHERE status IN (?, ?) OR ended_at IS NULL"
            assert self._one(unended, *_UNENDED) == (0,)
        self.check_counts()

    def check_counts(self) -> None:
        self.experiment.commit()
        assert_counts(self.path)


# -- events ---------------------------------------------------------------------------------------

Event = Callable[[Stage], None]


def loaded(optimize_mode: str | None = None) -> Event:
    """The tuner is ready, and the assessor if there is one."""

    def event(stage: Stage) -> None:
        stage.experiment.on_answers([Loaded(optimize_mode, in_use=stage.in_use)])
        if stage.assessor is not None:
            stage.turn()
            stage.load_assessor()

    return event


def uses(*in_use: int, told: int) -> Event:
    """The tuner was told of what a phase saved, and says what it may go on from."""

    def event(stage: Stage) -> None:
        stage.in_use = frozenset(in_use)
        stage.experiment.on_answers([InUse(told, stage.in_use)])

    return event


def answers(*parameters: Any) -> Event:
    """The tuner answers as many questions, the oldest first; None: no more."""
    return lambda stage: stage.experiment.on_answers([stage.tuner.answer(p) for p in parameters])


def promises(number: int = 1) -> Event:
    """The tuner answers as many questions, the oldest first: none now, maybe later."""
    return lambda stage: stage.experiment.on_answers([stage.tuner.promise() for _ in range(number)])


def launches(parameter_id: int, parameters: Any = "launched") -> Event:
    """The tuner has parameters after all."""
    return lambda stage: stage.experiment.on_answers([stage.tuner.launch(parameter_id, parameters)])


def writes_letter(name: str, about: str, data: Any) -> Event:
    """The manager finds a letter from the user."""
    return lambda stage: stage.experiment.on_letters([Letter(name, about, data)])


def tuner_fails(message: str = "boom") -> Event:
    """The tuner lets an exception out."""

    def event(stage: Stage) -> None:
        stage.turn()
        stage.tuner.fail()
        stage.experiment.on_answers([Failed(ErrorRecord("ValueError", message, "Traceback …"))])

    return event


def hello(trial: int) -> Event:
    """Another process of the trial begins to speak."""

    def event(stage: Stage) -> None:
        stage.peer(trial).hello()

    return event


def asks(trial: int, count: int | None = None) -> Event:
    """The trial asks for its next phase, or a batch of so many, after a hello if it has said none."""

    def event(stage: Stage) -> None:
        if stage.peer(trial).connection is None:
            stage.replay(hello(trial))
        stage.peer(trial).ask(count)

    return event


def reports(trial: int, value: Any, *phases: int | None) -> Event:
    """The trial reports the final result of its phase, or the same one of these at a time."""
    return lambda stage: stage.peer(trial).report(value, *phases or [None])


def mentions(trial: int, value: Any, waits: bool = False, phase: int | None = None) -> Event:
    """The trial reports an intermediate result, and perhaps waits for the verdict."""
    return lambda stage: stage.peer(trial).mention(value, waits, phase)


def saves(trial: int, path: str, phase: int | None = None) -> Event:
    """The trial says what its phase has saved."""
    return lambda stage: stage.peer(trial).save(path, phase)


def judges(stage: Stage) -> None:
    """The assessor makes the calls that wait, up to the first that is answered."""
    stage.judge()


def fails(
    trial: int,
    kind: str = "KeyError",
    message: str = "'x'",
    trace: str = "Trace",
    phase: int | None = None,
) -> Event:
    """The trial's code raises in a phase."""
    return lambda stage: stage.peer(trial).fail(kind, message, trace, phase)


def writes(trial: int, data: bytes) -> Event:
    """The trial writes bytes to its stdout."""
    return lambda stage: stage.says(stage.trial_id(trial), data)


def says(trial: int, **message: Any) -> Event:
    """The trial, a shell script say, writes a message with no SDK."""
    return writes(trial, TAG + encode(message).encode() + b"\n")


def exits(trial: int, code: int | None = 0, survivors: tuple[int, ...] = ()) -> Event:
    """The trial's command has ended."""
    status = ExitStatus(code, survivors)

    def event(stage: Stage) -> None:
        stage.service.living.discard(stage.trial_id(trial))
        stage.peer(trial).is_alive = False
        stage.experiment.listener.on_exit(stage.trial_id(trial), status)

    return event


def stops(drain: bool = False) -> Event:
    """The user stops the experiment."""
    return lambda stage: stage.experiment.on_stop(drain)


def crashes(*dead: int) -> Event:
    """The manager dies, and with it these trials; another one takes over."""

    def event(stage: Stage) -> None:
        stage.crash(*dead)
        stage.resume()

    return event


def passes(seconds: float) -> Event:
    """Time passes."""

    def event(stage: Stage) -> None:
        stage.clock.now += seconds

    return event
