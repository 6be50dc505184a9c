"""The chaos program: its short form, and that it notices what it is there to notice."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.__main__ import main
from tests.chaos.evidence import Life, read_lives, read_trial, row_of
from tests.chaos.inside.witness import digest
from tests.chaos.kinds import KINDS, deck
from tests.chaos.verdict import Case, judge

INSIDE = Path(__file__).resolve().parent / "chaos" / "inside"


def test_short_form(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--rounds", "16", "--seed", "1"])
    assert code == 0, capsys.readouterr().out


# -- the verdict -----------------------------------------------------------------------------------


def _case() -> Case:
    """Three trials and two managers; the first died when the tuner had been told of three results.

    The assessor was shown two curves, and stopped the last phase.
    """
    a = read_trial(
        "start a 10\n"
        + _phase(0, "a", steps=2)
        + "began 2 p2\nfailing 2\nfailed 2\n"
        + _phase(4, "a")
        + "done\n"
    )
    b = read_trial("start b 11\n" + _phase(1, "b") + _phase(3, "b") + "began 5 p5\n")
    c = read_trial(
        "start c 12\n" + _phase(5, "c") + "began 6 p6\nintermediate 6 s6\nstopped 6\ndone\n"
    )
    before = (
        "1 life\n1 ask 0 a\n1 answer 0 p0\n1 ask 1 b\n1 answer 1 p1\n"
        "1 tell 1 b v1b right\n1 end 1 b True\n1 ask 3 b\n1 answer 3 p3\n"
        "1 tell 0 a v0a right\n1 end 0 a True\n1 ask 2 a\n1 answer 2 p2\n"
    )
    after = before.replace("1 ", "2 ", 1).replace("\n1 ", "\n2 ") + (
        "2 end 2 a False\n2 ask 4 a\n2 answer 4 p4\n"
        "2 tell 3 b v3b right\n2 ask 5 b\n2 answer 5 p5\n2 gone 1 b False\n"
        "2 tell 4 a v4a right\n2 tell 5 c v5c right\n2 ask 6 c\n2 answer 6 p6\n2 end 6 c False\n"
    )
    shown = "{0} life\n{0} assess a.0 s0 good\n{0} assess a.0 s1 good\n"
    rest = "2 over a.0 True\n2 assess c.1 s6 bad\n2 over c.1 False\n"
    judged = shown.format(1) + shown.format(2) + rest
    rows = [
        _row("a", 0, 0, intermediates=("s0", "s1")),
        _row("b", 0, 1),
        _row("a", 1, 2, status="FAILED", value="", score=None),
        _row("b", 1, 3),
        _row("a", 2, 4),
        _row("b", 2, 5, status="LOST", value="", score=None),
        _row("c", 0, 5),
        _row("c", 1, 6, status="EARLY_STOPPED", value="", score=None, intermediates=("s6",)),
    ]
    status = {
        "status": "DONE",
        "reason": "maxPhaseNum (7) is reached",
        "phases": {"SUCCEEDED": 5, "FAILED": 1, "LOST": 1, "EARLY_STOPPED": 1},
        "trials": {"SUCCEEDED": 2, "FAILED": 1, "RUNNING": 0},
        "best": {"value": {"default": 5}},
    }
    lives = read_lives(before + after)
    return Case([a, b, c], lives, rows, status, {11}, set(), 7, "phase", read_lives(judged))


def _batch_case() -> Case:
    """A trial with batches of three, two and one; the last phase was lost with a trial and its manager.

    Of the first batch a phase is left, and what another one saved is loaded by one of the second.
    """
    a = read_trial(
        "start a 10\nmanner turns\nbegan 0 p0 1\nbegan 1 p1 1\nbegan 2 p2 1\n"
        + "saving 0 0.w\nsaved 0 0.w\n"
        + f"{_said(1, 'a')}{_said(0, 'a')}left 2\n"
        + f"began 3 p3 2\nparent 3 0 0.w\nbegan 4 p4 2\n{_said(3, 'a')}{_said(4, 'a')}"
        + f"began 5 p5 3\n{_said(5, 'a')}done\n"
    )
    b = read_trial("start b 11\nmanner together\nbegan 5 p5 1\n")
    calls = (
        "1 life\n1 batch 0,1,2 a\n1 ask 0 a\n1 ask 1 a\n1 ask 2 a\n1 ask 5 b\n"
        "1 tell 1 a v1a right\n1 tell 0 a v0a right\n1 copy 0 a 0.w\n1 end 2 a False\n"
        "1 batch 3,4 a\n1 ask 3 a\n1 ask 4 a\n1 answer 3 p3\n1 kin 3 0\n"
        "1 tell 3 a v3a right\n1 tell 4 a v4a right\n1 tell 5 a v5a right\n"
    )
    rows = [
        _row("a", 0, 0),
        _row("a", 1, 1),
        _row("a", 2, 2, status="ABANDONED", value="", score=None),
        _row("b", 0, 5, status="LOST", value="", score=None),
        _row("a", 3, 3, parent=0),
        _row("a", 4, 4),
        _row("a", 5, 5),
    ]
    status = {
        "status": "DONE",
        "reason": "maxPhaseNum (6) is reached",
        "phases": {"SUCCEEDED": 5, "ABANDONED": 1, "LOST": 1},
        "trials": {"SUCCEEDED": 1, "FAILED": 1},
        "best": {"value": {"default": 5}},
    }
    return Case([a, b], read_lives(calls), rows, status, {11}, set(), 6)


def _said(number, trial):
    value = f"v{number}{trial}"
    return f"reporting {number} {value}\nacked {number} {value}\n"


def _phase(number, trial, steps=0):
    said = "".join(f"intermediate {number} s{step}\n" for step in range(steps))
    return f"began {number} p{number}\n{said}{_said(number, trial)}"


def _row(
    trial,
    index,
    number,
    status="SUCCEEDED",
    value=None,
    score=-1,
    intermediates=(),
    parent=None,
):
    exported = {
        "trial_id": trial,
        "phase_index": index,
        "parameter_id": number,
        "status": status,
        "parameters": {"n": number},
        "value": None,
        "intermediates": [],
        "parent": parent,
        "checkpoint": None,
    }
    return dataclasses.replace(
        row_of(exported),
        parameters=f"p{number}",
        value=f"v{number}{trial}" if value is None else value,
        score=number if score == -1 else score,
        intermediates=intermediates,
    )


@pytest.mark.parametrize("case", [_case, _batch_case])
def test_nothing_is_wrong(case: Callable[[], Case]) -> None:
    assert judge(case()) == []


def _replace_row(case, place, **changes):
    case.rows[place] = dataclasses.replace(case.rows[place], **changes)


def _remove_call(life, kind, number):
    life.calls = [call for call in life.calls if call[:2] != (kind, str(number))]


def _rejudge(lives, before, after):
    for life in lives:
        life.calls = [tuple(after if w == before else w for w in call) for call in life.calls]


def _recall(life, before, after):
    life.calls[life.calls.index(tuple(before.split()))] = tuple(after.split())


def _swap(life, one, other):
    """Exchange two calls, each named by its first two words."""
    places = [
        next(place for place, call in enumerate(life.calls) if call[:2] == tuple(name.split()))
        for name in (one, other)
    ]
    first, second = places
    life.calls[first], life.calls[second] = life.calls[second], life.calls[first]


BREAKS = {
    "a result is lost": (
        lambda case: case.rows.pop(3),
        "phase 3 of b was acknowledged and is there 0 times",
    ),
    "a result has another value": (
        lambda case: _replace_row(case, 3, value="v3x"),
        "phase 3 of b was acknowledged and is there 0 times",
    ),
    "a result is there twice": (
        lambda case: case.rows.append(dataclasses.replace(case.rows[3], phase_index=3)),
        "phase 3 SUCCEEDED 2 times",
    ),
    "a phase is acknowledged to two trials": (
        lambda case: case.trials[1].acked.append((5, "v5b")),
        "phase 5 was acknowledged to b and to c",
    ),
    "a failure is lost": (
        lambda case: _replace_row(case, 2, status="LOST"),
        "phase 2 of a failed and is FAILED 0 times",
    ),
    "a result is invented": (
        lambda case: _replace_row(case, 5, status="SUCCEEDED", value="v5b", score=5),
        "phase 5 of b has a result that no trial reported",
    ),
    "a trial got other parameters": (
        lambda case: _replace_row(case, 4, parameters="p9"),
        "phase 4 of a got parameters that are not on record",
    ),
    "a trial got a phase twice": (
        lambda case: case.trials[0].batches.append([(4, "p4")]),
        "a got one phase several times",
    ),
    "a phase has another's parameters": (
        lambda case: _replace_row(case, 4, n=3),
        "phase 4 of a has the parameters of 3",
    ),
    "an intermediate result is lost": (
        lambda case: _replace_row(case, 0, intermediates=("s0",)),
        "phase 0 of a has 1 intermediate results; reported were 2",
    ),
    "an intermediate result is there twice": (
        lambda case: _replace_row(case, 0, intermediates=("s0", "s1", "s1")),
        "phase 0 of a has 3 intermediate results; reported were 2",
    ),
    "a trial is lost": (
        lambda case: case.killed.clear(),
        "trial b (pid 11) was lost: no last word",
    ),
    "a trial crashed": (
        lambda case: setattr(case.trials[0], "end", "crashed ProtocolError: x"),
        "trial a (pid 10) was lost: crashed ProtocolError: x",
    ),
    "a result that a trial left behind is lost": (
        lambda case: (case.lonely.add(11), case.trials[1].said.append((5, "v5b"))),
        "phase 5 of b was left behind, and is there 0 times",
    ),
    "a phase index is left out": (
        lambda case: _replace_row(case, 4, phase_index=3),
        "the phases of a are numbered [0, 1, 3]",
    ),
    "a phase has not ended": (
        lambda case: _replace_row(case, 5, status="RUNNING"),
        "phase 5 of b is still RUNNING",
    ),
    "the experiment is not done": (
        lambda case: case.status.update(status="ERROR", reason="x"),
        "the experiment is ERROR: x",
    ),
    "the counts are wrong": (
        lambda case: case.status["phases"].update(LOST=2),
        "status counts {'SUCCEEDED': 5, 'FAILED': 1, 'LOST': 2, 'EARLY_STOPPED': 1}; the phases are",
    ),
    "a trial has not ended": (
        lambda case: case.status["trials"].update(RUNNING=1),
        "status counts trials that have not ended",
    ),
    "the best is another": (
        lambda case: case.status.update(best={"value": {"default": 4}}),
        "the best result is 5; status says 4",
    ),
    "more phases began than may": (
        lambda case: setattr(case, "max_phases", 5),
        "7 different phases began; maxPhaseNum is 5",
    ),
    "the tuner is asked twice": (
        lambda case: case.lives[1].calls.append(("ask", "5", "c")),
        "manager 1 asked the tuner for phase 5 2 times",
    ),
    "the tuner is told twice": (
        lambda case: case.lives[1].calls.append(("tell", "4", "a", "v4a", "right")),
        "manager 1 told the tuner of phase 4 2 times",
    ),
    "the tuner is told what is not so": (
        lambda case: case.lives[0].calls.append(("tell", "2", "a", "v2a", "right")),
        "manager 0 told of phase 2 what is not on record",
    ),
    "the tuner gets other parameters back": (
        lambda case: case.lives[1].calls.append(("tell", "4", "a", "v4a", "wrong")),
        "manager 1 told of phase 4 with other parameters",
    ),
    "the tuner is not told": (
        lambda case: _remove_call(case.lives[1], "tell", 5),
        "the last manager did not tell the tuner of phase 5",
    ),
    "the replay leaves out a result": (
        lambda case: _remove_call(case.lives[1], "tell", 0),
        "manager 1 did not make the call tell 0 a v0a right again",
    ),
    "the replay changes the order": (
        lambda case: _swap(case.lives[1], "tell 1", "tell 0"),
        "manager 1 called tell 0 a v0a right where manager 0 called tell 1 b v1b right",
    ),
    "a trial's results change places": (
        lambda case: _swap(case.lives[1], "tell 0", "tell 4"),
        "manager 1 told of phase 4 before phase 0",
    ),
    "a result comes after the next ask": (
        lambda case: _swap(case.lives[1], "tell 3", "ask 5"),
        "manager 1 asked for phase 5 of b before it told of phase 3",
    ),
    "the tuner chooses otherwise in a replay": (
        lambda case: case.lives[1].calls.append(("answer", "1", "p7")),
        "the last manager's tuner chose otherwise for phase 1",
    ),
    "what a phase saved is gone": (
        lambda case: _replace_row(case, 0, checkpoint="/nowhere"),
        "what phase 0 of a saved is gone: /nowhere",
    ),
    "half a checkpoint is loaded": (
        lambda case: case.lives[1].calls.append(("loaded", "3", "wrong")),
        "manager 1 loaded a checkpoint of 3 calls that is not whole",
    ),
    "a phase that was told to stop succeeds": (
        lambda case: _replace_row(case, 7, status="SUCCEEDED", value="v6c", score=1),
        "phase 6 of c was told to stop, and is",
    ),
    "a phase that was told to stop is tried again": (
        lambda case: case.rows.append(_row("d", 0, 6)),
        "phase 6 of c was told to stop, and was tried again",
    ),
    "a phase is stopped for nothing": (
        lambda case: _rejudge(case.judged, "bad", "good"),
        "phase 6 of c was stopped for nothing",
    ),
    "a phase is not stopped": (
        lambda case: _rejudge(case.judged, "good", "bad"),
        "phase 0 of a was not stopped",
    ),
    "a replay judges otherwise": (
        lambda case: _rejudge(case.judged[:1], "good", "bad"),
        "manager 1 had a result of a.0 judged otherwise than before",
    ),
    "a curve has a gap": (
        lambda case: case.judged[1].calls.pop(0),
        "the assessor was shown ['s1'] of a.0; on record are ['s0', 's1']",
    ),
    "the end of a curve is told twice": (
        lambda case: case.judged[1].calls.append(("over", "a.0", "True")),
        "the last manager told 2 times of the end of a.0",
    ),
    "the end of a curve is not told": (
        lambda case: case.judged[1].calls.pop(),
        "the last manager told 0 times of the end of c.1",
    ),
}


BREAKS_OF_BATCHES = {
    "a result comes after the next batch is asked for": (
        lambda case: _swap(case.lives[0], "tell 0", "ask 3"),
        "manager 0 asked for phase 3 of a before it told of phase 0",
    ),
    "results of a batch change places": (
        lambda case: _swap(case.lives[0], "tell 0", "tell 1"),
        "manager 0 told of the batch [0, 1, 2] of a in another order",
    ),
    "a phase that was left is not abandoned": (
        lambda case: _replace_row(case, 2, status="LOST"),
        "phase 2 of a was left open, and is LOST",
    ),
    "two phases have one parameter_id": (
        lambda case: case.rows.append(_row("b", 1, 2, status="LOST", value="", score=None)),
        "phase 2 of a is ABANDONED, and began again",
    ),
    "a phase is lost for good": (
        lambda case: case.rows.pop(),
        "phase 5 was LOST with b, and not tried again",
    ),
    "a copy is not whole": (
        lambda case: _recall(case.lives[0], "copy 0 a 0.w", "copy 0 a broken"),
        "manager 0 was shown broken for phase 0, not 0.w",
    ),
    "the tuner is not shown a copy": (
        lambda case: _remove_call(case.lives[0], "copy", 0),
        "manager 0 was not shown what phase 0 has saved",
    ),
    "a phase loads another's weights": (
        lambda case: case.trials[0].loads.update({3: (0, "1.x")}),
        "phase 3 of a loaded 1.x, not what 0 has saved",
    ),
    "a phase of a batch is given no weights": (
        lambda case: case.trials[0].loads.update({3: (0, "-")}),
        "phase 3 of a got no weights of 0",
    ),
    "another parent is on record": (
        lambda case: _replace_row(case, 4, parent=1),
        "phase 3 of a goes on from 0; on record is 1",
    ),
    "a phase is given no parent": (
        lambda case: (_replace_row(case, 4, parent=None), case.trials[0].loads.clear()),
        "phase 3 starts afresh; the tuner chose 0, which is kept",
    ),
}
_ALL_BREAKS = [
    pytest.param(case, *what, id=name)
    for case, breaks in ((_case, BREAKS), (_batch_case, BREAKS_OF_BATCHES))
    for name, what in breaks.items()
]


@pytest.mark.parametrize(("make", "break_it", "sentence"), _ALL_BREAKS)
def test_verdict_sees_that(
    make: Callable[[], Case], break_it: Callable[[Case], object], sentence: str
) -> None:
    case = make()
    break_it(case)
    assert [found for found in judge(case) if sentence in found], judge(case)


def test_replay_that_was_cut_short_is_no_fault() -> None:
    case = _case()
    case.lives.insert(1, Life(3, case.lives[0].calls[:4]))
    assert judge(case) == []


def test_trials_without_hello_end_with_their_manager() -> None:
    case = _case()
    case.killed.clear()
    case.trials[1].mute = True
    assert judge(case) == []


def test_half_a_line_of_evidence_says_nothing() -> None:
    trial = read_trial("start a 10\nbegan 0 p0\nreporting 0 v0\nacked 0 v")
    assert trial.said == [(0, "v0")]
    assert trial.acked == []


@pytest.mark.parametrize(
    ("said", "is_computing"),
    [
        ("began 0 p0\nintermediate 0 s0\n", True),
        ("began 0 p0\nreporting 0 v0\n", False),
        ("began 0 p0 1\nbegan 1 p1 1\nreporting 0 v0\n", False),
        ("began 0 p0 1\nbegan 1 p1 1\nreporting 0 v0\nacked 0 v0\n", True),
        ("began 0 p0 1\nbegan 1 p1 1\nreporting 0 v0\nacked 0 v0\nleft 1\n", False),
    ],
)
def test_computing_while_it_has_nothing_to_say(said: str, is_computing: bool) -> None:
    assert read_trial("start a 10\n" + said).computing is is_computing


def test_equal_values_have_one_name() -> None:
    assert digest({"a": 1, "b": [0.1]}) == digest({"b": [0.1], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


# -- the plans -------------------------------------------------------------------------------------

PASSES = """
import sys
from fault_points import FaultPoints
points = FaultPoints(sys.argv[1], "manager")
for number in range(5):
    points.passing("commit:before")
    print(number, flush=True)
    points.passing("commit:after")
"""


@pytest.mark.parametrize(
    ("point", "passing", "said"),
    [
        ("commit", 1, ""),
        ("commit", 2, "0\n"),
        ("commit:before", 3, "0\n1\n"),
        ("commit:after", 3, "0\n1\n2\n"),
        ("com", 1, "0\n1\n2\n3\n4\n"),
        ("commit", 11, "0\n1\n2\n3\n4\n"),
    ],
)
def test_process_dies_at_the_planned_passing(
    tmp_path: Path, point: str, passing: int, said: str
) -> None:
    plan = tmp_path / "manager.plan"
    plan.write_text(f'{{"point": "{point}", "passing": {passing}, "linger": 0, "asleep": false}}')
    done = subprocess.run(
        [sys.executable, "-c", PASSES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(INSIDE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == said
    died = len(said) < 10
    assert done.returncode == (-signal.SIGKILL if died else 0)
    assert plan.exists() is not died


def test_deck_holds_each_kind_as_often_as_its_weight_says() -> None:
    cards = deck(5)
    drawn = [next(cards) for _ in range(sum(kind.weight for kind in KINDS))]
    assert {kind.name: drawn.count(kind) for kind in KINDS} == {
        kind.name: kind.weight for kind in KINDS
    }
