"""What earlier managers left on record, and that a tuner rebuilt from it goes on as it would have."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import select
import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpx
from mpx.checkpoints import Checkpoints
from mpx.errors import StoreError
from mpx.history import StoredHistory
from mpx.protocol import ASKED, IDLE, OPEN
from mpx.records import ErrorRecord, ExperimentStatus, PhaseStatus, TrialStatus
from mpx.rows import Offer, PhaseRow, SavedCheckpoint, TrialRow
from mpx.store import Store
from mpx.tuner_calls import (
    Ask,
    AskBatch,
    AskFirst,
    ForgetCheckpoints,
    Load,
    Loaded,
    Parameters,
    PhaseEnd,
    Recorded,
    SaveCheckpoint,
    Saved,
    Tell,
    TrialEnd,
)
from mpx.tuner_host import TunerHost
from mpx.wire import encode
from tests.stored import T0, die, experiment_row, phase_row, trial_row

SUCCEEDED, FAILED = PhaseStatus.SUCCEEDED, PhaseStatus.FAILED
LOST, WAITING, RUNNING = PhaseStatus.LOST, PhaseStatus.WAITING, PhaseStatus.RUNNING


class Written:
    """A store that is written row by row, and what is read of it."""

    def __init__(self, path):
        self.path = path
        self.store = Store(path)
        self.experiment(experiment_row())
        self.phases = 0

    def experiment(self, row):
        self.store.put_experiment(row)

    def trial(self, number=0, status=TrialStatus.RUNNING, **changes):
        self.store.put_trial(trial_row(number, status=status, **changes))

    def phase(self, trial=0, index=0, **changes):
        """Add the next phase, by default one that has parameters."""
        row = phase_row(self.phases, trial, index, **{"parameters": "[1]", **changes})
        self.phases += 1
        self.store.add_phase(row)
        return row

    def calls(self, after=0):
        self.store.commit()
        return list(StoredHistory(self.path).calls(after))

    def parameters(self, after):
        self.store.commit()
        return StoredHistory(self.path).parameters(after)

    def past(self):
        self.store.commit()
        return StoredHistory(self.path).read()

    def left(self):
        """Return the one trial that had not ended."""
        (left,) = self.past().trials
        return left


@pytest.fixture
def written(tmp_path):
    written = Written(tmp_path / "experiment.db")
    yield written
    with contextlib.suppress(StoreError, sqlite3.Error, OSError):
        written.store.close()


# -- the tuner's calls ----------------------------------------------------------------------------


@pytest.fixture
def told(written):
    """Twelve calls of the tuner, in tables whose order is not theirs."""
    done = TrialStatus.SUCCEEDED
    written.trial(0, done, told=12, exit_status=0)
    written.trial(1, TrialStatus.FAILED, told=6, exit_status=3)
    written.trial(3)
    written.phase(0, parameters="[0]", asked=1, told=4, status=SUCCEEDED, value="0.5")
    written.phase(1, parameters="[1]", asked=1, told=5, status=LOST)
    written.store.add_unanswered(1, 2, "trial2", True)
    written.phases = 3
    written.phase(
        0, 1, parameters="[3]", asked=7, told=9, status=SUCCEEDED, value='{"default":NaN}'
    )
    written.phase(3, 0, parameters="[4]", asked=8, status=RUNNING)
    written.store.add_unanswered(10, 5, "trial0", False)
    written.phases = 6
    written.phase(0, 2, parameters=None, asked=11, status=WAITING)
    written.store.add_unanswered(2, 7, "trial7", True)
    written.store.add_unanswered(2, 8, "trial8", True)
    written.store.add_unanswered(3, 9, "trial9", True)
    return written


CALLS = [
    Recorded(AskFirst([0, 1, 2], ["trial0", "trial1", "trial2"]), {0: "[0]", 1: "[1]", 2: None}),
    Recorded(AskFirst([7, 8], ["trial7", "trial8"]), {7: None, 8: None}),
    Recorded(AskFirst([9], ["trial9"]), {9: None}),
    Recorded(Tell(0, 0.5, "trial0"), {}),
    Recorded(PhaseEnd(1, "trial1"), {}),
    Recorded(TrialEnd(1, False, "trial1"), {}),
    Recorded(Ask(3, "trial0"), {3: "[3]"}),
    Recorded(AskFirst([4], ["trial3"]), {4: "[4]"}),
    Recorded(Tell(3, {"default": float("nan")}, "trial0"), {}),
    Recorded(Ask(5, "trial0"), {5: None}),
    Recorded(Ask(6, "trial0"), {}),
    Recorded(TrialEnd(0, True, "trial0"), {}),
]


@pytest.mark.parametrize("after", range(14))
def test_the_calls_behind_any_come_in_the_order_they_were_made(told, after):
    assert repr(told.calls(after)) == repr(CALLS[after:])  # NaN equals not itself


def test_answers_that_are_not_on_record_are_left_out_of_a_batch(written):
    for number in range(3):
        written.trial(number, TrialStatus.WAITING)
        written.phase(number, parameters="[1]" if number == 1 else None, asked=1)
    assert written.calls() == [
        Recorded(AskFirst([0, 1, 2], ["trial0", "trial1", "trial2"]), {1: "[1]"})
    ]


def test_phases_of_a_running_trial_that_were_asked_for_together_are_so_again(written):
    written.trial()
    written.phase(0, 0, asked=1)
    for index, text in ((1, '{"a":1}'), (2, None)):
        written.phase(0, index, parameters=text, asked=2, request_seq=2)
    written.store.add_unanswered(2, 3, "trial0", False)
    assert written.calls(1) == [Recorded(AskBatch([1, 2, 3], "trial0"), {1: '{"a":1}', 3: None})]


def test_what_a_phase_saved_is_told_with_its_result_and_to_the_next_manager(written):
    written.trial()
    for index, status in enumerate((SUCCEEDED, PhaseStatus.EARLY_STOPPED, FAILED, RUNNING)):
        value = "1" if index < 2 else None
        told = index + 1 if index < 3 else None
        saved = {"checkpoint": f"/kept/{index}", "score": value and 1.0}
        written.phase(0, index, status=status, value=value, told=told, **saved)
    assert [recorded.call for recorded in written.calls()] == [
        Tell(0, 1, "trial0", False, "/kept/0"),
        Tell(1, 1, "trial0", False, "/kept/1"),
        PhaseEnd(2, "trial0"),
    ]
    assert written.past().checkpoints == [
        SavedCheckpoint(1, 0, "trial0", "/kept/0", 1.0),
        SavedCheckpoint(2, 1, "trial0", "/kept/1"),
        SavedCheckpoint(3, 2, "trial0", "/kept/2", has_result=False),
    ]


@pytest.mark.parametrize(
    ("status", "call"),
    [
        (SUCCEEDED, Tell(0, [1, None], "trial0")),
        (FAILED, PhaseEnd(0, "trial0")),
        (LOST, PhaseEnd(0, "trial0")),
        (PhaseStatus.ABANDONED, PhaseEnd(0, "trial0")),
        (PhaseStatus.EARLY_STOPPED, Tell(0, [1, None], "trial0")),
    ],
)
def test_the_end_of_a_phase_is_told_by_its_status(written, status, call):
    written.trial()
    value = "[1,null]" if status in ("SUCCEEDED", "EARLY_STOPPED") else None
    written.phase(status=status, value=value, told=1)
    assert written.calls() == [Recorded(call, {})]


@pytest.mark.parametrize(("exit_status", "success"), [(0, True), (1, False), (None, False)])
def test_the_end_of_a_trial_is_told_with_its_first_phase(written, exit_status, success):
    written.trial(0, TrialStatus.SUCCEEDED, exit_status=exit_status, told=3)
    written.phase(0, 0)
    written.phase(0, 1)
    assert written.calls() == [Recorded(TrialEnd(0, success, "trial0"), {})]


def test_what_is_tried_again_was_chosen_once_and_is_told_once(written):
    written.trial(0, TrialStatus.USER_CANCELED, counts=False, told=2)
    written.phase(0, asked=1, status=LOST, counts=False)
    written.trial(1, TrialStatus.SUCCEEDED, exit_status=0, told=4)
    written.phase(1, parameter_id=0, status=SUCCEEDED, value="1", told=3)
    assert written.calls() == [
        Recorded(AskFirst([0], ["trial0"]), {0: "[1]"}),
        Recorded(TrialEnd(0, False, "trial0"), {}),
        Recorded(Tell(0, 1, "trial1"), {}),
        Recorded(TrialEnd(0, True, "trial1"), {}),
    ]


def test_a_new_experiment_has_no_calls(written):
    assert written.calls() == []
    assert written.parameters(0) == {}


def test_calls_are_of_one_moment_while_a_manager_writes(told):
    told.store.commit()
    calls = StoredHistory(told.path).calls(0)
    first = next(calls)
    told.trial(7, TrialStatus.SUCCEEDED, told=13, exit_status=0)
    told.phase(7, asked=14)
    told.store.commit()
    assert repr([first, *calls]) == repr(CALLS)
    assert len(told.calls(12)) == 2


def test_parameters_of_before_a_checkpoint_are_those_whose_end_is_told_behind_it(written):
    written.trial(0)
    written.phase(0, 0, parameters="[0]", asked=1, told=4, status=SUCCEEDED, value="1")
    written.phase(0, 1, parameters="[1]", asked=2, told=9, status=FAILED)
    written.phase(0, 2, parameters="[2]", asked=6, told=8, status=SUCCEEDED, value="1")
    written.phase(0, 3, parameters="[3]", asked=3, status=RUNNING)
    written.phase(0, 4, parameters=None, asked=5)
    assert written.parameters(1) == {0: "[0]"}
    assert written.parameters(3) == {0: "[0]", 1: "[1]", 3: "[3]"}
    assert written.parameters(4) == {1: "[1]", 3: "[3]"}
    assert written.parameters(7) == {1: "[1]", 2: "[2]", 3: "[3]"}
    assert written.parameters(9) == {3: "[3]"}


def test_parameters_that_are_tried_again_are_known_behind_any_checkpoint(written):
    written.trial(0, TrialStatus.USER_CANCELED, counts=False)
    written.phase(0, parameters="[7]", asked=1, status=LOST, counts=False)
    written.trial(1)
    written.phase(1, parameter_id=0, parameters="[7]", status=SUCCEEDED, value="1", told=8)
    written.phase(1, 1, parameters="[8]", status=RUNNING)
    for after in (0, 1, 7):
        assert written.parameters(after) == {0: "[7]", 2: "[8]"}


# -- the experiment as it was left ----------------------------------------------------------------


def test_the_experiment_comes_back_as_it_was_left(written):
    row = experiment_row(
        status=ExperimentStatus.ERROR,
        running_since=None,
        duration=7.0,
        error=ErrorRecord("ValueError", "no", None),
        warning="beware",
        checkpoint=4,
    )
    written.experiment(row)
    assert dataclasses.asdict(written.past().experiment) == dataclasses.asdict(row)


def test_a_new_experiment_begins_at_the_beginning(written):
    past = written.past()
    assert (past.next_phase_id, past.next_parameter_id, past.next_sequence_id) == (1, 0, 0)
    assert (past.last_call, past.phases_begun, past.trials_begun) == (0, 0, 0)
    assert past.last_unanswered == -1
    assert (past.best_score, past.trials, past.offers) == (None, [], [])
    assert (past.untold_phases, past.untold_trials) == ([], [])


def test_numbers_go_on_behind_the_last_that_was_used(told):
    past = told.past()
    # Phase 6 of 0 to 6 was the last that began; the tuner had none for 7 to 9.
    assert (past.next_phase_id, past.next_parameter_id, past.next_sequence_id) == (8, 10, 4)
    assert (past.last_call, past.last_unanswered) == (12, 9)


@pytest.mark.parametrize("last", ["asked", "told", "trial", "unanswered", "checkpoint"])
def test_the_last_call_is_the_last_of_any_kind(written, last):
    written.trial(0, told=20 if last == "trial" else 3)
    written.phase(asked=20 if last == "asked" else 1, told=20 if last == "told" else 2)
    written.store.add_unanswered(20 if last == "unanswered" else 4, 9, "trial0", False)
    # That of an ask which was taken back is in a checkpoint, maybe, and nowhere else.
    written.experiment(experiment_row(checkpoint=20 if last == "checkpoint" else None))
    assert written.past().last_call == 20


def test_the_numbers_of_a_phase_that_is_tried_again_are_its_own_and_its_parameters(written):
    written.trial(0, counts=False)
    written.phase(0, parameter_id=5, status=LOST, counts=False)
    written.phase(0, 1, parameter_id=5)
    past = written.past()
    assert (past.next_phase_id, past.next_parameter_id) == (3, 6)


def test_what_was_no_fault_of_the_trial_counts_for_no_limit(written):
    written.trial(0, TrialStatus.SUCCEEDED)
    written.trial(1, TrialStatus.USER_CANCELED, counts=False)
    written.trial(2)
    for index in range(3):
        written.phase(0, index, status=FAILED)
    written.phase(1, status=LOST, counts=False)
    written.phase(1, 1, status=LOST, counts=True)
    written.phase(2, parameters=None)
    past = written.past()
    assert (past.phases_begun, past.trials_begun) == (5, 2)


@pytest.mark.parametrize(
    ("value", "score"),
    [("0.25", 0.25), ('{"default":3,"loss":1}', 3.0), ("-Infinity", -float("inf"))],
)
def test_the_best_score_is_that_of_the_best_phase(written, value, score):
    written.trial()
    written.phase(status=SUCCEEDED, value="9", score=9.0)
    written.phase(0, 1, status=SUCCEEDED, value=value, score=score)
    written.experiment(experiment_row(best_phase=2))
    assert written.past().best_score == score


@pytest.mark.parametrize(
    ("last", "duration"),
    [
        ("nothing", 100.0),
        ("trial created", 105.0),
        ("trial started", 107.0),
        ("trial ended", 109.0),
        ("phase asked for", 111.0),
        ("phase began", 113.0),
        ("phase ended", 115.0),
        ("intermediate", 117.0),
    ],
)
def test_an_interrupted_run_counts_up_to_its_last_sign_of_life(written, last, duration):
    since = T0 + 1000
    signs = [
        ("trial created", "created_at", since + 5),
        ("trial started", "started_at", since + 7),
        ("trial ended", "ended_at", since + 9),
        ("phase asked for", "requested_at", since + 11),
        ("phase began", "started_at", since + 13),
        ("phase ended", "ended_at", since + 15),
    ]
    seen = {}
    for sign, field, moment in signs:
        if last == "nothing":
            break
        seen[f"{sign[:5]} {field}"] = moment
        if sign == last:
            break
    written.experiment(experiment_row(duration=100.0, running_since=since))
    trial = trial_row(status=TrialStatus.SUCCEEDED)
    phase = phase_row(0, status=SUCCEEDED, value="1", parameters="[1]")
    for name, moment in seen.items():
        kind, field = name.split()
        setattr(trial if kind == "trial" else phase, field, moment)
    written.store.put_trial(trial)
    written.store.add_phase(phase)
    if last == "intermediate":
        written.store.add_intermediate(phase, "1", 1, since + 17)
    past = written.past()
    assert past.experiment.duration == duration
    assert past.experiment.running_since is None


def test_what_ended_counts_as_it_was_recorded(written):
    written.experiment(experiment_row(duration=100.0, running_since=None))
    written.trial(started_at=T0 + 5000)
    assert written.past().experiment.duration == 100.0


# -- what is offered again ------------------------------------------------------------------------


def lose(written, trial, parameter_id, index=0, text="[1]", attempt=0):
    """Let a trial end whose open phase is to be tried again."""
    written.trial(trial, TrialStatus.USER_CANCELED, counts=False, attempt=attempt)
    written.phase(
        trial, index, parameter_id=parameter_id, parameters=text, status=LOST, counts=False
    )


def test_lost_phases_are_offered_again_in_the_order_of_their_ids(written):
    lose(written, 0, 7, text="[7]")
    lose(written, 1, 3, text="[3]")
    assert written.past().offers == [Offer(3, "[3]", 0), Offer(7, "[7]", 0)]


def test_a_phase_that_counts_is_not_offered_again_however_it_ended(written):
    for number, status in enumerate((SUCCEEDED, FAILED, LOST, PhaseStatus.ABANDONED)):
        written.trial(number, TrialStatus.FAILED)
        written.phase(number, status=status)
    assert written.past().offers == []


@pytest.mark.parametrize("status", [WAITING, RUNNING, SUCCEEDED, FAILED, LOST])
def test_what_is_being_tried_again_or_was_is_not_offered_twice(written, status):
    lose(written, 0, 3)
    lose(written, 1, 4)
    written.trial(2)
    written.phase(2, parameter_id=3, status=status)
    assert [offer.parameter_id for offer in written.past().offers] == [4]


def test_what_was_lost_again_and_again_is_offered_once(written):
    lose(written, 0, 3, text="[3]")
    lose(written, 1, 3, text="[3]")
    lose(written, 2, 3, text="[3]")
    assert written.past().offers == [Offer(3, "[3]", 0)]


def test_an_offer_goes_on_from_what_its_phase_went_on_from(written):
    written.trial(0, TrialStatus.USER_CANCELED, counts=False)
    written.phase(0, parameter_id=7, parent=4, status=LOST, counts=False)
    assert written.past().offers == [Offer(7, "[1]", 0, parent=4)]


def test_an_offer_knows_how_often_trials_failed_with_it(written):
    lose(written, 0, 3, attempt=1)
    lose(written, 1, 3, attempt=2)
    lose(written, 2, 3, attempt=2)  # that was `mpx stop`
    lose(written, 3, 4, attempt=1)
    assert [(o.parameter_id, o.attempt) for o in written.past().offers] == [(3, 2), (4, 1)]


def test_a_phase_for_which_the_tuner_had_not_answered_is_not_offered(written):
    lose(written, 0, 3, text=None)
    assert written.past().offers == []


# -- what the tuner was not told ------------------------------------------------------------------


def test_ended_phases_that_the_tuner_was_not_told_of(written):
    written.trial(0, TrialStatus.FAILED, told=9)
    written.trial(1)
    written.phase(0, 0, status=SUCCEEDED, value="1", told=3)
    written.phase(1, 0, status=SUCCEEDED, value="2")
    written.phase(0, 1, status=FAILED)
    written.phase(0, 2, status=LOST, counts=False)  # it is tried again
    written.phase(0, 3, status=FAILED, parameters=None)  # the tuner never chose it
    written.phase(1, 1, status=RUNNING)
    untold = written.past().untold_phases
    assert [(row.id, row.value, trial) for row, trial in untold] == [
        (2, "2", "trial1"),
        (3, None, "trial0"),
    ]
    assert all(row.in_store for row, _ in untold)


def test_ended_trials_that_the_tuner_was_not_told_of(written):
    written.trial(0, TrialStatus.SUCCEEDED, told=3)
    written.trial(1, TrialStatus.USER_CANCELED, counts=False)
    written.trial(2, TrialStatus.FAILED, exit_status=3)
    written.trial(3)
    written.trial(4, TrialStatus.WAITING)
    written.trial(5, TrialStatus.SYS_CANCELED)  # it has begun no phase
    for number in range(5):
        written.phase(number, 0, status=FAILED)
        written.phase(number, 1, status=FAILED)
    untold = written.past().untold_trials
    assert [(row.trial_id, row.exit_status, first) for row, first in untold] == [
        ("trial1", None, 2),
        ("trial2", 3, 4),
    ]


# -- trials that had not ended --------------------------------------------------------------------


def test_trials_that_had_ended_are_not_left(written):
    for number, status in enumerate(TrialStatus):
        written.trial(number, status)
    left = [trial.row.status for trial in written.past().trials]
    assert sorted(left) == ["RUNNING", "WAITING"]


def test_trials_are_left_in_the_order_of_starting(written):
    for number in (2, 0, 1):
        written.trial(number)
        written.phase(number)
    left = written.past().trials
    assert [trial.row.trial_id for trial in left] == ["trial0", "trial1", "trial2"]
    assert [trial.first_parameter_id for trial in left] == [1, 2, 0]


def test_a_left_trial_comes_back_whole(written):
    row = trial_row(
        0, status=TrialStatus.RUNNING, pid=42, process_start="b:1", session="s", resends=True, seq=3
    )
    written.store.put_trial(row)
    assert dataclasses.asdict(written.left().row) == dataclasses.asdict(row)


# Each: fields of the trial, of its phases, and seq of the newest's intermediates, or with another's index;
# then what is found: how the conversation stands, and how many intermediates what is unended has.
SITUATIONS = {
    "not started, the tuner was asked": (
        {"status": TrialStatus.WAITING},
        [{"parameters": None, "asked": 1}],
        [],
        (IDLE, 0, False, 0, 0),
    ),
    "not started, its parameters are there": (
        {"status": TrialStatus.WAITING},
        [{}],
        [],
        (IDLE, 0, False, 0, 0),
    ),
    "silent": ({}, [{}], [], (IDLE, 0, False, 0, 0)),
    "said hello": ({"session": "s", "seq": 1}, [{}], [], (IDLE, 1, True, 0, 0)),
    "said a hello without a session": ({"seq": 0}, [{}], [], (IDLE, 0, True, 0, 0)),
    "has its first parameters": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "status": RUNNING}],
        [],
        (OPEN, 2, True, 0, 0),
    ),
    "has them and never said hello": (
        {},
        [{"request_seq": 0, "status": RUNNING}],
        [],
        (OPEN, 0, True, 0, 0),
    ),
    "is on its way": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "status": RUNNING}],
        [3, 5, 4],
        (OPEN, 5, True, 0, 3),
    ),
    "is between two phases": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "final_seq": 6, "status": SUCCEEDED, "value": "1"}],
        [4],
        (IDLE, 6, True, 1, 0),
    ),
    "has failed in a phase": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "final_seq": 6, "status": FAILED}],
        [],
        (IDLE, 6, True, 0, 0),
    ),
    "has a phase that was abandoned after it mentioned something": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "status": PhaseStatus.ABANDONED}],
        [7],
        (IDLE, 7, True, 0, 0),
    ),
    "waits for the tuner": (
        {"session": "s", "seq": 1},
        [
            {"request_seq": 2, "final_seq": 3, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 4, "parameters": None},
        ],
        [],
        (ASKED, 4, True, 1, 0),
    ),
    "is in its third phase": (
        {"session": "s", "seq": 1},
        [
            {"request_seq": 2, "final_seq": 3, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 4, "final_seq": 5, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 6, "status": RUNNING},
        ],
        [],
        (OPEN, 6, True, 2, 0),
    ),
    "was refused": (
        {"session": "s", "seq": 9, "reason": "no more phases: enough"},
        [{"request_seq": 2, "final_seq": 8, "status": SUCCEEDED, "value": "1"}],
        [],
        (IDLE, 9, True, 1, 0),
    ),
    "was refused though its first parameters were there": (
        {"seq": 0, "reason": "no more phases: enough"},
        [{}],
        [],
        (IDLE, 0, True, 0, 0),
    ),
    "went on after it was refused": (
        {"session": "s", "seq": 4},
        [{"request_seq": 5, "status": RUNNING}],
        [6],
        (OPEN, 6, True, 0, 1),
    ),
    "waits for a batch": (
        {"session": "s", "seq": 1},
        [{}, *[{"request_seq": 2, "parameters": None}] * 2],
        [],
        (ASKED, 2, True, 0, 0),
    ),
    "waits for the rest of a batch": (
        {"session": "s", "seq": 1},
        [{}, {"request_seq": 2}, {"request_seq": 2, "parameters": None}],
        [],
        (ASKED, 2, True, 0, 0),
    ),
    "computes a batch": (
        {"session": "s", "seq": 1},
        [{"request_seq": 2, "status": RUNNING}] * 3,
        [(0, 3), (0, 5), (1, 4), 6],
        (OPEN, 6, True, 0, 4),
    ),
    "has ended some of a batch": (
        {"session": "s", "seq": 1},
        [
            {"request_seq": 2, "final_seq": 7, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 2, "status": RUNNING},
            {"request_seq": 2, "final_seq": 5, "status": FAILED},
        ],
        [(0, 3), (1, 6), (2, 4)],
        (OPEN, 7, True, 1, 1),
    ),
    "has ended all of a batch": (
        {"session": "s", "seq": 1},
        [
            {"request_seq": 2, "final_seq": 5, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 2, "final_seq": 4, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 2, "status": FAILED},  # its parameters were too long
        ],
        [],
        (IDLE, 5, True, 2, 0),
    ),
    "has said last what a phase of a batch saved": (
        {"session": "s", "seq": 4},
        [{"request_seq": 2, "status": RUNNING, "checkpoint": "/kept/0"}] * 2,
        [3],
        (OPEN, 4, True, 0, 1),
    ),
    "began to speak anew, and was given some of a batch": (
        {"session": "t", "seq": 1, "session_start": 1},
        [
            {"request_seq": 70, "final_seq": 80, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 2, "status": RUNNING},
            {"request_seq": None},
            {"request_seq": None},
        ],
        [(1, 3)],
        (OPEN, 3, True, 1, 1),
    ),
    "began to speak anew while a batch was asked for": (
        {"session": "t", "seq": 1, "session_start": 1},
        [
            {"request_seq": 70, "status": PhaseStatus.ABANDONED},
            {"request_seq": None},
            *[{"request_seq": None, "parameters": None}] * 2,
        ],
        [],
        (IDLE, 1, True, 0, 0),
    ),
    "began to speak anew, in vain so far": (
        {"session": "t", "seq": 1, "session_start": 1},
        [{"request_seq": 70, "final_seq": 80, "status": SUCCEEDED, "value": "1"}],
        [75],
        (IDLE, 1, True, 1, 0),
    ),
    "began to speak anew, and what it had asked for is there": (
        {"session": "t", "seq": 1, "session_start": 1},
        [
            {"request_seq": 70, "final_seq": 80, "status": SUCCEEDED, "value": "1"},
            {"request_seq": None},
        ],
        [],
        (IDLE, 1, True, 1, 0),
    ),
    "began to speak anew, and got it": (
        {"session": "t", "seq": 1, "session_start": 1},
        [
            {"request_seq": 70, "final_seq": 80, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 2, "status": RUNNING},
        ],
        [3],
        (OPEN, 3, True, 1, 1),
    ),
    "began to speak anew, and its last phase was abandoned": (
        {"session": "t", "seq": 1, "session_start": 2},
        [
            {"request_seq": 70, "final_seq": 80, "status": SUCCEEDED, "value": "1"},
            {"request_seq": 90, "status": PhaseStatus.ABANDONED},
        ],
        [95],
        (IDLE, 1, True, 1, 0),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_where_the_conversation_with_a_left_trial_stands(written, situation):
    trial, phases, seqs, expected = SITUATIONS[situation]
    written.trial(0, **trial)
    rows = [written.phase(0, index, **fields) for index, fields in enumerate(phases)]
    for index, seq in [seq if isinstance(seq, tuple) else (-1, seq) for seq in seqs]:
        written.store.add_intermediate(rows[index], "1", seq, T0)
    left = written.left()
    state, last_seq, has_spoken, results, intermediates = expected
    assert (left.state, left.last_seq, left.has_spoken) == (state, last_seq, has_spoken)
    assert (left.phases, left.results, left.first_parameter_id) == (len(phases), results, 0)
    unended = [row for row in rows if row.status in (WAITING, RUNNING)]
    assert [*map(dataclasses.asdict, left.unended)] == [*map(dataclasses.asdict, unended)]
    assert sum(row.intermediates for row in left.unended) == intermediates
    assert all(row.in_store for row in left.unended)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "its parameters are too long"),
        ({"final_seq": 5}, None),  # the trial said that it failed
        ({"started_at": T0}, None),  # it took too long
        ({"status": LOST}, None),
        ({"status": RUNNING}, None),
    ],
)
def test_a_left_trial_may_not_have_heard_why_its_phase_did_not_begin(written, changes, error):
    usual = {"status": FAILED, "reason": "its parameters are too long", "request_seq": 4}
    written.trial(session="s", seq=1)
    written.phase(0, 0, status=SUCCEEDED, value="1", request_seq=2, final_seq=3)
    written.phase(0, 1, **{**usual, **changes})
    assert written.left().error == error


@pytest.mark.parametrize(
    ("others", "error"), [({"status": FAILED}, "too long"), ({"status": RUNNING}, None)]
)
def test_a_left_trial_has_heard_of_those_of_a_batch_that_began(written, others, error):
    written.trial(session="s", seq=1)
    for index, changes in enumerate(({"status": FAILED}, others, {"status": FAILED})):
        written.phase(0, index, reason="too long", request_seq=2, **changes)
    assert written.left().error == error


def test_a_left_trial_that_went_on_has_heard_why(written):
    written.trial(session="s", seq=5, reason="no more phases: enough")
    written.phase(status=FAILED, reason="its parameters are too long", request_seq=4)
    assert written.left().error is None


def test_a_left_trial_that_has_begun_no_phase(written):
    written.trial(0, TrialStatus.WAITING)
    left = written.left()
    assert (left.phases, left.unended, left.state, left.last_seq) == (0, [], IDLE, 0)
    assert (left.has_spoken, left.error) == (False, None)


# -- databases that cannot be read ----------------------------------------------------------------


def test_an_experiment_that_its_manager_never_wrote_is_none(tmp_path):
    Store(tmp_path / "experiment.db").close()
    assert StoredHistory(tmp_path / "experiment.db").read() is None


def test_a_database_that_is_not_there_is_an_error_and_not_made(tmp_path):
    path = tmp_path / "experiment.db"
    with pytest.raises(StoreError, match=f"cannot read the store {path}: unable to open"):
        StoredHistory(path).read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database " * 1000])
def test_a_file_that_is_no_database_is_an_error_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "experiment.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"cannot read the store {path}: "):
        StoredHistory(path).read()
    assert path.read_bytes() == content


def test_a_path_may_hold_what_means_something_in_an_address(tmp_path):
    directory = tmp_path / "50%20?mode=memory#ü x"
    directory.mkdir()
    written = Written(directory / "experiment.db")
    written.trial()
    assert len(written.past().trials) == 1
    written.store.close()


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_damaged_database_is_an_error_wherever_the_damage_is(written, where):
    written.trial()
    for index in range(200):
        written.phase(0, index, parameters=encode("x" * 500))
    written.store.close()
    content = bytearray(written.path.read_bytes())
    page = int(len(content) * where) // 1024 * 1024
    content[page : page + 1024] = b"\xa5" * 1024
    written.path.write_bytes(content)
    with pytest.raises(StoreError, match=f"cannot read the store {written.path}: "):
        StoredHistory(written.path).read()


def test_damage_is_found_where_nothing_is_to_be_read_too(written):
    written.experiment(experiment_row(running_since=None))
    written.trial(0, TrialStatus.SUCCEEDED, told=1)
    row = written.phase(status=SUCCEEDED, value="1", told=2)
    for number in range(200):
        written.store.add_intermediate(row, encode("x" * 500), number, T0)
    written.store.close()
    with contextlib.closing(sqlite3.connect(written.path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'intermediates'"
        (page,) = connection.execute(query).fetchone()
    content = bytearray(written.path.read_bytes())
    content[(page - 1) * 1024 : page * 1024] = b"\xa5" * 1024
    written.path.write_bytes(content)
    with pytest.raises(StoreError, match=f"cannot read the store {written.path}: it is damaged: "):
        StoredHistory(written.path).read()


def test_a_database_that_was_cut_short_is_an_error(written):
    for number in range(100):
        written.trial(number)
    written.store.close()
    content = written.path.read_bytes()
    written.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="cannot read the store"):
        StoredHistory(written.path).read()


# -- a tuner that is rebuilt ----------------------------------------------------------------------


class Memory(mpx.Tuner):
    """Chooses by all that it was told and by what it draws; has nothing now and then."""

    def __init__(self, directory: Path) -> None:
        self.calls = []
        self._file = directory / "memory.json"

    def draw(self):
        return random.random()

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.calls.append(["generate", parameter_id, trial_job_id])
        drawn = self.draw()
        if drawn < 0.1:
            return None
        results = [call for call in self.calls if call[0] == "result"]
        parameters = {"drawn": drawn, "told": sum(map(len, self.calls)), "heard": heard(results)}
        if not results or drawn < 0.6:
            return parameters
        return mpx.Continued(parameters, results[-1][1])

    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id=None, checkpoint=None
    ):
        self.calls.append(["result", parameter_id, parameters, value, checkpoint, trial_job_id])

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.calls.append(["phase", parameter_id, success, trial_job_id])

    def trial_end(self, parameter_id, success, trial_job_id=None):
        self.calls.append(["trial", parameter_id, success, trial_job_id])


def heard(results):
    return sum(value for _, _, _, value, _, _ in results)


class ArrayMemory(Memory):
    """Draws from numpy, whose normal distribution keeps a number back."""

    def draw(self):
        return float(abs(sys.modules["numpy"].random.normal()))


class BatchMemory(Memory):
    """Chooses for several trials, or phases, at once."""

    def generate_multiple_parameters(self, parameter_id_list, trial_job_id=None, **kwargs):
        self.calls.append(["several", list(parameter_id_list), trial_job_id])
        return [[number, self.draw()] for number in parameter_id_list if self.draw() > 0.1]


def saving(tuner_class):
    """Return a class of tuners that choose alike, and save what they know."""

    class Saves(tuner_class):
        def save_checkpoint(self):
            self._file.write_text(json.dumps(self.calls))

        def load_checkpoint(self):
            self.calls = json.loads(self._file.read_text())

    return Saves


class EndingHost(TunerHost):
    """A host that can end before its process does, for there are many here."""

    def _work(self):
        with contextlib.suppress(SystemExit):
            super()._work()

    def end(self):
        self.post(EndOfThread())
        self._thread.join()
        os.close(self.fileno())


class EndOfThread(list):
    """Calls that end the thread which is to make them."""

    def __iter__(self):
        raise SystemExit


class HostedTuner:
    """A tuner on its thread, new or rebuilt.

    Attributes:
        answers: what came and is not taken in.
    """

    def __init__(self, site, checkpoint=None, history=None):
        self._site = site
        self.answers = []
        self.host = EndingHost(Checkpoints(site.current, site.directory / "checkpoints"))
        self.host.start()
        self.host.post(
            [Load(lambda: site.tuner_class, self._construct, "", 7, history, checkpoint)]
        )
        self.wait(lambda: Loaded(None, site.saves) in self.answers)
        self.answers.remove(Loaded(None, site.saves))

    def _construct(self, tuner_class):
        self.tuner = tuner_class(self._site.current)
        return self.tuner

    def wait(self, is_enough):
        while not is_enough():
            readable, _, _ = select.select([self.host.fileno()], [], [], 30)
            assert readable, f"only {self.answers} came"
            self.answers += self.host.collect()
            assert all(type(a) in (Parameters, Saved, Loaded) for a in self.answers), self.answers

    def answered(self):
        """Return the texts and parents, by parameter_id."""
        found = [answer for answer in self.answers if type(answer) is Parameters]
        return {answer.parameter_id: (answer.text, answer.parent) for answer in found}

    def go_on(self):
        """Return what it was told until now, and what it chooses from now on."""
        later = range(100_000, 100_004)
        self.host.post([Ask(number, "later") for number in later])
        self.wait(lambda: self.answered().keys() >= set(later))
        calls = [call for call in self.tuner.calls if call[-1] != "later"]
        return calls, [self.answered()[number] for number in later]

    def close(self):
        self.host.end()


class Site:
    """Where one experiment is, whoever manages it.

    Attributes:
        chosen: parameter_id → the newest answer of any tuner.
        trials: how many there ever were.
    """

    def __init__(self, directory, tuner_class):
        self.directory = directory
        self.path = directory / "experiment.db"
        self.current = directory / "checkpoint"
        self.current.mkdir()
        self.tuner_class = tuner_class
        self.saves = hasattr(tuner_class, "save_checkpoint") and tuner_class not in PLAIN
        self.chosen = {}
        self.trials = 0


@dataclasses.dataclass(eq=False)
class Trial:
    """A trial that has not ended; `unended` are its phases that have not."""

    row: TrialRow
    first: int = -1
    phases: int = 0
    unended: list[PhaseRow] = dataclasses.field(default_factory=list)


class Life:
    """The life of one manager, which writes what happens as `phases` and `turn` do.

    Args:
        site: where.
        past: what an earlier one left.
    """

    def __init__(self, site, past=None):
        self.site = site
        self.store = Store(site.path)
        self.trials, self.offers, self.checkpoints = [], [], {}
        self.last_call = self.begun = self.trials_begun = self.next_parameter_id = 0
        self.next_id, self.next_sequence_id = 1, 0
        self.row = experiment_row()
        self._calls, self._awaited, self._saves = [], set(), 0
        if past is None:
            self.store.put_experiment(self.row)
            self.store.commit()
            self.hosted = HostedTuner(site)
        else:
            self._restore(past)

    def _restore(self, past):
        self.row, self.offers = past.experiment, list(past.offers)
        self.checkpoints = {saved.parameter_id: saved.path for saved in past.checkpoints}
        self.last_call, self.begun = past.last_call, past.phases_begun
        self.trials_begun = past.trials_begun
        self.next_id, self.next_parameter_id = past.next_phase_id, past.next_parameter_id
        self.next_sequence_id = past.next_sequence_id
        for left in past.trials:
            trial = Trial(left.row, left.first_parameter_id, left.phases, [*left.unended])
            self.trials.append(trial)
        history = StoredHistory(self.site.path)
        self.hosted = HostedTuner(self.site, self.row.checkpoint, history)
        self._take_in()

    # -- what happens -----------------------------------------------------------------------------

    def act(self, choice):
        """Let something happen, if it can."""
        kind, choice = choice % len(self.ACTIONS), choice // len(self.ACTIONS)
        self.ACTIONS[kind](self, choice)

    def _begin(self, choice):
        if any(trial.row.status is TrialStatus.WAITING for trial in self.trials):
            return
        if self.offers:
            self._open_offer(self._new_trial())
            return
        trials = [self._new_trial() for _ in range(choice % 3 + 1)]
        phases = [self._new_phase(trial) for trial in trials]
        ids = [phase.parameter_id for phase in phases]
        number = self._post(AskFirst(ids, [trial.row.trial_id for trial in trials]))
        for phase in phases:
            phase.asked = number
        self._end_turn()

    def _ask(self, choice):
        trial = self._pick(choice, lambda trial: not trial.unended)
        if trial is None:
            return
        wanted = choice % 5 + 1
        while self.offers and choice % 2 and wanted:
            self._open_offer(trial)
            wanted -= 1
        phases = [self._new_phase(trial) for _ in range(wanted)]
        ids, trial_id = [phase.parameter_id for phase in phases], trial.row.trial_id
        if phases:
            number = self._post(Ask(*ids, trial_id) if wanted == 1 else AskBatch(ids, trial_id))
            for phase in phases:
                phase.asked = number
        self._end_turn(commit=choice % 3 > 0)

    def _report(self, choice):
        trial = self._pick(choice, _open)
        if trial is None:
            return
        phase = _open(trial)[choice % len(_open(trial))]
        trial.unended.remove(phase)
        value = choice % 7 / 7
        phase.value = encode(value)
        if choice % 3 == 0:
            phase.checkpoint = self.checkpoints[phase.parameter_id] = f"/kept/{phase.id}"
        self.store.set_phase_status(phase, SUCCEEDED)
        call = Tell(phase.parameter_id, value, trial.row.trial_id, checkpoint=phase.checkpoint)
        phase.told = self._post(call)
        self._end_turn()

    def _fail(self, choice):
        trial = self._pick(choice, _open)
        if trial is not None:
            self._end_without_result(trial, _open(trial)[-1], FAILED)
            self._end_turn(commit=choice % 3 > 0)

    def _end(self, choice):
        trial = self._pick(choice, lambda trial: True)
        if trial is None:
            return
        if self._saves and any(phase.parameters is None for phase in trial.unended):
            self.collect()
        row, again = trial.row, choice % 2 == 1
        row.attempt += again
        for phase in [*trial.unended]:
            if phase.parameters is not None and again:
                self._offer_again(trial, phase)
            else:
                self._end_without_result(trial, phase, LOST)
        row.counts, row.exit_status = not again, choice % 3
        self.trials_begun -= again
        self.store.set_trial_status(row, TrialStatus.FAILED)
        row.told = self._post(TrialEnd(trial.first, row.success, row.trial_id))
        self.trials.remove(trial)
        self._end_turn()

    def _save(self, choice):
        if self.site.saves:
            self._calls.append(SaveCheckpoint(self.last_call))
            self._saves += 1
            self._end_turn(commit=choice % 2 > 0)

    def collect(self, choice=1):
        """Take in what the tuner answers to all that it was asked, or some of it, and then the rest."""
        self.hosted.wait(
            lambda: (
                self.hosted.answered().keys() >= self._awaited
                and sum(type(answer) is Saved for answer in self.hosted.answers) >= self._saves
            )
        )
        answers, self.hosted.answers = self.hosted.answers, []
        for part in (answers[: choice % 4], answers[choice % 4 :]):
            self.hosted.answers = part
            self._take_in()
            if choice % 3 == 0:
                self.hosted.answers = answers[choice % 4 :]
                return  # the rest when it is next looked for

    ACTIONS = (_begin, _ask, _ask, _report, _report, _fail, _end, collect, collect, _save)

    # -- how it is written ------------------------------------------------------------------------

    def _pick(self, choice, is_meant):
        found = [t for t in self.trials if t.row.status is TrialStatus.RUNNING and is_meant(t)]
        return found[choice % len(found)] if found else None

    def _new_trial(self):
        row = TrialRow(f"trial{self.site.trials}", self.next_sequence_id, T0)
        self.site.trials += 1
        self.next_sequence_id += 1
        self.trials_begun += 1
        self.trials.append(Trial(row))
        self.store.put_trial(row)
        return self.trials[-1]

    def _new_phase(self, trial, parameter_id=None):
        if parameter_id is None:
            parameter_id = self.next_parameter_id
            self.next_parameter_id += 1
            self._awaited.add(parameter_id)
        row = PhaseRow(self.next_id, trial.row.sequence_id, trial.phases, parameter_id, T0)
        self.next_id += 1
        self.begun += 1
        if not trial.phases:
            trial.first = parameter_id
        trial.phases += 1
        trial.unended.append(row)
        self.store.add_phase(row)
        return row

    def _open_offer(self, trial):
        offer = self.offers.pop(0)
        phase = self._new_phase(trial, offer.parameter_id)
        trial.row.attempt = offer.attempt
        self._hand_over(trial, phase, offer.parameters, offer.parent)
        self._end_turn()

    def _hand_over(self, trial, phase, text, parent):
        phase.parameters, phase.parent = text, parent
        self.store.set_phase_status(phase, RUNNING)
        if trial.row.status is TrialStatus.WAITING:
            self.store.set_trial_status(trial.row, TrialStatus.RUNNING)
        self.store.put_trial(trial.row)

    def _offer_again(self, trial, phase):
        phase.counts = False
        self.begun -= 1
        self.store.set_phase_status(phase, LOST)
        attempt = trial.row.attempt
        offer = Offer(phase.parameter_id, phase.parameters, attempt, parent=phase.parent)
        self.offers.append(offer)
        self.offers.sort(key=lambda offer: offer.parameter_id)

    def _end_without_result(self, trial, phase, status):
        trial.unended.remove(phase)
        self.store.set_phase_status(phase, status)
        phase.told = self._post(PhaseEnd(phase.parameter_id, trial.row.trial_id))

    def _post(self, call):
        self._calls.append(call)
        self.last_call += 1
        return self.last_call

    def _end_turn(self, commit=True):
        if commit:
            self.store.commit()
        self.hosted.host.post(self._calls)
        self._calls = []

    def _take_in(self):
        for answer in self.hosted.answers:
            if type(answer) is Saved:
                self._saves -= 1
                self.row.checkpoint = answer.number
                self.store.put_experiment(self.row)
                self._calls.append(ForgetCheckpoints(answer.number))
            else:
                self._on_parameters(answer)
        self.hosted.answers = []
        self._end_turn()

    def _on_parameters(self, answer):
        number = answer.parameter_id
        self._awaited.discard(number)
        self.site.chosen[number] = answer.text, answer.parent
        asking = [(t, p) for t in self.trials for p in t.unended if p.parameter_id == number]
        for trial, phase in asking:
            if answer.text is not None:
                self._hand_over(trial, phase, answer.text, answer.parent)
            else:
                self._withdraw(trial, phase)

    def _withdraw(self, trial, phase):
        trial.unended.remove(phase)
        is_first = phase.phase_index == 0
        self.store.add_unanswered(phase.asked, phase.parameter_id, trial.row.trial_id, is_first)
        self.begun -= 1
        trial.phases -= 1
        self.store.remove_phase(phase)
        if is_first:
            self.trials_begun -= 1
            self.trials.remove(trial)
            self.store.remove_trial(trial.row)

    # -- how it ends ------------------------------------------------------------------------------

    def crash(self):
        """Die, with all that is not committed; return the life of the next manager."""
        lost = self.store.pending
        calls, chosen = self.hosted.go_on()
        self.site.chosen.update(self.hosted.answered())
        die(self.store, self.site.path)
        past = StoredHistory(self.site.path).read()
        if not lost:
            self._check(past)
        again = HostedTuner(self.site, past.experiment.checkpoint, StoredHistory(self.site.path))
        asked = {
            phase.parameter_id
            for left in past.trials
            for phase in left.unended
            if phase.parameters is None
        }
        assert again.answered().keys() >= asked
        assert again.answered().items() <= self.site.chosen.items()
        calls_again, chosen_again = again.go_on()
        if lost:
            assert calls_again == calls[: len(calls_again)]
        else:
            assert (calls_again, chosen_again) == (calls, chosen)
        again.close()
        self.hosted.close()
        return Life(self.site, past)

    def _check(self, past):
        """Another manager reads what this one knew."""
        assert (past.last_call, past.offers) == (self.last_call, self.offers)
        saved = {saved.parameter_id: saved.path for saved in past.checkpoints}
        assert saved == self.checkpoints
        assert (past.phases_begun, past.trials_begun) == (self.begun, self.trials_begun)
        assert past.next_parameter_id == self.next_parameter_id
        assert past.next_phase_id <= self.next_id
        assert past.next_sequence_id <= self.next_sequence_id
        assert (past.untold_phases, past.untold_trials) == ([], [])
        found = [(t.row.trial_id, t.phases, t.first_parameter_id) for t in past.trials]
        assert found == [(t.row.trial_id, t.phases, t.first) for t in self.trials]
        for left, trial in zip(past.trials, self.trials, strict=True):
            assert [*map(repr, left.unended)] == [*map(repr, trial.unended)]


def _open(trial):
    """Return its phases that have parameters."""
    return [phase for phase in trial.unended if phase.parameters is not None]


PLAIN = (Memory, ArrayMemory, BatchMemory)
MANY_CHOICES = st.lists(st.integers(0, 10_000), min_size=10, max_size=60)


@pytest.fixture
def _same_random_afterwards():
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.usefixtures("_same_random_afterwards")
@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("tuner_class", PLAIN)
@settings(max_examples=15, deadline=None)
@given(lives=st.lists(MANY_CHOICES, min_size=1, max_size=3))
def test_a_tuner_is_rebuilt_to_what_it_was_whenever_its_manager_dies(tuner_class, saves, lives):
    if tuner_class is ArrayMemory:
        pytest.importorskip("numpy")
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory), saving(tuner_class) if saves else tuner_class)
        life = Life(site)
        for choices in lives:
            for choice in choices:
                life.act(choice)
            life = life.crash()
        life.hosted.close()
        life.store.close()
