"""The manager's event loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from mpx.loop import Loop
from mpx.wake_up import WakeUp


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, the one to read first."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_reader_is_called_as_often_as_there_is_something(pipe: tuple[int, int]) -> None:
    loop, (reader, writer) = Loop(), pipe
    read: list[bytes] = []

    def on_readable() -> None:
        read.append(os.read(reader, 1))
        if len(read) == 3:
            loop.stop()

    loop.add_reader(reader, on_readable)
    os.write(writer, b"abc")
    loop.run()
    assert read == [b"a", b"b", b"c"]


def test_writer_is_called_while_there_is_room(pipe: tuple[int, int]) -> None:
    loop, (_, writer) = Loop(), pipe
    loop.add_writer(writer, loop.stop)
    loop.run()


def test_reader_that_an_earlier_handler_removed_is_not_called() -> None:
    loop = Loop()
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def handler(number: int) -> None:
        called.append(number)
        for reader, _ in pipes:
            loop.remove_reader(reader)
        loop.stop()

    for number, (reader, writer) in enumerate(pipes):
        loop.add_reader(reader, lambda number=number: handler(number))
        os.write(writer, b"x")
    loop.run()
    assert len(called) == 1
    for ends in pipes:
        for end in ends:
            os.close(end)


def test_removing_what_is_not_watched_is_no_error(pipe: tuple[int, int]) -> None:
    Loop().remove_reader(pipe[0])


def test_timers_run_in_the_order_in_which_they_are_due() -> None:
    loop, ran = Loop(), []
    loop.call_later(0.02, loop.stop)
    loop.call_later(0.01, lambda: ran.append("second"))
    loop.call_later(0.0, lambda: ran.append("first"))
    loop.run()
    assert ran == ["first", "second"]


def test_cancelled_timer_does_not_run() -> None:
    loop, ran = Loop(), []
    loop.call_later(0.0, lambda: ran.append("cancelled")).cancel()
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert ran == []


@pytest.mark.parametrize("days", [30.0, 60.0, 36500.0])
def test_timer_that_is_due_in_weeks_holds_up_nothing(days: float) -> None:
    loop, ran = Loop(), []
    loop.call_later(days * 86400.0, lambda: ran.append("early"))
    # The kernel is asked to wait for the far timer, and woken from that by the call.
    loop.call_soon_threadsafe(loop.stop)
    loop.run()
    assert ran == []


def test_timer_that_is_due_in_weeks_runs_then(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    waits: list[float | None] = []

    def select(timeout: float | None) -> list[object]:
        """Pass a day, and find nothing."""
        waits.append(timeout)
        return []

    start = loop.time()
    monkeypatch.setattr(loop, "time", lambda: start + 86400.0 * len(waits))
    monkeypatch.setattr(loop._selector, "select", select)
    loop.call_later(2.5 * 86400.0, loop.stop)
    loop.run()
    assert waits == pytest.approx([86400.0, 86400.0, 43200.0])


def test_turn_ends_once_however_many_descriptors_were_ready() -> None:
    loop, story = Loop(), []
    pipes = [os.pipe() for _ in range(3)]

    def handler(reader: int) -> None:
        os.read(reader, 1)
        story.append("handler")

    for reader, writer in pipes:
        loop.add_reader(reader, lambda reader=reader: handler(reader))
        os.write(writer, b"x")
    loop.on_turn_end = lambda: (story.append("end"), loop.stop())
    loop.run()
    assert story == ["handler"] * 3 + ["end"]
    for ends in pipes:
        for end in ends:
            os.close(end)


def test_exception_goes_to_its_handler_and_the_loop_goes_on() -> None:
    loop, errors = Loop(), []
    loop.on_error = errors.append
    loop.call_later(0.0, lambda: 1 / 0)
    loop.call_later(0.0, loop.stop)
    loop.run()
    assert [type(error) for error in errors] == [ZeroDivisionError]


@pytest.mark.parametrize("has_eventfd", [True, False])
def test_call_of_another_thread_wakes_the_loop(
    has_eventfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_eventfd and not WakeUp.has_eventfd:
        pytest.skip("this system has no eventfd")
    monkeypatch.setattr(WakeUp, "has_eventfd", has_eventfd)
    loop = Loop()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=[loop.stop])
    thread.start()
    loop.run()
    thread.join()


@pytest.mark.parametrize("has_eventfd", [True, False])
def test_wake_up_is_readable_until_it_is_cleared(
    has_eventfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WakeUp, "has_eventfd", has_eventfd and WakeUp.has_eventfd)
    loop, wake, times = Loop(), WakeUp(), []

    def on_wake() -> None:
        times.append(1)
        wake.clear()

    loop.add_reader(wake.fileno(), on_wake)
    for _ in range(20_000):  # more than a pipe holds: setting never blocks
        wake.set()
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert 1 <= len(times) < 20_000
