"""What may follow what, and when nothing more may begin."""

from __future__ import annotations

import math

import pytest

from mpx.lifecycle import (
    ENDED,
    EXPERIMENT_TRANSITIONS,
    PHASE_TRANSITIONS,
    TRIAL_TRANSITIONS,
    EarlyDeaths,
    IllegalTransitionError,
    Limits,
    check_transition,
    exit_code,
    is_better,
    objective,
)
from mpx.records import ExperimentStatus, PhaseStatus, TrialStatus

TABLES = [
    (EXPERIMENT_TRANSITIONS, set(ExperimentStatus) - {ExperimentStatus.INTERRUPTED}),
    (TRIAL_TRANSITIONS, set(TrialStatus)),
    (PHASE_TRANSITIONS, set(PhaseStatus)),
]


@pytest.mark.parametrize(("table", "statuses"), TABLES)
def test_every_status_that_is_stored_has_its_row_and_leads_to_an_end(table, statuses):
    assert set(table) == statuses
    ends = {status for status, after in table.items() if not after}
    for status in statuses:
        reached = {status}
        for _ in statuses:
            reached |= {after for before in reached for after in table[before]}
        assert reached <= statuses
        assert reached & ends


@pytest.mark.parametrize(("table", "statuses"), TABLES)
def test_every_pair_of_statuses_is_allowed_or_refused_by_its_table(table, statuses):
    for before in statuses:
        for after in statuses:
            if after in table[before]:
                check_transition(table, before, after)
            else:
                with pytest.raises(IllegalTransitionError) as refused:
                    check_transition(table, before, after)
                assert str(refused.value) == f"{before.value} may not become {after.value}"


def test_what_has_ended_stays_so():
    assert {status for status, after in EXPERIMENT_TRANSITIONS.items() if not after} == ENDED
    running = {TrialStatus.WAITING, TrialStatus.RUNNING}
    assert {status for status, after in TRIAL_TRANSITIONS.items() if after} == running
    going = {PhaseStatus.WAITING, PhaseStatus.RUNNING}
    assert {status for status, after in PHASE_TRANSITIONS.items() if after} == going


def test_a_phase_has_its_parameters_before_it_succeeds():
    with pytest.raises(IllegalTransitionError):
        check_transition(PHASE_TRANSITIONS, PhaseStatus.WAITING, PhaseStatus.SUCCEEDED)


LIMITS = Limits(max_trial_num=2, max_phase_num=10, max_phases_per_trial=3, max_exec_duration=90.0)


@pytest.mark.parametrize(
    ("phases", "of_trial", "duration", "reason"),
    [
        (9, 2, 89.9, None),
        (10, 2, 0, "maxPhaseNum (10) is reached"),
        (3, 3, 0, "maxPhasesPerTrial (3) is reached"),
        (3, 2, 90, "maxExecDuration (90 s) is over"),
        (10, 3, 90, "maxPhasesPerTrial (3) is reached"),
    ],
)
def test_why_a_trial_may_begin_no_phase(phases, of_trial, duration, reason):
    assert LIMITS.why_no_phase(phases, of_trial, duration) == reason


@pytest.mark.parametrize(
    ("trials", "phases", "duration", "reason"),
    [
        (1, 9, 89.9, None),
        (2, 0, 0, "maxTrialNum (2) is reached"),
        (0, 10, 0, "maxPhaseNum (10) is reached"),
        (0, 0, 91.5, "maxExecDuration (90 s) is over"),
    ],
)
def test_why_no_trial_may_begin(trials, phases, duration, reason):
    assert LIMITS.why_no_trial(trials, phases, duration) == reason


def test_without_multi_phase_a_trial_has_one_phase():
    limits = Limits(multi_phase=False)
    assert limits.why_no_phase(100, 0, 0) is None
    reason = "one phase per trial: `multiPhase` is not true in the configuration"
    assert limits.why_no_phase(100, 1, 0) == reason


def test_without_limits_anything_may_begin():
    assert Limits().why_no_phase(10**9, 10**9, 10**9) is None
    assert Limits().why_no_trial(10**9, 10**9, 10**9) is None
    assert Limits().phases_left(10**9) is None


@pytest.mark.parametrize(
    ("limits", "phases", "of_trial", "room"),
    [
        (LIMITS, 0, 0, 3),
        (LIMITS, 5, 2, 1),
        (LIMITS, 8, 0, 2),
        (Limits(multi_phase=False), 0, 0, 1),
        (Limits(), 10**9, 10**9, 4),
    ],
)
def test_how_many_phases_a_trial_may_begin_at_a_time(limits, phases, of_trial, room):
    assert limits.room(4, phases, of_trial) == room


def test_how_many_phases_are_left():
    assert [LIMITS.phases_left(phases) for phases in (0, 9, 10, 11)] == [10, 1, 0, 0]


FAILED, SUCCEEDED = TrialStatus.FAILED, TrialStatus.SUCCEEDED
WHY = "trials in a row ended within a minute of their start, without a result"
NEVER_ASKED = WHY.replace("without a result", "without asking for parameters")


def dies(deaths, status=FAILED, lived=1.0, results=0, asked=True):
    """A trial ends, by default as if its code were broken."""
    return deaths.note_end(status, lived, results, asked)


@pytest.mark.parametrize(
    "how", [{"status": FAILED}, {"status": FAILED, "asked": False}, {"lived": 60.0}, {"lived": 0.0}]
)
def test_three_early_deaths_are_enough_where_nothing_ever_went_well(how):
    deaths = EarlyDeaths()
    why = f"3 {WHY if how.get('asked', True) else NEVER_ASKED}"
    assert [dies(deaths, **how) for _ in range(3)] == [None, None, why]


def test_a_trial_that_ends_well_without_having_asked_is_an_early_death():
    deaths = EarlyDeaths()
    how = {"status": SUCCEEDED, "asked": False}
    why = f"3 {WHY if how.get('asked', True) else NEVER_ASKED}"
    assert [dies(deaths, **how) for _ in range(3)] == [None, None, why]


@pytest.mark.parametrize(
    "how",
    [
        {"status": SUCCEEDED},
        {"lived": 60.1},
        {"status": SUCCEEDED, "asked": False, "lived": 60.1},
        {"results": 1},
        {"status": TrialStatus.USER_CANCELED},
        {"status": TrialStatus.SYS_CANCELED},
        {"status": TrialStatus.EARLY_STOPPED},
    ],
)
def test_what_is_no_early_death_ends_the_row(how):
    deaths = EarlyDeaths()
    assert [dies(deaths, **how) for _ in range(20)] == [None] * 20
    assert [dies(deaths) for _ in range(2)] == [None] * 2
    assert dies(deaths, **how) is None
    assert [dies(deaths) for _ in range(3)] == [None, None, f"3 {WHY}"]


def test_after_a_result_ten_early_deaths_in_a_row_are_needed():
    deaths = EarlyDeaths()
    dies(deaths)
    dies(deaths)
    deaths.note_result()
    assert [dies(deaths) for _ in range(9)] == [None] * 9
    deaths.note_result()
    assert [dies(deaths) for _ in range(10)] == [None] * 9 + [f"10 {WHY}"]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.5, 0.5),
        (3, 3.0),
        ({"default": 0.5, "loss": 9}, 0.5),
        ({"loss": 9}, None),
        ({"default": {"default": 1}}, None),
        ({"default": "0.5"}, None),
        (True, None),
        ({"default": False}, None),
        ("0.5", None),
        ([0.5], None),
        (None, None),
        (math.nan, None),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (10**400, None),
        (-(10**400), None),
    ],
)
def test_the_number_that_a_result_optimizes(value, number):
    found = objective(value)
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(
    ("mode", "score", "best", "better"),
    [
        ("maximize", 1.0, None, True),
        ("minimize", 1.0, None, True),
        ("maximize", 2.0, 1.0, True),
        ("maximize", 1.0, 2.0, False),
        ("minimize", 1.0, 2.0, True),
        ("minimize", 2.0, 1.0, False),
        ("maximize", 1.0, 1.0, False),
        ("minimize", 1.0, 1.0, False),
        ("minimize", -math.inf, 0.0, True),
    ],
)
def test_which_score_is_better(mode, score, best, better):
    assert is_better(mode, score, best) is better


@pytest.mark.parametrize(
    ("status", "succeeded", "code"),
    [
        (ExperimentStatus.DONE, 1, 0),
        (ExperimentStatus.DONE, 0, 1),
        (ExperimentStatus.ERROR, 5, 1),
        (ExperimentStatus.STOPPED, 5, 130),
        (ExperimentStatus.INTERRUPTED, 5, 1),
    ],
)
def test_the_exit_code_of_a_command_that_saw_the_end(status, succeeded, code):
    assert exit_code(status, succeeded) == code
