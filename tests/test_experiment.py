"""The controller: histories of events, and what became of everyone after them."""

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpx.config.model import TrialConfig, TunerConfig
from mpx.protocol import OPEN
from mpx.records import ErrorRecord
from mpx.store_reader import StoreReader
from mpx.tuner import Continued
from mpx.wire import encode, in_pieces
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
    passes,
    phases_of,
    reports,
    saves,
    says,
    stops,
    tuner_fails,
    writes,
)

NO_MORE = None


@pytest.fixture
def set_stage(new_stage):
    """Set a stage with such a configuration."""
    return new_stage


def rings(stage):
    """All timers are over."""
    timers, stage.turns.timers = stage.turns.timers, []
    for timer in timers:
        if not timer.is_cancelled:
            timer.ring()


def one_phase(trial, value=1.0, parameters="p"):
    """The events of one phase after a trial's first."""
    return [asks(trial), answers(parameters), reports(trial, value)]


# -- the main job ---------------------------------------------------------------------------------


def test_two_trials_of_two_phases(set_stage):
    stage = set_stage(trial_concurrency=2, max_trial_num=2, max_phases_per_trial=2)
    stage.replay(loaded(), answers({"x": 1}, {"x": 2}))
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1]
    stage.replay(asks(0), asks(1), reports(1, 0.1), reports(0, 0.2))
    stage.replay(asks(1), answers({"x": 3}), asks(0), answers({"x": 4}))
    stage.replay(reports(0, 0.4), asks(0), exits(0), reports(1, 0.3), asks(1), exits(1))
    assert stage.ending() == "DONE: maxTrialNum (2) is reached"
    assert stage.phases() == [
        "0.0 #0 SUCCEEDED",
        "1.0 #1 SUCCEEDED",
        "1.1 #2 SUCCEEDED",
        "0.1 #3 SUCCEEDED",
    ]
    enough = "no more phases: maxPhasesPerTrial (2) is reached"
    assert stage.trials() == [f"SUCCEEDED: {enough}"] * 2
    assert stage.peer(0).answers() == ['{"x":1}', '{"x":4}', enough.replace(" phases", "")]
    assert stage.tuner.story == [
        "first 0 1",
        "tell 1 0.1",
        "tell 0 0.2",
        "ask 2",
        "ask 3",
        "tell 3 0.4",
        "gone 0 well",
        "tell 2 0.3",
        "gone 1 well",
        "finish well",
    ]


def test_a_trial_is_started_with_what_the_configuration_says(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("p"))
    (spec,) = stage.service.started
    assert (spec.command, spec.code_dir, spec.grace_period) == ("train", "/code", 3.0)
    assert spec.environment == {"MPX_TRIAL_ID": spec.trial_id}


def test_the_experiment_is_ready_when_its_first_trial_runs(set_stage):
    stage = set_stage()
    stage.replay(loaded())
    assert not stage.turns.is_ready
    stage.replay(answers("p"))
    assert stage.turns.is_ready
    assert stage.trials() == ["RUNNING: None"]


def test_a_slot_that_becomes_free_is_filled(set_stage):
    stage = set_stage(max_trial_num=3)
    stage.replay(loaded(), answers("a"), exits(0), answers("b"), exits(1), answers("c"), exits(2))
    assert stage.ending() == "DONE: maxTrialNum (3) is reached"
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1, 2]


def test_a_slot_that_becomes_free_while_the_tuner_is_asked_for_another_is_filled(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), exits(0), exits(1))
    assert len(stage.tuner.questions) == 1
    stage.replay(answers("c"))
    assert len(stage.tuner.questions) == 1
    stage.replay(answers("d"))
    assert len(stage.service.started) == 4


def test_a_request_is_on_record_before_the_tuner_answers(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), passes(5), asks(0))
    assert stage.turns.commit_is_due
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 WAITING"]


def test_intermediate_results_are_kept_and_do_not_bother_the_tuner(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), mentions(0, 0.1), mentions(0, {"default": 0.2}))
    assert stage.turns.commit_is_due
    stage.replay(reports(0, 0.3))
    with StoreReader(stage.path) as reader:
        (phase,) = reader.phases()
        assert phase.intermediates == (0.1, {"default": 0.2})
    assert stage.tuner.story == ["first 0", "tell 0 0.3"]


def test_text_goes_to_the_log_with_a_mark_where_a_phase_begins(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), writes(0, b"before\n"), asks(0), writes(0, b"in it"))
    stage.replay(reports(0, 1), exits(0))
    mark = "[mpx 2023-11-14T22:13:20Z] phase 0 · parameter_id 0"
    assert stage.log(0) == f"before\n{mark}\nin it\n"


def test_a_result_counts_once_and_the_ack_waits_for_the_disk(set_stage):
    stage = set_stage()
    stage.turns.syncs_at_once = False
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1))
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.tuner.story == ["first 0", "tell 0 1"]
    heard = stage.peer(0).heard
    assert heard[-1]["type"] == "parameters"
    stage.turns.sync()
    assert (heard[-1]["type"], heard[-1]["seq"]) == ("ack", 3)


def test_a_scripts_result_is_made_durable_though_nobody_waits_for_that(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), says(0, type="request"))
    assert stage.turns.syncs == 0
    stage.replay(says(0, type="final", value=1))
    assert stage.turns.syncs == 1


def test_a_trial_that_ends_right_after_its_result_is_told_nothing(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.turns.syncs_at_once = False
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), exits(0))
    stage.turns.sync()
    assert stage.ending() == "DONE: maxTrialNum (1) is reached"
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]


def test_a_result_that_came_without_its_newline_counts_when_the_trial_has_ended(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), says(0, type="request"))
    stage.replay(writes(0, b'@mpx {"type":"final","value":0.5}'), exits(0))
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.tuner.story == ["first 0", "tell 0 0.5", "gone 0 well", "finish well"]


def test_a_script_that_waits_for_no_acknowledgement_gets_none(set_stage):
    stage = set_stage(max_phases_per_trial=2)
    stage.replay(loaded(), answers("a"), says(0, type="request"))
    final_and_request = b'@mpx {"type":"final","value":1}\n@mpx {"type":"request"}\n'
    stage.replay(writes(0, final_and_request), answers("b"), writes(0, final_and_request))
    assert [message["type"] for message in stage.peer(0).heard] == [
        "parameters",
        "parameters",
        "no_more",
    ]
    assert stage.tuner.story == ["first 0", "tell 0 1", "ask 1", "tell 1 1"]


# -- limits ---------------------------------------------------------------------------------------


def test_max_trial_num_counts_trials_that_started(set_stage):
    stage = set_stage(trial_concurrency=3, max_trial_num=4)
    stage.replay(loaded())
    assert stage.tuner.story == ["first 0 1 2"]
    stage.replay(answers("a", "b", "c"), exits(0), answers("d"), exits(1), exits(2), exits(3))
    assert len(stage.service.started) == 4
    assert stage.ending() == "DONE: maxTrialNum (4) is reached"


def test_max_phase_num_is_exact_with_concurrent_asks(set_stage):
    stage = set_stage(trial_concurrency=3, max_phase_num=5)
    stage.replay(loaded(), answers("a", "b", "c"))
    stage.replay(*[asks(n) for n in range(3)], *[reports(n, 1) for n in range(3)])
    stage.replay(*[asks(n) for n in range(3)])
    assert list(stage.tuner.questions) == [3, 4]
    assert stage.peer(2).answers()[-1] == "no more: maxPhaseNum (5) is reached"
    stage.replay(answers("d", "e"), reports(1, 1), exits(0), exits(1), exits(2))
    assert stage.ending() == "DONE: maxPhaseNum (5) is reached"
    assert len(stage.phases()) == 5


def test_max_phase_num_limits_how_many_trials_start(set_stage):
    stage = set_stage(trial_concurrency=8, max_phase_num=3)
    stage.replay(loaded())
    assert stage.tuner.story == ["first 0 1 2"]


def test_max_phases_per_trial_ends_a_trials_loop_and_another_begins(set_stage):
    stage = set_stage(max_phases_per_trial=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), exits(0))
    assert stage.peer(0).answers()[-1] == "no more: maxPhasesPerTrial (1) is reached"
    assert stage.tuner.story == ["first 0", "tell 0 1", "gone 0 well", "first 1"]


def test_max_exec_duration_lets_open_phases_finish_and_nothing_begin(set_stage):
    stage = set_stage(trial_concurrency=2, max_exec_duration=60.0)
    stage.replay(loaded(), answers("a", "b"), asks(0), asks(1), passes(59), reports(0, 1), asks(0))
    stage.replay(answers("c"), passes(2), reports(0, 1), asks(0), exits(0))
    assert stage.peer(0).answers()[-1] == "no more: maxExecDuration (60 s) is over"
    assert stage.tuner.questions == type(stage.tuner.questions)()
    stage.replay(passes(100), reports(1, 2), exits(1))
    assert stage.ending() == "DONE: maxExecDuration (60 s) is over"
    assert stage.row.duration == 161.0
    assert stage.phases()[1] == "1.0 #1 SUCCEEDED"


def test_max_exec_duration_counts_earlier_runs(set_stage):
    stage = set_stage(max_exec_duration=60.0)
    stage.row.duration = 60.0
    stage.replay(loaded())
    assert stage.ending() == "DONE: maxExecDuration (60 s) is over"
    assert stage.service.started == []


def test_without_multi_phase_a_trial_has_one_phase_and_is_told_why(set_stage):
    stage = set_stage(multi_phase=False, max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), exits(0))
    why = "one phase per trial: `multiPhase` is not true in the configuration"
    assert stage.peer(0).answers() == ['"a"', f"no more: {why}"]
    assert stage.trials() == [f"SUCCEEDED: no more phases: {why}"]
    assert why in stage.log(0)


def test_a_trial_that_asks_a_hundred_times_more_is_ended(set_stage):
    stage = set_stage(max_phases_per_trial=1, max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), *[asks(0)] * 100)
    assert stage.service.ended == []
    stage.replay(asks(0))
    assert stage.service.ended == [stage.trial_id(0)]
    stage.replay(asks(0), exits(0, 143))
    assert stage.service.ended == [stage.trial_id(0)]
    assert stage.trials() == [
        "SYS_CANCELED: it asked 100 times more after it was told: maxPhasesPerTrial (1) is reached"
    ]
    assert stage.ending() == "DONE: maxTrialNum (1) is reached"


def test_a_trial_that_is_given_more_after_all_may_ask_again_as_often(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1))
    for _ in range(3):
        stage.replay(*[asks(0), answers(NO_MORE)] * 60, *one_phase(0))
    assert stage.service.ended == []


# -- a tuner that has no more ---------------------------------------------------------------------


def test_no_more_at_the_first_ask_starts_nothing_and_ends_the_experiment(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers(NO_MORE, NO_MORE))
    assert stage.ending() == "DONE: the tuner has no more parameters"
    assert (stage.phases(), stage.trials(), stage.service.started) == ([], [], [])
    assert stage.tuner.story == ["first 0 1", "finish well"]


def test_a_short_first_answer_starts_as_many(set_stage):
    stage = set_stage(trial_concurrency=3, max_trial_num=9)
    stage.replay(loaded(), answers("a", NO_MORE, NO_MORE))
    assert stage.phases() == ["0.0 #0 WAITING"]
    assert stage.trials() == ["RUNNING: None"]
    stage.check_counts()


def test_a_tuner_that_had_none_is_asked_again_after_a_result(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", NO_MORE), asks(0))
    assert stage.tuner.story == ["first 0 1"]
    stage.replay(reports(0, 1))
    assert stage.tuner.story == ["first 0 1", "tell 0 1", "first 2"]
    stage.replay(answers("b"))
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1]


def test_a_tuner_that_had_none_is_asked_again_after_a_trials_end(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", NO_MORE), asks(0), exits(0, 1))
    assert stage.tuner.story == ["first 0 1", "end 0", "gone 0 ill", "first 2 3"]
    stage.replay(answers(NO_MORE, NO_MORE))
    assert stage.ending() == "DONE: the tuner has no more parameters"


def test_a_result_told_while_the_tuner_says_no_more_gets_it_asked_again(set_stage):
    """The tuner said so before it was told of the result that would have changed its mind."""
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), asks(0), asks(1), exits(1))
    assert list(stage.tuner.questions) == [2]
    stage.replay(reports(0, 1), answers(NO_MORE))
    assert stage.tuner.story[-1] == "first 3"
    stage.replay(answers("c"))
    assert len(stage.service.started) == 3


def test_the_end_of_the_last_trial_while_the_tuner_says_no_more_gets_it_asked_again(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), asks(0), asks(1), exits(1), exits(0))
    stage.replay(answers(NO_MORE))
    assert not stage.turns.is_finished
    assert stage.tuner.story[-1] == "first 3 4"
    stage.replay(answers(NO_MORE, NO_MORE))
    assert stage.ending() == "DONE: the tuner has no more parameters"


def test_numbers_of_trials_that_never_were_are_used_again(set_stage):
    stage = set_stage(trial_concurrency=3)
    stage.replay(loaded(), answers("a", NO_MORE, NO_MORE), asks(0), reports(0, 1))
    stage.replay(answers("b", "c"))
    assert [spec.sequence_id for spec in stage.service.started] == [0, 1, 2]
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #3 WAITING", "2.0 #4 WAITING"]
    stage.check_counts()


def test_a_trial_that_never_was_counts_for_no_limit(set_stage):
    stage = set_stage(trial_concurrency=2, max_trial_num=2)
    stage.replay(loaded(), answers("a", NO_MORE), asks(0), reports(0, 1), answers("b"))
    assert len(stage.service.started) == 2


def test_no_more_in_a_running_trial_ends_its_loop_and_opens_no_phase(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), asks(0), reports(0, 1), asks(0), answers(NO_MORE))
    assert stage.peer(0).answers()[-1] == "no more: the tuner has no more parameters"
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #1 WAITING"]
    assert stage.tuner.story == ["first 0 1", "tell 0 1", "ask 2"]
    stage.replay(exits(0))
    assert stage.trials()[0] == "SUCCEEDED: no more phases: the tuner has no more parameters"
    stage.check_counts()


def test_a_phase_that_was_withdrawn_counts_for_no_limit(set_stage):
    stage = set_stage(max_phase_num=2)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), answers(NO_MORE))
    stage.replay(*one_phase(0), asks(0))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #2 SUCCEEDED"]
    assert stage.peer(0).answers()[-1] == "no more: maxPhaseNum (2) is reached"


# -- phases without a result ----------------------------------------------------------------------


def test_asking_without_a_result_abandons_the_phase(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), asks(0), answers("b"))
    assert stage.phases() == ["0.0 #0 ABANDONED", "0.1 #1 RUNNING"]
    assert stage.reasons() == ["the trial asked for the next without a final result"]
    assert stage.tuner.story == ["first 0", "end 0", "ask 1"]


def test_a_failed_phase_keeps_its_reason_and_traceback_and_the_trial_goes_on(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), fails(0, "KeyError", "'lr'", "Traceback …"))
    assert stage.peer(0).heard[-1]["type"] == "ack"
    stage.replay(*one_phase(0))
    with StoreReader(stage.path) as reader:
        failed, _ = reader.phases()
        assert (failed.status, failed.reason, failed.traceback) == (
            "FAILED",
            "KeyError: 'lr'",
            "Traceback …",
        )
    assert stage.tuner.story == ["first 0", "end 0", "ask 1", "tell 1 1.0"]
    assert "phase 0 FAILED: KeyError: 'lr'" in stage.log(0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({}, "the trial gave no reason"),
        ({"type": "OOM"}, "OOM"),
        ({"message": "out of memory"}, "out of memory"),
        ({"type": ["a"], "message": 3, "traceback": {}}, "['a']: 3"),
        ({"message": "\ud800"}, "\\ud800"),
    ],
)
def test_whatever_a_trial_says_of_its_failure_is_a_reason(set_stage, error, reason):
    stage = set_stage()
    stage.replay(
        loaded(), answers("a"), says(0, type="request"), says(0, type="failed", error=error)
    )
    assert stage.reasons() == [reason]
    with StoreReader(stage.path) as reader:
        (phase,) = reader.phases()
        assert phase.traceback is None


def test_a_result_without_an_open_phase_is_refused_and_costs_nothing(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1))
    stage.replay(says(0, type="final", value=2, seq=9))
    assert b'"type":"error","seq":9' in stage.peer(0).raw
    assert "protocol error: 'final' is not allowed now: no phase is open" in stage.log(0)
    assert stage.tuner.story == ["first 0", "tell 0 1"]
    stage.replay(asks(0))
    assert stage.tuner.story[-1] == "ask 1"


def test_parameters_over_the_limit_fail_their_phase_only(set_stage):
    stage = set_stage(max_line_length=1000)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), answers("x" * 1000))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 FAILED"]
    assert "a line of over 1000 bytes" in stage.reasons()[0]
    assert stage.peer(0).answers()[-1].startswith("error: its parameters are a line of over 1000")
    stage.replay(*one_phase(0))
    assert stage.phases()[-1] == "0.2 #2 SUCCEEDED"
    assert stage.tuner.story[-4:] == ["ask 1", "end 1", "ask 2", "tell 2 1.0"]


def test_first_parameters_over_the_limit_fail_their_phase_only(set_stage):
    stage = set_stage(max_line_length=1000)
    stage.replay(loaded(), answers("x" * 1000), says(0, type="request"))
    assert stage.phases() == ["0.0 #0 FAILED"]
    assert stage.peer(0).answers()[-1].startswith("error: its parameters are a line of over 1000")
    stage.replay(says(0, type="request"), answers("b"))
    assert stage.phases() == ["0.0 #0 FAILED", "0.1 #1 RUNNING"]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("in_one_piece", [True, False])
def test_a_scripts_line_over_the_limit_fails_its_phase_only(set_stage, at_once, in_one_piece):
    stage = set_stage(max_line_length=1000)
    stage.replay(loaded(), answers("a"), says(0, type="request"))
    message = encode({"type": "final", "value": "x" * 1500}).encode()
    line = b"@mpx %s\n" % message if in_one_piece else b"".join(in_pieces(message, 512))
    request = b'@mpx {"type":"request"}\n'
    events = [line + request] if at_once else [line[:600], line[600:], request]
    stage.replay(*[writes(0, event) for event in events], answers("b"))
    assert stage.phases() == ["0.0 #0 FAILED", "0.1 #1 RUNNING"]
    assert stage.peer(0).answers() == ['"a"', '"b"']
    assert "a line of over 1000 bytes" in stage.reasons()[0]
    assert stage.tuner.story == ["first 0", "end 0", "ask 1"]


def test_a_line_over_the_limit_with_no_open_phase_is_logged(set_stage):
    stage = set_stage(max_line_length=1000)
    stage.replay(loaded(), answers("a"), writes(0, b"@mpx " + b"x" * 2000 + b"\n"))
    assert "protocol error: a line of over 1000 bytes" in stage.log(0)
    stage.replay(asks(0), reports(0, 1))
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]


# -- several processes of one trial ---------------------------------------------------------------


def test_a_second_process_before_any_ask_gets_the_first_parameters(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), hello(0), hello(0), asks(0))
    assert stage.peer(0).answers() == ['"a"']
    assert stage.phases() == ["0.0 #0 RUNNING"]


def test_a_second_process_while_the_tuner_is_asked_gets_what_the_first_asked_for(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0))
    stage.replay(answers("b"))
    assert stage.peer(0).answers() == ['"a"']
    stage.replay(asks(0))
    assert stage.peer(0).answers() == ['"a"', '"b"']
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 RUNNING"]
    assert stage.tuner.story == ["first 0", "tell 0 1", "ask 1"]


def test_a_second_process_that_asks_while_the_tuner_is_asked_opens_one_phase(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0), asks(0))
    stage.replay(answers("b"), reports(0, 2))
    assert stage.peer(0).answers() == ['"a"', '"b"']
    assert stage.tuner.story == ["first 0", "tell 0 1", "ask 1", "tell 1 2"]


def test_a_second_process_is_told_when_there_is_no_more_for_the_first(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0), asks(0))
    stage.replay(answers(NO_MORE))
    assert stage.peer(0).answers() == ['"a"', "no more: the tuner has no more parameters"]


def test_no_more_for_a_process_that_is_gone_leaves_the_next_to_ask_again(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0))
    stage.replay(answers(NO_MORE), *one_phase(0, 2, "c"))
    assert stage.peer(0).answers() == ['"a"', '"c"']
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #2 SUCCEEDED"]


def test_a_second_process_abandons_the_phase_that_is_open(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), hello(0), asks(0), answers("b"), reports(0, 2))
    assert stage.phases() == ["0.0 #0 ABANDONED", "0.1 #1 SUCCEEDED"]
    assert stage.reasons() == ["the process that asked for it ended without a result"]
    assert stage.tuner.story == ["first 0", "end 0", "ask 1", "tell 1 2"]


def test_a_second_process_between_phases_goes_on_with_the_next(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), hello(0), *one_phase(0, 2))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 SUCCEEDED"]


def test_what_a_resume_must_know_of_the_conversation_is_on_record(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), hello(0), asks(0), answers("b"))
    stage.experiment.commit()
    rows = stage.store._connection.execute("SELECT request_seq, final_seq FROM phases").fetchall()
    assert rows == [(2, 3), (2, None)]
    (session,) = stage.store._connection.execute("SELECT session FROM trials").fetchone()
    assert session == "session 2"


# -- trials that die ------------------------------------------------------------------------------


def test_a_trial_that_dies_before_it_asks_loses_its_phase(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), exits(0, 127))
    assert stage.trials() == ["FAILED: exit status 127"]
    assert stage.phases() == ["0.0 #0 LOST"]
    assert stage.reasons() == ["its trial ended: exit status 127"]
    assert stage.tuner.story == ["first 0", "end 0", "gone 0 ill", "finish well"]


def test_a_trial_that_dies_in_a_phase_keeps_those_before(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), answers("b"))
    stage.replay(exits(0, 139))
    assert stage.trials() == ["FAILED: killed by SIGSEGV"]
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 LOST"]
    assert stage.ending() == "DONE: maxTrialNum (1) is reached"


DIES_WHILE_IT_ASKS = [loaded(), answers("a"), asks(0), reports(0, 1), asks(0, 2), exits(0, 1)]


@pytest.mark.parametrize(
    ("answered", "given"),
    [
        ([answers("b", "c")], ['"b"', '"c"']),
        ([crashes()], ['"late"', '"late"']),
        ([crashes(), crashes()], ['"late"', '"late"']),
        ([answers("b"), crashes()], ['"b"', '"late"']),
    ],
)
def test_what_a_trial_that_died_had_asked_for_is_given_to_the_next(set_stage, answered, given):
    stage = set_stage(max_phase_num=3)
    stage.replay(
        *DIES_WHILE_IT_ASKS, *answered, asks(1), reports(1, 2), asks(1), reports(1, 3), exits(1)
    )
    lost = ["0.1 #1 LOST", "0.2 #2 LOST"]
    assert stage.phases() == ["0.0 #0 SUCCEEDED", *lost, "1.0 #1 SUCCEEDED", "1.1 #2 SUCCEEDED"]
    assert stage.peer(1).answers() == given
    assert "end 1" not in stage.tuner.story
    assert stage.ending() == "DONE: maxPhaseNum (3) is reached"


def test_what_a_trial_that_died_had_asked_for_and_nobody_waits_for_never_was(set_stage):
    stage = set_stage()
    stage.replay(*DIES_WHILE_IT_ASKS, answers("b", NO_MORE, NO_MORE))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 LOST", "1.0 #1 WAITING"]


def test_a_tuner_that_answers_late_is_waited_for_and_a_stop_is_not(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(*DIES_WHILE_IT_ASKS)
    assert stage.row.status == "RUNNING"
    stage.replay(stops())
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.ending() == "STOPPED: mpx stop"


def test_a_trial_that_dies_while_the_answer_waits_for_its_next_process(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0), answers("b"))
    stage.replay(exits(0, 1))
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "0.1 #1 LOST"]
    assert stage.tuner.story[-3:] == ["end 1", "gone 0 ill", "finish well"]


def test_a_trial_that_dies_between_phases_loses_none(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), exits(0, 1))
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.trials() == ["FAILED: exit status 1"]


def test_a_trial_that_ends_well_without_a_result_loses_its_phase(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), asks(0), exits(0))
    assert stage.trials() == ["SUCCEEDED: exit status 0"]
    assert stage.phases() == ["0.0 #0 LOST"]
    assert stage.tuner.story[-2] == "gone 0 well"


def test_a_trial_whose_end_nobody_saw_says_so(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), exits(0, None))
    assert stage.trials() == ["FAILED: killed, exit status unknown"]


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ([exits(0, 1)], True),
        ([exits(0, 0)], True),
        ([hello(0), exits(0, 1)], False),
        ([says(0, type="final", value=1), says(0, type="request"), exits(0, 1)], False),
        ([rings, exits(0, None)], False),
    ],
)
def test_a_script_that_saw_its_manager_die_before_it_was_heard_costs_nothing(set_stage, how, again):
    """It ends at end-of-file; what it asked for the next manager finds in the pipe."""
    stage = set_stage(max_trial_num=1, max_phase_num=1, trial_timeout=10)
    stage.replay(loaded(), answers("a"), crashes(), says(0, type="request"), *how)
    assert len(stage.service.started) == (2 if again else 1)
    if again:
        stage.replay(asks(1), reports(1, 1), asks(1), exits(1))
        assert stage.phases() == ["0.0 #0 LOST", "1.0 #0 SUCCEEDED"]
    stage.check_end()


def test_processes_that_could_not_be_ended_are_named(set_stage):
    stage = set_stage(max_trial_num=1)
    stage.replay(loaded(), answers("a"), exits(0, 1, survivors=(41, 42)))
    assert stage.trials() == [
        "FAILED: exit status 1; these processes of it could not be ended: 41, 42"
    ]


def test_a_trial_that_cannot_be_started_fails_the_experiment(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded())
    stage.service.start_error = FileNotFoundError(2, "No such file", "/code")
    stage.tuner.failed = True  # it counts as one: nothing more may be posted for it
    stage.replay(answers("a", "b"))
    why = "FileNotFoundError: [Errno 2] No such file: '/code'"
    assert stage.trials()[0] == "FAILED: it cannot be started: " + why.partition(": ")[2]
    assert stage.ending() == f"ERROR: a trial cannot be started: {why}"
    assert stage.row.error == ErrorRecord(*why.split(": ", 1))
    assert stage.tuner.story == ["first 0 1", "finish ill"]
    assert stage.phases() == ["0.0 #0 LOST", "1.0 #1 LOST"]


# -- a tuner that fails ---------------------------------------------------------------------------

FAILED = "ERROR: the tuner failed: ValueError: boom"


def test_a_tuner_that_fails_while_loading_ends_the_experiment(set_stage):
    stage = set_stage()
    stage.replay(tuner_fails())
    assert stage.turns.is_ready
    assert stage.ending() == FAILED
    assert stage.row.error == ErrorRecord("ValueError", "boom", "Traceback …")
    assert stage.tuner.story == ["finish ill"]


def test_a_tuner_that_fails_at_the_first_ask_starts_nothing(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), tuner_fails())
    assert stage.ending() == FAILED
    assert (stage.trials(), stage.phases()) == ([], [])


def test_when_the_tuner_fails_computing_trials_finish_their_phase_and_begin_no_other(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), asks(0), asks(1), reports(0, 1), asks(0))
    stage.replay(tuner_fails())
    assert stage.peer(0).answers()[-1] == "no more: the tuner failed: ValueError: boom"
    assert stage.row.status == "ERROR"
    assert not stage.turns.is_finished
    stage.replay(exits(0), reports(1, 2))
    assert stage.peer(1).heard[-1]["type"] == "ack"
    stage.replay(asks(1))
    assert stage.peer(1).answers()[-1] == "no more: the tuner failed: ValueError: boom"
    stage.replay(exits(1))
    assert stage.ending() == FAILED
    assert stage.phases() == ["0.0 #0 SUCCEEDED", "1.0 #1 SUCCEEDED"]
    assert stage.tuner.story == ["first 0 1", "tell 0 1", "ask 2", "finish ill"]


def test_when_the_tuner_fails_parameters_not_asked_for_are_kept_back(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), tuner_fails(), asks(0), exits(0))
    assert stage.peer(0).answers() == ["no more: the tuner failed: ValueError: boom"]
    assert stage.phases() == ["0.0 #0 LOST"]
    assert stage.ending() == FAILED


def test_answers_given_before_the_tuner_failed_start_no_trial(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded())

    def answers_then_fails(stage):
        answers("a")(stage)
        tuner_fails_at_once(stage)

    def tuner_fails_at_once(stage):
        stage.tuner.fail()
        stage.experiment.on_failure(ErrorRecord("ValueError", "boom", "Traceback …"))

    stage.replay(answers_then_fails)
    assert stage.service.started == []
    assert stage.trials() == ["SYS_CANCELED: the experiment ended before it started"]
    assert stage.ending() == FAILED


def test_the_first_failure_is_the_one_on_record(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), tuner_fails("first"), tuner_fails("second"), exits(0))
    assert stage.ending() == "ERROR: the tuner failed: ValueError: first"


def test_a_failure_in_words_that_no_database_takes_is_told(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), tuner_fails("no file \udcff"), asks(0), exits(0))
    assert stage.ending() == "ERROR: the tuner failed: ValueError: no file \\udcff"


def test_a_failure_after_the_end_changes_nothing(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers(NO_MORE))
    stage.experiment.on_failure(ErrorRecord("ValueError", "in _on_exit"))
    assert stage.ending() == "DONE: the tuner has no more parameters"


# -- stopping -------------------------------------------------------------------------------------


def test_a_stop_ends_trials_in_any_state(set_stage):
    stage = set_stage(trial_concurrency=4)
    stage.replay(
        loaded(), answers(*"abcd"), asks(1), asks(2), reports(2, 1), asks(3), reports(3, 1)
    )
    stage.replay(asks(3), stops())  # 0 has not asked, 1 computes, 2 is between phases, 3 waits
    assert stage.row.status == "STOPPING"
    assert stage.service.ended == [stage.trial_id(number) for number in range(4)]
    assert stage.peer(3).answers()[-1] == "no more: the experiment is being stopped"
    stage.replay(answers("too late"), *[exits(number, 143) for number in range(4)])
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.trials() == ["USER_CANCELED: mpx stop"] * 4
    assert stage.phases() == [
        "0.0 #0 LOST",
        "1.0 #1 LOST",
        "2.0 #2 SUCCEEDED",
        "3.0 #3 SUCCEEDED",
    ]


def test_a_result_that_comes_while_stopping_counts(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), stops(), reports(0, 1), exits(0))
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.tuner.story == ["first 0", "tell 0 1", "gone 0 ill", "finish well"]
    assert stage.ending() == "STOPPED: mpx stop"


def test_a_stop_while_initializing_ends_at_once(set_stage):
    stage = set_stage()
    stage.replay(stops())
    assert stage.ending() == "STOPPED: mpx stop"
    stage.experiment.on_answers([])
    stage.replay()
    assert stage.tuner.story == ["finish well"]


def test_a_tuner_that_is_ready_or_fails_after_the_stop_changes_nothing(set_stage):
    stage = set_stage()
    stage.replay(stops(), loaded(), tuner_fails())
    stage.tuner.failed = False
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.row.started_at is None


def test_a_stop_while_the_tuner_is_asked_for_first_phases(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), stops(), answers("a", "b"))
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.service.started == []
    assert stage.trials() == stage.phases() == []  # what the tuner had not answered never was
    assert stage.tuner.story == ["first 0 1", "finish well"]


def test_a_stop_in_the_middle_of_the_first_answers(set_stage):
    stage = set_stage(trial_concurrency=3)
    stage.replay(loaded(), answers(NO_MORE), stops(), answers("b", NO_MORE))
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.service.started == []


def test_a_stop_in_the_turn_of_the_first_answers_starts_nothing(set_stage):
    stage = set_stage()
    stage.replay(loaded())

    def answers_and_stops(stage):
        answers("a")(stage)
        stops()(stage)

    stage.replay(answers_and_stops)
    assert stage.service.started == []
    assert stage.ending() == "STOPPED: mpx stop"


def test_draining_lets_open_phases_finish(set_stage):
    stage = set_stage(trial_concurrency=3)
    stage.replay(loaded(), answers(*"abc"), asks(0), asks(1), reports(1, 1), asks(1))
    stage.replay(stops(drain=True))  # 0 computes, 1 waits, 2 has not asked
    assert stage.service.ended == []
    assert stage.peer(1).answers()[-1] == "no more: the experiment is being stopped"
    stage.replay(asks(2), reports(0, 5), asks(0), exits(0), exits(1), answers("late"), exits(2))
    assert stage.service.ended == []
    assert stage.phases() == [
        "0.0 #0 SUCCEEDED",
        "1.0 #1 SUCCEEDED",
        "2.0 #2 LOST",
    ]
    assert stage.ending() == "STOPPED: mpx stop"
    why = "no more phases: the experiment is being stopped"
    assert stage.trials() == [f"SUCCEEDED: {why}"] * 3


def test_an_answer_for_the_next_process_is_kept_back_while_draining(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0), hello(0))
    stage.replay(stops(drain=True), answers("b"), asks(0), exits(0))
    assert stage.peer(0).answers() == ['"a"', "no more: the experiment is being stopped"]
    assert stage.phases() == ["0.0 #0 SUCCEEDED"]
    assert stage.ending() == "STOPPED: mpx stop"


def test_a_stop_after_draining_ends_what_still_runs(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), stops(drain=True), stops(), stops())
    assert stage.service.ended == [stage.trial_id(0)]
    stage.replay(exits(0, 143))
    assert stage.ending() == "STOPPED: mpx stop"


def test_a_stop_after_a_failure_ends_what_still_computes(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), tuner_fails(), stops())
    assert stage.service.ended == [stage.trial_id(0)]
    stage.replay(exits(0, 143))
    assert stage.ending() == FAILED
    assert stage.trials() == ["USER_CANCELED: mpx stop"]


def test_a_failure_while_stopping_is_told(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers("a"), asks(0), stops(), tuner_fails(), exits(0, 143))
    assert stage.ending() == FAILED


def test_a_stop_after_the_end_changes_nothing(set_stage):
    stage = set_stage()
    stage.replay(loaded(), answers(NO_MORE), stops())
    assert stage.ending() == "DONE: the tuner has no more parameters"


def test_a_kill_ends_every_trial_without_grace(set_stage):
    stage = set_stage(trial_concurrency=2)
    stage.replay(loaded(), answers("a", "b"), stops())
    stage.experiment.kill()
    assert stage.service.killed == [stage.trial_id(0), stage.trial_id(1)]


# -- the best phase -------------------------------------------------------------------------------

VALUES = [0.5, {"default": 0.9, "loss": 1}, 0.9, -2, math.nan, True, [9.0], "9", {"loss": 9}, None]


def best_of(set_stage, values, mode=None, **config):
    stage = set_stage(**config)
    stage.replay(loaded(mode), answers("p"), asks(0), reports(0, values[0]))
    for value in values[1:]:
        stage.replay(*one_phase(0, value))
    assert stage.phases() == [f"0.{n} #{n} SUCCEEDED" for n in range(len(values))]
    with StoreReader(stage.path) as reader:
        experiment = reader.experiment(0.0)
        return experiment.best and experiment.best.parameter_id


@pytest.mark.parametrize(
    ("mode", "config", "best"),
    [
        (None, {}, 1),
        ("minimize", {}, 3),
        ("maximize", {"optimize_mode": "minimize"}, 3),
        ("minimize", {"optimize_mode": "maximize"}, 1),
    ],
)
def test_the_best_phase_is_the_first_with_the_best_number(set_stage, mode, config, best):
    """The configuration's `optimizeMode` goes before the tuner's."""
    assert best_of(set_stage, VALUES, mode, **config) == best


def test_results_without_a_number_have_no_best(set_stage):
    assert best_of(set_stage, [math.nan, True, [9.0], "9", {"loss": 9}, None, 10**400]) is None


def test_infinity_is_a_number(set_stage):
    assert best_of(set_stage, [1.0, math.inf]) == 1


def test_an_error_that_died_with_its_manager_is_told_again(set_stage):
    stage = set_stage(max_line_length=1000)
    stage.replay(loaded(), answers("a"), asks(0), reports(0, 1), asks(0))
    send, stage.service.on_send = stage.service.on_send, lambda trial_id, data: None
    stage.replay(answers("x" * 2000))
    stage.service.on_send = send
    stage.replay(crashes())
    assert "its parameters are a line of over 1000 bytes" in stage.peer(0).answers()[-1]
    assert stage.peer(0).awaits is None


# -- any order of events --------------------------------------------------------------------------


class AnyHistory:
    """Plays a stage as a list of numbers says: each chooses among what can happen at that moment.

    Every third trial is a script that says no hello and waits for no acknowledgement.
    """

    def __init__(self, stage, crashing=False):
        self.stage = stage
        self.crashing = crashing
        self.alive = []
        self.seen = 0
        stage.turns.syncs_at_once = False
        if stage.assessor is not None:
            stage.assessor.at_once = False

    def play(self, choices):
        self.do(loaded())
        for choice in choices:
            rare, choice = choice % 40 == 39, choice // 40
            possible = self.rare_events() if rare else self.usual_events()
            if possible:
                self.do(possible[choice % len(possible)])

    def do(self, event):
        stage = self.stage
        stage.replay(event)
        self.alive += range(self.seen, len(stage.service.started))
        self.seen = len(stage.service.started)
        if not stage.tuner.questions:
            self.nobody_awaits("parameters")
        if stage.assessor is None or not stage.assessor.calls:
            self.nobody_awaits("verdict")

    def nobody_awaits(self, what):
        ended = self.stage.service.ended  # which may happen while it waits for a verdict
        waiting = [n for n in self.alive if self.stage.peer(n).awaits == what]
        if what == "verdict":
            waiting = [n for n in waiting if self.stage.trial_id(n) not in ended]
        assert waiting == [], "a trial waits for an answer that nobody will give"

    def rare_events(self):
        if self.crashing:
            dead = [trial for trial in self.alive if trial % 2]
            return [
                passes(1000),
                self.crash([]),
                self.crash(dead),
                self.crash(self.alive[:1]),
                rings,
            ]
        return [stops(), stops(drain=True), tuner_fails(), passes(1000), rings]

    def usual_events(self):
        questions = len(self.stage.tuner.questions)
        events = [syncs, commits]
        if questions:
            events += [answers("p"), answers(*["p"] * questions)] * 3 + [answers(NO_MORE)]
            events += [answers("x" * 2000), self.continues, self.continues]
        if self.stage.assessor is not None:
            events += [judges] * 4
        for trial in self.alive:
            events += self.of_script(trial) if trial % 3 == 2 else self.of_sdk(trial)
            events.append(self.exit(trial, len(events) % 2))
        return events

    def continues(self, stage):
        """The tuner lets a phase go on from one that has a result, or from one that has none."""
        ended = [*stage.tuner.ended]
        parent = ended[len(ended) // 2] if ended and stage.tuner.questions[0] % 3 else 0
        newest = ended[-1] if ended and stage.tuner.questions[0] % 2 else parent
        answers(Continued("c", newest))(stage)

    def crash(self, dead):
        def event(stage):
            for trial in dead:
                self.alive.remove(trial)
                stage.peer(trial).is_alive = False
            crashes(*dead)(stage)
            # A script that does not go on with another manager is being ended: it waits for nothing.

        return event

    def exit(self, trial, code):
        def event(stage):
            self.alive.remove(trial)
            exits(trial, code)(stage)

        return event

    def of_sdk(self, trial):
        peer = self.stage.peer(trial)
        if peer.awaits:
            return [hello(trial)]
        if peer.connection is None or peer.connection.state is not OPEN:
            asking = [asks(trial), asks(trial, 1 + trial), asks(trial, 4)] * 2
            return [*asking, hello(trial), writes(trial, b"text")]
        phases = sorted(peer.connection.open_phases)
        several = [reports(trial, 0.5, *phases), reports(trial, 0.5, *phases[::-2])]
        return [
            *[reports(trial, 0.5, phases[-1])] * 4,
            *several * 2,
            asks(trial, 1 + trial % 3 or None),
            hello(trial),
            fails(trial, phase=phases[0]),
            saves(trial, f"/kept/{trial}.{len(peer.heard)}", phases[-1]),
            *[event for phase in {phases[0], phases[-1]} for event in self.of_curve(trial, phase)],
        ]

    def of_curve(self, trial, phase):
        """What an assessor has to do with."""
        if self.stage.assessor is None:
            return [mentions(trial, 1, phase=phase)]
        return [
            *[mentions(trial, value, True, phase) for value in (1, 1, -1)] * 2,
            *[mentions(trial, value, phase=phase) for value in (1, -1)],
            fails(trial, "PhaseStopped", phase=phase),
        ]

    def of_script(self, trial):
        heard = [m for m in self.stage.peer(trial).heard if m["type"] == "parameters"]
        phases = [phase["phase_index"] for phase in phases_of(heard[-1])] if heard else [0]
        return [
            *[says(trial, type="request")] * 2,
            says(trial, type="request", count=3),
            says(trial, type="final", value=1),
            *[says(trial, type="final", value=1, phase_index=phase) for phase in phases],
            says(
                trial, type="checkpoint", path=f"/kept/{trial}.{phases[0]}", phase_index=phases[0]
            ),
            says(trial, type="intermediate", value=1),
            says(trial, type="intermediate", value=-1, verdict=True),
            says(trial, type="failed", error={}),
            writes(trial, b'@mpx {"type":"final","value":2}\n@mpx {"type":"request"}\n@mp'),
            writes(trial, b"@mpx " + b"x" * 2000),
            writes(trial, b"\n"),
        ]

    def end(self, by_stop):
        """Let everything come to its end."""
        if by_stop:
            self.do(stops())
        for _ in range(100):
            for trial in list(self.alive):
                self.do(self.exit(trial, 0))
            if not self.stage.tuner.questions and not self.alive:
                break
            self.do(answers(*[NO_MORE] * len(self.stage.tuner.questions)))
        self.do(syncs)


def syncs(stage):
    stage.turns.sync()


def commits(stage):
    stage.experiment.commit()


LIMITS = st.fixed_dictionaries(
    {
        "trial_concurrency": st.integers(1, 5),
        "max_trial_num": st.none() | st.integers(1, 8),
        "max_phase_num": st.none() | st.integers(1, 20),
        "max_phases_per_trial": st.none() | st.integers(1, 4),
        "max_exec_duration": st.none() | st.just(900.0),
        "multi_phase": st.sampled_from([True, True, True, False]),
        "phase_timeout": st.none() | st.just(500.0),
        "trial": st.builds(
            TrialConfig, st.just("train"), st.just("/code"), retries=st.integers(0, 2)
        ),
        "assessor": st.sampled_from([None, "phase", "trial"]),
        "tuner": st.builds(
            TunerConfig, st.just("Random"), include_intermediate_results=st.booleans()
        ),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LIMITS, st.lists(st.integers(0, 2**24), min_size=30, max_size=120), st.booleans())
def test_no_order_of_events_breaks_a_promise(limits, choices, ends_by_stop):
    """What is promised of sends, starts and tuner calls, `Stage` checks at each of them."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), max_line_length=1000, **limits)
        try:
            history = AnyHistory(stage)
            history.play(choices)
            stage.check_counts()
            history.end(ends_by_stop)
            stage.check_end()
            check_limits(stage)
            check_stopped(stage)
        finally:
            stage.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LIMITS, st.lists(st.integers(0, 2**24), min_size=30, max_size=120), st.booleans())
def test_no_death_of_managers_and_trials_breaks_a_promise(limits, choices, ends_by_stop):
    """As above, with managers that die between any two events, and what they had not committed."""
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory), max_line_length=1000, **limits)
        try:
            history = AnyHistory(stage, crashing=True)
            history.play(
                [choice - choice % 40 + 39 if choice % 8 == 0 else choice for choice in choices]
            )
            stage.check_counts()
            history.end(ends_by_stop)
            stage.check_end()
            check_results(stage)
            check_stopped(stage)
        finally:
            stage.close()


def check_results(stage):
    """Each result that a trial was told is on record is there, and the tuner knows it once."""
    told = sorted(int(line.split()[1]) for line in stage.tuner.story if line.startswith("tell"))
    assert told == sorted(row.parameter_id for row in exported(stage) if row.value is not None)
    assert len(told) == len(set(told))


def check_stopped(stage):
    """A phase that the assessor stopped ends so, or failed; it is not the best, nor tried again."""
    rows = exported(stage)
    for number, row in enumerate(rows):
        by_assessor = (row.reason or "").startswith("the assessor stopped it")
        assert by_assessor == (row.status == "EARLY_STOPPED")
        if by_assessor:
            assert row.parameter_id not in [later.parameter_id for later in rows[number + 1 :]]
    best = [row for row in rows if row.value is not None and row.status == "SUCCEEDED"]
    assert (stage.row.best_phase is None) == (not best)


def exported(stage):
    with StoreReader(stage.path) as reader:
        return list(reader.phases())


def check_limits(stage):
    config, phases = stage.config, stage.phases()
    for table, limit in (("phases", config.max_phase_num), ("trials", config.max_trial_num)):
        (found,) = stage._disk.execute(f"SELECT total(counts) FROM {table}").fetchone()
        assert limit is None or found <= limit
    if not config.multi_phase:
        assert all(".0 " in phase for phase in phases)
    if config.max_phases_per_trial is not None:
        indexes = [int(phase.partition(".")[2].partition(" ")[0]) for phase in phases]
        assert all(index < config.max_phases_per_trial for index in indexes)
    results = sum(row.value is not None for row in exported(stage))
    told = sum(line.startswith("tell") for line in stage.tuner.story)
    assert results >= told if stage.tuner.failed else results == told
