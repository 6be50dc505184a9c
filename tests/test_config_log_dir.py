"""`logDir`: an experiment's directory lies elsewhere, and every command finds it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mpx import api
from mpx.errors import MpxError
from tests.lab import Lab

LOOP = """
    import mpx
    for phase in mpx.phases():
        phase.report_final(1)
"""


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPX_HOME", str(lab.home))


@pytest.fixture
def config(lab: Lab) -> Path:
    return lab.config(LOOP, maxPhaseNum=2, logDir="logs")


def test_an_experiment_in_its_log_dir_is_created_shown_resumed_and_removed(
    lab: Lab, config: Path
) -> None:
    paths = api.create(config)
    api.wait(paths)
    directory = lab.root / "logs" / paths.id

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / "experiment.db").is_file()
    assert [record.id for record in api.list_experiments()] == [paths.id]
    assert (api.find(paths.id[:4]), api.find("config")) == (paths, paths)
    assert api.show(paths).phases == {"SUCCEEDED": 2}

    with api.resume(paths, max_phases=3, max_trials=2) as again:
        again.wait_ready()
    api.wait(paths)
    assert api.show(paths).phases == {"SUCCEEDED": 3}

    (directory / "trials" / "link").symlink_to(lab.root)
    api.delete(paths)
    assert list((lab.root / "logs").iterdir()) == []
    assert list((lab.home / "experiments").iterdir()) == []
    assert config.exists()


def test_one_that_runs_in_its_log_dir_is_stopped(lab: Lab) -> None:
    deep = lab.root / ("a" * 100)  # no socket's address is so long
    deep.mkdir()
    config = lab.config("import time; time.sleep(1000)", logDir=str(deep / "logs"))

    paths = api.create(config)
    (stopped,) = api.stop([paths])

    assert stopped.trials == 1
    assert api.show(paths).status == "STOPPED"


def test_a_directory_that_is_gone_is_told_and_what_led_there_removed(
    lab: Lab, config: Path
) -> None:
    paths = api.create(config)
    api.wait(paths)
    (lab.root / "logs").rename(lab.root / "unmounted")

    [record] = api.list_experiments()
    assert (record.id, record.status) == (paths.id, "ERROR")
    assert f"gone, or not mounted: {lab.root / 'logs' / paths.id}" in str(record.reason)
    with pytest.raises(MpxError, match="gone, or not mounted"):
        api.show(api.find(paths.id))

    api.delete(paths)
    assert list((lab.home / "experiments").iterdir()) == []
    assert (lab.root / "unmounted" / paths.id / "experiment.db").is_file()


def test_the_directory_of_all_experiments_may_be_named(lab: Lab) -> None:
    lab.home.mkdir()
    paths = api.create(lab.config(LOOP, maxPhaseNum=1, logDir=str(lab.home / "experiments")))
    api.wait(paths)

    assert paths.root.is_dir()
    assert not paths.root.is_symlink()


def test_a_log_dir_that_cannot_be_made_is_told(
    lab: Lab, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "symlink_to", refuse)

    with pytest.raises(MpxError, match=r"cannot make the experiment's directory: .*denied"):
        api.create(config)
    assert list((lab.root / "logs").iterdir()) == []
