"""Parameters that wait for a phase: launched by the tuner, sent by the user, or lost with a manager."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpx.history import StoredHistory
from mpx.host import Finished
from mpx.inbox import PARAMETERS, RESULTS, Inbox, Letter
from mpx.tuner_calls import Loaded, Parameters, Tell
from tests.stage import (
    Stage,
    answers,
    asks,
    crashes,
    exits,
    launches,
    loaded,
    promises,
    reports,
    stops,
    writes_letter,
)
from tests.test_experiment import LIMITS, AnyHistory, check_limits, check_results

NO_MORE = None
EMPTY = "DONE: the tuner has no more parameters"


@pytest.fixture
def set_stage(new_stage):
    """Set a stage with such a configuration."""
    return new_stage


def one_phase(trial):
    return [asks(trial), reports(trial, 1.0)]


def offered(stage):
    stage.experiment.commit()
    rows = stage._disk.execute("SELECT parameter_id, parameters, customized FROM offered")
    return [tuple(row) for row in rows]


def told(stage):
    """Return the results that the tuner was told of, and whether the user chose the parameters."""
    calls = [call for call in stage.mailbox.calls if isinstance(call, Tell)]
    return [(call.parameter_id, call.customized) for call in calls]


# -- launched by the tuner ------------------------------------------------------------------------


def test_a_slot_is_kept_free_for_what_the_tuner_may_launch(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), *one_phase(0))
    stage.replay(asks(0), answers("b"), reports(0, 1))
    assert not stage.tuner.questions
    stage.replay(launches(1, "c"))
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1]
    stage.replay(*one_phase(1), exits(1))
    assert stage.phases() == [
        "0.0 #0 SUCCEEDED",
        "0.1 #2 SUCCEEDED",
        "1.0 #1 SUCCEEDED",
        "2.0 #3 WAITING",
    ]
    assert stage.peer(1).answers() == ['"c"']
    assert stage.tuner.story[0] == "first 0 1"
    assert stage.tuner.story[-3:] == ["tell 1 1.0", "gone 1 well", "first 3"]


def test_what_was_promised_is_asked_for_again_when_nothing_runs(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), *one_phase(0), exits(0))
    assert stage.tuner.story[-1] == "first 2 3"
    stage.replay(answers("b", "c"), exits(1))
    assert stage.tuner.story[-1] == "first 4"  # no slot is kept for the promise of before


def test_a_promise_that_was_given_up_is_taken_when_it_comes(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), answers(NO_MORE))
    stage.replay(exits(0), launches(1, "late"), answers("b"))
    assert len(stage.service.started) == 2
    stage.replay(*one_phase(1), asks(1))
    assert stage.peer(1).answers() == ['"b"', '"late"']


@pytest.mark.parametrize("last", [promises(2), answers(NO_MORE, NO_MORE)])
def test_a_tuner_that_promises_and_has_nothing_left_ends_the_experiment(set_stage, last):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), *one_phase(0), exits(0), last)
    assert stage.ending() == EMPTY


def test_a_promise_outlives_its_manager(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), asks(0))
    stage.crash()
    stage.experiment.on_answers([Parameters(1, None, is_promised=True), Loaded(None)])
    stage.turn()
    stage.replay(reports(0, 1))
    assert not stage.tuner.questions
    stage.replay(launches(1))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #1 WAITING"]


def test_what_a_trial_asked_for_that_is_gone_is_launched_for_another(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), *one_phase(0), asks(0), exits(0, 1))
    stage.replay(answers(NO_MORE), launches(2))
    assert offered(stage) == [(2, '"launched"', 0)]
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #1 WAITING", "2.0 #3 WAITING"]


def test_credit_never_starts_more_trials_than_may_run(set_stage):
    """As NNI's Evolution: one phase is launched for each trial that ends, beside what is asked for."""
    stage = set_stage(trial_concurrency=3)
    stage.replay(loaded(), answers("a"), promises(2))
    waiting = [1, 2]
    for trial in range(6):
        stage.replay(*one_phase(trial), exits(trial))
        stage.replay(launches(waiting.pop(0)))
        while stage.tuner.questions:
            waiting.append(stage.tuner.questions[0])
            stage.replay(promises())
        running = [spec for spec in stage.service.started if stage.peers[spec.trial_id].is_alive]
        assert len(running) == 1
    assert stage.trials().count("RUNNING: None") == 1


def test_a_launch_waits_while_all_slots_are_taken(set_stage):
    stage = set_stage()
    refused = [asks(0), answers(NO_MORE)]
    stage.replay(loaded(), answers("a"), *one_phase(0), *refused, launches(1, "b"))
    assert offered(stage) == [(1, '"b"', 0)]
    stage.replay(exits(0))
    assert offered(stage) == []
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #1 WAITING"]


def test_a_running_trial_that_asks_takes_what_was_launched(set_stage):
    stage = set_stage()
    refused = [asks(0), answers(NO_MORE)]
    stage.replay(loaded(), answers("a"), *one_phase(0), *refused, launches(1, "b"))
    stage.replay(*one_phase(0))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 SUCCEEDED"]
    assert offered(stage) == []
    assert told(stage) == [(0, False), (1, False)]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_trial_num": 1}, "maxTrialNum (1) is reached"),
        ({"max_phase_num": 1}, "maxPhaseNum (1) is reached"),
    ],
)
def test_past_a_limit_a_launch_waits_for_a_resume(set_stage, limits, reason):
    stage = set_stage(**{"trial_concurrency": 1, "max_phase_num": 2, **limits})
    refused = [asks(0), answers(NO_MORE)] if limits.get("max_phase_num") != 1 else []
    stage.replay(loaded(), answers("a"), *one_phase(0), *refused)
    if refused:
        stage.replay(launches(1), exits(0))
        assert offered(stage) == [(1, '"launched"', 0)]
    else:
        stage.replay(exits(0))
    assert stage.ending() == f"DONE: {reason}"


def test_a_launch_while_stopping_is_left_to_the_next_manager(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), asks(0), stops(drain=True), launches(1))
    assert offered(stage) == []
    stage.replay(reports(0, 1), exits(0))
    assert stage.ending() == "STOPPED: mpx stop"
    stage.crash()
    assert [*stage.tuner.questions] == []
    stage.experiment.on_answers([stage.tuner.launch(1, "again"), Loaded(None)])
    stage.turn()
    assert stage.phases()[1:] == ["1.0 #1 WAITING", "2.0 #2 WAITING"]


def test_a_launch_as_the_tuner_says_goodbye_is_kept(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), *one_phase(0), asks(0), answers(NO_MORE), exits(0))
    stage.replay(answers(NO_MORE))
    assert stage.tuner.story[-1] == "finish well"
    stage.experiment.on_answers([stage.tuner.launch(1, "late"), Finished()])
    stage.turn()
    assert offered(stage) == [(1, '"late"', 0)]
    assert stage.turns.is_finished


def test_a_launch_on_record_survives_a_crash(set_stage):
    stage = set_stage()
    refused = [asks(0), answers(NO_MORE)]
    stage.replay(loaded(), answers("a"), *one_phase(0), *refused, launches(1, "b"))
    stage.replay(crashes(), exits(0))
    assert stage.phases()[-1] == "1.0 #1 WAITING"
    stage.replay(*one_phase(1))
    assert stage.peer(1).answers() == ['"b"']
    stage.replay(asks(1))
    assert stage.tuner.story[-1] == "ask 2"


def test_what_the_tuner_had_nothing_for_is_on_record(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises(), asks(0), reports(0, 1), asks(0))
    stage.replay(answers(NO_MORE))  # its answer to the third call: one ask, one result, one ask
    history = StoredHistory(stage.path)
    assert [sorted(history.unanswered(until)) for until in range(4)] == [[], [1], [1], [1, 2]]


def test_a_launch_that_was_not_recorded_is_taken_in_when_it_is_made_again(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"), promises())
    stage.experiment.on_answers([stage.tuner.launch(1, "b")])
    stage.crash()  # before the turn ends
    assert offered(stage) == []
    stage.experiment.on_answers([stage.tuner.launch(1, "b"), Loaded(None)])
    stage.turn()
    assert stage.phases() == ["0.0 #0 WAITING", "1.0 #1 WAITING"]


# -- sent by the user -----------------------------------------------------------------------------

CHOSEN = writes_letter("001.json", PARAMETERS, {"x": 1})


def test_the_users_parameters_go_to_the_next_trial_that_asks(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), *one_phase(0), CHOSEN, *one_phase(0))
    assert stage.peer(0).answers() == ['"a"', '{"x":1}']
    assert told(stage) == [(0, False), (1, True)]
    assert 'enqueued 1 {"x":1}' in stage.tuner.story
    stage.replay(asks(0))
    assert stage.tuner.story[-1] == "ask 2"


@pytest.mark.parametrize("has_result", [False, True])
def test_the_users_parameters_start_a_trial_in_a_slot_that_is_kept_free(set_stage, has_result):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a"))
    if has_result:
        stage.replay(*one_phase(0))
    stage.replay(promises(), CHOSEN)
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1]
    stage.replay(*one_phase(1), exits(1))
    assert stage.phases()[-1] == "1.0 #2 SUCCEEDED"
    assert not stage.tuner.questions  # the slot is kept free again


def test_letters_that_wait_are_read_before_the_tuner_is_asked(set_stage):
    stage = set_stage(max_trial_num=2)
    assert not stage.experiment.takes_letters
    results = [{"parameter": {"x": 0}, "value": 0.5}]

    def read():
        assert stage.experiment.takes_letters
        stage.experiment.on_letters([Letter("000.json", RESULTS, results)])
        stage.experiment.on_letters([Letter("001.json", PARAMETERS, {"x": 1})])

    stage.turns.read_inbox = read
    stage.replay(loaded(), *one_phase(0), exits(0))
    assert stage.peer(0).answers() == ['{"x":1}']
    assert stage.tuner.story == [
        'import [{"parameter":{"x":0},"value":0.5}]',
        'enqueued 0 {"x":1}',
        "tell 0 1.0",
        "gone 0 well",
        "first 1",
    ]


@pytest.mark.parametrize("event", [stops(drain=True), exits(0)])
def test_letters_are_left_to_the_next_manager_when_nothing_more_begins(set_stage, event):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0))
    assert stage.experiment.takes_letters
    stage.replay(event)
    assert not stage.experiment.takes_letters


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_letter_is_taken_in_once_whatever_dies(set_stage, tmp_path, is_committed):
    stage = set_stage()
    inbox = Inbox(tmp_path / "inbox")
    inbox.put(RESULTS, [{"parameter": 1, "value": 2}])
    inbox.put(PARAMETERS, {"x": 1})
    stage.replay(loaded(), answers("a"), *one_phase(0))
    known = set()
    for _ in range(2):
        for letter in inbox.read(known):
            stage.experiment.on_letters([letter])
        if is_committed:
            stage.turn()
        stage.replay(crashes())
        known = StoredHistory(stage.path).read().letters
        is_committed = True
    for letter in inbox.read(known):
        stage.experiment.on_letters([letter])
    stage.replay(*one_phase(0))
    assert [line for line in stage.tuner.story if line.startswith("import")] == [
        'import [{"parameter":1,"value":2}]'
    ]
    assert stage.peer(0).answers() == ['"a"', '{"x":1}']
    assert offered(stage) == []
    assert told(stage)[-1] == (1, True)


def test_the_users_parameters_that_are_lost_stay_the_users(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), *one_phase(0), CHOSEN, asks(0), crashes(0))
    assert stage.phases()[1:] == ["0.1 #1 LOST", "1.0 #1 WAITING"]
    stage.replay(*one_phase(1))
    assert stage.peer(1).answers() == ['{"x":1}']
    assert told(stage) == [(1, True)]


def test_letters_do_not_outrun_what_is_tried_again(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0))
    stage.crash(0)
    stage.turns.read_inbox = lambda: CHOSEN(stage)
    stage.resume()
    stage.turn()
    stage.replay(*one_phase(1), *one_phase(1))
    assert stage.peer(1).answers() == ['"a"', '{"x":1}']


# -- any order of events --------------------------------------------------------------------------


class AnyOffers(AnyHistory):
    """As any history, with a tuner that promises and launches, and a user who writes."""

    letters = 0

    def usual_events(self):
        tuner = self.stage.tuner
        events = [*super().usual_events(), self.letter]
        if tuner.questions:
            events += [promises()] * 3
        return events + [launches(number) for number in sorted(tuner._refused)[-3:]]

    def letter(self, stage):
        if stage.experiment.takes_letters:
            self.letters += 1
            about, data = [(PARAMETERS, "mine"), (RESULTS, [])][self.letters % 2]
            stage.experiment.on_letters([Letter(f"{self.letters:03}.json", about, data)])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    LIMITS,
    st.lists(st.integers(0, 2**24), min_size=30, max_size=120),
    st.booleans(),
    st.booleans(),
)
def test_no_order_of_launches_and_letters_breaks_a_promise(limits, choices, ends_by_stop, crashing):
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), max_line_length=1000, **limits)
        try:
            history = AnyOffers(stage, crashing)
            history.play([c - c % 40 + 39 if crashing and c % 8 == 0 else c for c in choices])
            stage.check_counts()
            history.end(ends_by_stop)
            stage.check_end()
            if crashing:
                check_results(stage)
            else:
                check_limits(stage)
        finally:
            stage.close()
