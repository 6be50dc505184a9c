"""The assessor's host: what makes one curve, what a verdict may be, and how an assessor is rebuilt."""

from __future__ import annotations

import enum
import select
import threading

import pytest

from mpx.assessor import Assessor, AssessResult
from mpx.assessor_calls import (
    Assess,
    AssessorFailed,
    AssessorLoaded,
    LoadAssessor,
    PhaseOver,
    TrialOver,
    Verdict,
)
from mpx.assessor_host import AssessorHost
from mpx.host import Finish, Finished


class Judge(Assessor):
    """Notes its calls; says of a curve what its last value is."""

    def __init__(self):
        self.calls = []

    def assess_trial(self, trial_job_id, trial_history):
        self.calls.append((trial_job_id, trial_history))
        if isinstance(trial_history[-1], BaseException):
            raise trial_history[-1]
        return trial_history[-1]

    def trial_end(self, trial_job_id, success):
        self.calls.append((trial_job_id, success))

    def _on_exit(self):
        self.calls.append("exit")

    def _on_error(self):
        self.calls.append("error")


class Hosted:
    """A host on its thread, with a `Judge` loaded."""

    def __init__(self, history=None, calls=(), judge=None):
        self.judge = judge or Judge()
        self.host = AssessorHost()
        self.host.start()
        self.loaded = self.answers(
            LoadAssessor(lambda: type(self.judge), lambda cls: self.judge, history, calls)
        )

    def answers(self, *calls, ends=0):
        """Return the answers to these calls, and to what was posted before, `Finish` so often."""
        self.host.post([*calls, _MARK])
        ends += sum(isinstance(call, Finish) for call in calls)
        found = []
        while sum(isinstance(answer, Finished) for answer in found) <= ends:
            assert select.select([self.host], [], [], 30)[0], "no answer"
            found += self.host.collect()
        return found[:-1]

    def verdicts(self, *calls):
        return [answer.is_good for answer in self.answers(*calls) if isinstance(answer, Verdict)]


class _Mark(Finish):
    """Answered by `Finished` alone."""


_MARK = _Mark(well=True)


@pytest.fixture(autouse=True)
def _marks_are_no_calls(monkeypatch):
    finish = AssessorHost._finish
    monkeypatch.setattr(
        AssessorHost,
        "_finish",
        lambda host, call: (
            host._answers.append(Finished()) if call is _MARK else finish(host, call)
        ),
    )


def assess(value, trial="t", phase=0, seq=1, is_awaited=True):
    return Assess(trial, phase, value, 1, seq, is_awaited)


@pytest.mark.parametrize(
    ("of_class", "configured", "names"),
    [
        ("phase", None, ["t.0", "t.0", "t.1", "u.0"]),
        ("trial", None, ["t", "t", "t", "u"]),
        ("trial", "phase", ["t.0", "t.0", "t.1", "u.0"]),
        ("phase", "trial", ["t", "t", "t", "u"]),
    ],
)
def test_what_makes_one_curve_the_configuration_says_or_the_class(of_class, configured, names):
    judge = Judge()
    judge.history = of_class
    hosted = Hosted(configured, judge=judge)
    hosted.answers(assess(True), assess(False), assess(True, phase=1), assess(True, trial="u"))
    lengths = [1, 2, 1, 1] if "." in names[0] else [1, 2, 3, 1]
    assert [(name, len(curve)) for name, curve in judge.calls] == [
        *zip(names, lengths, strict=True)
    ]


def test_an_assessor_that_says_nothing_of_it_judges_phases():
    class Bare:
        def assess_trial(self, name, history):
            return name == "t.0"

    hosted = Hosted(judge=Bare())
    assert hosted.verdicts(assess(1), assess(1, phase=1)) == [True, False]
    assert hosted.answers(PhaseOver("t", 0, True), TrialOver("t", True), Finish(True)) == [
        Finished()
    ]


def test_the_last_call_does_not_wait_for_verdicts_that_nobody_wants():
    is_busy, may_go_on = threading.Event(), threading.Event()

    class Slow(Judge):
        def assess_trial(self, name, history):
            is_busy.set()
            may_go_on.wait(30)
            return super().assess_trial(name, history)

    hosted = Hosted(judge=Slow())
    hosted.host.post([assess(True), assess(True, trial="u")])
    assert is_busy.wait(30)
    hosted.host.post([TrialOver("t", True), Finish(True)])
    may_go_on.set()
    assert [type(answer) for answer in hosted.answers(ends=1)] == [Verdict, Finished]
    assert hosted.judge.calls == [("t.0", [True]), ("t.0", False), "exit"]


def test_each_curve_ends_once_if_it_has_begun():
    ends = [PhaseOver("t", 0, True), PhaseOver("t", 1, False), TrialOver("t", True)]
    hosted = Hosted("phase")
    hosted.answers(assess(True), *ends, *ends)
    assert hosted.judge.calls[1:] == [("t.0", True)]
    hosted = Hosted("trial")
    hosted.answers(assess(True), *ends, *ends, TrialOver("u", True))
    assert hosted.judge.calls[1:] == [("t", True)]


def test_a_phase_of_whose_end_nobody_told_ends_with_its_trial():
    hosted = Hosted("phase")
    hosted.answers(assess(True), assess(True, trial="tt"), TrialOver("t", True))
    assert hosted.judge.calls[2:] == [("t.0", False)]


class Foreign(enum.Enum):
    Good, Bad = True, False


@pytest.mark.parametrize(
    ("verdict", "is_good"),
    [
        (True, True),
        (False, False),
        (AssessResult.Good, True),
        (AssessResult.Bad, False),
        (Foreign.Bad, False),
    ],
)
def test_what_a_verdict_may_be(verdict, is_good):
    call = assess(verdict)
    assert Hosted().answers(call) == [Verdict(call, is_good)]


@pytest.mark.parametrize("verdict", [None, 1, "Good", float("nan"), [True]])
def test_any_other_verdict_is_a_failure_and_the_curve_good(verdict):
    failed, good = Hosted().answers(assess(verdict))
    assert good.is_good
    assert failed.error.type == "AssessorError"
    assert "allowed: AssessResult.Good, AssessResult.Bad, True or False" in failed.error.message


def test_after_a_failure_it_is_not_called_again_and_nobody_waits_in_vain(capfd):
    hosted = Hosted()
    failed, good = hosted.answers(assess(KeyError("x")))
    assert isinstance(failed, AssessorFailed)
    assert failed.error.type == "KeyError"
    assert "assess_trial" in failed.error.traceback
    assert "KeyError: 'x'" in capfd.readouterr().err
    assert good == Verdict(good.call, True)
    assert hosted.verdicts(assess(False), PhaseOver("t", 0, True), TrialOver("t", True)) == [True]
    assert hosted.answers(Finish(well=True)) == [Finished()]
    assert len(hosted.judge.calls) == 2
    assert hosted.judge.calls[-1] == "error"


def test_an_assessor_that_exits_has_failed():
    failed, good = Hosted().answers(assess(SystemExit(3)))
    assert (failed.error.type, good.is_good) == ("SystemExit", True)


def test_it_says_goodbye_whatever_comes_of_that(capfd):
    judge = Judge()
    judge._on_exit = lambda: 1 / 0
    answers = Hosted(judge=judge).answers(Finish(well=True))
    assert [type(answer) for answer in answers] == [Finished, AssessorFailed]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_class_that_is_no_assessor_is_refused():
    (failed,) = Hosted(judge=object()).loaded
    assert failed.error.message == "object is no assessor: it has no `assess_trial` method"


def test_all_calls_come_on_one_thread_that_is_not_the_callers():
    threads = set()
    judge = Judge()
    judge.assess_trial = lambda name, history: threads.add(threading.get_ident()) or True
    Hosted(judge=judge).answers(assess(1), assess(1))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_a_curve_that_an_assessor_spoils_is_whole_again():
    judge = Judge()
    judge.assess_trial = lambda name, history: (
        judge.calls.append([*history]),
        history.clear(),
        True,
    )[2]
    Hosted(judge=judge).answers(assess(1), assess(2))
    assert judge.calls == [[1], [1, 2]]


def test_its_calls_on_record_are_made_again_and_the_last_of_each_trial_answered():
    calls = [
        assess(True, seq=3),
        assess(False, seq=4),
        assess(True, trial="over", seq=3),
        assess(False, trial="u", seq=3),
        PhaseOver("over", 0, True),
        TrialOver("over", True),
        assess(True, trial="next", seq=3),
        PhaseOver("next", 0, True),
        assess(False, trial="next", phase=1, seq=6, is_awaited=False),
    ]
    hosted = Hosted(calls=iter(calls))
    *verdicts, loaded = hosted.loaded
    assert loaded == AssessorLoaded()
    assert verdicts == [
        Verdict(calls[1], False),
        Verdict(calls[3], False),
        Verdict(calls[8], False),
    ]
    assert hosted.verdicts(assess(True, seq=5)) == [True]
    assert hosted.judge.calls[-1] == ("t.0", [True, False, True])


def test_an_assessor_that_fails_while_it_is_rebuilt_answers_nothing_else():
    (failed,) = Hosted(calls=[assess(True), assess(KeyError("x"))]).loaded
    assert failed.error.type == "KeyError"
