"""Phases and trials that take too long."""

from __future__ import annotations

import pytest

from mpx.lifecycle import Limits
from mpx.protocol import ManagerConnection
from mpx.time_limits import TimeLimits
from mpx.trial_run import TrialRun
from tests.stored import T0, phase_row, trial_row


class Timer:
    """A call that is due at a time."""

    def __init__(self, due, callback):
        self.due = due
        self.callback = callback
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True


class Watched:
    """Time limits whose clock and timers move when they are told to, and what came of them.

    Attributes:
        now: the time.
        rung: (time, what is over) of each timeout.
        timers: all that were ever set.
    """

    def __init__(self, phase_timeout=None, trial_timeout=None):
        self.now = T0
        self.rung = []
        self.timers = []
        self.times = TimeLimits(
            Limits(phase_timeout=phase_timeout, trial_timeout=trial_timeout),
            self,
            lambda: self.now,
            lambda trial: self.rung.append((self.now - T0, "phase", trial)),
            lambda trial: self.rung.append((self.now - T0, "trial", trial)),
        )

    def call_later(self, delay, callback):
        assert delay > 0
        self.timers.append(Timer(self.now + delay, callback))
        return self.timers[-1]

    def waiting(self):
        return [timer for timer in self.timers if timer.callback and not timer.is_cancelled]

    def passes(self, seconds):
        """Let time pass, and timers ring when they are due."""
        end = self.now + seconds
        while due := [timer for timer in self.waiting() if timer.due <= end]:
            timer = min(due, key=lambda timer: timer.due)
            self.now = timer.due
            callback, timer.callback = timer.callback, None
            callback()
        self.now = end

    def opens(self, trial):
        trial.open = {0: phase_row(0, started_at=self.now)}
        self.times.watch_phase(trial)


def trial_run(started_at=T0):
    return TrialRun(trial_row(started_at=started_at), ManagerConnection())


def test_without_limits_nothing_is_timed():
    watched, trial = Watched(), trial_run()
    watched.times.watch_trial(trial)
    watched.opens(trial)
    assert watched.timers == []
    watched.times.forget(trial)


def test_a_phase_that_takes_too_long_rings_once():
    watched, trial = Watched(phase_timeout=10.0), trial_run()
    watched.opens(trial)
    watched.passes(9.0)
    assert watched.rung == []
    watched.passes(100.0)
    assert watched.rung == [(10.0, "phase", trial)]
    assert watched.waiting() == []


def test_a_phase_has_its_whole_time_whatever_those_before_it_took():
    watched, trial = Watched(phase_timeout=10.0), trial_run()
    for _ in range(7):
        watched.opens(trial)
        watched.passes(4.0)
        trial.open = {}
    watched.opens(trial)  # at 28
    watched.passes(100.0)
    assert watched.rung == [(38.0, "phase", trial)]


def test_many_phases_share_a_timer():
    watched, trial = Watched(phase_timeout=10.0), trial_run()
    for _ in range(1000):
        watched.opens(trial)
        watched.passes(0.01)
        trial.open = {}
    assert len(watched.timers) == 1


def test_a_trial_between_two_phases_has_none_that_takes_too_long():
    watched, trial = Watched(phase_timeout=10.0), trial_run()
    watched.opens(trial)
    trial.open = {}
    watched.passes(60.0)
    assert (watched.rung, watched.waiting()) == ([], [])
    watched.opens(trial)
    watched.passes(60.0)
    assert watched.rung == [(70.0, "phase", trial)]


def test_each_trial_has_a_timer_of_its_own():
    watched, first, second = Watched(phase_timeout=10.0), trial_run(), trial_run()
    watched.opens(first)
    watched.passes(3.0)
    watched.opens(second)
    watched.passes(60.0)
    assert watched.rung == [(10.0, "phase", first), (13.0, "phase", second)]


def test_a_trial_that_takes_too_long_rings():
    watched, trial = Watched(trial_timeout=30.0), trial_run()
    watched.times.watch_trial(trial)
    watched.opens(trial)
    watched.passes(60.0)
    assert watched.rung == [(30.0, "trial", trial)]


def test_a_trial_that_is_forgotten_rings_no_more():
    watched, trial, other = Watched(10.0, 30.0), trial_run(), trial_run()
    for each in (trial, other):
        watched.times.watch_trial(each)
        watched.opens(each)
    watched.times.forget(trial)
    watched.times.forget(trial)
    watched.passes(60.0)
    assert watched.rung == [(10.0, "phase", other), (30.0, "trial", other)]


def test_time_under_an_earlier_manager_counts():
    watched, trial = Watched(10.0, 30.0), trial_run(started_at=T0 - 25)
    trial.open = {0: phase_row(0, started_at=T0 - 8)}
    watched.times.watch_trial(trial)
    watched.times.watch_phase(trial)
    watched.passes(60.0)
    assert watched.rung == [(2.0, "phase", trial), (5.0, "trial", trial)]


def test_what_ran_out_while_no_manager_watched_is_heard_out():
    watched, trial = Watched(10.0, 30.0), trial_run(started_at=T0 - 5000)
    trial.open = {0: phase_row(0, started_at=T0 - 4000)}
    watched.times.watch_trial(trial)
    watched.times.watch_phase(trial)
    watched.passes(4.9)
    assert watched.rung == []
    watched.passes(60.0)
    assert sorted(watched.rung, key=str) == [(5.0, "phase", trial), (5.0, "trial", trial)]


def test_a_result_that_was_on_the_way_saves_the_trial_that_was_heard_out():
    watched, trial = Watched(phase_timeout=10.0), trial_run(started_at=T0 - 5000)
    trial.open = {0: phase_row(0, started_at=T0 - 4000)}
    watched.times.watch_phase(trial)
    watched.passes(1.0)
    trial.open = {}  # its result came
    watched.passes(1.0)
    watched.opens(trial)
    watched.passes(9.9)
    assert watched.rung == []
    watched.passes(60.0)
    assert watched.rung == [(12.0, "phase", trial)]


def test_a_trial_that_has_not_started_is_not_timed():
    watched = Watched(trial_timeout=30.0)
    watched.times.watch_trial(trial_run(started_at=None))
    assert watched.timers == []


@pytest.mark.parametrize("behind", [0.5, 3600.0])
def test_a_clock_that_is_put_back_gives_a_phase_more_time_and_no_error(behind):
    watched, trial = Watched(phase_timeout=10.0), trial_run()
    watched.opens(trial)
    watched.now -= behind
    for timer in watched.timers:  # those go by another clock
        timer.due -= behind
    watched.passes(10.0)
    assert watched.rung == []
    watched.passes(behind)
    assert watched.rung == [(10.0, "phase", trial)]
