"""Copies of what tuners save."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mpx import checkpoints as checkpoints_module
from mpx import generators
from mpx.checkpoints import Checkpoints


@pytest.fixture
def current(tmp_path):
    """Where the tuner writes."""
    path = tmp_path / "checkpoint"
    path.mkdir()
    return path


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def checkpoints(current, kept):
    return Checkpoints(current, kept)


def tree(path):
    """Return what a directory holds: relative path → text."""
    return {
        str(file.relative_to(path)): file.read_text()
        for file in path.rglob("*")
        if not file.is_dir()
    }


def test_what_was_kept_comes_back_though_the_tuner_wrote_on(checkpoints, current):
    (current / "model").mkdir()
    (current / "model" / "weights").write_text("1")
    (current / "state.json").write_text("{}")
    assert checkpoints.keep(7)
    (current / "state.json").write_text("half writ")
    (current / "model" / "more").write_text("new")
    assert checkpoints.restore(7)
    assert tree(current) == {"model/weights": "1", "state.json": "{}"}


def test_each_number_has_its_copy(checkpoints, current):
    for number in (3, 5):
        (current / "state").write_text(str(number))
        assert checkpoints.keep(number)
    for number in (5, 3):
        assert checkpoints.restore(number)
        assert tree(current) == {"state": str(number)}


def test_a_number_that_is_kept_again_has_its_newest_copy_alone(checkpoints, current):
    (current / "old").write_text("old")
    checkpoints.keep(3)
    (current / "old").unlink()
    (current / "new").write_text("new")
    assert checkpoints.keep(3)
    checkpoints.restore(3)
    assert tree(current) == {"new": "new"}


@pytest.mark.parametrize("what", ["nothing", "directories alone", "no directory"])
def test_a_tuner_that_left_no_file_has_saved_nothing(checkpoints, current, kept, what):
    if what == "directories alone":
        (current / "a" / "b").mkdir(parents=True)
    elif what == "no directory":
        current.rmdir()
    assert not checkpoints.keep(1)
    assert not kept.exists()
    assert not checkpoints.restore(1)


def test_older_ones_are_forgotten(checkpoints, current, kept):
    """A newer one may be about to be recorded: it is saved before this one is known to be."""
    (current / "state").write_text("x")
    for number in (1, 2, 10):
        checkpoints.keep(number)
    (kept / "of the user").mkdir()
    checkpoints.forget_older(2)
    assert {copy.name for copy in kept.iterdir()} == {"2", "10", "of the user"}
    assert checkpoints.restore(2)


def test_a_copy_that_is_gone_cannot_be_restored_and_costs_nothing(checkpoints, current, kept):
    (current / "state").write_text("x")
    checkpoints.keep(1)
    assert not checkpoints.restore(2)
    shutil.rmtree(kept)
    assert not checkpoints.restore(1)
    assert tree(current) == {"state": "x"}


def test_a_tuners_directory_that_is_gone_is_made_again(checkpoints, current):
    (current / "state").write_text("x")
    checkpoints.keep(1)
    shutil.rmtree(current)
    assert checkpoints.restore(1)
    assert tree(current) == {"state": "x"}


@pytest.mark.parametrize("step", ["copytree", "get_state", "_sync"])
def test_a_copy_that_was_not_finished_is_none(checkpoints, current, monkeypatch, step):
    """Whatever fails, or whenever the machine dies."""
    (current / "a").write_text("x")
    (current / "b").write_text("x")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    places = {"copytree": shutil, "get_state": generators, "_sync": checkpoints_module}
    with monkeypatch.context() as patch:
        patch.setattr(places[step], step, fail)
        with pytest.raises(OSError, match="No space"):
            checkpoints.keep(4)
    assert not checkpoints.restore(4)
    assert checkpoints.keep(4)
    assert checkpoints.restore(4)


def test_a_copy_is_on_disk_before_the_mark_that_it_is_whole(
    checkpoints, current, kept, monkeypatch
):
    (current / "model").mkdir()
    (current / "model" / "weights").write_text("1")
    synced = []

    def sync(path):
        synced.append((str(path.relative_to(kept.parent)), (kept / "4" / "random.json").exists()))

    monkeypatch.setattr(checkpoints_module, "_sync", sync)
    checkpoints.keep(4)
    files = "checkpoints/4/files"
    assert sorted(path for path, is_whole in synced if not is_whole) == [
        files,
        f"{files}/model",
        f"{files}/model/weights",
    ]
    assert [path for path, is_whole in synced if is_whole] == [
        "checkpoints/4/random.json",
        "checkpoints/4",
        "checkpoints",
        ".",
    ]


def test_what_is_on_disk_was_synced_there(checkpoints, current, monkeypatch):
    (current / "state").write_text("x")
    inodes = []
    monkeypatch.setattr(os, "fsync", lambda fd: inodes.append(os.fstat(fd).st_ino))
    checkpoints.keep(4)
    assert (current.parent / "checkpoints" / "4" / "files" / "state").stat().st_ino in inodes
    assert (current.parent / "checkpoints" / "4").stat().st_ino in inodes


def test_copies_are_the_users_alone(checkpoints, current, kept):
    (current / "state").write_text("x")
    checkpoints.keep(1)
    assert stat.S_IMODE((kept / "1").stat().st_mode) == 0o700


# -- random generators ----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _same_random_afterwards():
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.mark.parametrize("drawn", [0, 1, 700])
def test_random_goes_on_as_it_would_have(checkpoints, current, drawn):
    (current / "state").write_text("x")
    random.seed(5)
    for _ in range(drawn):
        random.gauss(0, 1)  # keeps one number back, every other time
    checkpoints.keep(1)
    expected = [random.gauss(0, 1), random.random(), random.getrandbits(100)]
    random.seed(6)
    checkpoints.restore_random(1)
    assert [random.gauss(0, 1), random.random(), random.getrandbits(100)] == expected


@pytest.mark.parametrize("drawn", [0, 1, 700])
def test_numpy_goes_on_as_it_would_have(checkpoints, current, drawn):
    numpy = pytest.importorskip("numpy")
    (current / "state").write_text("x")
    numpy.random.seed(5)
    numpy.random.normal(size=drawn)
    checkpoints.keep(1)
    expected = [numpy.random.normal(), *numpy.random.random(3)]
    numpy.random.seed(6)
    checkpoints.restore_random(1)
    assert [numpy.random.normal(), *numpy.random.random(3)] == expected


def test_numpy_that_is_not_loaded_is_not_missed(checkpoints, current, kept, monkeypatch):
    (current / "state").write_text("x")
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "numpy", raising=False)
        checkpoints.keep(1)
    assert list(json.loads((kept / "1" / "random.json").read_text())) == ["random"]
    checkpoints.restore_random(1)  # with numpy loaded by now, maybe
    pytest.importorskip("numpy")
    checkpoints.keep(2)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "numpy")
        checkpoints.restore_random(2)


def test_the_states_hold_in_another_process(checkpoints, current, kept):
    (current / "state").write_text("x")
    random.seed(5)
    checkpoints.keep(1)
    expected = random.random()
    code = (
        "import random, sys; from pathlib import Path; from mpx.checkpoints import Checkpoints\n"
        "Checkpoints(*map(Path, sys.argv[1:])).restore_random(1); print(random.random())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(current), str(kept)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert float(said.stdout) == expected
