"""Trials whose manager dies while they run, in real processes, and the managers that come after it."""

from __future__ import annotations

import os
import select
import signal
import sys
import types

import pytest

from mpx import trial_pipes
from mpx.errors import ProtocolError
from mpx.protocol import TrialConnection
from mpx.trial_pipes import TrialPipes
from tests.bench import Bench, interpreter
from tests.lab import wait_until

# Every kind of message, and every kind of answer.
PHASES = """
    import mpx
    for phase in mpx.phases(on_error="continue"):
        with phase:
            for step in range(3):
                phase.report_intermediate([phase.index, step])
            if phase.index == 1:
                raise ValueError("by hand")
            phase.report_final([phase.index, "x" * 10_000])
"""
ONE_PHASE = "import mpx\nmpx.get_next_parameter()\nmpx.report_final_result('x' * 10_000)\n"
# Eight phases open at a time, some of which save, fail, or have no end; the last ends come together.
BATCH = """
    import mpx
    batch = mpx.get_next_parameters(8)
    for step in range(2):
        for phase in reversed(batch):
            phase.report_intermediate([phase.index, step])
    batch[5].report_final([5, "alone"])
    batch[2].save_checkpoint(__file__)
    try:
        with batch[6]:
            raise ValueError("by hand")
    except ValueError:
        pass
    batch.report_final([phase.index, "x" * 1000] for phase in batch if phase.index not in (5, 6))
    mpx.get_next_parameters(8)
"""
# Fills the pipe, which takes 64 KiB, without asking for an ack.
FLOOD = """
    import mpx
    phase = next(mpx.phases())
    for step in range(100):
        phase.report_intermediate([step, "x" * 4000])
    phase.report_final("done")
"""


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, [{"n": 0}, {"n": 1}])


def check_that_it_all_arrived(bench):
    assert bench.errors == []
    assert bench.text == b""
    assert bench.values("intermediate") == [[n, step] for n in range(2) for step in range(3)]
    assert bench.values() == [[0, "x" * 10_000]]
    phase = ["request", *["intermediate"] * 3]
    assert bench.types() == ["hello", *phase, "final", *phase, "failed", "request"]


def answer_then_die(bench, until, size=None):
    """Put an answer on record, write so many bytes of it, and die."""

    def on_request(message):
        bench.on["request"] = lambda message: bench.answer()
        answer = bench.answer()
        bench.record()
        bench.send_now(answer[:size])
        return bench.die(until)

    bench.on["request"] = on_request


def die_once(bench, kind, until=None):
    """Let the first manager that hears such a message die of it."""
    usual = bench.on[kind]

    def on_message(message):
        bench.on[kind] = usual
        times = len(bench.lost) + 1
        return bench.die(until or (lambda: bench.is_orphaned(times)))

    bench.on[kind] = on_message


# -- the next manager goes on ---------------------------------------------------------------------


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "lost"])
def test_a_manager_may_die_over_each_message(bench, is_recorded, is_seen):
    """The first manager that hears a message dies of it, and each one that takes over likewise."""
    died_of = set()

    def dying(usual):
        def on_message(message):
            if message["seq"] in died_of:
                return usual(message)
            died_of.add(message["seq"])
            if is_recorded:
                usual(message)
                bench.record()
            deaths = len(died_of)
            return bench.die(until=lambda: not is_seen or bench.is_orphaned(deaths))

        return on_message

    for kind in ("hello", "request", "intermediate", "final", "failed"):
        bench.on[kind] = dying(bench.on[kind])
    assert bench.python(PHASES) == 0, bench.log()
    assert len(died_of) == 12
    check_that_it_all_arrived(bench)
    assert bench.is_orphaned(12) or not is_seen


@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "lost"])
def test_managers_die_while_eight_phases_are_open_and_all_arrives_once(bench, is_recorded):
    """Each manager dies of the third message that it hears: those ahead of it may be lost as well."""
    bench.parameters = list(range(8))
    heard = []

    def dying(usual):
        def on_message(message):
            heard.append(message["seq"])
            if len(heard) % 3:
                return usual(message)
            if is_recorded:
                usual(message)
                bench.record()
            deaths = len(heard) // 3
            return bench.die(until=lambda: deaths % 2 or bench.is_orphaned())

        return on_message

    for kind in ("request", "intermediate", "checkpoint", "final", "failed"):
        bench.on[kind] = dying(bench.on[kind])
    assert bench.python(BATCH) == 0, bench.log()
    assert len(heard) >= 24
    assert bench.errors == []
    steps = [[n, step] for step in range(2) for n in reversed(range(8))]
    assert bench.of_phases("intermediate") == [(n, [n, step]) for n, step in steps]
    ends = [
        (5, [5, "alone"]),
        (6, "ValueError"),
        *((n, [n, "x" * 1000]) for n in (0, 1, 2, 3, 4, 7)),
    ]
    assert bench.of_phases("final", "failed") == ends
    assert [m["phase_index"] for m in bench.heard if m["type"] == "checkpoint"] == [2]
    assert bench.connection.open_phases == set()


def test_a_trial_that_computes_meanwhile_never_knows(bench):
    """The manager is back before the trial looks for it."""
    answer_then_die(bench, until=(bench.code / "computing").exists)
    bench.on_return = (bench.code / "back").touch
    code = bench.python(
        """
        import os, time, mpx
        phase = next(mpx.phases())
        open("computing", "w").close()
        while not os.path.exists("back"):
            time.sleep(0.001)
        phase.report_intermediate(1)
        phase.report_final(2)
        """
    )
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "intermediate", "final"]
    assert bench.log() == ""


def test_what_a_trial_reports_while_nobody_is_there_is_heard_in_order(bench):
    """The dead manager read on, and the trial writes more before it reads that there is another."""
    die_once(bench, "intermediate", until=(bench.code / "reported").exists)
    bench.on_return = (bench.code / "back").touch
    code = bench.python(
        """
        import os, time, mpx
        phase = next(mpx.phases())
        for step in range(500):
            phase.report_intermediate(step)
            if step == 250:
                open("reported", "w").close()
                while not os.path.exists("back"):
                    time.sleep(0.001)
        phase.report_final(2)
        """
    )
    assert code == 0, bench.log()
    assert bench.lost
    assert bench.values("intermediate") == list(range(500))
    assert bench.values() == [2]


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("size", [0, 1, 30, -1, None])
def test_half_a_line_to_the_trial_is_no_answer(bench, size, is_seen):
    bench.parameters = ["p" * 5000]
    answer_then_die(bench, until=lambda: not is_seen or bench.is_orphaned(), size=size)
    code = bench.python("import mpx\nmpx.report_final_result(mpx.get_next_parameter())")
    assert code == 0, bench.log()
    assert bench.values() == ["p" * 5000]
    assert bench.types() == ["hello", "request", "final"]


def test_a_full_pipe_is_waited_for(bench):
    die_once(bench, "intermediate")
    assert bench.python(FLOOD) == 0, bench.log()
    assert [step for step, _ in bench.values("intermediate")] == list(range(100))
    assert bench.values() == ["done"]


def test_a_manager_may_die_before_the_trial_says_anything(bench):
    bench.on["text"] = lambda text: bench.die(until=bench.is_orphaned)
    code = bench.python("print('early', flush=True)\n" + ONE_PHASE)
    assert code == 0, bench.log()
    # The hello that nobody read, if it was not, and the one to a manager that knew of none.
    assert bench.types()[-3:] == ["hello", "request", "final"]


def test_a_second_process_goes_on_with_a_manager_that_knows_of_the_first_alone(bench):
    bench.script("import mpx; mpx.get_next_parameter()", "first.py")
    bench.script(ONE_PHASE)

    def on_first_hello(message):
        bench.on["hello"] = lambda message: bench.connection.welcome()
        die_once(bench, "hello")
        return bench.connection.welcome()

    bench.on["hello"] = on_first_hello
    assert bench.run(f"'{sys.executable}' first.py; '{sys.executable}' trial.py") == 0
    assert bench.types() == ["hello", "request", "hello", "request", "final"]
    assert len(bench.lost) == 1


@pytest.mark.parametrize("minor", [7, 8, 9, 10, 11, 12, 13, 14])
def test_in_every_interpreter_a_trial_outlives_its_manager(bench, minor):
    for kind in ("hello", "request", "final"):
        die_once(bench, kind)
    code = bench.python(ONE_PHASE, interpreter(minor))
    assert code == 0, bench.log()
    assert bench.types() == ["hello", "request", "final"]
    assert [message["type"] for message in bench.lost] == bench.types()
    assert bench.is_orphaned(3)


# -- many intermediate results --------------------------------------------------------------------


def test_what_many_reports_hold_is_bounded_by_asking_for_acks(bench):
    asked = []

    def on_intermediate(message):
        if "ack" in message:
            asked.append(message["value"])
            return bench.connection.ack()
        return b""

    bench.on["intermediate"] = on_intermediate
    code = bench.python(
        """
        import mpx
        from mpx import trial
        phase = next(mpx.phases())
        most = 0
        for step in range(2500):
            phase.report_intermediate(step)
            most = max(most, len(trial._session()._connection._unsettled))
        phase.report_final(most)
        """
    )
    assert code == 0, bench.log()
    assert asked == [1001, 2003]
    assert bench.values() == [1001]
    assert len(bench.values("intermediate")) == 2500


@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "lost"])
def test_a_manager_may_die_over_an_ack_that_was_asked_for(bench, is_recorded):
    usual = bench.on["intermediate"]

    def on_intermediate(message):
        if "ack" not in message:
            return b""
        bench.on["intermediate"] = usual
        if is_recorded:
            bench.record()
        return bench.die(until=bench.is_orphaned)

    bench.on["intermediate"] = on_intermediate
    code = bench.python(
        """
        import mpx
        phase = next(mpx.phases())
        for step in range(2000):
            phase.report_intermediate(step)
        phase.report_final("done")
        """
    )
    assert code == 0, bench.log()
    assert bench.values("intermediate") == list(range(2000))
    assert bench.values() == ["done"]


# -- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["request", "final", "intermediate"])
def test_ctrl_c_during_the_wait_for_a_manager_loses_nothing(bench, kind):
    interrupted = []

    def until():
        if bench.is_orphaned() and not interrupted:
            interrupted.append(True)
            os.kill(bench.heard[0]["pid"], signal.SIGINT)
        return bench.is_orphaned(2)

    die_once(bench, kind, until)
    code = bench.python(
        """
        import mpx
        def patient(call, *values):
            try:
                return call(*values)
            except KeyboardInterrupt:
                print("interrupted")
                return mpx.get_next_parameter() if call is mpx.get_next_parameter else None
        parameters = patient(mpx.get_next_parameter)
        for step in range(100):
            patient(mpx.report_intermediate_result, [step, "x" * 4000])
        patient(mpx.report_final_result, parameters)
        mpx.get_next_parameter()
        mpx.report_final_result("the next")
        """
    )
    assert code == 0, bench.log()
    assert bench.log().count("interrupted\n") == 1
    assert [step for step, _ in bench.values("intermediate")] == list(range(100))
    assert bench.values() == [{"n": 0}, "the next"]


# -- no other manager comes -----------------------------------------------------------------------


def test_a_full_pipe_is_not_waited_for_without_end(bench):
    """What it left is all that is not on record; that no manager came is not the phase's failure."""
    bench.orphan_timeout = 0

    def die_of(message):
        if message["value"][0] < 3:
            return b""
        return bench.die()

    bench.on["intermediate"] = die_of
    code = bench.python(
        """
        import mpx
        for phase in mpx.phases():
            with phase:
                for step in range(100):
                    phase.report_intermediate([step, "x" * 4000])
        """
    )
    assert code == 1
    assert "ProtocolError: the manager is gone; `mpx resume anExp` goes on" in bench.log()
    assert "could not be reported" not in bench.log()
    steps = [message["value"][0] for message in bench.unsent()]
    assert steps == list(range(3, steps[-1] + 1))
    assert steps[-1] > 64_000 // 4100


def test_a_long_result_is_left_whole(bench):
    bench.orphan_timeout = 0
    bench.on["final"] = lambda message: bench.die()
    assert bench.python(ONE_PHASE) == 1
    assert b"@mpx:2/" in bench.left().read_bytes()
    assert bench.unsent() == bench.lost
    assert bench.lost[0]["value"] == "x" * 10_000


def test_an_ack_of_an_intermediate_result_is_not_waited_for_without_end(bench):
    bench.orphan_timeout = 0
    bench.on["intermediate"] = lambda message: bench.die() if "ack" in message else b""
    code = bench.python(
        """
        import mpx
        phase = next(mpx.phases())
        for step in range(2000):
            phase.report_intermediate(step)
        """
    )
    assert code == 1
    assert [message["value"] for message in bench.unsent()] == [1001]


def test_a_trial_that_goes_on_after_it_gave_up_leaves_all_it_said(bench):
    bench.orphan_timeout = 0
    bench.on["final"] = lambda message: bench.die()
    code = bench.python(
        """
        import mpx
        for call in (mpx.report_final_result, mpx.report_final_result):
            try:
                mpx.get_next_parameter()
                call(1)
            except mpx.ProtocolError as error:
                print(error)
        """
    )
    assert code == 0, bench.log()
    assert bench.log().count("the manager is gone; `mpx resume anExp` goes on") == 2
    assert [message["type"] for message in bench.unsent()] == ["final", "request"]


def test_a_trial_whose_keeper_is_gone_gives_up(bench):
    dead = bench.code / "dead"
    bench.on["intermediate"] = lambda message: bench.die(until=lambda: dead.touch() or False)
    bench.python(
        """
        import os, signal, time, mpx
        phase = next(mpx.phases())
        phase.report_intermediate(1)
        while not os.path.exists("dead"):
            time.sleep(0.001)
        keeper = os.getppid()
        os.kill(keeper, signal.SIGKILL)
        while os.getppid() == keeper:
            time.sleep(0.001)
        phase.report_final(2)
        """
    )
    said = "ProtocolError: the trial's pipe is closed; `mpx resume anExp` goes on"
    wait_until(lambda: said in bench.log(), "the trial's end")
    assert [message["value"] for message in bench.unsent()] == [1, 2]


def test_what_cannot_be_left_is_said_so(bench):
    bench.orphan_timeout = 0
    bench.on["final"] = lambda message: bench.die()
    (bench.root / "unsent.draft").mkdir()
    assert bench.python(ONE_PHASE) == 1
    said = (
        "the manager is gone (what it has not recorded could not be kept: [Errno 21] Is a directory"
    )
    assert said in bench.log()


# -- the wait, on a clock of its own --------------------------------------------------------------


class Scripted:
    """The ends of two pipes, and a clock that moves as reading and sleeping take time.

    Args:
        reads: what comes, each with the seconds it takes; then end-of-file.
        writes: an error that writing raises, or None.
        polls: whether the manager is there while there is no room to write; then there is room.
    """

    def __init__(self, monkeypatch, reads=(), writes=(), polls=()):
        self.now, self.pauses = 0.0, []
        self._reads, self._writes, self._polls = iter(reads), iter(writes), list(polls)
        fakes = {
            "os": {**vars(os), "read": self._read, "write": self._write},
            "time": {"monotonic": lambda: self.now, "sleep": self._sleep},
            "select": {**vars(select), "poll": lambda: self._Poll(self)},
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(trial_pipes, name, types.SimpleNamespace(**fake))

    def _read(self, fd, size):
        seconds, data = next(self._reads, (0, b""))
        self.now += seconds
        return data

    def _write(self, fd, data):
        error = next(self._writes, None)
        if error is not None:
            raise error

    def _sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    class _Poll:
        def __init__(self, scripted):
            self._scripted = scripted

        def register(self, fd, events):
            self._asks_for_room = events == select.POLLOUT

        def poll(self, milliseconds):
            scripted = self._scripted
            scripted.now += milliseconds / 1000
            if self._asks_for_room:
                return [] if scripted._polls else [(1, select.POLLOUT)]
            return [] if scripted._polls.pop(0) else [(0, select.POLLHUP)]


WELCOME = (0, b'{"type":"welcome","seq":1,"session":"the session","protocol":1,"max_line":1000}\n')
GONE = (0, b"")
WAITING = "mpx: the manager is gone; waiting up to 10 s for another one (mpx resume ID)\n"


@pytest.fixture
def pipes(tmp_path, monkeypatch):
    monkeypatch.delenv("MPX_EXPERIMENT_ID", raising=False)
    connection = TrialConnection()
    connection.hello("test", 1, "the session")
    return TrialPipes(str(tmp_path), connection, 10.0)


def test_the_wait_ends_with_the_first_words_of_another_manager(pipes, monkeypatch, capsys):
    Scripted(monkeypatch, [GONE, GONE, GONE, WELCOME])
    assert pipes.wait("welcome")["session"] == "the session"
    assert not pipes.has_given_up
    assert capsys.readouterr().err == WAITING


def test_the_wait_looks_ever_less_often_and_ends(pipes, monkeypatch, tmp_path):
    scripted = Scripted(monkeypatch)
    with pytest.raises(ProtocolError, match="the manager is gone; `mpx resume ID` goes on"):
        pipes.wait("welcome")
    assert scripted.pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    assert 10 <= scripted.now <= 10.5
    assert [path.name for path in tmp_path.iterdir()] == ["unsent.the session"]


def test_the_wait_begins_anew_when_a_manager_was_there_and_died_before_it_spoke(pipes, monkeypatch):
    Scripted(monkeypatch, [GONE, GONE, (60, b""), *[GONE] * 15, WELCOME])
    assert pipes.wait("welcome")["session"] == "the session"


def test_half_a_line_of_a_manager_that_went_is_forgotten(pipes, monkeypatch):
    Scripted(monkeypatch, [(0, b'{"type":"wel'), GONE, WELCOME])
    assert pipes.wait("welcome")["session"] == "the session"


def test_a_manager_that_is_slow_to_read_is_not_gone(pipes, monkeypatch, capsys):
    Scripted(monkeypatch, writes=[BlockingIOError()] * 2, polls=[True] * 100)
    pipes.flush()
    assert not pipes._connection.to_write
    assert capsys.readouterr().err == ""


def test_a_pipe_that_stays_full_is_waited_for_while_managers_come(pipes, monkeypatch, capsys):
    polls = [*[False] * 15, True, *[False] * 15]
    Scripted(monkeypatch, writes=[BlockingIOError()], polls=polls)
    pipes.flush()
    assert capsys.readouterr().err == WAITING * 2


def test_a_keeper_that_goes_while_the_pipe_is_full_ends_the_wait(pipes, monkeypatch):
    Scripted(monkeypatch, writes=[BlockingIOError(), BrokenPipeError()], polls=[False])
    with pytest.raises(ProtocolError, match="the trial's pipe is closed; `mpx resume ID` goes on"):
        pipes.flush()
    assert pipes.has_given_up
