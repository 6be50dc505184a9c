"""What people see. Golden texts; times of day are holes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from mpx import api
from mpx.records import (
    BestPhase,
    ErrorRecord,
    ExperimentRecord,
    ExperimentStatus,
    PhaseRecord,
    PhaseStatus,
    TrialRecord,
    TrialStatus,
)
from mpx.render import console, detail, progress, tables, text
from mpx.store_reader import Pace

NOW = 1_700_000_100.0
EVIL = "\x1b[31m\r\x07[red]\u202e\x9b2J"

EXPERIMENT = ExperimentRecord(
    id="Ab3dEf12",
    name="digits",
    status=ExperimentStatus.RUNNING,
    reason=None,
    created_at=NOW - 100,
    started_at=NOW - 90,
    ended_at=None,
    duration=90.0,
    multi_phase=True,
    trial_concurrency=2,
    max_trial_num=None,
    max_phase_num=60,
    optimize_mode="maximize",
    trials={"RUNNING": 2, "FAILED": 1},
    phases={"RUNNING": 1, "SUCCEEDED": 30, "FAILED": 1},
    best=BestPhase("qwert", 1, 7, 15, {"default": 0.98125, "loss": 1}, {"lr": 0.05, "layers": [8]}),
    error=None,
    directory=Path("/home/me/.mpx/experiments/Ab3dEf12"),
    manager_pid=17,
    manager_alive=True,
)
TRIAL = TrialRecord(
    "asdfg", 0, TrialStatus.RUNNING, None, NOW - 90, NOW - 89, None, None, 42, {"SUCCEEDED": 3}
)
PHASE = PhaseRecord(
    "Ab3dEf12", "asdfg", 0, 3, 9, PhaseStatus.RUNNING, None, {"lr": 0.1}, None, (), NOW - 5, NOW - 4,
    None,
)  # fmt: skip
FAILED = replace(
    TRIAL,
    trial_id="zxcvb",
    sequence_id=2,
    status=TrialStatus.FAILED,
    reason="exit status 1",
    exit_status=1,
    ended_at=NOW - 60,
    last_lines=("Traceback (most recent call last):", "MemoryError"),
)
DETAIL = api.Detail(
    EXPERIMENT, (api.RunningTrial(TRIAL, PHASE),), (FAILED,), Pace(29, 0.0013, 0.31), NOW
)


def plain(lines: Iterable[Text]) -> str:
    """Return lines as a log file shows them, with TIME for times of day."""
    shown = "\n".join(line.plain.rstrip() for line in lines)
    return re.sub(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "TIME", shown)


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünïcode 漢字 [red]", "plain ünïcode 漢字 [red]"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x00", "a\\rb\\x00"),
        ("\x9b2J\u202eevil", "\\x9b2J\\u202eevil"),
        ("half \ud800", "half \\ud800"),
        ("a\nb\tc", "a\\nb\tc"),
    ],
)
def test_control_characters_are_written_out(raw: str, shown: str) -> None:
    assert text.visible(raw, keep="\t") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 µs"),
        (-1, "0 µs"),
        (0.00085, "850 µs"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m 00s"),
        (3599.6, "1h 00m"),
        (3725, "1h 02m"),
        (90000, "1d 01h"),
    ],
)
def test_durations_have_the_units_that_matter(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (0.123456789, "0.123457"),
        (math.nan, "nan"),
        (3, "3"),
        (None, "-"),
        (True, "true"),
        ({"default": 0.5, "x": 1}, "0.5"),
        ({"x": 1}, '{"x": 1}'),
        ("a\x1b", "a\\x1b"),
        ("x" * 50, "x" * 39 + "…"),
    ],
)
def test_values_are_short(result: Any, shown: str) -> None:
    assert text.value(result) == shown


def test_parameters_of_any_form_are_shown() -> None:
    assert text.parameters({"lr": 0.1, "a\x1b": "b\n"}) == "lr=0.1, a\\x1b=b\\n"
    assert text.parameters({}) == "{}"
    assert text.parameters([1, 2]) == "[1, 2]"
    assert text.parameters(None) == "-"


# -- tables ---------------------------------------------------------------------------------------


def test_table_of_experiments() -> None:
    ended = replace(
        EXPERIMENT, id="Zz9", name="漢字", status=ExperimentStatus.DONE, reason="a limit\nand more",
        started_at=None, phases={}, best=None,
    )  # fmt: skip
    assert plain(tables.experiments([EXPERIMENT, ended])) == (
        "ID        NAME    STATUS   CREATED              RAN FOR  PHASES     BEST  REASON\n"
        "Ab3dEf12  digits  RUNNING  TIME   1m 30s      32  0.98125\n"
        "Zz9       漢字    DONE     TIME        -       0        -  a limit"
    )


def test_table_of_trials() -> None:
    assert plain(tables.trials([TRIAL, FAILED], NOW)) == (
        "TRIAL  ID     STATUS   RAN FOR  EXIT           PHASES          REASON\n"
        "    0  asdfg  RUNNING   1m 29s  -              3: 3 SUCCEEDED\n"
        "    2  zxcvb  FAILED    29.0 s  exit status 1  3: 3 SUCCEEDED  exit status 1"
    )


def test_table_of_phases() -> None:
    ended = replace(
        PHASE,
        parameter_id=10,
        status=PhaseStatus.SUCCEEDED,
        value={"default": 0.5},
        ended_at=NOW - 1,
    )
    assert plain(tables.phases([PHASE, ended], NOW)) == (
        "PARAMETER_ID  TRIAL  PHASE  STATUS     VALUE   TOOK  PARAMETERS  REASON\n"
        "           9      0      3  RUNNING        -  4.0 s  lr=0.1\n"
        "          10      0      3  SUCCEEDED    0.5  3.0 s  lr=0.1"
    )


def test_long_table_is_printed_as_its_rows_come() -> None:
    drawn = 0

    def rows() -> Iterator[PhaseRecord]:
        nonlocal drawn
        for drawn in range(5000):  # noqa: B007 (counted from outside)
            yield PHASE

    lines = tables.phases(rows(), NOW)
    next(lines)
    assert drawn < 1000
    assert sum(1 for _ in lines) == 5000


# -- one experiment -------------------------------------------------------------------------------


def test_detail_of_a_running_experiment() -> None:
    assert plain(detail.detail(DETAIL)) == (
        "digits  Ab3dEf12  RUNNING  for 1m 30s\n"
        "  phases    32: 1 RUNNING, 30 SUCCEEDED, 1 FAILED (at most 60)\n"
        "  trials    3: 2 RUNNING, 1 FAILED\n"
        "  best      0.98125 (maximize), phase 7 of trial 1, parameter_id 15\n"
        "            lr=0.05, layers=[8]\n"
        "  overhead  1.3 ms a phase, from its request to its parameters (0.42 % of the time)\n"
        "  created   TIME\n"
        "  directory /home/me/.mpx/experiments/Ab3dEf12\n"
        "\n"
        "trial 0 asdfg  phase 3 (parameter_id 9) runs since TIME (4.0 s): lr=0.1\n"
        "\n"
        "trial 2 zxcvb  FAILED after 3 phases: exit status 1\n"
        "  | Traceback (most recent call last):\n"
        "  | MemoryError"
    )


@pytest.mark.parametrize(
    ("phase", "trial", "shown"),
    [
        (
            replace(PHASE, status=PhaseStatus.WAITING, parameters=None),
            TRIAL,
            "phase 3 (parameter_id 9) waits for the tuner since TIME (5.0 s)",
        ),
        (
            replace(PHASE, status=PhaseStatus.WAITING),
            TRIAL,
            "phase 3 (parameter_id 9) waits for the trial, which has not asked yet, since TIME (5.0 s)",
        ),
        (
            replace(PHASE, reason="waits for the assessor's verdict on result 2"),
            TRIAL,
            "phase 3 (parameter_id 9) waits for the assessor's verdict on result 2, runs since TIME"
            " (4.0 s): lr=0.1",
        ),
        (
            replace(PHASE, status=PhaseStatus.SUCCEEDED, ended_at=NOW - 2),
            TRIAL,
            "between two phases: phase 3 (parameter_id 9) SUCCEEDED since TIME (2.0 s)",
        ),
        (None, TRIAL, "has not asked for parameters yet; it was started since TIME (1m 29s)"),
        (
            None,
            replace(TRIAL, status=TrialStatus.WAITING, reason="no free GPU", started_at=None),
            "waits to be started since TIME (1m 30s): no free GPU",
        ),
    ],
)
def test_running_trial_says_what_it_does(
    phase: PhaseRecord | None, trial: TrialRecord, shown: str
) -> None:
    now_so = replace(DETAIL, running=(api.RunningTrial(trial, phase),))
    assert plain(detail.running_trials(now_so)) == f"\ntrial 0 asdfg  {shown}"


@pytest.mark.parametrize(
    ("trial", "shown"),
    [
        (TRIAL, "its process is gone; `mpx resume Ab3dEf12` sees to it"),
        (
            replace(TRIAL, status=TrialStatus.WAITING, started_at=None, pid=None),
            "it had not been started; `mpx resume Ab3dEf12` sees to it",
        ),
    ],
)
def test_trial_that_no_manager_knows_to_be_dead_is_said_to_be(
    trial: TrialRecord, shown: str
) -> None:
    now_so = replace(DETAIL, running=(api.RunningTrial(trial, PHASE, is_gone=True),))
    assert plain(detail.running_trials(now_so)) == f"\ntrial 0 asdfg  {shown}"


def in_batch(number: int, **changes: object) -> PhaseRecord:
    return replace(PHASE, phase_index=number, parameter_id=number + 6, **changes)


@pytest.mark.parametrize(
    ("batch", "shown"),
    [
        (
            [in_batch(3), in_batch(5), in_batch(6)],
            "phases 3, 5 to 6 (parameter_ids 9, 11 to 12) run since TIME (4.0 s)",
        ),
        (
            [in_batch(3), in_batch(4, reason="waits for\x1b")],
            "phases 3 to 4 (parameter_ids 9 to 10) run since TIME (4.0 s); phase 4 waits for\\x1b",
        ),
        (
            [in_batch(3), in_batch(4, status=PhaseStatus.WAITING)],
            "phases 3 to 4 (parameter_ids 9 to 10) wait for the tuner since TIME (5.0 s)",
        ),
    ],
)
def test_trial_with_several_phases_at_a_time_says_which(
    batch: list[PhaseRecord], shown: str
) -> None:
    running = api.RunningTrial(TRIAL, batch[-1], batch=tuple(batch))
    now_so = replace(DETAIL, running=(running,))
    assert plain(detail.running_trials(now_so)) == f"\ntrial 0 asdfg  {shown}"


def test_lineage_says_where_the_weights_of_each_phase_came_from() -> None:
    phases = [
        replace(PHASE, parameter_id=1, sequence_id=1),
        replace(PHASE, parameter_id=4, sequence_id=1, parent=1, phase_index=7, value=0.5),
        replace(PHASE, parameter_id=5, sequence_id=1, parent=4, parameters={"lr": 0.2}),
        replace(PHASE, parameter_id=9, sequence_id=0, parent=5),
    ]
    shown = [re.split("  +", line.strip()) for line in plain(tables.lineage(phases)).splitlines()]
    assert shown[1:] == [
        ["1 to 4", "1", "3 to 7", "0.5", "lr=0.1", "new"],
        ["5", "1", "3", "-", "lr=0.2", "went on"],
        ["9", "0", "3", "-", "lr=0.1", "from trial 1"],
    ]


def test_result_of_a_phase_that_has_none_is_the_last_on_its_way() -> None:
    stopped = replace(PHASE, status=PhaseStatus.EARLY_STOPPED, intermediates=(0.25, 0.5))
    assert plain(tables.phases([stopped], NOW)).splitlines()[1].split()[4] == "(0.5)"


def test_phases_have_a_column_for_parents_where_any_has_one() -> None:
    phases = [PHASE, replace(PHASE, parent=7)]
    shown = [line.split()[:2] for line in plain(tables.phases(phases, NOW, True)).splitlines()]
    assert shown == [["PARAMETER_ID", "PARENT"], ["9", "-"], ["9", "7"]]
    assert "PARENT" not in plain(tables.phases(phases, NOW))


def test_what_a_manager_waits_for_and_what_went_wrong_stand_above_the_figures() -> None:
    troubled = replace(EXPERIMENT, trouble="the disk is full\x1b", warning="save failed\x1b")
    assert plain(detail.fields(replace(DETAIL, experiment=troubled))).startswith(
        "  waits     the disk is full\\x1b; it goes on by itself\n"
        "  warning   save failed\\x1b\n  phases    32: "
    )
    # The reason for its status tells of the trouble that a manager died of.
    dead = replace(troubled, manager_alive=False)
    assert "waits" not in plain(detail.fields(replace(DETAIL, experiment=dead)))


@pytest.mark.parametrize(("age", "form"), [(3600, r"\d\d:\d\d:\d\d"), (90000, r"\d{4}-\S+ \S+")])
def test_day_is_told_of_what_began_before_today(age: int, form: str) -> None:
    phase = replace(PHASE, started_at=NOW - age)
    _, line = detail.running_trials(replace(DETAIL, running=(api.RunningTrial(TRIAL, phase),)))
    assert re.search(rf" runs since {form} \(", line.plain)


def test_many_running_trials_are_counted() -> None:
    now_so = replace(DETAIL, running=DETAIL.running * 25)
    assert plain(detail.running_trials(now_so)).splitlines()[-1] == "and 5 more"


ERROR = ErrorRecord("KeyError", "'lr'", "Traceback:\n  File \"t.py\", line 1\nKeyError: 'lr'")


def test_error_is_shown_with_its_whole_traceback() -> None:
    now_so = replace(DETAIL, experiment=replace(EXPERIMENT, error=ERROR), running=(), failed=())
    assert plain(detail.detail(now_so)).endswith(
        "\n\nKeyError: 'lr'\n  | Traceback:\n  |   File \"t.py\", line 1\n  | KeyError: 'lr'"
    )


def test_summary_ends_with_what_to_type_next() -> None:
    done = replace(EXPERIMENT, status=ExperimentStatus.DONE, reason="maxPhaseNum (60) is reached")
    assert plain(
        detail.summary(replace(DETAIL, experiment=done, failed=(), last_word="test 0.99\x1b"))
    ) == (
        "digits  Ab3dEf12  DONE  for 1m 30s\n"
        "  reason    maxPhaseNum (60) is reached\n"
        "  phases    32: 1 RUNNING, 30 SUCCEEDED, 1 FAILED (at most 60)\n"
        "  trials    3: 2 RUNNING, 1 FAILED\n"
        "  best      0.98125 (maximize), phase 7 of trial 1, parameter_id 15\n"
        "            lr=0.05, layers=[8]\n"
        "  log ends  test 0.99\\x1b\n"
        "  overhead  1.3 ms a phase, from its request to its parameters (0.42 % of the time)\n"
        "  results   /home/me/.mpx/experiments/Ab3dEf12\n"
        "\n"
        "  mpx phases Ab3dEf12 --top 10       the best phases\n"
        "  mpx export Ab3dEf12 -o phases.csv  every phase, for a spreadsheet or pandas"
    )


def test_summary_tells_how_trials_failed() -> None:
    assert "  | MemoryError" in plain(detail.summary(DETAIL))


def test_summary_of_nothing_good_recommends_no_best_phases() -> None:
    shown = plain(detail.summary(replace(DETAIL, experiment=replace(EXPERIMENT, best=None))))
    assert "--top" not in shown


def test_long_name_leaves_room_for_the_other_columns() -> None:
    (_, line) = plain(tables.experiments([replace(EXPERIMENT, name="n" * 5000)])).splitlines()
    assert len(line) < 200


def test_home_is_shown_as_users_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert text.place(Path("/home/me/.mpx/experiments/Ab3dEf12")) == "~/.mpx/experiments/Ab3dEf12"
    assert text.place(Path("/data/mpx")) == "/data/mpx"


def test_nothing_from_users_reaches_the_terminal_raw() -> None:
    evil_error = ErrorRecord(EVIL, EVIL, EVIL)
    best = BestPhase("qwert", 1, 7, 15, EVIL, {EVIL: EVIL})
    record = replace(
        EXPERIMENT, name=EVIL, reason=EVIL, best=best, error=evil_error, warning=EVIL, trouble=EVIL
    )
    trial = replace(FAILED, reason=EVIL, last_lines=(EVIL,))
    phase = replace(PHASE, parameters={EVIL: EVIL}, value=EVIL, reason=EVIL)
    waiting = replace(TRIAL, status=TrialStatus.WAITING, reason=EVIL)
    running = (api.RunningTrial(TRIAL, phase), api.RunningTrial(waiting, None))
    now_so = replace(DETAIL, experiment=record, running=running, failed=(trial,))
    lines = [
        *detail.detail(now_so),
        *detail.summary(now_so),
        *tables.experiments([record]),
        *tables.trials([trial], NOW),
        *tables.phases([phase], NOW),
        *tables.lineage([phase]),
        *map(Text, progress.PlainProgress().lines(now_so, 1000.0)),
    ]
    shown = "".join(line.plain for line in lines)
    assert shown.isprintable()
    assert "[red]" in shown


# -- progress -------------------------------------------------------------------------------------


def test_plain_progress_says_only_what_is_new() -> None:
    plainly = progress.PlainProgress()
    assert list(plainly.lines(DETAIL, 1.0)) == [
        "digits (Ab3dEf12) is RUNNING",
        "best so far: 0.98125 in phase 7 of trial 1: lr=0.05, layers=[8]",
        "trial 2 (zxcvb) FAILED after 3 phases: exit status 1",
        "  | Traceback (most recent call last):",
        "  | MemoryError",
    ]
    assert list(plainly.lines(DETAIL, 2.0)) == []

    better = replace(EXPERIMENT, best=BestPhase("qwert", 1, 8, 16, 0.99, {"lr": 0.04}))
    assert list(plainly.lines(replace(DETAIL, experiment=better), 3.0)) == [
        "best so far: 0.99 in phase 8 of trial 1: lr=0.04"
    ]


def test_plain_progress_counts_from_its_first_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment that is resumed a month later has much to tell soon."""
    monkeypatch.setattr(progress.time, "time", lambda: NOW - 12)
    plainly = progress.PlainProgress()
    old = replace(EXPERIMENT, created_at=NOW - 30 * 86400)
    plainly.update(replace(DETAIL, experiment=old, failed=()))
    assert capsys.readouterr().out.splitlines() == [
        "[12.0 s] digits (Ab3dEf12) is RUNNING",
        "[12.0 s] best so far: 0.98125 in phase 7 of trial 1: lr=0.05, layers=[8]",
        "[12.0 s] phases 32: 1 RUNNING, 30 SUCCEEDED, 1 FAILED; trials 3: 2 RUNNING, 1 FAILED;"
        " no phase ended in the last 0 µs",
    ]
    assert plainly._next_line == 22


def test_plain_progress_says_how_far_it_is_now_and_then() -> None:
    plainly = progress.PlainProgress()
    spoken = []
    for second in range(300):
        record = replace(EXPERIMENT, phases={"SUCCEEDED": 2 * second})
        now_so = replace(DETAIL, experiment=record, now=NOW + second)
        spoken += [(second, line) for line in plainly.lines(now_so, second) if "phases" in line]
    assert spoken[1] == (
        10,
        "phases 20: 20 SUCCEEDED; trials 3: 2 RUNNING, 1 FAILED; 2 phases a second",
    )
    gaps = [after - before for (before, _), (after, _) in pairwise(spoken[1:])]
    assert gaps[0] == 10
    assert gaps == sorted(gaps)
    assert gaps[-1] > 20


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        ([(0.0, 0)], "no phase ended in the last 0 µs"),
        ([(0.0, 0), (2.0, 9)], "4.5 phases a second"),
        ([(0.0, 5), (9.0, 6)], "9.0 s a phase"),
        ([(0.0, 0), (20.0, 100), (25.0, 110)], "2 phases a second"),
        ([(0.0, 7), (5.0, 7)], "no phase ended in the last 5.0 s"),
    ],
)
def test_rate_is_that_of_the_last_seconds(seen: list[tuple[float, int]], shown: str) -> None:
    rate = progress.Rate()
    for now, ended in seen:
        rate.add(now, ended)
    assert rate.describe() == shown


def test_live_picture_fits_the_terminal() -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=60, no_color=True, _environ={})
    live = progress.LiveProgress(terminal, "Ctrl-C stops the experiment")
    terminal.print(live.picture(DETAIL))
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in screen.getvalue().split("\n")]
    assert lines[1] == "digits  Ab3dEf12  RUNNING  for 1m 30s"
    assert re.fullmatch("  ━{25}╸", lines[2])
    assert lines[3] == "  phases    32: 1 RUNNING, 30 SUCCEEDED, 1 FAILED (at most …"
    assert any(line.startswith("trial 0 asdfg  phase 3") for line in lines)
    assert lines[-2] == "Ctrl-C stops the experiment"
    assert max(map(len, lines)) == 60


@pytest.mark.parametrize(
    ("limits", "completed", "total"),
    [({}, 31, 60), ({"max_phase_num": None, "max_trial_num": 4}, 1, 4)],
)
def test_bar_counts_towards_the_limit(limits: dict[str, Any], completed: int, total: int) -> None:
    bar = progress._bar(replace(EXPERIMENT, **limits))
    assert bar
    assert (bar.completed, bar.total) == (completed, total)


def test_no_limit_no_bar() -> None:
    assert progress._bar(replace(EXPERIMENT, max_phase_num=None)) is None


def test_lines_are_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.show([Text("x" * 500, "red")], crop=True)
    assert capsys.readouterr().out == "x" * 500 + "\n"
