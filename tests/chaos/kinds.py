"""What is done to an experiment in one round, each under the heading that it counts for.

A kind is played on a `Subject` with a random number generator and returns whether what it was after
came about. Afterwards a manager may live or not; the next round makes of that what it needs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from mpx.processes import send_signal, start_of
from tests.chaos.subject import REACH, BrokenError, Subject, until

# What a resume does within this time is done before the tuner, and with it the plan, is loaded.
_EARLY = 0.25  # seconds
_LONG = 4000  # the length of a result that takes several writes


@dataclass(frozen=True)
class Kind:
    """One way to hurt an experiment.

    Attributes:
        heading: what it counts for.
        weight: how often it comes, relative to the others.
        play: does it, and says whether it came about.
    """

    heading: str
    name: str
    weight: int
    play: Callable[[Subject, random.Random], bool]


# -- a manager that dies by a plan ------------------------------------------------------------------


def planned(*points, least=1, most=1, fresh=False, linger=False):
    """Let the manager die at one of the points.

    Args:
        points: their names, of which one is drawn.
        least: at the `least`th passing at the earliest,
        most: and the `most`th at the latest.
        fresh: in a resume, or soon after; else wherever the experiment is.
        linger: perhaps a little later, while the rest of the manager goes on.
    """

    def play(subject, rng):
        if fresh:
            subject.kill_manager()
        pause = rng.choice([0, 0.05]) if linger else 0
        asleep = rng.random() < 1 / 3
        passing = rng.randint(least, most)
        subject.plan(rng.choice(points), passing, linger=pause, asleep=asleep)
        subject.revive()
        return subject.await_planned_death()

    return play


def at_a_checkpoint(subject, rng):
    """Let the manager die while the tuner saves its state, if it is one that does."""
    if not subject.flavour.checkpoints:
        return False
    return planned("checkpoint", "kept", most=3)(subject, rng)


def judging(*points, least=1, most=1):
    """Let the manager die at one of the points, if there is an assessor."""

    def play(subject, rng):
        if subject.flavour.assessor is None:
            return False
        return planned(*points, least=least, most=most, linger=True)(subject, rng)

    return play


def in_batches(play):
    """Do it where trials have several phases open at a time."""

    def play_there(subject, rng):
        return subject.flavour.open > 1 and play(subject, rng)

    return play_there


def saving(play):
    """Do it where phases save what they have trained."""

    def play_there(subject, rng):
        return subject.flavour.has_kin and play(subject, rng)

    return play_there


def partly_through(*victims):
    """Kill the manager, a trial or both, as drawn, when that trial has reported a part of its batch."""

    def play(subject, rng):
        if not _is_up(subject):
            return False
        found = []
        until(lambda: found.extend(_partly_through(subject)) or found, REACH)
        subject.hold()
        still = [trial for trial in _partly_through(subject) if trial.pid in {t.pid for t in found}]
        for victim in rng.choice(victims):
            if victim == "manager":
                subject.kill_manager()
            elif still:
                subject.kill_trial(rng.choice(still), rng.choice(["process", "group", "keeper"]))
        subject.revive()
        subject.release()
        return bool(still)

    return play


def _partly_through(subject):
    return [trial for trial in subject.living_trials() if trial.is_partly_through]


def while_stopping(*points, most=1):
    """Let the manager die while `mpx stop` ends the experiment."""

    def play(subject, rng):
        if not _is_up(subject):
            return False
        subject.plan(rng.choice(points), rng.randint(1, most))
        subject.stop()
        reached = not (subject.directory / "manager.plan").exists()
        subject.forget_plans()
        if reached:
            subject.report.count("managers killed")
        return reached

    return play


# -- a manager that is killed from outside ------------------------------------------------------------


def at_rest(results_meanwhile):
    """Kill the manager when all trials compute and nothing is to be done.

    Args:
        results_meanwhile: whether the trials report their results while there is no manager.
    """

    def play(subject, rng):
        if not _is_up(subject):
            return False
        subject.hold()
        at_rest = until(lambda: _all_compute(subject), REACH)
        killed = subject.kill_manager()
        if results_meanwhile:
            subject.release()
            until(lambda: not any(t.computing for t in subject.living_trials()), REACH)
        subject.revive()
        subject.release()
        return at_rest and killed

    return play


def _all_compute(subject):
    living = subject.living_trials()
    return len(living) >= min(2, subject.flavour.concurrency) and all(t.computing for t in living)


def early(subject, rng):
    """Kill the manager of a resume soon after it began, wherever it is."""
    subject.kill_manager()
    if subject.sees_end():
        return False
    subject.note_survivors()
    command = subject.popen(*subject.start_command())
    manager = _manager_begun_by(command)
    time.sleep(rng.random() * _EARLY)
    killed = manager is not None and start_of(manager) is not None
    if killed:
        send_signal([manager], 9)
        subject.report.count("managers killed")
    command.wait()
    until(lambda: manager is None or start_of(manager) is None, REACH)
    return killed


def orphaned(subject, rng):
    """Kill the command that resumes; the manager that it began lives on, or never was."""
    subject.kill_manager()
    if subject.sees_end():
        return False
    subject.note_survivors()
    command = subject.popen(*subject.start_command())
    time.sleep(rng.random() * 2 * _EARLY)
    found = _children(command)
    command.kill()
    command.wait()
    for pid in found:
        # It may be on its way; none but one that is up can be resumed or stopped.
        until(lambda pid=pid: start_of(pid) is None or subject.manager_lives(), REACH)
    return True


def left_alone(subject, rng):
    """Kill the manager, and resume when all trials have given up waiting for another one."""
    if not _is_up(subject):
        return False
    killed = subject.kill_manager()
    living = subject.living_trials()
    subject.lonely.update(trial.pid for trial in living)
    lonely = subject.directory / "lonely"
    lonely.touch()
    gave_up = until(lambda: not subject.living_trials(), 2 * REACH)
    lonely.unlink()
    # With those that began meanwhile.
    subject.lonely.update(trial.pid for trial in subject.trials() if trial.gave_up)
    return killed and gave_up and bool(living)


def _manager_begun_by(command):
    """Return the pid of a manager as soon as a command has begun it."""
    found = []
    until(lambda: found.extend(_children(command)) or found or command.poll() is not None, REACH)
    return found[0] if found else None


def _children(command):
    try:
        return [child.pid for child in psutil.Process(command.pid).children()]
    except psutil.Error:
        return []


def twice(subject, rng):
    """Resume twice at once: one manager comes up, the other resume is refused."""
    if not _is_up(subject):
        return False
    subject.kill_manager()
    if subject.sees_end():
        return False
    subject.note_survivors()
    commands = [subject.popen(*subject.start_command()) for _ in range(2)]
    codes = [command.wait() for command in commands]
    if sorted(codes)[0] != 0 and not subject.sees_end():
        raise BrokenError(f"two resumes at once: both failed, {codes}")
    if codes == [0, 0] and not subject.sees_end():
        raise BrokenError("two resumes at once: both say that they began a manager")
    subject.check_survivors()
    return True


def needless(subject, rng):
    """Resume what runs: it is refused, and harms nothing."""
    if not _is_up(subject):
        return False
    done = subject.lab.run("resume", subject.paths.id, "-q")
    if done.returncode == 0 and not subject.sees_end():
        raise BrokenError("a running experiment was resumed once more")
    return True


# -- trials, and both -------------------------------------------------------------------------------


def trial_killed(*hows):
    """Kill one trial in one of these ways; the manager lives."""

    def play(subject, rng):
        trial = _victim(subject, rng)
        if trial is None:
            return False
        subject.kill_trial(trial, rng.choice(hows))
        return _goes_on(subject)

    return play


def trial_planned(*points, most=1):
    """Let whichever trial comes first to one of the points die there; the manager lives."""

    def play(subject, rng):
        if _victim(subject, rng) is None:
            return False
        subject.plan(rng.choice(points), rng.randint(1, most), who="trial")
        reached = _await_trials_death(subject)
        return reached and _goes_on(subject)

    return play


def trials_die_asking(subject, rng):
    """Let a trial die while the tuner chooses parameters for it; the manager lives, or dies too."""
    if _victim(subject, rng) is None:
        return False
    subject.slow_down()
    subject.plan("request", rng.randint(1, 3), who="trial")
    reached = _await_trials_death(subject)
    if rng.random() < 1 / 2:
        time.sleep(rng.random() * _EARLY / 2)
        subject.kill_manager()
    subject.speed_up()
    return reached


def _await_trials_death(subject):
    plan = subject.directory / "trial.plan"
    until(lambda: not plan.exists() or not subject.manager_lives(), REACH)
    reached = until(lambda: not plan.exists(), 1)  # it may come to the point without a manager
    plan.unlink(missing_ok=True)
    if reached:
        subject.report.count("trials killed")
    return reached


def _victim(subject, rng):
    """Return a trial that may be killed; trials that die one after another end an experiment."""
    if not _is_up(subject) or not _goes_on(subject):
        return None
    living = subject.living_trials()
    return rng.choice(living) if living else None


def _goes_on(subject):
    """Wait for another result; say whether it came, or the experiment ended well."""
    before = subject.acknowledged()
    until(lambda: subject.acknowledged() > before or not subject.manager_lives(), 2 * REACH)
    return subject.acknowledged() > before


def both_killed(first):
    """Kill a trial and the manager, `first` the one or the other."""

    def play(subject, rng):
        trial = _victim(subject, rng)
        if trial is None:
            return False
        how = rng.choice(["process", "group", "keeper"])
        if first == "trial":
            subject.kill_trial(trial, how)
            time.sleep(rng.choice([0, 0.001, 0.01]))
        killed = subject.kill_manager()
        if first == "manager":
            subject.kill_trial(trial, how)
        return killed

    return play


def both_planned(subject, rng):
    """Let a trial die at a point of its own, and the manager when it sees that, or before."""
    if _victim(subject, rng) is None:
        return False
    subject.plan(rng.choice(["piece", "write", "report:after"]), rng.randint(1, 6), who="trial")
    subject.plan(rng.choice(["exit:before", "exit:after", "gone", "start:after"]), 1)
    trials_death = _await_trials_death(subject)
    return subject.await_planned_death() and trials_death


def all_killed(subject, rng):
    """Kill the manager and all trials, as a reboot does, and perhaps the next manager early."""
    if not _is_up(subject):
        return False
    killed = subject.kill_manager()
    for trial in subject.living_trials():
        subject.kill_trial(trial, "group")
    if rng.random() < 1 / 2:
        return killed
    return planned("commit", "turn", "start", most=5, fresh=True)(subject, rng) and killed


def stopped(subject, rng):
    """Run `mpx stop`, with a manager that lives, perhaps in a tuner call, or after it died."""
    if not _is_up(subject):
        return False
    if rng.random() < 1 / 2:
        subject.slow_down()
        _goes_on(subject)
    if rng.random() < 1 / 3:
        subject.kill_manager()
    subject.stop()
    subject.speed_up()
    return True


def _is_up(subject):
    """Bring a manager up, and some trials; say whether that is so."""
    subject.revive()
    until(lambda: subject.living_trials() or not subject.manager_lives(), REACH)
    return subject.manager_lives()


KINDS = (
    Kind("idle", "all trials compute", 2, at_rest(results_meanwhile=False)),
    Kind("idle", "results while no manager", 3, at_rest(results_meanwhile=True)),
    Kind("idle", "until all trials give up", 3, left_alone),
    Kind("idle", "between two turns", 2, planned("turn:after", most=60)),
    Kind(
        "in a tuner call",
        "asking, telling",
        4,
        planned("ask", "tell", "call", most=30, linger=True),
    ),
    Kind("in a tuner call", "the end of a phase or trial", 2, planned("end", "gone", most=2)),
    Kind("in a tuner call", "an answer on its way", 2, planned("answers:before", most=30)),
    Kind("in a tuner call", "a call on its way", 2, planned("post", most=30)),
    Kind("in an assessor call", "judging", 4, judging("assess", "assessing", most=20)),
    Kind("in an assessor call", "a call on its way", 2, judging("submit", most=20)),
    Kind("in an assessor call", "a verdict on its way", 4, judging("judged", "verdict", most=20)),
    Kind("in an assessor call", "within a verdict", 2, judging("within:verdict", most=10)),
    Kind("in an assessor call", "the end of a curve", 2, judging("over", most=3)),
    Kind("at a commit", "of a running one", 4, planned("commit", "inside", most=60)),
    Kind("at a commit", "of a resume", 5, planned("commit", "inside", most=8, fresh=True)),
    Kind("at a commit", "before, nothing on disk", 2, planned("turn:before", most=60)),
    Kind("at a commit", "at an fsync", 2, planned("sync", most=30)),
    Kind("before an ack", "ack", 4, planned("ack", most=20)),
    Kind("before an ack", "parameters", 3, planned("parameters", most=20)),
    Kind("before an ack", "welcome, no more", 2, planned("welcome", "no_more", most=2)),
    Kind("within a line", "of an ack", 2, planned("within:ack", most=15)),
    Kind("within a line", "of parameters", 3, planned("within:parameters", most=15)),
    Kind("within a line", "of a welcome", 2, planned("within:welcome", most=2, fresh=True)),
    Kind("within a line", "of a trial's message", 4, planned("within:message", most=10)),
    Kind("within a line", "read, not taken in", 2, planned("heard", most=30)),
    Kind("while adopting", "at an adoption", 4, planned("adopt", most=3, fresh=True)),
    Kind("while adopting", "in the replay", 4, planned("call", most=30, fresh=True)),
    Kind("while adopting", "loading", 1, planned("call:after", fresh=True)),
    Kind("while adopting", "at the first turns", 3, planned("turn", most=6, fresh=True)),
    Kind("while adopting", "early in a resume", 5, early),
    Kind("while adopting", "the resuming command", 3, orphaned),
    Kind("resumed", "twice at once", 2, twice),
    Kind("resumed", "while it runs", 1, needless),
    Kind("in a batch", "between two results", 4, in_batches(planned("partly", most=30))),
    Kind("in a batch", "while it is chosen", 4, in_batches(planned("batch", "choose", most=20))),
    Kind("in a batch", "on its way to the trial", 2, in_batches(planned("parameters", most=5))),
    Kind("in a batch", "manager, partly through", 3, in_batches(partly_through(["manager"]))),
    Kind("in a batch", "trial, partly through", 2, in_batches(partly_through(["trial"]))),
    Kind(
        "in a batch",
        "both, partly through",
        3,
        in_batches(partly_through(["trial", "manager"], ["manager", "trial"])),
    ),
    Kind("in a batch", "trial, between results", 3, in_batches(trial_planned("final", most=20))),
    Kind("as phases save", "manager, taking note", 2, saving(planned("saved", most=5))),
    Kind("as phases save", "trial, copying", 2, saving(trial_planned("copy", "save", most=8))),
    Kind("as phases save", "manager, removing", 2, saving(planned("dropped", most=4))),
    Kind("as a trial begins or ends", "begins", 4, planned("start", "pipes", most=2)),
    Kind("as a trial begins or ends", "ends", 3, planned("exit", most=2)),
    Kind("at a checkpoint", "while it is saved", 4, at_a_checkpoint),
    Kind("trial alone", "anywhere", 4, trial_killed("process", "group", "keeper")),
    Kind("trial alone", "within a line", 3, trial_planned("piece", most=60)),
    Kind("trial alone", "around a report", 2, trial_planned("report", "write", most=4)),
    Kind("trial alone", "while the tuner chooses", 4, trials_die_asking),
    Kind("trial alone", "at its last word", 1, trial_planned("leave")),
    Kind("trial and manager", "trial first", 3, both_killed("trial")),
    Kind("trial and manager", "manager first", 3, both_killed("manager")),
    Kind("trial and manager", "each at its point", 3, both_planned),
    Kind("trial and manager", "all at once", 3, all_killed),
    Kind("stopped", "mpx stop, then resume", 3, stopped),
    Kind(
        "stopped",
        "the manager dies stopping",
        3,
        while_stopping("stop", "exit", "commit", "close", "leave-wal", "call", most=3),
    ),
)


def deck(seed):
    """Yield kinds without end: each as often as its weight says, in a random order."""
    number = 0
    while True:
        cards = [kind for kind in KINDS for _ in range(kind.weight)]
        random.Random(f"{seed}/deck/{number}").shuffle(cards)
        yield from cards
        number += 1


def sweep(point, most):
    """Return kinds that let each manager of an experiment die one passing of the point later."""
    return [
        Kind(f"sweep of {point}", f"passing {n}", 1, planned(point, least=n, most=n, fresh=True))
        for n in range(1, most + 1)
    ]
