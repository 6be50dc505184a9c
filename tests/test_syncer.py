"""Waiting for the disk beside the loop."""

from __future__ import annotations

import threading

from mpx.loop import Loop
from mpx.syncer import Syncer


class SlowDisk:
    """Counts fsyncs, each of which lasts until the test lets it go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.threads: list[str] = []

    def __call__(self) -> None:
        self.threads.append(threading.current_thread().name)
        self.begun.release()
        assert self.may_end.acquire(timeout=30)


def test_in_a_hurry_the_caller_itself_waits() -> None:
    disk, done = SlowDisk(), []
    disk.may_end.release()
    Syncer(disk).when_durable(lambda: done.append(1), hurry=True)
    assert done == [1]
    assert disk.threads == [threading.current_thread().name]


def test_what_came_during_one_sync_shares_the_next() -> None:
    disk, done, loop = SlowDisk(), [], Loop()
    syncer = Syncer(disk)
    loop.add_reader(syncer.fileno(), syncer.run_waiting)

    syncer.when_durable(lambda: done.append(0), hurry=False)
    assert disk.begun.acquire(timeout=30)
    for number in range(1, 5):
        syncer.when_durable(lambda number=number: done.append(number), hurry=True)
    assert done == []
    syncer.when_durable(loop.stop, hurry=False)
    disk.may_end.release(2)
    loop.run()
    assert done == [0, 1, 2, 3, 4]
    assert disk.threads == ["syncer"] * 2


def test_error_of_the_disk_is_raised_on_the_loop() -> None:
    def broken() -> None:
        raise OSError("no disk")

    loop, errors, done = Loop(), [], []
    syncer = Syncer(broken)
    loop.add_reader(syncer.fileno(), syncer.run_waiting)
    loop.on_error = lambda error: (errors.append(error), loop.stop())
    syncer.when_durable(lambda: done.append(1), hurry=False)
    loop.run()
    assert [str(error) for error in errors] == ["no disk"]
    assert done == []
