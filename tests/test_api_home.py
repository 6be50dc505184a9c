"""Finding and removing experiments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpx import api
from mpx.errors import MpxError, NoSuchExperimentError, UsageError
from mpx.records import ExperimentPaths
from tests import stored


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MPX_HOME", str(tmp_path))
    return tmp_path


def test_home_is_below_the_users_one_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPX_HOME", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    assert api.home() == Path("/somewhere/.mpx")


@pytest.mark.parametrize("text", ["abcDEF12", "abc", "digits"])
def test_experiment_is_found_by_id_beginning_and_name(home: Path, text: str) -> None:
    wanted = stored.experiment(home, "abcDEF12", name="digits")
    stored.experiment(home, "xyz45678", name="other")
    assert api.find(text) == wanted


def test_exact_id_and_name_come_before_beginnings(home: Path) -> None:
    by_name = stored.experiment(home, "qqqqqqq1", name="abc")
    by_id = stored.experiment(home, "abcDEF12", name="digits")
    assert api.find("abc") == by_name
    assert api.find("abcDEF12") == by_id


def test_ambiguous_text_lists_what_it_may_mean(home: Path) -> None:
    stored.experiment(home, "abc11111", name="first")
    stored.experiment(home, "abc22222", name="second")
    with pytest.raises(UsageError, match=r"abc11111  first\n  abc22222  second"):
        api.find("abc")


@pytest.mark.parametrize(
    ("text", "hint"),
    [("digitz", "did you mean 'digits'"), ("zzz", "`mpx status` lists all"), ("", "no experiment")],
)
def test_unknown_experiment_gets_a_hint(home: Path, text: str, hint: str) -> None:
    stored.experiment(home, "abcDEF12", name="digits")
    with pytest.raises(NoSuchExperimentError, match=hint):
        api.find(text)


def test_empty_home_says_so(home: Path) -> None:
    with pytest.raises(NoSuchExperimentError, match="there are none in"):
        api.find("x")


def test_directory_without_a_description_is_no_experiment(home: Path) -> None:
    (home / "experiments" / "half1234").mkdir(parents=True)
    assert api.list_experiments() == []


def test_unreadable_experiment_is_listed_with_its_reason_and_can_be_removed(home: Path) -> None:
    good = stored.experiment(home, "good1234")
    broken = stored.experiment(home, "brok1234")
    broken.experiment.write_text("{")
    broken.store.write_text("no database at all, whatever the name says")

    records = {record.id: record for record in api.list_experiments()}
    assert records["good1234"].status == "DONE"
    assert records["brok1234"].status == "ERROR"
    assert "not a database" in (records["brok1234"].reason or "")
    with pytest.raises(MpxError, match=r"cannot read .*experiment\.json"):
        api.describe(broken)
    api.delete(api.find("brok1234"))
    assert not broken.root.exists()
    assert good.root.exists()


def test_links_in_an_experiment_are_removed_not_followed(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    paths = stored.experiment(home)
    paths.sdk.mkdir()
    (paths.sdk / "mpx").symlink_to(outside)
    api.delete(paths)
    assert outside.exists()
    assert list((home / "experiments").iterdir()) == []


def test_experiment_with_a_living_manager_is_not_removed(home: Path) -> None:
    paths = stored.experiment(home)
    with _sleeper() as manager:
        stored.say_who_manages(paths, manager.pid)
        with pytest.raises(UsageError, match=f"mpx stop {paths.id}"):
            api.delete(paths)
        manager.kill()
    api.delete(paths)


def test_experiment_with_a_living_trial_is_not_removed(home: Path) -> None:
    paths = stored.experiment(home)
    with _sleeper(MPX_EXPERIMENT_ID=paths.id) as trial:
        with pytest.raises(UsageError, match="still runs"):
            api.delete(paths)
        trial.kill()


def test_being_removed_is_not_being_listed(home: Path) -> None:
    paths = stored.experiment(home)
    paths.root.rename(paths.root.with_name(".deleted-x"))
    assert api.list_experiments() == []
    with pytest.raises(NoSuchExperimentError):
        api.find(ExperimentPaths(paths.root).id)


def _sleeper(**environment: str) -> subprocess.Popen[bytes]:
    # The pipe says that the interpreter runs: until then its environment may be its parent's.
    code = "import sys, time; print('up', flush=True); time.sleep(100)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    return process
