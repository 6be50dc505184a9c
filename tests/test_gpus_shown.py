"""What people see of GPUs and of trials that wait for them."""

from __future__ import annotations

from dataclasses import replace

from mpx import api
from mpx.records import PhaseStatus, TrialStatus
from mpx.render import detail, progress, tables
from tests.test_render import DETAIL, NOW, PHASE, TRIAL, plain

REASON = "needs 1 GPU; GPU 0: trial zxcvb"
HOLDER = replace(TRIAL, gpus=(0, 1))
WAITING = replace(
    TRIAL,
    trial_id="qwert",
    sequence_id=1,
    status=TrialStatus.WAITING,
    reason=REASON,
    started_at=None,
    phases={"WAITING": 1},
)
PREPARED = replace(PHASE, status=PhaseStatus.WAITING, started_at=None)
STUCK = replace(DETAIL, failed=(), running=(api.RunningTrial(WAITING, PREPARED),))


def test_table_of_trials_with_gpus() -> None:
    assert plain(tables.trials([HOLDER, WAITING], NOW)).splitlines() == [
        "TRIAL  ID     STATUS   RAN FOR  EXIT  GPU  PHASES          REASON",
        "    0  asdfg  RUNNING   1m 29s  -     0,1  3: 3 SUCCEEDED",
        f"    1  qwert  WAITING        -  -     -    1: 1 WAITING    {REASON}",
    ]


def test_status_says_who_has_which_gpus_and_who_waits_for_them() -> None:
    running = (api.RunningTrial(HOLDER, PHASE), api.RunningTrial(WAITING, PREPARED))
    _, first, second = plain(detail.running_trials(replace(DETAIL, running=running))).splitlines()
    assert first.startswith("trial 0 asdfg  GPU 0,1  phase 3 (parameter_id 9) runs since TIME")
    assert second == f"trial 1 qwert  waits to be started since TIME (1m 30s): {REASON}"


def test_plain_progress_says_once_why_nothing_runs() -> None:
    plainly = progress.PlainProgress()
    said = f"trial 1 (qwert) waits: {REASON}"
    looking = replace(WAITING, reason="the GPUs are being looked at")
    early = replace(STUCK, running=(api.RunningTrial(looking, PREPARED),))
    assert (
        list(plainly.lines(early, 0.0))[-1] == "trial 1 (qwert) waits: the GPUs are being looked at"
    )
    assert list(plainly.lines(STUCK, 0.1)) == [said]
    assert list(plainly.lines(STUCK, 0.1)) == []
    both = replace(STUCK, running=(api.RunningTrial(HOLDER, PHASE), *STUCK.running))
    assert list(plainly.lines(both, 0.2)) == []
    assert list(plainly.lines(STUCK, 0.3)) == [said]
