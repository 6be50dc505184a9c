"""Calls that run at the same time, but for those that belong together."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest

from mpx.lanes import Lanes

PATIENCE = 30


class Runner:
    """Runs calls that are functions, and notes the others."""

    def __init__(self):
        self.made = []
        self.lanes = Lanes("test", self.run)

    def run(self, call):
        if callable(call):
            call()
        else:
            self.made.append(call)


@pytest.fixture
def runner():
    return Runner()


def test_calls_of_one_key_are_made_in_order_and_those_of_others_beside_them(runner):
    may_go_on = threading.Event()
    for number in range(100):
        runner.lanes.put("slow", lambda: may_go_on.wait(PATIENCE))
        runner.lanes.put("slow", ("slow", number))
        for key in "abc":
            runner.lanes.put(key, (key, number))
    runner.lanes.drain(except_for=["slow"])
    assert len(runner.made) == 300
    may_go_on.set()
    runner.lanes.drain()
    made = defaultdict(list)
    for key, number in runner.made:
        made[key].append(number)
    assert made == {key: [*range(100)] for key in ["slow", *"abc"]}


def test_calls_of_different_keys_may_wait_for_each_other(runner):
    meet = threading.Barrier(8, timeout=PATIENCE)
    for key in "abcdefgh":
        runner.lanes.put(key, meet.wait)
    runner.lanes.drain()
    assert not meet.broken


def test_one_lane_can_be_waited_for_alone(runner):
    may_go_on = threading.Event()
    runner.lanes.put("slow", lambda: may_go_on.wait(PATIENCE))
    runner.lanes.put("quick", "quick")
    runner.lanes.finish("quick")
    assert runner.made == ["quick"]
    runner.lanes.finish("never used")
    may_go_on.set()
    runner.lanes.finish("slow")
    runner.lanes.drain()


def test_waiting_has_an_end(runner):
    may_go_on = threading.Event()
    runner.lanes.put("stuck", lambda: may_go_on.wait(PATIENCE))
    runner.lanes.drain(timeout=0.01)
    may_go_on.set()
    runner.lanes.drain()


def test_lanes_leave_no_thread(runner):
    for number in range(50):
        runner.lanes.put(str(number), number)
    runner.lanes.drain()
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(PATIENCE)
    assert "test" not in {thread.name for thread in threading.enumerate()}
