"""The controller with an assessor: what becomes of a phase, and of its trial, when it is stopped."""

from __future__ import annotations

import pytest

from mpx.config.model import TunerConfig
from mpx.store import close_interrupted
from tests.counts import assert_counts
from tests.stage import (
    Stage,
    answers,
    asks,
    crashes,
    exits,
    fails,
    hello,
    judges,
    loaded,
    mentions,
    reports,
    says,
    stops,
    tuner_fails,
)

STOPPED = "the assessor stopped it at its {} result"
FIRST, SECOND = STOPPED.format("1st"), STOPPED.format("2nd")
KEEPS_LAST = {"tuner": TunerConfig("Random", include_intermediate_results=True)}


@pytest.fixture
def set_stage(new_stage):
    """Set a stage with an assessor and one trial that computes its first phase."""

    def set_stage(history="phase", at_once=True, **config):
        stage = new_stage(history, **{"max_trial_num": 1, **config})
        stage.assessor.at_once = at_once
        stage.replay(loaded(), answers("a"), asks(0))
        return stage

    return set_stage


def commits(stage):
    stage.experiment.commit()


def end(stage, *codes):
    """End the trials with these codes; every curve, phase, trial and the experiment has ended then."""
    for trial, code in enumerate(codes or (0,)):
        stage.replay(exits(trial, code))
    stage.check_end()


# -- trials that wait for the verdict -------------------------------------------------------------


def test_a_trial_is_told_to_stop_and_goes_on_with_its_next_phase(set_stage):
    stage = set_stage()
    stage.replay(mentions(0, 1, waits=True), mentions(0, -1, waits=True))
    assert stage.peer(0).verdicts == [None, SECOND]
    stage.replay(asks(0), answers("b"), mentions(0, 2, waits=True), reports(0, 3))
    end(stage)
    assert stage.phases() == ["0.0 #0 EARLY_STOPPED", "0.1 #1 SUCCEEDED"]
    assert stage.reasons() == [SECOND]
    assert stage.trials() == ["SUCCEEDED: exit status 0"]
    assert stage.tuner.story[1:] == ["end 0", "ask 1", "tell 1 3", "gone 0 well", "finish well"]
    assert stage.assessor.judge.story == [
        "0.0 [1]", "0.0 [1,-1]", "0.0 ill", "0.1 [2]", "0.1 well", "finish well",
    ]  # fmt: skip
    assert f"phase 0: {SECOND}" in stage.log(0)


def test_a_verdict_that_does_not_come_is_said_to_be_waited_for(set_stage):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, 1, waits=True))
    for seconds, reasons in ((0.5, []), (0.5, ["waits for the assessor's verdict on result 1"])):
        stage.clock.now += seconds
        stage.turns.timers[-1].ring()
        stage.turn()
        assert stage.reasons() == reasons
    assert len(stage.turns.timers) == 2  # there is nothing more to say
    stage.replay(judges)
    assert stage.reasons() == []
    stage.replay(mentions(0, 2, waits=True))
    stage.clock.now += 1.0
    stage.turns.timers[-1].ring()
    stage.replay(reports(0, 3))
    assert (stage.phases(), stage.reasons()) == (["0.0 #0 SUCCEEDED"], [])


def test_the_curve_of_a_trial_runs_on_over_its_phases(set_stage):
    stage = set_stage("trial")
    stage.replay(mentions(0, 1, waits=True), reports(0, 3), asks(0), answers("b"))
    stage.replay(mentions(0, -1, waits=True), asks(0), answers("c"), mentions(0, 2, waits=True))
    stage.replay(reports(0, 5))
    assert stage.peer(0).verdicts == [None, FIRST, None]
    end(stage)
    assert stage.assessor.judge.story[:4] == ["0 [1]", "0 [1,-1]", "0 [1,-1,2]", "0 well"]


@pytest.mark.parametrize(
    ("how", "status", "told", "reason"),
    [
        (reports(0, 5), "EARLY_STOPPED", "tell 0 5", FIRST),
        (fails(0, "PhaseStopped", "stop"), "EARLY_STOPPED", "end 0", FIRST),
        (fails(0, "KeyError", "'x'"), "FAILED", "end 0", "KeyError: 'x'"),
        (asks(0), "EARLY_STOPPED", "end 0", FIRST),
        (hello(0), "EARLY_STOPPED", "end 0", FIRST),
        (exits(0, 1), "EARLY_STOPPED", "end 0", FIRST),
    ],
    ids=["final", "PhaseStopped", "failed", "ask", "hello", "exit"],
)
def test_whatever_a_trial_does_after_a_stop(set_stage, how, status, told, reason):
    stage = set_stage()
    stage.replay(mentions(0, -1, waits=True), how)
    assert stage.phases()[0] == f"0.0 #0 {status}"
    assert stage.reasons() == [reason]
    assert stage.tuner.story[1] == told
    assert "0.0 ill" in stage.assessor.judge.story
    assert stage.row.best_phase is None
    stage.check_counts()


def test_a_stopped_phase_is_not_stopped_again_and_is_answered_all_the_same(set_stage):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, -1, waits=True), judges, mentions(0, 7, waits=True))
    assert stage.peer(0).verdicts == [FIRST, FIRST]
    assert stage.assessor.judge.story == ["0.0 [-1]"]


def test_with_include_intermediate_results_the_last_one_stands_for_the_result(set_stage):
    stage = set_stage(**KEEPS_LAST)
    stage.replay(mentions(0, 4, waits=True), mentions(0, -2, waits=True), asks(0), answers("b"))
    assert stage.tuner.story[1] == "tell 0 -2"
    stage.replay(mentions(0, -3, waits=True), reports(0, 9), asks(0), answers("c"))
    assert stage.tuner.story[3] == "tell 1 9"
    stage.replay(mentions(0, -4, waits=True), fails(0))
    assert stage.tuner.story[-1] == "end 2"
    assert stage.row.best_phase is None


def test_a_result_that_stands_for_another_gets_a_tuner_that_had_none_asked_again(set_stage):
    stage = set_stage(max_trial_num=2, trial_concurrency=2, **KEEPS_LAST)
    stage.replay(answers(None), mentions(0, -1, waits=True))
    assert not stage.tuner.questions
    stage.replay(fails(0, "PhaseStopped"))
    assert stage.tuner.story[-2:] == ["tell 0 -1", "first 2"]


def test_a_stopped_phase_is_never_the_best(set_stage):
    stage = set_stage()
    stage.replay(reports(0, 1), asks(0), answers("b"), mentions(0, -1, waits=True), reports(0, 9))
    end(stage)
    assert stage.row.best_phase == 1


def test_the_verdict_on_an_earlier_process_is_not_told_to_the_next_one(set_stage):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, 1, waits=True), hello(0), asks(0), answers("b"))
    stage.replay(mentions(0, -1, waits=True), judges)
    assert stage.peer(0).verdicts == []
    stage.replay(judges)
    assert stage.peer(0).verdicts == [FIRST]


def test_a_verdict_answers_the_last_message_alone(set_stage):
    stage = set_stage(at_once=False)
    for seq, value in (3, 1), (4, -1):
        stage.replay(says(0, type="intermediate", value=value, seq=seq, verdict=True))
    heard = len(stage.peer(0).heard)
    stage.replay(judges, judges)
    assert stage.peer(0).heard[heard:] == [
        {"type": "verdict", "seq": 4, "stop": True, "reason": SECOND}
    ]


def test_a_trial_is_told_that_there_is_an_assessor(set_stage):
    stage = set_stage()
    assert stage.peer(0).heard[0]["assessor"] is True
    stage.replay(crashes(), hello(0))
    assert stage.peer(0).heard[-1]["assessor"] is True


def test_without_an_assessor_nobody_waits_in_vain(tmp_path):
    stage = Stage(tmp_path, max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), mentions(0, -1, waits=True))
    assert "assessor" not in stage.peer(0).heard[0]
    assert stage.peer(0).verdicts == [None]
    stage.close()


# -- trials that do not -----------------------------------------------------------------------------


def test_a_trial_that_does_not_wait_is_ended(set_stage):
    stage = set_stage()
    stage.replay(mentions(0, 1))
    assert stage.service.ended == []
    stage.replay(mentions(0, -1))
    assert stage.service.ended == [stage.trial_id(0)]
    end(stage, 143)
    assert stage.phases() == ["0.0 #0 EARLY_STOPPED"]
    assert stage.trials() == [f"EARLY_STOPPED: {SECOND}"]
    assert stage.tuner.story[1:] == ["end 0", "gone 0 ill", "finish well"]
    assert stage.assessor.judge.story[2:] == ["0.0 ill", "finish well"]


def test_what_a_trial_said_before_it_was_ended_counts_and_it_begins_no_other_phase(set_stage):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, -1), judges, reports(0, 5), asks(0))
    assert stage.peer(0).answers()[-1] == f"no more: {FIRST}"
    end(stage, 143)
    assert stage.phases() == ["0.0 #0 EARLY_STOPPED"]
    assert stage.tuner.story[1:] == ["tell 0 5", "gone 0 ill", "finish well"]


@pytest.mark.parametrize("waits", [True, False])
def test_a_final_that_was_there_before_the_verdict_is_a_success(set_stage, waits):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, -1, waits), reports(0, 5), asks(0), answers("b"), judges)
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 RUNNING"]
    assert stage.peer(0).verdicts == []
    assert stage.service.ended == []


@pytest.mark.parametrize("asks_again", [True, False])
def test_a_trial_whose_own_curve_is_bad_is_ended_however_late_that_is_said(set_stage, asks_again):
    stage = set_stage("trial", at_once=False)
    stage.replay(mentions(0, -1), reports(0, 5))
    stage.replay(*[asks(0), answers("b")][: 2 * asks_again], judges)
    assert stage.service.ended == [stage.trial_id(0)]
    end(stage, 143)
    late = f"{FIRST.replace('its', 'the')} of phase 0"
    assert stage.trials() == [f"EARLY_STOPPED: {late}"]
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 EARLY_STOPPED"][: 1 + asks_again]
    assert stage.reasons() == [late] * asks_again


def test_a_trial_that_was_ended_counts_for_the_limit_and_the_next_one_begins(set_stage):
    stage = set_stage(max_trial_num=2)
    stage.replay(mentions(0, -1), stops(), exits(0, 143))
    stage.check_end()
    assert stage.trials() == [f"EARLY_STOPPED: {FIRST}"]
    stage.replay(crashes())
    assert stage.tuner.questions
    stage.replay(answers("b"), asks(1), reports(1, 1), exits(1))
    stage.check_end()


# -- several phases at a time -------------------------------------------------------------------------


@pytest.fixture
def set_batch(set_stage):
    """Set a stage whose trial computes three phases at a time."""

    def set_batch(history="phase", at_once=True, **config):
        stage = set_stage(history, at_once, **config)
        stage.replay(reports(0, 1), asks(0, 3), answers("b", "c", "d"))
        return stage

    return set_batch


@pytest.mark.parametrize("passes_on", [[], [commits, crashes()]], ids=["one", "two"])
@pytest.mark.parametrize("judged", ["before", "after"])
def test_a_verdict_is_on_its_own_phase(set_batch, judged, passes_on):
    """Whatever is stopped or ends beside it, and whichever manager tells it."""
    stage = set_batch(at_once=False)
    stage.replay(mentions(0, 1, True, 1), judges, mentions(0, -1, True, 3), judges)
    stage.replay(reports(0, 5, 3), mentions(0, -1, True, 2), *[judges] * (judged == "before"))
    stage.replay(*passes_on)
    while stage.judge():
        stage.turn()
    assert stage.peer(0).verdicts == [None, FIRST, FIRST]
    stage.replay(mentions(0, 3, True, 1), judges, reports(0, 6, 1))
    stage.replay(fails(0, "PhaseStopped", phase=2), asks(0, 1), answers("e"))
    stage.replay(mentions(0, 7, True), judges, reports(0, 8))
    end(stage)
    assert stage.phases()[1:] == [
        "0.1 #1 SUCCEEDED",
        "0.2 #2 EARLY_STOPPED",
        "0.3 #3 EARLY_STOPPED",
        "0.4 #4 SUCCEEDED",
    ]
    curves = [line for line in stage.assessor.judge.story if not line.startswith("finish")]
    assert sorted(curves) == [
        *["0.1 [1,3]", "0.1 [1]", "0.1 well", "0.2 [-1]", "0.2 ill"],
        *["0.3 [-1]", "0.3 ill", "0.4 [7]", "0.4 well"],
    ]
    assert stage.tuner.story[3:5] == ["tell 3 5", "tell 1 6"]


@pytest.mark.parametrize("passes_on", [[], [commits, crashes()]], ids=["one", "two"])
@pytest.mark.parametrize(
    ("last", "third"),
    [
        (mentions(0, -1, phase=3), "EARLY_STOPPED"),
        (reports(0, 5, 3), "SUCCEEDED"),
        (fails(0, phase=3), "FAILED"),
    ],
)
def test_a_trial_that_does_not_wait_is_ended_when_all_that_it_has_open_is_stopped(
    set_batch, last, third, passes_on
):
    stage = set_batch()
    stage.replay(mentions(0, -1, True, 1), mentions(0, -1, phase=2), mentions(0, 1, phase=3))
    stage.replay(*passes_on)
    assert stage.service.ended == []
    stage.replay(last)
    assert stage.service.ended == [stage.trial_id(0)]
    end(stage, 143)
    assert [phase.split()[-1] for phase in stage.phases()[1:]] == ["EARLY_STOPPED"] * 2 + [third]
    assert stage.trials() == [f"EARLY_STOPPED: {FIRST}"]


@pytest.mark.parametrize(
    ("stopped", "last"),
    [
        ([mentions(0, -1, True, 1), mentions(0, -1, True, 2)], reports(0, 5, 3)),
        ([mentions(0, -1, phase=1), mentions(0, 1, phase=2)], asks(0, 2)),
        ([mentions(0, -1, phase=1), mentions(0, 1, phase=2)], hello(0)),
    ],
    ids=["all told", "asks", "hello"],
)
def test_a_trial_that_knows_or_leaves_behind_what_is_stopped_is_not_ended(set_batch, stopped, last):
    stage = set_batch()
    stage.replay(*stopped, last)
    assert stage.service.ended == []


@pytest.mark.parametrize("waits", [True, False])
def test_the_curve_of_a_trial_runs_on_over_the_phases_of_a_batch(set_batch, waits):
    stage = set_batch("trial", at_once=False, max_trial_num=2)
    stage.replay(mentions(0, 1, True, 3), judges, mentions(0, 2, True, 1), judges)
    stage.replay(mentions(0, -1, waits, 2), reports(0, 5, 2), mentions(0, 3, phase=1), judges)
    assert stage.assessor.judge.story[:3] == ["0 [1]", "0 [1,2]", "0 [1,2,-1]"]
    late = f"{FIRST.replace('its', 'the')} of phase 2"
    assert stage.service.ended == [stage.trial_id(0)]
    stage.replay(judges, exits(0, 143))
    assert stage.phases()[1:4] == [
        "0.1 #1 EARLY_STOPPED",
        "0.2 #2 SUCCEEDED",
        "0.3 #3 EARLY_STOPPED",
    ]
    assert stage.trials()[0] == f"EARLY_STOPPED: {late}"


# -- ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drain", [True, False])
def test_a_stop_while_a_verdict_is_out(set_stage, drain):
    stage = set_stage(at_once=False)
    stage.replay(mentions(0, -1, waits=True), stops(drain), judges)
    assert stage.peer(0).verdicts == [FIRST]
    stage.replay(asks(0))
    assert stage.peer(0).answers()[-1].startswith("no more")
    end(stage, 0 if drain else 143)
    assert stage.phases() == ["0.0 #0 EARLY_STOPPED"]


def test_a_phase_that_a_stop_cuts_short_is_offered_again_and_one_that_was_stopped_is_not(set_stage):
    stage = set_stage(max_trial_num=2, trial_concurrency=2)
    stage.replay(answers("b"), asks(1), mentions(0, -1, waits=True), mentions(1, 1, waits=True))
    stage.replay(stops(), exits(0, 143), exits(1, 143))
    stage.check_end()
    assert stage.phases() == ["0.0 #0 EARLY_STOPPED", "1.0 #1 LOST"]
    stage.replay(crashes())
    assert stage.phases()[2:] == ["2.0 #1 WAITING", "3.0 #2 WAITING"]


@pytest.mark.parametrize("fails_at", ["first", "second"])
def test_an_assessor_that_raises_ends_the_experiment_and_open_phases_finish(set_stage, fails_at):
    stage = set_stage(max_trial_num=2, trial_concurrency=2)
    stage.replay(answers("b"), asks(1))
    if fails_at == "second":
        stage.replay(mentions(0, 1, waits=True), mentions(1, 1, waits=True))
    stage.replay(mentions(0, "boom", waits=True), mentions(1, -1, waits=True))
    assert stage.peer(0).verdicts[-1] is None
    assert stage.peer(1).verdicts[-1] is None
    stage.replay(reports(0, 5), asks(0))
    failure = "the assessor failed: ValueError: boom"
    assert stage.peer(0).answers()[-1] == f"no more: {failure}"
    stage.replay(exits(0), reports(1, 6), exits(1))
    assert stage.ending() == f"ERROR: {failure}"
    assert stage.tuner.story[1:3] == ["tell 0 5", "gone 0 ill"]  # it was turned away
    assert stage.tuner.story[3:] == ["tell 1 6", "gone 1 well", "finish ill"]
    assert stage.assessor.judge.story[-1] == "finish ill"


def test_a_tuner_that_fails_leaves_the_assessor_at_work(set_stage):
    stage = set_stage()
    stage.replay(tuner_fails(), mentions(0, -1, waits=True), asks(0))
    assert stage.peer(0).verdicts == [FIRST]
    end(stage)
    assert stage.assessor.judge.story[1:] == ["0.0 ill", "finish ill"]
    stage.replay(crashes())  # which tells the tuner, mended, what it was not told, and it alone
    assert stage.tuner.story[1:3] == ["end 0", "gone 0 ill"]
    assert stage.assessor.judge.story == ["0.0 [-1]", "0.0 ill"]


def test_a_stop_before_the_assessor_is_there(tmp_path):
    stage = Stage(tmp_path, "phase")
    stage.replay(stops(), loaded())
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.service.started == []
    stage.close()


# -- managers that die ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [
        [mentions(0, -1, waits=True)],  # not on record
        [mentions(0, -1, waits=True), commits],
        [mentions(0, -1, waits=True), judges],
        [mentions(0, 1, waits=True), judges, mentions(0, -1, waits=True)],
        [mentions(0, -1, waits=True), judges, mentions(0, 7, waits=True)],  # answered at once
    ],
    ids=["unrecorded", "recorded", "answered", "second", "stopped"],
)
@pytest.mark.parametrize("is_heard", [True, False])
def test_a_trial_that_waits_gets_its_verdict_from_the_next_manager(set_stage, before, is_heard):
    stage = set_stage(at_once=False)
    peer, send = stage.peer(0), stage.service.on_send
    stage.replay(*before[:-1])
    if not is_heard:
        stage.service.on_send = lambda trial_id, data: None
    stage.replay(before[-1])
    stage.service.on_send = send
    stage.replay(crashes())
    while stage.judge():
        stage.turn()
    assert peer.awaits is None
    assert peer.verdicts[-1] in (FIRST, SECOND)
    stage.replay(asks(0))
    assert stage.phases()[0] == "0.0 #0 EARLY_STOPPED"
    stage.check_counts()


def test_an_assessor_that_cannot_be_rebuilt_leaves_everything_as_it_was(set_stage):
    stage = set_stage()
    stage.replay(mentions(0, "boom", waits=True), commits)
    before = stage.phases(), stage.trials()
    stage.replay(crashes())
    assert stage.turns.abandoned == "the assessor failed: boom"
    assert (stage.phases(), stage.trials()) == before
    assert stage.service.adopted == {}


def test_the_history_goes_on_with_another_manager(set_stage):
    stage = set_stage("trial")
    stage.replay(mentions(0, 1, waits=True), reports(0, 3), asks(0), answers("b"))
    stage.replay(mentions(0, 2), commits, crashes(), mentions(0, 3, waits=True), reports(0, 4))
    end(stage)
    assert stage.assessor.judge.story[:4] == ["0 [1]", "0 [1,2]", "0 [1,2,3]", "0 well"]


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize(
    "before",
    [
        [mentions(0, -1)],
        [mentions(0, -1), judges],
        [mentions(0, -1), mentions(0, 2), judges],
    ],
    ids=["recorded", "judged", "good since"],
)
def test_a_trial_that_was_being_ended_is_ended_by_the_next_manager(set_stage, dies, before):
    stage = set_stage(at_once=False, max_trial_num=2)
    stage.replay(*before, commits)
    stage.service.ended.clear()
    stage.replay(crashes(0) if dies else crashes())
    if not dies:
        assert stage.service.ended == [stage.trial_id(0)]
        stage.replay(exits(0, 143))
    assert stage.phases()[:1] == ["0.0 #0 EARLY_STOPPED"]
    assert stage.trials()[0].startswith("EARLY_STOPPED: the assessor stopped it")
    assert stage.tuner.questions, "the second and last trial begins"


@pytest.mark.parametrize("keeps_last", [False, True])
def test_mpx_stop_after_a_dead_manager_closes_a_stopped_phase(set_stage, monkeypatch, keeps_last):
    monkeypatch.setattr("mpx.store._READER_PATIENCE", 0.0)  # the stage reads as long as it lives
    config = KEEPS_LAST if keeps_last else {}
    stage = set_stage(max_trial_num=2, trial_concurrency=2, **config)
    stage.replay(answers("b"), asks(1), mentions(0, -1, waits=True), mentions(1, 1, waits=True))
    for trial in (0, 1):
        stage.service.living.discard(stage.trial_id(trial))
        stage.peer(trial).is_alive = False
    close_interrupted(stage.path, "mpx stop", stage.clock.now)
    assert_counts(stage.path)
    stage.assessor.closed_meanwhile = True
    stage.replay(crashes())
    assert stage.phases() == [
        "0.0 #0 EARLY_STOPPED",
        "1.0 #1 LOST",
        "2.0 #1 WAITING",
        "3.0 #2 WAITING",
    ]
    assert stage.reasons() == [FIRST, "its trial ended: mpx stop"]
    assert ("tell 0 -1" if keeps_last else "end 0") in stage.tuner.story
    assert stage.assessor.judge.story == ["0.0 [-1]", "1.0 [1]", "0.0 ill", "1.0 ill"]
