"""The controller with several phases open in one trial, and with phases that go on from each other."""

from __future__ import annotations

import pytest

from mpx.config.model import TrialConfig
from mpx.inbox import PARAMETERS
from mpx.tuner import Continued
from mpx.tuner_calls import Parameters
from tests.stage import (
    answers,
    asks,
    crashes,
    exits,
    fails,
    hello,
    loaded,
    passes,
    reports,
    saves,
    says,
    stops,
    tuner_fails,
    writes_letter,
)

NO_MORE = None
EMPTY = "no more: the tuner has no more parameters"
TOO_LONG = "x" * 1000
STOPPED = "no more: the experiment is being stopped"
FAILED = "no more: the tuner failed: ValueError: boom"


@pytest.fixture
def set_stage(new_stage):
    """Set a stage with such a configuration, and one trial that has its first parameters."""

    def set_stage(retries=0, **config):
        trial = TrialConfig("train", "/code", retries=retries)
        stage = new_stage(trial=trial, max_line_length=1000, **config)
        stage.replay(loaded(), answers("a"))
        return stage

    return set_stage


# -- the main job ---------------------------------------------------------------------------------


def test_a_batch_is_asked_for_in_one_call_and_its_results_are_told_before_the_next(set_stage):
    stage = set_stage(max_phases_per_trial=6, max_trial_num=1)
    stage.replay(asks(0, 3), answers("b", "c"), reports(0, 5, 1), reports(0, 6, 2, 0))
    stage.replay(
        asks(0, 3), answers("d", "e", "f"), fails(0, phase=4), reports(0, 7, 3), asks(0, 3)
    )
    stage.replay(exits(0))
    full = "no more: maxPhasesPerTrial (6) is reached"
    assert stage.peer(0).answers() == ['"a" "b" "c"', '"d" "e" "f"', full]
    assert stage.tuner.story == [
        *["first 0", "ask 1 2", "tell 1 5", "tell 2 6", "tell 0 6"],
        *["ask 3 4 5", "end 4", "tell 3 7", "end 5", "gone 0 well", "finish well"],
    ]
    assert stage.phases() == [
        *[f"0.{n} #{n} SUCCEEDED" for n in range(4)],
        "0.4 #4 FAILED",
        "0.5 #5 ABANDONED",
    ]
    assert "phases 0 to 2 · parameter_ids 0 to 2\n" in stage.log(0)
    assert stage.ending() == "DONE: maxTrialNum (1) is reached"


def test_finals_that_wait_for_no_acknowledgement_have_one_together(set_stage):
    stage = set_stage()
    stage.turns.syncs_at_once = False
    stage.replay(asks(0, 3), answers("b", "c"), reports(0, 1, 2, 0, 1))
    assert stage.peer(0).awaits == "ack"
    assert stage.turns.syncs == 1
    stage.turns.sync()
    assert stage.peer(0).awaits is None
    assert [m["seq"] for m in stage.peer(0).heard if m["type"] == "ack"] == [5]


@pytest.mark.parametrize(
    ("limits", "given", "heard"),
    [
        ({"max_phase_num": 5}, "bcde", ['"a" "b" "c" "d"', '"e"', "no more: maxPhaseNum (5)"]),
        ({"max_phase_num": 1}, "", ['"a"', "no more: maxPhaseNum (1)"]),
        ({"max_phases_per_trial": 2}, "b", ['"a" "b"', "no more: maxPhasesPerTrial (2)"]),
        ({"multi_phase": False}, "", ['"a"', "no more: one phase per trial"]),
        ({}, ["b", NO_MORE, NO_MORE, *"c" * 3, *[NO_MORE] * 5], ['"a" "b"', '"c" "c" "c"', EMPTY]),
        ({}, [NO_MORE] * 7, ['"a"', EMPTY]),
        ({"max_exec_duration": 60}, "bcd", ['"a" "b" "c" "d"', "no more: maxExecDuration (60 s)"]),
    ],
)
def test_a_batch_is_smaller_where_there_are_no_more(set_stage, limits, given, heard):
    stage, given = set_stage(**limits), [*given]
    for message in heard:
        stage.replay(asks(0, 4))
        while stage.tuner.questions:
            stage.replay(answers(given.pop(0)))
        assert stage.peer(0).answers()[-1].startswith(message)
        stage.replay(passes(60), *[reports(0, 1, n) for n in stage.peer(0).connection.open_phases])
    stage.check_counts()


@pytest.mark.parametrize(
    ("given", "heard", "statuses"),
    [
        ((TOO_LONG, "c"), '"a" "c"', ["RUNNING", "FAILED", "RUNNING"]),
        (("b", TOO_LONG), '"a" "b"', ["RUNNING", "RUNNING", "FAILED"]),
    ],
)
def test_parameters_over_the_limit_fail_their_phase_of_a_batch_only(
    set_stage, given, heard, statuses
):
    stage = set_stage()
    stage.replay(asks(0, 3), answers(*given))
    assert stage.peer(0).answers() == [heard]
    assert [phase.split()[-1] for phase in stage.phases()] == statuses
    stage.replay(crashes(), reports(0, 1, *stage.peer(0).connection.open_phases), asks(0, 2))
    stage.replay(answers(TOO_LONG, TOO_LONG))
    assert stage.peer(0).answers()[-1].startswith("error: its parameters are a line of over 1000")
    stage.replay(asks(0, 2), answers("f", "g"))
    assert stage.peer(0).answers()[-1] == '"f" "g"'
    assert stage.phases()[-2:] == ["0.5 #5 RUNNING", "0.6 #6 RUNNING"]


def test_parameters_behind_a_phase_that_has_none_wait_for_another_one(set_stage):
    """Only a tuner that launches one by `st_callback`, while it is asked, has parameters for that alone."""
    stage = set_stage()
    stage.replay(asks(0, 3))
    refusal, launched = (
        stage.tuner.answer(NO_MORE),
        Parameters(stage.tuner.questions.popleft(), '"c"'),
    )
    stage.tuner.knows(launched.parameter_id)
    stage.experiment.on_answers([refusal, launched])
    stage.turn()
    stage.replay(answers("d"))
    assert stage.peer(0).answers() == ['"a" "c" "d"']
    assert stage.phases() == ["0.0 #0 RUNNING", "0.1 #2 RUNNING", "0.2 #3 RUNNING"]
    stage.replay(crashes(), reports(0, 1, 0, 1, 2), asks(0))
    assert stage.tuner.story[-4:] == ["tell 0 1", "tell 2 1", "tell 3 1", "ask 4"]


def commits(stage):
    assert stage.turns.commit_is_due
    stage.turns.commit_is_due = False
    stage.experiment.commit()


# -- processes of one trial -----------------------------------------------------------------------


@pytest.mark.parametrize("when", ["asked", "partly answered", "answered", "open"])
@pytest.mark.parametrize("count", [None, 2, 5])
def test_another_process_is_given_what_the_one_before_it_left(set_stage, when, count):
    stage = set_stage()
    before = [asks(0, 4), answers("b"), answers("c", "d")]
    events = {
        "asked": [before[0], hello(0), *before[1:], asks(0, count)],
        "partly answered": [*before[:2], hello(0), asks(0, count), before[2]],
        "answered": [before[0], hello(0), commits, *before[1:], commits, crashes(), asks(0, count)],
        "open": [*before, reports(0, 1, 2), hello(0), asks(0, count)],
    }
    stage.replay(*events[when])
    wanted, new = count or 1, "stuvw"
    while stage.tuner.questions:
        stage.replay(answers(*new[: len(stage.tuner.questions)]))
    left = "abcd" if when != "open" else ""
    expected = " ".join(f'"{name}"' for name in (left + new)[:wanted])
    assert stage.peer(0).answers()[-1] == expected
    open_phases = [phase.split()[0] for phase in stage.phases() if phase.endswith("RUNNING")]
    first = 4 if when == "open" else 0
    assert open_phases == [f"0.{first + n}" for n in range(wanted)]
    assert [*stage.peer(0).connection.open_phases] == [first + n for n in range(wanted)]
    stage.replay(crashes(), reports(0, 1, *stage.peer(0).connection.open_phases), asks(0, 4))
    assert len(stage.tuner.questions) == 4 - max(0, len(left) - wanted)
    stage.check_counts()


@pytest.mark.parametrize(
    ("given", "heard"), [(("b", "c"), '"a" "b" "c"'), ((TOO_LONG, NO_MORE), '"a"')]
)
def test_a_batch_that_died_with_its_manager_is_told_again(set_stage, given, heard):
    stage = set_stage()
    stage.replay(asks(0, 3))
    send, stage.service.on_send = stage.service.on_send, lambda trial_id, data: None
    stage.replay(answers(*given))
    stage.service.on_send = send
    stage.replay(crashes())
    assert stage.peer(0).answers() == [heard]
    stage.replay(reports(0, 1, *stage.peer(0).connection.open_phases))
    assert stage.peer(0).awaits is None


def test_a_trial_that_was_refused_in_a_batch_may_ask_another_manager(set_stage):
    stage = set_stage()
    stage.replay(asks(0, 3), answers("b"), stops(drain=True), crashes(), asks(0, 3), answers("c"))
    assert stage.peer(0).answers() == [STOPPED, '"a" "b" "c"']


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "told"),
    [(stops(), STOPPED), (stops(drain=True), STOPPED), (tuner_fails(), FAILED)],
    ids=["stop", "drain", "failure"],
)
@pytest.mark.parametrize("when", ["asked", "partly answered", "open", "partly reported"])
def test_whatever_ends_an_experiment_in_a_batch(set_stage, when, end, told):
    stage = set_stage(max_trial_num=9)
    events = [asks(0, 4), answers("b"), answers("c", "d"), reports(0, 1, 2)]
    number = ["asked", "partly answered", "open", "partly reported"].index(when)
    stage.replay(*events[: number + 1], end)
    peer = stage.peer(0)
    assert peer.awaits is None
    assert peer.answers()[-1] == (told if number < 2 else '"a" "b" "c" "d"')
    if number >= 2:
        stage.replay(reports(0, 3, 1), asks(0, 4))
        assert peer.answers()[-1] == told
    stage.replay(exits(0))
    assert stage.ending().startswith("ERROR" if told is FAILED else "STOPPED")
    ended = [
        "SUCCEEDED" if n in ([1, 2] if number == 3 else [1]) else "ABANDONED" for n in range(4)
    ]
    lost = ["LOST"] * (number + 1)
    assert [phase.split()[-1] for phase in stage.phases()] == (ended if number >= 2 else lost)
    stage.replay(crashes())  # which resumes it
    left = [0, 1][: number + 1] if number < 2 else []
    assert stage.phases()[len(ended if number >= 2 else lost) :][: len(left)] == [
        f"1.0 #{n} WAITING" for n in left[:1]
    ]
    stage.replay(*[answers("e")] * bool(stage.tuner.questions), asks(1, 3))
    assert stage.tuner.story[-1] == {0: "ask 1 2", 1: "ask 2"}.get(number, "ask 5 6")


@pytest.mark.parametrize("retries", [0, 1])
def test_phases_of_a_batch_are_tried_again_as_often_as_the_one_with_most_tries(set_stage, retries):
    stage = set_stage(retries, max_trial_num=3)
    stage.replay(asks(0, 3), answers("b", "c"), reports(0, 1, 1), exits(0, 1))
    if not retries:
        assert stage.phases() == [
            "0.0 #0 LOST",
            "0.1 #1 SUCCEEDED",
            "0.2 #2 LOST",
            "1.0 #3 WAITING",
        ]
        return
    stage.replay(writes_letter("1.json", PARAMETERS, "mine"), asks(1, 4), answers("d"))
    assert stage.peer(1).answers() == ['"a" "c" "mine" "d"']
    assert stage.phases()[3:] == [f"1.{n} #{p} RUNNING" for n, p in enumerate([0, 2, 3, 4])]
    stage.replay(crashes(), exits(1, 1), answers("e"))
    assert stage.phases()[3:7] == [f"1.{n} #{p} LOST" for n, p in enumerate([0, 2, 3, 4])]
    assert stage.phases()[7:] == ["2.0 #5 WAITING"]
    stage.replay(asks(2), exits(2, 1))  # which is no try of those before
    assert stage.phases()[7:] == ["2.0 #5 LOST", "3.0 #5 WAITING"]
    stage.replay(asks(3), reports(3, 1), asks(3, 2), answers("f", "g"), exits(3, 1))  # nor is this
    assert stage.phases()[-3:] == ["3.1 #6 LOST", "3.2 #7 LOST", "4.0 #6 WAITING"]
    stage.check_counts()


def test_a_batch_that_was_being_asked_for_when_its_trial_died_is_forgotten(set_stage):
    stage = set_stage(max_phase_num=4)
    stage.replay(asks(0, 4), answers("b"), commits, crashes(0))
    assert stage.phases() == ["0.0 #0 LOST", "0.1 #1 LOST", "1.0 #0 WAITING"]
    assert stage.tuner.story == ["first 0", "ask 1", "gone 0 ill"]
    stage.replay(asks(1, 5))
    assert stage.tuner.story[-1] == "ask 2 3"
    stage.replay(answers("e", "f"))
    assert stage.peer(1).answers() == ['"a" "b" "e" "f"']


@pytest.mark.parametrize("resumed", [False, True])
def test_what_takes_too_long_is_all_that_is_open(set_stage, resumed):
    stage = set_stage(phase_timeout=10.0)
    stage.replay(asks(0, 3), answers("b", "c"), reports(0, 1, 1), passes(11))
    if resumed:
        stage.replay(crashes())
    stage.turns.timers[-1].ring()
    stage.replay(says(0, type="final", value=3, phase_index=0, seq=9), exits(0, 143))
    assert stage.reasons() == ["phaseTimeout (10 s) is over"] * 2
    assert stage.phases()[:3] == ["0.0 #0 FAILED", "0.1 #1 SUCCEEDED", "0.2 #2 FAILED"]
    assert stage.tuner.story[2:] == ["tell 1 1", "end 0", "end 2", "gone 0 ill", "first 3"]


# -- phases that go on from each other ------------------------------------------------------------

A, B = "/weights/a", "/weights/b"


def given(stage, trial=0):
    """Return, for each phase that a trial was given last, its parent and what it is to load."""
    message = next(m for m in reversed(stage.peer(trial).heard) if m["type"] == "parameters")
    phases = message.get("phases", [message])
    return [(phase.get("parent"), phase.get("checkpoint")) for phase in phases]


FROM_FIRST, FROM_SECOND = Continued("c", 0), Continued("c", 1)
SAVED = [asks(0), saves(0, B, 0), saves(0, A, 0), reports(0, 1)]
UNSAVED = [asks(0), reports(0, 1)]
SAVED_BY_FIRST = [asks(0, 2), answers("b"), saves(0, A, 0), reports(0, 1, 0, 1)]
FROM_SECOND_ALONE = [asks(0), answers(FROM_SECOND)]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([*UNSAVED, asks(0), answers(FROM_FIRST)], [(0, None)]),
        ([*SAVED, asks(0), answers(FROM_FIRST)], [(0, None)]),
        ([*SAVED, asks(0, 1), answers(FROM_FIRST)], [(0, A)]),
        ([*UNSAVED, asks(0, 1), answers(FROM_FIRST)], [(None, None)]),
        ([*SAVED, hello(0), asks(0), answers(FROM_FIRST)], [(0, A)]),
        ([*UNSAVED, hello(0), asks(0), answers(FROM_FIRST)], [(None, None)]),
        ([*SAVED, asks(0), answers("b"), fails(0), asks(0), answers(FROM_FIRST)], [(0, A)]),
        ([*UNSAVED, asks(0), answers(TOO_LONG), asks(0), answers(FROM_FIRST)], [(0, None)]),
        ([asks(0), saves(0, A), fails(0), asks(0), answers(FROM_FIRST)], [(0, None)]),
        ([asks(0), saves(0, A), fails(0), asks(0, 1), answers(FROM_FIRST)], [(None, None)]),
        (
            [*SAVED_BY_FIRST, asks(0, 3), answers(FROM_FIRST, "d", FROM_SECOND)],
            [(0, A), (None, None), (None, None)],
        ),
        (
            [asks(0, 2), answers("b"), saves(0, A, 1), reports(0, 1, 0, 1), *FROM_SECOND_ALONE],
            [(1, A)],
        ),
        ([*SAVED_BY_FIRST, *FROM_SECOND_ALONE], [(None, None)]),
        ([asks(0, 1), reports(0, 1), asks(0), answers(FROM_FIRST)], [(0, None)]),
    ],
)
@pytest.mark.parametrize("managers", ["one", "another for each event"])
def test_a_phase_goes_on_from_weights_that_its_process_has_or_that_were_saved(
    set_stage, events, found, managers
):
    stage = set_stage()
    for event in events:
        stage.replay(event)
        if managers != "one" and not stage.tuner.questions:
            stage.replay(crashes())
    assert given(stage) == found
    assert ("starts afresh" in stage.log(0)) == ((None, None) in found)


@pytest.mark.parametrize(("saved", "found"), [(SAVED, (0, A)), (UNSAVED, (None, None))])
def test_a_phase_that_is_tried_again_elsewhere_goes_on_from_what_was_saved(set_stage, saved, found):
    stage = set_stage(retries=1)
    stage.replay(*saved, asks(0), answers(FROM_FIRST))
    assert given(stage) == [(0, None)]
    stage.replay(exits(0, 1), crashes(), asks(1))
    assert given(stage, 1) == [found]
    assert stage.phases()[1:] == ["0.1 #1 LOST", "1.0 #1 RUNNING"]


def test_a_first_phase_goes_on_from_another_trials(set_stage):
    stage = set_stage(trial_concurrency=1)
    stage.replay(*SAVED, exits(0), answers(FROM_FIRST), crashes(), asks(1))
    assert given(stage, 1) == [(0, A)]
