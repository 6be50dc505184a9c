"""Conversations that go on with another manager, wherever the first one died; no I/O.

A `World` has a trial that does what the SDK does, two pipes, a disk, and a manager that records, commits
and then answers. What is not committed dies with the manager; the next one adopts what is on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpx.errors import RemoteProtocolError
from mpx.protocol import ASKED, IDLE, OPEN, Given, ManagerConnection, TrialConnection
from mpx.wire import TAG, encode

MAX_LINE = 10_000
ATOMIC = 64  # longer messages are sent in pieces
LONG = 90
# What a trial asks for, a phase (None) or a batch of so many, and what it reports then: of what kind, on
# which of them, and how much. "asking" is an intermediate result that asks for an ack; "going" is a
# final one that waits for none, as another one follows. A phase without an end is abandoned.
SCRIPT = (
    (None, (("intermediate", 0, 0), ("asking", 0, LONG), ("final", 0, LONG))),
    (
        4,
        (
            ("intermediate", 3, LONG),
            ("final", 1, 0),
            ("checkpoint", 2, 0),
            ("going", 3, 0),
            ("final", 2, 0),
        ),
    ),
    (None, (("failed", 0, LONG),)),
    (1, (("intermediate", 0, 0), ("final", 0, 0))),
)


def parameters(number: int) -> Any:
    return {"n": number, "text": "p" * LONG}


@dataclass(frozen=True)
class Record:
    """What is on disk of a conversation.

    Attributes:
        answered: number of the last request that was answered.
        wanted: how many phases the last request asked for; None: one, and no batch.
        given: the phases that answered it.
        phases: how many were handed over.
        values: what was reported.
    """

    state: str = IDLE
    last_seq: int = 0
    session: str | None = None
    resends: bool = False
    answered: int = 0
    wanted: int | None = None
    given: range = range(0)
    phases: int = 0
    values: tuple[Any, ...] = ()
    open_phases: frozenset[int] = frozenset()


class Manager:
    """Records what it takes in, and says nothing before that is on disk.

    Args:
        record: what is on disk.
        is_first: it has no trial to adopt.
        phases: how many it hands out.

    Attributes:
        record: what is to be on disk.
        text: what it heard beside messages.
        unsent: what it may say, and has not written.
    """

    def __init__(self, record: Record, is_first: bool, phases: int) -> None:
        self.record = record
        self.text = self.unsent = b""
        self._phases = phases
        self._replies: list[bytes] = []
        self.connection = ManagerConnection(MAX_LINE)
        if not is_first:
            self.connection = ManagerConnection.adopted(
                MAX_LINE,
                record.state,
                record.last_seq,
                record.session,
                record.resends,
                record.open_phases,
            )
            self._replies += self._greeting()

    def _greeting(self) -> Iterator[bytes]:
        connection, record = self.connection, self.record
        yield connection.welcome()
        if record.last_seq:
            yield connection.ack()
            if record.answered == record.last_seq and record.state is OPEN:
                yield connection.parameters_again(
                    all_given(record.given), record.wanted is not None
                )
            elif record.answered == record.last_seq:
                yield connection.no_more_again("that was the last")

    def take_in(self, data: bytes) -> None:
        for event in self.connection.receive(data):
            assert not isinstance(event, RemoteProtocolError), event
            if isinstance(event, bytes):
                self.text += event
            else:
                self._on_message(event)

    def _on_message(self, message: dict[str, Any]) -> None:
        connection, kind = self.connection, message["type"]
        if kind == "hello":
            self._replies.append(connection.welcome())
            self._put(session=connection.session, resends=connection.resends, answered=0)
        elif kind == "request":
            self._put(wanted=message.get("count"))
        else:
            value = [*reported_in(message), connection.about]
            self._put(values=(*self.record.values, value))
        if kind in ("checkpoint", "final", "failed") or message.get("ack"):
            self._replies.append(connection.ack())
        self._put(last_seq=connection.last_seq, **self._standing())

    def answer(self) -> None:
        """The tuner answers, if it was asked."""
        connection, first = self.connection, self.record.phases
        if connection.state is not ASKED:
            return
        if first < self._phases:
            wanted = self.record.wanted
            given = range(first, min(first + (wanted or 1), self._phases))
            self._replies.append(connection.parameters(all_given(given), wanted is not None))
            self._put(phases=given.stop, given=given)
        else:
            self._replies.append(connection.no_more("that was the last"))
        self._put(answered=connection.last_seq, **self._standing())

    def _standing(self) -> dict[str, Any]:
        return {
            "state": self.connection.state,
            "open_phases": frozenset(self.connection.open_phases),
        }

    def commit(self) -> Record:
        """Return what is on disk now."""
        self.unsent += b"".join(self._replies)
        self._replies = []
        return self.record

    def _put(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)


def all_given(numbers: range) -> list[Given]:
    return [Given(number, number, encode(parameters(number))) for number in numbers]


def reported_in(message: dict[str, Any]) -> Any:
    if message["type"] == "failed":
        error = message["error"]
        return [int(error["type"]), int(error["message"]), error["traceback"]]
    if message["type"] == "checkpoint":
        _, process, number, text = message["path"].split("/")
        return [int(process), int(number), text]
    return message["value"]


class Trial:
    """One process of the trial: it follows the script as the SDK would.

    Attributes:
        given: the parameters that it was given.
        sent: what it reported, each with the number of the process, its own and its phase's.
        inbox: bytes that it reads next.
        waits: it can do nothing until it has some.
        has_ended: it was told that there are no more phases.
    """

    def __init__(self, world: World, process: int) -> None:
        self.connection = TrialConnection(MAX_LINE, ATOMIC)
        self.given: list[Any] = []
        self.sent: list[Any] = []
        self.inbox = b""
        self.waits = self.has_ended = False
        self._world = world
        self._process = process
        self._life = self._live(world.script)

    def step(self) -> None:
        """Go on until one more message is sent, or as far as one can with what came in."""
        if not self.has_ended:
            self.has_ended = next(self._life, "ended") == "ended"

    def run(self) -> None:
        """Go on as far as one can."""
        self.step()
        while not self.waits and not self.has_ended:
            self.step()

    def see_end_of_file(self) -> None:
        """Notice that there is no manager, if that is all there is to read."""
        if self.waits and not self.inbox and not self._world.to_trial:
            self.connection.forget_rest()

    def _live(self, script: Any) -> Iterator[None]:
        self.connection.hello("test", 1, f"session {self._process}")
        yield from self._wait("welcome")
        for count, reports in script:
            self.connection.request(count)
            yield from self._wait("parameters", "no_more")
            if self._answer["type"] == "no_more":
                return
            given = self._answer.get("phases", [self._answer])
            assert count is not None or "phases" not in self._answer
            self.given += [phase["parameters"] for phase in given]
            for kind, which, size in reports:
                if which < len(given):
                    self._report(kind, given[which]["phase_index"], count is None, "x" * size)
                    if kind in ("intermediate", "going"):
                        yield
                    else:
                        yield from self._wait("ack")
        self.connection.request()
        yield from self._wait("no_more")

    def _report(self, kind: str, phase: int, is_alone: bool, text: str) -> None:
        value = [self._process, len(self.sent), text]
        self.sent.append([*value, phase])
        name = None if is_alone else phase
        if kind == "failed":
            self.connection.failed(*map(str, value), phase_index=name)
        elif kind == "checkpoint":
            self.connection.checkpoint("/" + "/".join(map(str, value)), name)
        elif kind in ("final", "going"):
            self.connection.final(value, name)
        else:
            self.connection.intermediate(value, name, ack=kind == "asking")
        self._flush()

    def _flush(self) -> None:
        for _, writes in self.connection.to_write:
            self._world.to_manager += b"".join(writes)
        self.connection.to_write.clear()

    def _wait(self, *kinds: str) -> Iterator[None]:
        self._answer: dict[str, Any] = {}
        while not self._answer:
            self._flush()
            while not self.inbox:
                self.waits = True
                yield
            self.waits = False
            data, self.inbox = self.inbox, b""
            for message in self.connection.receive(data):
                assert message["type"] != "error", message
                if message["type"] in kinds and message["seq"] == self.connection.seq:
                    self._answer = message
        assert self.sent == self._world.on_disk(self._process), "it was told so, and it is not"


class World:
    """A trial, the bytes in its two pipes, a disk and, if it lives, a manager.

    Args:
        script: what the trial reports.

    Attributes:
        phases: how many there are in all.
        processes: how many of the trial have spoken.
        record: what is on disk.
        text: what managers heard beside messages.
    """

    def __init__(self, script: Any = SCRIPT) -> None:
        self.script = script
        self.record = Record()
        self.to_manager = self.to_trial = self.text = b""
        self.phases = sum(count or 1 for count, _ in script)
        self.manager: Manager | None = Manager(self.record, True, self.phases)
        self.processes = self._printed = 0
        self.begin_process()

    def begin_process(self) -> None:
        """The trial's process dies, and another one begins to speak."""
        self.trial = Trial(self, self.processes)
        self.processes += 1

    def print(self, line: bytes) -> None:
        """Another process writes text to the trial's pipe, with the next number in it."""
        self.to_manager += line % self._printed
        self._printed += 1

    def read(self, size: int = 10**6) -> None:
        """The manager reads so many bytes, if there are as many."""
        if self.manager is not None:
            data, self.to_manager = self.to_manager[:size], self.to_manager[size:]
            self.manager.take_in(data)

    def answer(self) -> None:
        if self.manager is not None:
            self.manager.answer()

    def commit(self) -> None:
        if self.manager is not None:
            self.record = self.manager.commit()

    def write(self, size: int = 10**6) -> None:
        """The manager writes so many bytes, if it has as many to say."""
        if self.manager is not None:
            data, self.manager.unsent = self.manager.unsent[:size], self.manager.unsent[size:]
            self.to_trial += data

    def deliver(self, size: int = 10**6) -> None:
        """The trial will read so many bytes, if there are as many."""
        self.trial.inbox += self.to_trial[:size]
        self.to_trial = self.to_trial[size:]

    def die(self) -> None:
        """The manager dies."""
        if self.manager is not None:
            self.text += self.manager.text
            self.manager = None

    def adopt(self) -> None:
        """Another manager takes over, if there is none."""
        if self.manager is None:
            self.manager = Manager(self.record, False, self.phases)

    def go_on(self) -> None:
        """Everybody does what there is to do."""
        self.trial.run()
        self.read()
        self.answer()
        self.commit()
        self.write()
        self.deliver()

    def on_disk(self, process: int) -> list[Any]:
        """Return what one process of the trial reported."""
        return [value for value in self.record.values if value[0] == process]

    def finish(self) -> None:
        """Everybody goes on until the trial has ended; nobody dies any more."""
        self.adopt()
        for _ in range(100):
            self.go_on()
            if self.trial.has_ended and not self.to_manager:
                break
        assert self.trial.has_ended
        assert (self.trial.connection.unsettled(), self.trial.connection.held) == (b"", 0)
        self.die()

    def check_nothing_is_lost(self) -> None:
        """The one process did all that it had to do, and each value is on disk once, in order."""
        first, reports = 0, []
        for count, said in self.script:
            reports += [(size * "x", first + which) for _, which, size in said]
            first += count or 1
        assert self.trial.sent == [[0, number, *report] for number, report in enumerate(reports)]
        assert self.trial.given == [parameters(number) for number in range(self.phases)]
        assert list(self.record.values) == self.trial.sent


# -- one death, at every byte ---------------------------------------------------------------------


def sizes() -> tuple[int, int]:
    """Return how many bytes the manager reads and writes if it lives."""
    world, read, written = World(), 0, 0
    while not world.trial.has_ended:
        world.trial.run()
        read += len(world.to_manager)
        world.read()
        world.answer()
        world.commit()
        world.write()
        written += len(world.to_trial)
        world.deliver()
    world.finish()
    world.check_nothing_is_lost()
    assert world.text == b""
    return read, written


@pytest.mark.parametrize("sees_end_of_file", [True, False])
@pytest.mark.parametrize("commits", [True, False])
def test_a_manager_may_die_when_it_has_read_any_number_of_bytes(commits, sees_end_of_file):
    for size in range(sizes()[0] + 1):
        world, left = World(), size
        while world.manager is not None:
            world.trial.run()
            left -= len(world.to_manager)
            world.read(len(world.to_manager) + min(left, 0))
            world.answer()
            if left > 0 or commits:
                world.commit()
                world.write()
            if left <= 0:
                world.die()
            world.deliver()
        go_on_with_another(world, sees_end_of_file)


@pytest.mark.parametrize("sees_end_of_file", [True, False])
def test_a_manager_may_die_when_it_has_written_any_number_of_bytes(sees_end_of_file):
    for size in range(sizes()[1] + 1):
        world, left = World(), size
        while world.manager is not None:
            world.trial.run()
            world.read()
            world.answer()
            world.commit()
            world.write(left)
            left -= len(world.to_trial)
            if not left:
                world.die()
            world.deliver()
        go_on_with_another(world, sees_end_of_file)


def go_on_with_another(world: World, sees_end_of_file: bool) -> None:
    is_known = world.record.resends
    world.trial.run()
    if sees_end_of_file:
        world.trial.see_end_of_file()
    world.finish()
    world.check_nothing_is_lost()
    # The rest of a hello, of which nobody knows that it was one, is text.
    assert world.text == b"" or not is_known


# -- deaths at any moment -------------------------------------------------------------------------

SIZES = st.integers(0, 100)
KINDS = ["intermediate"] * 4 + ["asking", "checkpoint", "final", "final", "going", "failed"]
REPORTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), SIZES), max_size=8)


def legal(count: int | None, reports: list[tuple[str, int, int]]) -> Any:
    """Return a request and what is reported then, without what no open phase takes."""
    still_open, said = set(range(count or 1)), []
    for kind, which, size in reports:
        which %= count or 1
        if which in still_open:
            said.append((kind, which, size))
        if kind in ("final", "going", "failed"):
            still_open.discard(which)
    if said and said[-1][0] == "going":
        said[-1] = ("final", *said[-1][1:])
    return count, said


SCRIPTS = st.lists(st.builds(legal, st.none() | st.integers(1, 4), REPORTS), min_size=2, max_size=5)
# What may happen next. Who is dead, or has nothing to do, does nothing.
EVENTS = [
    st.just([lambda world: world.trial.step()]),
    st.just([lambda world: world.trial.run()]),
    st.just([lambda world: world.trial.see_end_of_file()]),
    st.just([World.answer]),
    st.just([World.commit]),
    st.builds(
        lambda event, size: [event, size],
        st.sampled_from([World.read, World.write, World.deliver]),
        st.just(10**6) | SIZES,
    ),
]
WRITTEN = st.sampled_from([b"<%d>\n", b"<%d>", b"\n<%d>\n\n", b"@mpx<%d>"])
MORE_EVENTS = [
    *EVENTS,
    st.just([World.begin_process]),
    st.builds(lambda line: [World.print, line], WRITTEN),
]


def lives(events: Any) -> Any:
    """Managers that live for some rounds, and on through these events, and die; or another one comes."""
    some = st.lists(st.one_of(events), min_size=3, max_size=12)
    go_on = st.integers(0, 5).map(lambda rounds: [[World.go_on]] * rounds)
    life = st.builds(
        lambda *parts: [event for part in parts for event in part],
        go_on,
        some,
        st.just([[World.die]]),
        some,
        st.just([[World.adopt]]),
    )
    return st.lists(life, min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(script=SCRIPTS, lives=lives(EVENTS))
def test_each_value_is_on_disk_once_and_in_order_whenever_managers_die(script, lives):
    world = World(script)
    for event, *size in chain(*lives):
        event(world, *size)
        on_disk = list(world.record.values)
        assert on_disk == world.trial.sent[: len(on_disk)]
    world.finish()
    world.check_nothing_is_lost()


@settings(max_examples=200, deadline=None)
@given(script=SCRIPTS, lives=lives(MORE_EVENTS))
def test_processes_and_managers_may_die_while_others_write_to_the_pipe(script, lives):
    """A process that died may have said what nobody heard; nothing else is lost, and nothing doubled."""
    world = World(script)
    for event, *argument in chain(*lives):
        event(world, *argument)
    world.finish()
    numbers = [(process, number) for process, number, *_ in world.record.values]
    assert numbers == sorted(set(numbers))
    assert world.on_disk(world.processes - 1) == world.trial.sent
    printed = [int(number) for number in re.findall(rb"<(\d+)>", world.text)]
    assert printed == sorted(set(printed))


# -- the rules, one by one ------------------------------------------------------------------------


def adopted(state: str = OPEN, last_seq: int = 3) -> ManagerConnection:
    """Return the conversation of a manager that has just come, behind the rest of a line."""
    phases = [0] if state is OPEN else []
    connection = ManagerConnection.adopted(MAX_LINE, state, last_seq, "s", True, phases)
    assert list(connection.receive(b"the rest of a line\n")) == []
    return connection


def said(seq: int, kind: str = "intermediate") -> bytes:
    return b'\n@mpx {"type":"%s","seq":%d,"value":%d}\n' % (kind.encode(), seq, seq)


def numbers(connection: ManagerConnection, *seqs: int) -> list[int]:
    """Return the numbers of the messages that are taken in, of those that come."""
    return [event["seq"] for seq in seqs for event in connection.receive(said(seq))]


@pytest.mark.parametrize(
    ("come", "taken_in"),
    [
        ([4, 5, 6, 4, 5, 6], [4, 5, 6]),  # nothing was lost: what is sent again is known
        ([5, 6, 4, 5, 6, 7], [4, 5, 6, 7]),  # 4 died with the last manager
        ([6, 7, 2, 3, 4, 5, 6, 7, 8], [4, 5, 6, 7, 8]),
        ([5, 6, 4, 5, 4, 5, 6], [4, 5, 6]),  # a second manager died while they were sent again
        ([3, 3, 2], []),
        ([4, 9, 8], [4, 9]),  # in step, a trial may number as it likes
    ],
)
def test_what_is_ahead_of_the_record_waits_until_it_comes_in_order(come, taken_in):
    assert numbers(adopted(), *come) == taken_in


def test_a_message_ahead_of_the_record_changes_nothing():
    connection = adopted()
    assert list(connection.receive(said(5, "final") + said(6, "request"))) == []
    assert (connection.state, connection.last_seq) == (OPEN, 3)


def test_a_message_without_number_is_never_ahead():
    (event,) = adopted().receive(b'@mpx {"type":"final","value":1}\n')
    assert event == {"type": "final", "value": 1}


def test_another_process_of_the_trial_is_in_step_by_its_hello():
    connection = adopted()
    assert numbers(connection, 9) == []
    (hello,) = connection.receive(b'@mpx {"type":"hello","seq":1,"session":"t"}\n')
    assert (hello["type"], connection.session, connection.resends) == ("hello", "t", False)
    (request,) = connection.receive(b'@mpx {"type":"request","seq":5}\n')
    assert request["seq"] == 5


def test_a_message_that_no_stack_can_take_does_not_hold_up_those_behind_it():
    connection = ManagerConnection.adopted(1_000_000, OPEN, 3, "s", True, [0])
    deep = b'@mpx {"type":"intermediate","seq":4,"value":' + b"[" * 200_000
    (error,) = connection.receive(b"\n" + deep + b"\n")
    assert str(error).startswith("nested too deeply")
    assert numbers(connection, 5) == [5]


def test_who_promised_nothing_is_neither_skipped_nor_awaited():
    connection = ManagerConnection.adopted(MAX_LINE, OPEN, 3, "s", False, [0])
    assert list(connection.receive(b"a line\n")) == [b"a line\n"]
    assert numbers(connection, 9) == [9]


@pytest.mark.parametrize(
    ("session", "resends", "greeted"), [(None, False, False), ("", True, True), ("s", False, True)]
)
def test_an_adopted_trial_understands_acks_if_it_said_hello(session, resends, greeted):
    connection = ManagerConnection.adopted(MAX_LINE, IDLE, 0, session, resends)
    assert (connection.greeted, connection.session, connection.resends) == (
        greeted,
        session,
        resends,
    )


def test_what_a_trial_left_in_a_file_does_not_hide_a_gap_in_the_pipe_behind_it():
    connection = adopted()
    assert numbers(connection, 4, 5) == [4, 5]  # the file's
    connection.skip_rest()
    assert list(connection.receive(b"the rest of a line\n")) == []
    assert numbers(connection, 7, 8, 4, 5, 6, 7, 8) == [6, 7, 8]


def test_a_hello_that_died_with_a_manager_is_said_again():
    world = World()
    world.trial.run()
    world.read()
    world.die()
    assert world.to_manager == b""
    world.adopt()
    world.commit()
    world.write()
    assert b'"seq":0,"protocol":1,"session":null' in world.to_trial
    world.finish()
    world.check_nothing_is_lost()


def test_a_welcome_that_died_with_a_manager_is_said_by_the_next_one():
    world = World()
    world.trial.run()
    world.read()
    world.commit()
    world.die()
    world.adopt()
    world.commit()
    world.write()
    world.deliver()
    assert b'"seq":1,"protocol":1,"session":"session 0"' in world.trial.inbox
    world.trial.run()
    assert world.to_manager.count(b"hello") == 0
    world.finish()
    world.check_nothing_is_lost()


def test_a_process_that_a_manager_does_not_know_of_says_hello_again():
    world = World()
    world.go_on()
    world.go_on()
    world.begin_process()
    world.trial.run()
    world.to_manager = b""  # the manager read its hello
    world.die()
    world.adopt()
    world.commit()
    world.write()
    world.deliver()
    assert b'"session":"session 0"' in world.trial.inbox
    world.finish()
    assert world.record.session == "session 1"
    assert world.on_disk(1) == world.trial.sent


def test_a_welcome_tells_what_is_said_again():
    trial = TrialConnection()
    trial.hello("test", 1, "s")
    trial.receive(welcome(1))
    trial.request()
    trial.receive(
        b'{"type":"parameters","seq":2,"parameter_id":0,"phase_index":0,"parameters":0}\n'
    )
    for value in "abc":
        trial.intermediate(value)
    assert trial.unsettled().count(TAG) == 3
    trial.to_write.clear()
    (message,) = trial.receive(welcome(4))
    assert message["type"] == "welcome"
    assert [seq for seq, _ in trial.to_write] == [5]
    assert trial.unsettled() == b"".join(trial.to_write[0][1])
    trial.receive(welcome(5))
    assert (list(trial.to_write), trial.unsettled(), trial.held) == ([], b"", 0)


def welcome(seq: int) -> bytes:
    return b'\n{"type":"welcome","seq":%d,"protocol":1,"session":"s","max_line":10000}\n' % seq


@pytest.mark.parametrize("kind", ["parameters", "no_more"])
def test_an_answer_that_is_repeated_is_taken_in_once(kind):
    world = World(SCRIPT[1:2] if kind == "parameters" else [])
    world.go_on()
    world.trial.run()
    world.read()
    world.answer()
    world.commit()
    world.write()
    world.die()
    world.adopt()
    world.commit()
    world.write()
    assert world.to_trial.count(b'{"type":"%s",' % kind.encode()) == 2
    world.finish()
    world.check_nothing_is_lost()


# -- text of other writers ------------------------------------------------------------------------


def test_around_an_adoption_one_line_is_cut_short_and_all_others_arrive():
    """Wherever the first manager stops reading: in text, in a message, or between them."""
    messages = [said(seq) for seq in range(1, 6)]
    stream = b"".join(b"<%d>\n%s" % (n, message) for n, message in enumerate(messages)) + b"<5>\n"
    for at in range(len(stream) + 1):
        first = ManagerConnection(MAX_LINE)
        first.state, first.open_phases = OPEN, {0}
        before = list(first.receive(stream[:at]))
        second = ManagerConnection.adopted(MAX_LINE, OPEN, first.last_seq, "s", True, [0])
        after = list(second.receive(stream[at:] + b"".join(messages)))
        assert [e["seq"] for e in before + after if isinstance(e, dict)] == [1, 2, 3, 4, 5]
        cut = stream[:at].rpartition(b"\n")[2] + stream[at:].partition(b"\n")[0]
        heard = whole_lines(before) + whole_lines(after)
        assert heard == [n for n in range(6) if cut != b"<%d>" % n]


def whole_lines(events: list[Any]) -> list[int]:
    text = b"".join(event for event in events if isinstance(event, bytes))
    return [int(number) for number in re.findall(rb"<(\d+)>\n", text)]


def test_a_record_that_ends_before_what_was_acknowledged_is_an_error():
    """Else a trial would wait for ever: what it sends again begins behind the gap."""
    trial = TrialConnection()
    trial.hello("test", 1, "s")
    trial.receive(welcome(1))
    trial.request()
    trial.receive(
        b'{"type":"parameters","seq":2,"parameter_id":0,"phase_index":0,"parameters":0}\n'
    )
    trial.final(1)
    trial.receive(b'{"type":"ack","seq":3}\n')
    trial.request()
    trial.receive(welcome(3))
    with pytest.raises(
        RemoteProtocolError, match="ends at this trial's message 2, but all up to 3"
    ):
        trial.receive(welcome(2))
