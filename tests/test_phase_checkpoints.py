"""What phases saved is kept as long as anybody needs it, and no longer."""

from __future__ import annotations

import json

import pytest

from mpx.config.model import TrialConfig
from mpx.store_reader import StoreReader
from mpx.training_service.remover import Remover
from mpx.tuner import Continued
from tests.lab import Lab, wait_until
from tests.stage import (
    answers,
    asks,
    crashes,
    exits,
    fails,
    hello,
    loaded,
    reports,
    saves,
    stops,
    uses,
)


@pytest.fixture
def set_stage(new_stage):
    """Set a stage with such a configuration, whose tuner may go on from these, and one trial."""

    def set_stage(in_use=None, retries=0, **config):
        trial = TrialConfig("train", "/code", retries=retries)
        stage = new_stage(trial=trial, **config)
        stage.in_use = in_use
        stage.replay(loaded(), answers("a"))
        return stage

    return set_stage


def path(number):
    return f"/trials/t/checkpoints/{number}"


def trains(*values, first=0, trial=0, is_prepared=True):
    """Phases of a trial, one after another, each of which saves something and reports a value."""
    events = []
    for number, value in enumerate(values, first):
        events.append(asks(trial))
        if number > first or not is_prepared:
            events.append(answers("next"))
        events += [saves(trial, path(number)), reports(trial, value)]
    return events


def kept(stage):
    """Return the phases of which something is kept, by what readers see, and check the disk's side."""
    stage.experiment.commit()
    with StoreReader(stage.path) as reader:
        phases = [p for p in reader.phases() if p.checkpoint is not None]
        counted = reader.experiment(0).checkpoints
    assert not {phase.checkpoint for phase in phases} & {*stage.removed()}
    assert counted.kept == len(phases)
    assert counted.removed == len({*stage.removed()})
    return [phase.parameter_id for phase in phases]


@pytest.mark.parametrize(
    ("mode", "keeps", "found"),
    [
        ("maximize", 2, [1, 3, 5]),
        ("minimize", 2, [0, 4, 5]),
        ("maximize", 0, [5]),
        ("maximize", 9, [0, 1, 2, 3, 4, 5]),
        ("maximize", "all", [0, 1, 2, 3, 4, 5]),
        ("maximize", None, [0, 1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_best_ones_are_kept_and_the_newest(set_stage, mode, keeps, found, is_resumed):
    stage = set_stage(keep_checkpoints=keeps, optimize_mode=mode)
    stage.replay(*trains(1, 5, 3, 4))
    if is_resumed:
        stage.replay(crashes())
    stage.replay(*trains(2, 2.5, first=4, is_prepared=False))
    assert kept(stage) == found


def test_of_equally_good_ones_the_first_is_kept_and_of_those_without_a_number_none(set_stage):
    stage = set_stage(keep_checkpoints=1)
    stage.replay(*trains(3, 3, "good", float("nan"), {"default": 2}))
    assert kept(stage) == [0, 4]


def test_a_tuner_that_says_what_it_uses_keeps_that_and_five(set_stage):
    stage = set_stage(in_use=frozenset())
    stage.replay(*trains(9, 0, 8, 1, 7, 6, 5, 2))
    assert kept(stage) == [*range(8)]  # it has not said so since it was told
    stage.replay(*[uses(1, 3, told=number) for number in range(7)])
    assert kept(stage) == [*range(8)]
    stage.replay(uses(1, told=7))
    assert kept(stage) == [0, 1, 2, 4, 5, 6, 7]  # five, what it uses, the newest


@pytest.mark.parametrize("keeps", ["all", None])
def test_nothing_is_removed_if_the_user_or_the_tuner_says_so(set_stage, keeps):
    stage = set_stage(in_use=frozenset() if keeps else None, keep_checkpoints=keeps)
    stage.replay(*trains(*range(8, 0, -1)))
    if keeps:
        stage.replay(*[uses(told=number) for number in range(8)])
    assert kept(stage) == [*range(8)]


def test_files_of_the_users_own_are_neither_removed_nor_said_to_be(set_stage):
    stage = set_stage(keep_checkpoints=0)
    stage.replay(*trains(1, 2), asks(0), answers("c"), saves(0, "/home/mine"), reports(0, 3))
    stage.replay(*trains(4, first=3, is_prepared=False))
    assert kept(stage) == [2, 3]


def test_a_path_that_is_saved_again_is_removed_with_the_last_phase_that_did(set_stage):
    stage = set_stage(keep_checkpoints=0)
    stage.replay(*trains(1), asks(0), answers("b"), saves(0, path(0)), reports(0, 2), crashes())
    assert stage.removed() == []
    stage.replay(*trains(3, first=2, is_prepared=False))
    assert stage.removed() == [path(0)]


def test_what_an_open_phase_goes_on_from_is_kept_until_it_ends(set_stage):
    stage = set_stage(in_use=frozenset(), keep_checkpoints=0, trial_concurrency=1, retries=1)
    stage.replay(*trains(1), uses(0, told=0), hello(0), asks(0), answers(Continued("b", 0)))
    stage.replay(saves(0, path(1)), uses(told=0))
    assert kept(stage) == [0, 1]
    stage.replay(exits(0, 1))  # it is tried again
    assert kept(stage) == [0, 1]
    stage.replay(crashes(), asks(1), saves(1, path(2)))
    assert stage.peer(1).heard[-2]["checkpoint"] == path(0)
    assert kept(stage) == [0, 1, 1]
    stage.replay(reports(1, 1), uses(told=1))
    assert kept(stage) == [1]
    assert stage.removed() == [path(0), path(1)]


def test_what_each_running_trial_saved_last_is_kept(set_stage):
    stage = set_stage(keep_checkpoints=0, trial_concurrency=2)
    stage.replay(answers("b"), *trains(1), *trains(2, first=1, trial=1), asks(0), answers("c"))
    assert kept(stage) == [0, 1]
    stage.replay(saves(0, path(2)), fails(0))
    assert kept(stage) == [0, 1, 2]  # of phase 2 there is no result to go on from
    stage.replay(asks(0), answers("d"), saves(0, path(3)), reports(0, 4))
    assert kept(stage) == [1, 3]
    stage.replay(exits(1), answers("e"), asks(0), answers("f"), saves(0, path(5)), reports(0, 5))
    assert kept(stage) == [5]


def test_a_phase_that_was_to_go_on_from_what_is_removed_starts_afresh_and_says_why(set_stage):
    stage = set_stage(keep_checkpoints=0)
    stage.replay(*trains(1, 2), asks(0), answers(Continued("c", 0)))
    assert "parent" not in stage.peer(0).heard[-1]
    assert "its checkpoint was removed (keepCheckpoints)" in stage.log(0)


def test_nothing_is_removed_once_the_tuner_knows_of_an_ask_that_is_taken_back(set_stage):
    stage = set_stage(in_use=frozenset(), keep_checkpoints=0)
    stage.replay(*trains(1, 2), uses(1, told=0), asks(0))
    assert kept(stage) == [1]  # phase 0 is of no use
    stage.replay(stops(drain=True), uses(told=1))
    assert kept(stage) == [1]
    stage.tuner.questions.clear()  # its answer comes too late
    stage.replay(exits(0))


def test_a_file_goes_when_it_is_durably_on_record_that_nobody_needs_it(set_stage):
    stage = set_stage(keep_checkpoints=0)
    stage.turns.syncs_at_once = False
    stage.replay(*trains(1, 2))
    assert stage.removed() == []
    stage.turns.sync()
    assert stage.removed() == [path(0)]
    stage.service.removed.clear()
    stage.replay(crashes())  # and whoever comes next removes it again, for it may be there yet
    stage.turns.sync()
    assert stage.removed() == [path(0)]
    assert kept(stage) == [1]


def test_of_what_an_ended_trial_copied_only_what_is_on_record_stays(set_stage):
    stage = set_stage(keep_checkpoints=0, trial_concurrency=2)
    stage.replay(answers("b"), *trains(1, 2), asks(0), answers("c"), saves(0, path(2)))
    stage.replay(exits(0, 1), exits(1))
    ended = [stage.service.kept[stage.trial_id(number)] for number in (0, 1)]
    assert ended == [{path(1), path(2)}, set()]


SAVING = """
    import json, os, pathlib, mpx
    weights = pathlib.Path(os.environ["MPX_OUTPUT_DIR"], "weights")
    weights.mkdir()
    copies = pathlib.Path(os.environ["MPX_TRIAL_DIR"], "checkpoints")
    copies.mkdir()
    (copies / "0.9.draft").touch()  # as one leaves that dies while it saves
    for phase in mpx.phases():
        (weights / "w.bin").write_bytes(bytes(1000 + phase.index))
        phase.save_checkpoint(weights)
        phase.report_final([3, 1, 2, 0, 0][phase.index])
"""


def test_a_long_experiment_keeps_few_files_and_says_their_size(lab: Lab) -> None:
    config = lab.config(SAVING, maxPhaseNum=5, keepCheckpoints=1)
    experiment = lab.finish(config)
    rows = lab.phases(experiment)
    names = [row["checkpoint"] and row["checkpoint"].rpartition("/")[2] for row in rows]
    assert names == ["0.0", None, None, None, "4.4"]
    directory = lab.trial_file(experiment, rows[0]["trial_id"], "checkpoints")
    assert sorted(path.name for path in directory.iterdir()) == ["0.0", "4.4"]
    assert (directory / "4.4" / "w.bin").stat().st_size == 1004
    status = lab.status(experiment)
    assert status["checkpoints"] == {"kept": 2, "bytes": 2004, "removed": 3}
    assert "saved     2 checkpoints, 2 kB; 3 removed" in lab.mpx("status", experiment)


def test_a_built_in_tuner_keeps_the_best_five_without_being_told(lab: Lab) -> None:
    space = {"x": {"_type": "uniform", "_value": [0, 1]}}
    saving = SAVING.replace("[3, 1, 2, 0, 0][phase.index]", "-phase.index")
    tuner = {"builtinTunerName": "Random"}
    experiment = lab.finish(lab.config(saving, maxPhaseNum=9, tuner=tuner, searchSpace=space))
    has = [row["checkpoint"] is not None for row in lab.phases(experiment)]
    assert has == [True] * 5 + [False] * 3 + [True]


def test_a_remover_removes_all_and_ends_its_thread():
    removed = []
    remover = Remover(removed.append)
    remover.finish(0)
    for number in range(100):
        remover.put(str(number))
    remover.finish(30)
    assert removed == [str(number) for number in range(100)]
    remover.put("another")
    wait_until(lambda: removed[-1] == "another", "the other one")
    assert json.dumps(removed)
