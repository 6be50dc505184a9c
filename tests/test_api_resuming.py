"""Letting experiments go on: what is refused, what is told, and what stays as it was."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mpx
from mpx import api
from mpx.api import starting
from mpx.errors import MpxError, StartError, UsageError
from mpx.records import ExperimentPaths, ExperimentStatus
from tests import stored
from tests.lab import COUNTER, Lab, wait_until

# Each phase tells that it has begun, and ends when its file `go-N` is there.
GATED = """
    import os, time, mpx
    for phase in mpx.phases():
        n = phase.parameters["n"]
        open(f"begun-{n}", "w").close()
        while not os.path.exists(f"go-{n}"):
            time.sleep(0.01)
        phase.report_final(n)
"""
# As long as the file `gate` is missing, importing this tuner does not end.
GATE = """
    import os, time
    open("importing", "w").close()
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPX_HOME", str(lab.home))


@pytest.fixture
def fake_manager(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the limits given to a manager, which says that a trial runs and ends."""
    file = lab.root / "limits.json"
    code = 'import os, sys; os.write(int(sys.argv[1]), b\'{"status": "RUNNING"}\\n\')'

    def command(paths: ExperimentPaths, ready: int, limits: dict[str, Any] | None) -> list[str]:
        file.write_text(json.dumps(limits))
        return [sys.executable, "-c", code, str(ready)]

    monkeypatch.setattr(starting, "_manager_command", command)
    return file


def interrupted(lab: Lab, **keys: Any) -> ExperimentPaths:
    """Start an experiment, and kill its manager once the first phase computes."""
    paths = api.create(lab.config(GATED, **{"maxPhaseNum": 2, **keys}))
    wait_until((lab.root / "begun-0").exists, "the first phase")
    kill_manager(paths)
    return paths


def kill_manager(paths: ExperimentPaths) -> None:
    pid = api.show(paths).manager_pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not api.show(paths).manager_alive, "the manager's death")


def resume(paths: ExperimentPaths, **limits: Any) -> None:
    with api.resume(paths, **limits) as started:
        started.wait_ready()


def limits_on_record(paths: ExperimentPaths) -> tuple[int | None, int | None, float | None]:
    config = api.describe(paths).config
    return config.max_phase_num, config.max_trial_num, config.max_exec_duration


# -- what is refused ------------------------------------------------------------------------------


def test_experiment_with_a_living_manager_is_refused(lab: Lab) -> None:
    paths = stored.experiment(lab.home)
    stored.say_who_manages(paths, os.getpid())
    with pytest.raises(UsageError, match=f"process {os.getpid()}: .*mpx stop {paths.id}$"):
        api.resume(paths)


TWO = [{}, {}]


@pytest.mark.parametrize(
    ("limits", "raised", "said"),
    [
        (
            {"max_phase_num": 2},
            {},
            "maxPhaseNum (2) is reached. To go on, raise that: mpx resume Ab3dEf12 --max-phases N",
        ),
        ({"max_phase_num": 2}, {"max_phases": 1}, "maxPhaseNum (1) is reached. "),
        (
            {"max_trial_num": 1, "max_exec_duration": 9.0, "max_phase_num": 3},
            {},
            "maxTrialNum (1) is reached, maxExecDuration (9 s) is over. To go on, raise that:"
            " mpx resume Ab3dEf12 --max-trials N --max-duration T",
        ),
        (
            {"max_trial_num": 1, "max_phase_num": 2},
            {"max_phases": 3},
            "maxTrialNum (1) is reached. To go on, raise that: mpx resume Ab3dEf12 --max-trials N",
        ),
    ],
)
def test_what_is_done_needs_every_limit_raised_that_it_reached(
    lab: Lab, limits: dict[str, Any], raised: dict[str, Any], said: str
) -> None:
    paths = stored.experiment(lab.home, phases=TWO, **limits)
    with pytest.raises(UsageError) as refusal:
        api.resume(paths, **raised)
    assert str(refusal.value).startswith(f"experiment Ab3dEf12 is DONE: {said}")


@pytest.mark.parametrize(
    ("status", "limits", "raised"),
    [
        (ExperimentStatus.DONE, {"max_phase_num": 2}, {"max_phases": 3}),
        (ExperimentStatus.DONE, {"max_exec_duration": 9.0}, {"max_duration": 9.5}),
        (ExperimentStatus.DONE, {}, {}),  # the tuner had no more, and may have now
        (ExperimentStatus.STOPPED, {"max_phase_num": 2}, {}),
        (ExperimentStatus.ERROR, {"max_phase_num": 2}, {}),
        (ExperimentStatus.RUNNING, {"max_phase_num": 2}, {"max_phases": 1}),
    ],
)
def test_what_may_go_on_is_given_to_a_manager_with_what_was_raised(
    lab: Lab,
    fake_manager: Path,
    status: ExperimentStatus,
    limits: dict[str, Any],
    raised: dict[str, Any],
) -> None:
    paths = stored.experiment(lab.home, phases=TWO, status=status, **limits)
    paths.sdk.mkdir()
    resume(paths, **raised)
    fields = {"max_phases": "max_phase_num", "max_duration": "max_exec_duration"}
    given = {fields[name]: value for name, value in raised.items()}
    assert json.loads(fake_manager.read_text()) == given
    # What was raised holds when the manager has taken over, and this one does not.
    assert limits_on_record(paths) == tuple(
        limits.get(name) for name in ("max_phase_num", "max_trial_num", "max_exec_duration")
    )


def started_on(paths: ExperimentPaths, host: str) -> None:
    about = json.loads(paths.experiment.read_text())
    paths.experiment.write_text(json.dumps({**about, "host": host}))


def test_what_may_run_on_another_machine_is_refused(lab: Lab) -> None:
    paths = stored.experiment(lab.home, status=ExperimentStatus.RUNNING)
    started_on(paths, "elsewhere")
    with pytest.raises(
        UsageError, match=f"started on elsewhere, and this is {socket.gethostname()}"
    ):
        api.resume(paths)


def test_what_has_ended_on_another_machine_goes_on(lab: Lab, fake_manager: Path) -> None:
    paths = stored.experiment(lab.home, status=ExperimentStatus.STOPPED)
    started_on(paths, "elsewhere")
    paths.sdk.mkdir()
    resume(paths)
    assert fake_manager.exists()


def test_links_to_the_packages_are_made_anew_though_another_does_it_too(
    lab: Lab, fake_manager: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stored.experiment(lab.home)
    paths.sdk.mkdir()
    (paths.sdk / "mpx").symlink_to("/an/older/one")
    links, link = [], Path.symlink_to

    def link_and_let_another(self: Path, target: Path) -> None:
        link(self, target)
        links.append(target)
        if len(links) == 1:
            starting.link_sdk(paths)

    monkeypatch.setattr(Path, "symlink_to", link_and_let_another)
    resume(paths)
    package = Path(mpx.__file__).parent
    assert {link.name: link.readlink() for link in paths.sdk.iterdir()} == {
        "mpx": package,
        "nni": package / "compat" / "nni",
    }


def test_directory_that_cannot_be_written_is_named(lab: Lab) -> None:
    paths = stored.experiment(lab.home)
    paths.sdk.write_text("a file")
    with pytest.raises(MpxError, match=f"^cannot write to {paths.sdk}: Not a directory$"):
        api.resume(paths)


def _remove(store: Path) -> None:
    store.unlink()


def _empty(store: Path) -> None:
    store.write_bytes(b"")


def _forget(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM experiment")
    connection.close()


def _overwrite(store: Path) -> None:
    store.write_bytes(b"this is no database" * 1000)


def _damage(store: Path) -> None:
    """Damage an index that is written, and read by no resume."""
    with sqlite3.connect(store) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_trials_1'"
        ((page,),) = connection.execute(query)
        ((size,),) = connection.execute("PRAGMA page_size")
    connection.close()
    with open(store, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_remove, "says nothing of the trials in .*trials: it was emptied, removed or replaced"),
        (_empty, "says nothing of the trials in .*trials: it was emptied, removed or replaced"),
        (_forget, "says nothing of the trials in .*trials: it was emptied, removed or replaced"),
        (_overwrite, "cannot read the store .*experiment.db: file is not a database"),
        (_damage, "left as it was: cannot read the store .*experiment.db: .*(damaged|malformed)"),
    ],
)
def test_store_that_lost_what_is_on_record_is_refused(
    lab: Lab, harm: Callable[[Path], None], said: str
) -> None:
    paths = stored.experiment(lab.home, phases=TWO, status=ExperimentStatus.RUNNING)
    paths.sdk.mkdir()
    paths.checkpoint.mkdir()
    paths.trial("trialA").root.mkdir()
    harm(paths.store)
    with pytest.raises(MpxError, match=said):
        resume(paths)
    assert [path.name for path in paths.trials.iterdir()] == ["trialA"]


def test_experiment_whose_manager_wrote_nothing_begins_like_a_new_one(lab: Lab) -> None:
    (lab.root / "go-0").touch()
    with api.launch(lab.config(GATED, maxPhaseNum=1)) as started:
        started.kill_manager()
    paths = started.paths
    assert not paths.store.exists()
    resume(paths)
    api.wait(paths)
    assert (api.show(paths).status, api.show(paths).phases) == ("DONE", {"SUCCEEDED": 1})


# -- what fails leaves everything as it was -------------------------------------------------------


def test_tuner_that_fails_is_told_and_what_runs_runs_on_until_it_is_mended(lab: Lab) -> None:
    paths = interrupted(lab)
    (before,) = api.trials(paths)
    record, phases = api.show(paths), [*api.phases(paths)]
    with open(lab.root / "tuner.py", "a") as file:
        file.write('\nraise LookupError("my own mistake")\n')
    with pytest.raises(StartError) as caught:
        resume(paths, max_phases=3)

    first, *frame, last = str(caught.value).splitlines()
    assert first.startswith(f"experiment {paths.id} cannot go on, and is left as it was: the tuner")
    assert "LookupError" in first
    assert f'File "{lab.root}/tuner.py", line ' in frame[0]
    assert 'raise LookupError("my own mistake")' in frame[1]
    assert last == f"the whole traceback: mpx logs {paths.id} --manager"
    assert "my own mistake" in paths.manager_log.read_text()
    # Its manager has ended by now.
    after = api.show(paths)
    assert (after.status, after.reason) == (record.status, record.reason)
    assert [*api.phases(paths)] == phases
    assert [running.is_gone for running in api.detail(paths).running] == [False]
    assert limits_on_record(paths) == (2, 1, None)

    lab.write("tuner.py", COUNTER)
    resume(paths, max_phases=3, max_duration=3600.0)
    assert limits_on_record(paths) == (3, 1, 3600.0)
    for n in range(3):
        (lab.root / f"go-{n}").touch()
    api.wait(paths)
    (trial,) = api.trials(paths)
    assert (trial.trial_id, trial.pid, trial.status) == (before.trial_id, before.pid, "SUCCEEDED")
    assert [phase.status for phase in api.phases(paths)] == ["SUCCEEDED"] * 3


def test_of_two_resumes_at_a_time_one_succeeds(lab: Lab) -> None:
    paths = interrupted(lab)
    gate = lab.root / "gate"
    lab.write("tuner.py", GATE.format(gate=str(gate)) + COUNTER)
    both = [api.resume(paths) for _ in range(2)]
    wait_until((paths.root / "importing").exists, "the tuner")
    gate.touch()
    refusals = []
    for started in both:
        with started:
            try:
                started.wait_ready()
            except StartError as refusal:
                refusals.append(str(refusal))
    assert len(refusals) == 1
    assert f"experiment {paths.id} has a manager already" in refusals[0]
    assert (api.show(paths).status, api.show(paths).manager_alive) == ("RUNNING", True)
    (stopped,) = api.stop([paths])
    assert (stopped.trials, stopped.after.status) == (1, "STOPPED")


# -- before it has taken over ---------------------------------------------------------------------


def resuming(paths: ExperimentPaths, lab: Lab, wait: str) -> api.Launch:
    """Begin a resume whose tuner is not imported before long."""
    lab.write("tuner.py", 'open("importing", "w").close()\n' + wait + "\n")
    (paths.root / "importing").unlink(missing_ok=True)
    started = api.resume(paths)
    wait_until((paths.root / "importing").exists, "the tuner")
    return started


SLEEP = "import time; time.sleep(1000)"
HANG = "import ctypes; ctypes.PyDLL(None).sleep(1000)"  # no other thread gets to run


def test_resume_that_has_taken_over_nothing_can_be_withdrawn(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_PATIENCE", -0.7)  # and the grace period: 0.3 s
    trial = {"codeDir": ".", "command": f"'{sys.executable}' trial.py", "gracePeriod": "1s"}
    paths = interrupted(lab, trial=trial)
    for wait in (SLEEP, HANG):  # one is asked, one is killed
        with resuming(paths, lab, wait) as started:
            assert started.has_changed_nothing
            assert started.withdraw()
        assert (api.show(paths).status, api.show(paths).phases) == ("INTERRUPTED", {"RUNNING": 1})
        assert [running.is_gone for running in api.detail(paths).running] == [False]

    with resuming(paths, lab, SLEEP) as started:
        (stopped,) = api.stop([paths])
        with pytest.raises(
            StartError, match=f"^experiment {paths.id} was stopped before it went on"
        ):
            started.wait_ready()
    assert (stopped.trials, stopped.phases, stopped.killed) == (1, 1, ())
    assert (stopped.after.status, stopped.after.reason) == ("STOPPED", "mpx stop")
    assert lab.leftovers() == []


def test_resume_that_takes_over_at_that_moment_is_not_withdrawn(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stored.experiment(lab.home)
    paths.sdk.mkdir()
    script = lab.write(
        "late.py",
        """
        import os, signal, sys, time
        said = b'{"status": "RUNNING"}\\n'
        signal.signal(signal.SIGTERM, lambda *_: os.write(int(sys.argv[1]), said))
        open("listening", "w").close()
        time.sleep(1000)
        """,
    )
    monkeypatch.chdir(lab.root)
    monkeypatch.setattr(
        starting,
        "_manager_command",
        lambda paths, ready, _: [sys.executable, str(script), str(ready)],
    )
    with api.resume(paths) as started:
        wait_until((lab.root / "listening").exists, "the manager")
        assert not started.withdraw()
        assert not started.has_changed_nothing
        started.kill_manager()
