"""Which GPUs trials are given, what those wait for that are given none, and when they start."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from mpx.config.model import LocalConfig, TrialConfig
from mpx.gpus import (
    Allotment,
    Gpu,
    GpuError,
    Look,
    Occupant,
    Sharing,
    visible_indices,
    visible_variables,
)
from mpx.records import TrialStatus
from tests.stage import (
    Event,
    Stage,
    answers,
    asks,
    crashes,
    exits,
    loaded,
    passes,
    reports,
    stops,
)

STRANGER = Occupant(4242, "python", "ann", 3 * 2**30 + 2**27)
VARIABLES = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "MPX_GPUS")
TWO = (Gpu(0), Gpu(1))


@pytest.fixture
def open_stage(new_stage: Callable[..., Stage]) -> Callable[..., Stage]:
    def make(gpu_num: int | None = 1, local: LocalConfig = LocalConfig(), **config: Any) -> Stage:  # noqa: B008
        trial = TrialConfig("train", "/code", gpu_num=gpu_num)
        return new_stage(trial=trial, local=local, **config)

    return make


def sees(*gpus: Gpu, error: str | None = None) -> Event:
    """Whoever looks at the GPUs finds these."""
    found: Look = gpus if error is None else GpuError(error)

    def event(stage: Stage) -> None:
        stage.devices.found = found
        stage.devices.show()

    return event


def rings(stage: Stage) -> None:
    """The time has come to look again."""
    (timer,) = alarms(stage)
    timer.is_cancelled = True
    timer.callback()


def alarms(stage: Stage) -> list[Any]:
    return [timer for timer in stage.turns.timers if not timer.is_cancelled]


def given(stage: Stage) -> list[str]:
    """Return the GPUs that each started trial sees."""
    return [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in stage.service.started]


def on_disk(stage: Stage, column: str) -> list[Any]:
    stage.experiment.commit()
    with closing(sqlite3.connect(stage.path)) as connection:
        return [v for (v,) in connection.execute(f"SELECT {column} FROM trials ORDER BY 1")]


def trial_ids(stage: Stage) -> list[str]:
    return [spec.trial_id for spec in stage.service.started]


# -- the choice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sharing", "gpus", "holders", "expected"),
    [
        (Sharing(1), TWO, {}, (0,)),
        (Sharing(1), TWO, {"a": [0]}, (1,)),
        (Sharing(2), TWO, {}, (0, 1)),
        (Sharing(2), TWO, {"a": [0]}, None),
        (Sharing(1, indices=(1,)), TWO, {}, (1,)),
        (Sharing(1, most_trials=2), TWO, {"a": [0]}, (1,)),
        (Sharing(1, most_trials=2), TWO, {"a": [0], "b": [1], "c": [1]}, (0,)),
        (Sharing(1, most_trials=2), (Gpu(0),), {"a": [0], "b": [0]}, None),
        (Sharing(1), (Gpu(0, (STRANGER,)), Gpu(1)), {}, (1,)),
        (Sharing(1), (Gpu(0, (STRANGER,)),), {}, None),
        (Sharing(1, use_active=True), (Gpu(0, (STRANGER,)),), {}, (0,)),
        (Sharing(1, use_active=True), (Gpu(0, (STRANGER,)), Gpu(1)), {}, (1,)),
        (Sharing(1, use_active=True), (Gpu(0, trouble="lost"), Gpu(1)), {}, (1,)),
        (Sharing(1), (Gpu(0, is_hidden=True), Gpu(1)), {}, (1,)),
        # Ours, known by its trial, by its process group, or by nothing in a container.
        (Sharing(1, most_trials=2), (Gpu(0, (Occupant(7, "x", trial_id="a"),)),), {"a": [0]}, (0,)),
        (Sharing(1, most_trials=2), (Gpu(0, (Occupant(7, "x", group=70),)),), {"a": [0]}, (0,)),
        (Sharing(1, most_trials=2), (Gpu(0, (Occupant(7),)),), {"a": [0]}, (0,)),
        (Sharing(1, most_trials=2), (Gpu(0, (Occupant(7),)), Gpu(1)), {"a": [1]}, (1,)),
        (Sharing(1, most_trials=2), (Gpu(0, (Occupant(7, "x"),)),), {"a": [0]}, None),
    ],
)
def test_the_gpus_least_in_use_are_given(sharing, gpus, holders, expected):
    assert Allotment(sharing, gpus, holders, "Exp", {70}).give("new") == expected


def test_what_was_given_is_taken():
    allotment = Allotment(Sharing(1, most_trials=2), TWO, {}, "Exp")
    assert [allotment.give(name) for name in "abcde"] == [(0,), (1,), (0,), (1,), None]


@pytest.mark.parametrize(
    ("sharing", "gpus", "message"),
    [
        (
            Sharing(3),
            TWO,
            "trial.gpuNum is 3, and trials may be given 2 GPUs (0, 1): this machine has 2 GPUs. Lower"
            " trial.gpuNum, or allow more",
        ),
        (Sharing(1), (), "trials may be given no GPU: this machine has no GPU."),
        (
            Sharing(2, indices=(1,)),
            TWO,
            "may be given 1 GPU (1): this machine has 2 GPUs, localConfig.",
        ),
        (
            Sharing(2),
            (Gpu(0, is_hidden=True), Gpu(1)),
            "1 GPU (1): this machine has 2 GPUs, CUDA_VISIBLE_DEVICES hides GPU 0.",
        ),
        (
            Sharing(1, indices=(1, 4, 2)),
            TWO,
            "localConfig.gpuIndices names GPUs 2, 4; allowed: 0, 1, which this machine has",
        ),
    ],
)
def test_more_than_there_are_is_an_error(sharing, gpus, message):
    with pytest.raises(GpuError) as caught:
        Allotment(sharing, gpus, {}, "Exp")
    assert message in str(caught.value)


def test_a_reason_names_what_each_gpu_is_taken_by():
    gpus = (
        Gpu(0),
        Gpu(1, (STRANGER, Occupant(9, "sh", trial_id="late", experiment_id="Exp"))),
        Gpu(2, (Occupant(5),)),
        Gpu(3, (Occupant(6, "", trial_id="t", experiment_id="Other"),)),
        Gpu(4, trouble="it cannot be looked at (NVML: GPU is lost)"),
        Gpu(5),
        Gpu(6, is_hidden=True),
    )
    allotment = Allotment(Sharing(2), gpus, {"Abc123": [0]}, "Exp")
    assert allotment.why_not().split("; ") == [
        "needs 2 GPUs",
        "GPU 0: trial Abc123",
        "GPU 1: process 4242 (python, 3.1 GiB, user ann) of another program, process 9 (sh) of trial"
        " late, which has ended",
        "GPU 2: process 5, which cannot be seen from here: it runs in another container",
        "GPU 3: trial t of experiment Other",
        "GPU 4: it cannot be looked at (NVML: GPU is lost)",
        "GPU 5: free",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {0, 1, 2}),
        ("", set()),
        ("2, 0", {0, 2}),
        ("1,-1,2", {1}),
        ("1,7,2", {1}),
        ("GPU-b", {1}),
        ("GPU-a,2", set()),  # not unique
        ("NoDevFiles", set()),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(value, expected):
    uuids = {0: "GPU-a1", 1: "GPU-b2", 2: "GPU-a3"}
    assert visible_indices(value, uuids) == expected


def test_a_mig_instance_is_refused():
    with pytest.raises(GpuError, match=r"names the MIG instance MIG-1f, .*remove trial\.gpuNum"):
        visible_indices("MIG-1f", {0: "GPU-a"})


def test_a_tuner_with_no_gpus_sees_none():
    assert visible_variables(()) == {"CUDA_VISIBLE_DEVICES": ""}


# -- trials ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu_num", [None, 0])
def test_trials_that_need_none_wait_for_none(open_stage, gpu_num):
    stage = open_stage(gpu_num)
    stage.replay(loaded(), answers(1))
    (spec,) = stage.service.started
    assert not {*VARIABLES} & spec.environment.keys()
    assert not stage.devices.looks
    assert on_disk(stage, "gpus") == [None]


def test_a_trial_sees_what_it_was_given(open_stage):
    stage = open_stage(2)

    def on_start(spec):
        on_record.extend(on_disk(stage, "gpus"))
        assert stage.devices.is_held, "nobody else sees its GPUs as free"

    on_record: list[Any] = []
    stage.replay(loaded(), answers(1))
    assert stage.trials() == ["WAITING: the GPUs are being looked at"]
    assert not stage.turns.is_ready
    before, stage.service.on_start = (
        stage.service.on_start,
        lambda spec: (on_start(spec), before(spec)),
    )
    stage.replay(sees(Gpu(0), Gpu(1, (STRANGER,)), Gpu(2)))
    assert on_record == ["[0, 2]"], "it starts when that is on record"
    (spec,) = stage.service.started
    assert [spec.environment[name] for name in VARIABLES] == ["PCI_BUS_ID", "0,2", "0,2"]
    assert stage.turns.is_ready
    assert not stage.devices.is_held
    assert stage.trials() == ["RUNNING: None"]
    assert not alarms(stage)


def test_a_gpu_that_a_trial_leaves_is_another_ones_at_once(open_stage):
    stage = open_stage(trial_concurrency=3, max_trial_num=3)
    stage.replay(loaded(), answers(1, 2, 3), sees(*TWO))
    assert given(stage) == ["0", "1"]
    first, second = trial_ids(stage)
    reason = f"WAITING: needs 1 GPU; GPU 0: trial {first}; GPU 1: trial {second}"
    assert stage.trials() == ["RUNNING: None", "RUNNING: None", reason]
    assert not alarms(stage), "no time is waited for where none of the others is in the way"
    stage.replay(asks(1), exits(1, 1), sees(*TWO))
    assert given(stage) == ["0", "1", "1"]
    stage.replay(exits(0), exits(2))
    assert not stage.devices.looks, "nobody waits"


def test_what_ends_during_a_look_is_looked_at_again(open_stage):
    stage = open_stage(trial_concurrency=3, max_trial_num=3)
    stage.replay(loaded(), answers(1, 2, 3), sees(*TWO), exits(0), exits(1))
    going = [Gpu(n, (Occupant(8, "sh", trial_id=stage.trial_id(n)),)) for n in (0, 1)]
    stage.replay(sees(*going))
    assert "process 8 (sh) of trial" in stage.trials()[2]
    assert not alarms(stage)
    stage.replay(sees(*TWO))
    assert given(stage) == ["0", "1", "0"]


def test_a_trial_is_known_by_its_process_group(open_stage):
    stage = open_stage(1, LocalConfig(max_trials_per_gpu=2), trial_concurrency=2)
    stage.replay(loaded(), answers(1), sees(Gpu(0)), answers(2))
    (first,) = on_disk(stage, "pid")[1:]
    stage.replay(sees(Gpu(0, (Occupant(7, "python", group=first),))))
    assert given(stage) == ["0", "0"]


def test_what_a_driver_still_lists_is_soon_looked_at_again(open_stage):
    stage = open_stage(trial_concurrency=2, max_trial_num=2)
    taken = Gpu(1, (STRANGER,))
    stage.replay(loaded(), answers(1, 2), sees(Gpu(0), taken), rings, sees(Gpu(0), taken))
    assert [timer.delay for timer in alarms(stage)] == [0.5]
    going = Gpu(0, (Occupant(8, "sh", trial_id=stage.trial_id(0)),))
    stage.replay(exits(0), sees(going, taken))
    assert [timer.delay for timer in alarms(stage)] == [0.25]


def test_a_process_of_others_is_waited_for(open_stage):
    stage = open_stage(trial_concurrency=2)
    busy = Gpu(0, (STRANGER,))
    stage.replay(loaded(), answers(1, 2), sees(busy))
    taken = "needs 1 GPU; GPU 0: process 4242 (python, 3.1 GiB, user ann) of another program"
    assert stage.trials() == [f"WAITING: {taken}", f"WAITING: {taken}"]
    assert stage.turns.is_ready, "`mpx create` returns"
    assert not stage.devices.is_held
    delays = []
    for _ in range(7):
        delays += [timer.delay for timer in alarms(stage)]
        stage.replay(rings, sees(busy))
    assert delays == [0.25, 0.5, 1, 2, 4, 5, 5]
    stage.replay(rings, sees(Gpu(0)))
    assert given(stage) == ["0"]
    assert stage.trials()[0] == "RUNNING: None"
    assert not alarms(stage)


@pytest.mark.parametrize("drain", [False, True])
def test_a_trial_that_waits_is_stopped(open_stage, drain):
    stage = open_stage()
    stage.replay(loaded(), answers(1), sees(Gpu(0, (STRANGER,))), stops(drain))
    assert stage.ending() == "STOPPED: mpx stop"
    assert stage.service.started == []
    assert stage.trials()[0].startswith("SYS_CANCELED" if drain else "USER_CANCELED")


def test_a_trial_that_waits_ends_with_the_time_for_all(open_stage):
    stage = open_stage(max_exec_duration=60.0)
    stage.replay(loaded(), answers(1), sees(Gpu(0, (STRANGER,))), passes(61), rings, sees(Gpu(0)))
    assert stage.ending() == "DONE: maxExecDuration (60 s) is over"
    assert stage.trials() == [
        "SYS_CANCELED: it waited for GPUs until maxExecDuration (60 s) is over"
    ]
    assert stage.phases() == ["0.0 #0 LOST"]


def test_an_adopted_trial_keeps_its_gpus(open_stage):
    stage = open_stage(trial_concurrency=2)
    stage.replay(loaded(), answers(1, 2), sees(*TWO), asks(0), asks(1), crashes(1))
    (living, _) = trial_ids(stage)
    stage.replay(sees(Gpu(0), Gpu(1, (STRANGER,))))
    assert f"GPU 0: trial {living}; GPU 1: process 4242" in stage.trials()[2]
    stage.replay(rings, sees(*TWO))
    assert given(stage) == ["0", "1", "1"]


def test_what_waited_when_the_manager_died_is_tried_again(open_stage):
    stage = open_stage()
    stage.replay(loaded(), answers(1), sees(Gpu(0, (STRANGER,))))
    stage.replay(crashes(), sees(Gpu(0)))
    assert given(stage) == ["0"]
    assert stage.phases() == ["0.0 #0 LOST", "1.0 #0 WAITING"]


@pytest.mark.parametrize(
    ("sight", "message"),
    [
        (sees(error="no driver"), "no driver"),
        (sees(), "this machine has no GPU"),
    ],
)
def test_no_gpu_at_all_ends_the_experiment(open_stage, sight, message):
    stage = open_stage()
    stage.replay(loaded(), answers(1), sight)
    ending = stage.ending()
    assert ending.startswith("ERROR: no trial can be given a GPU: GpuError: ")
    assert message in ending
    assert stage.turns.is_ready
    assert stage.tuner.story[-1] == "finish ill"
    assert not stage.devices.is_held
    assert stage.service.started == []


def test_trouble_with_gpus_that_were_there_passes(open_stage):
    stage = open_stage(trial_concurrency=2)
    stage.replay(loaded(), answers(1, 2), sees(Gpu(0)), exits(0, 1), sees(error="driver hangs"))
    assert stage.trials()[1] == "WAITING: driver hangs"
    stage.replay(rings, sees(Gpu(0)))
    assert given(stage) == ["0", "0"]


def test_a_shared_gpu_serves_as_many_as_it_may(open_stage):
    stage = open_stage(1, LocalConfig((1,), 2, True), trial_concurrency=3)
    stage.replay(loaded(), answers(1, 2, 3), sees(Gpu(0), Gpu(1, (STRANGER,))))
    assert given(stage) == ["1", "1"]
    first, second = trial_ids(stage)
    assert stage.trials()[2] == f"WAITING: needs 1 GPU; GPU 1: trials {first} and {second}"
    stage.replay(asks(0), reports(0, 0.5), exits(0), sees(Gpu(0), Gpu(1, (STRANGER,))))
    assert given(stage) == ["1", "1", "1"]
    assert stage.trials()[0].startswith(TrialStatus.SUCCEEDED)
