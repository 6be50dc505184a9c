"""Ending experiments, whatever state they are in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mpx import api
from mpx.api import control, stopping
from mpx.api.control import Control
from mpx.errors import MpxError, NoSuchExperimentError, SurvivorsError, UsageError
from mpx.processes import find_by_environment, is_alive, start_of
from mpx.records import ExperimentPaths, ExperimentStatus, TrialStatus
from tests import stored
from tests.lab import Lab, wait_until

STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    time.sleep(1000)
"""
GRACE = "1s"


@pytest.fixture(autouse=True)
def _home(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPX_HOME", str(lab.home))


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a manager that hangs waits a little while only."""
    for name in ("_ANSWER", "_SLACK", "_LAST_CHANCE"):
        monkeypatch.setattr(stopping, name, 0.3)


def start(lab: Lab, trial: str = STUBBORN) -> ExperimentPaths:
    command = f"'{sys.executable}' trial.py"
    config = lab.config(trial, trial={"codeDir": ".", "command": command, "gracePeriod": GRACE})
    paths = api.create(config)
    (running,) = api.detail(paths).running
    log = paths.trial(running.trial.trial_id).log
    wait_until(lambda: log.exists() and "up" in log.read_text(), "the trial")
    return paths


def stop_one(paths: ExperimentPaths) -> api.Stopped:
    (stopped,) = api.stop([paths])
    return stopped


def test_stop_ends_what_ignores_sigterm_and_says_what_it_ended(lab: Lab) -> None:
    paths = start(lab)
    stopped = stop_one(paths)
    assert (stopped.after.status, stopped.trials, stopped.had_ended) == ("STOPPED", 1, False)
    assert stopped.killed == ()
    assert lab.leftovers() == []


def test_stopping_again_changes_nothing(lab: Lab) -> None:
    paths = start(lab)
    stop_one(paths)
    before = api.show(paths)
    stopped = stop_one(paths)
    assert stopped.had_ended
    assert api.show(paths) == before


@pytest.mark.usefixtures("_impatient")
def test_manager_that_hangs_is_ended_with_all_its_trials(lab: Lab) -> None:
    paths = start(lab)
    pid = api.show(paths).manager_pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    stopped = stop_one(paths)
    assert pid in stopped.killed
    assert len(stopped.killed) > 1
    assert lab.leftovers() == []
    assert (stopped.after.status, stopped.after.manager_alive) == ("STOPPED", False)
    assert "did not end by itself" in (stopped.after.reason or "")
    assert [trial.status for trial in api.trials(paths)] == ["USER_CANCELED"]


def test_manager_whose_socket_is_gone_is_stopped_by_a_signal(lab: Lab) -> None:
    paths = start(lab)
    paths.control_socket.unlink()
    stopped = stop_one(paths)
    assert (stopped.after.status, stopped.killed) == ("STOPPED", ())


def test_trials_of_a_dead_manager_are_ended_politely(lab: Lab) -> None:
    paths = start(
        lab,
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (open("goodbye", "w"), sys.exit()))
        print("up", flush=True)
        time.sleep(1000)
        """,
    )
    kill_manager(paths)
    assert api.show(paths).status == "INTERRUPTED"
    assert api.the_running_experiment() == paths

    stopped = stop_one(paths)
    assert stopped.after.status == "STOPPED"
    assert "the manager had died" in (stopped.after.reason or "")
    assert lab.leftovers() == []
    assert (lab.root / "goodbye").exists()


# What a trial leaves behind: each line of `left` is a name and a pid.
HIDING = """
    import os, signal, subprocess, sys, time, mpx
    LATE = 'trap "sleep 1000 & echo late:$! >>left" TERM; touch ready; while :; do sleep 0.05; done'
    phase = next(iter(mpx.phases()))
    if os.path.exists("again"):
        phase.report_final(1)
        sys.exit()
    sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
    ended = subprocess.Popen(["true"])  # a zombie: nobody waits for it
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    left = {
        "stopped": os.getpid(),
        "left the session": subprocess.Popen(sleep, start_new_session=True).pid,
        "left the session without a mark": subprocess.Popen(sleep, start_new_session=True, env={}).pid,
        "left the group without a mark": subprocess.Popen(sleep, process_group=0, env={}).pid,
        "begins another one late": subprocess.Popen(["bash", "-c", LATE], env={}).pid,
        "zombie": ended.pid,
    }
    while not os.path.exists("ready"):
        time.sleep(0.01)
    with open("left.tmp", "w") as file:
        print(*(f"{name}:{pid}" for name, pid in left.items()), sep="\\n", file=file)
    os.rename("left.tmp", "left")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_stop_after_a_managers_death_ends_whatever_hides_and_resume_tries_again(lab: Lab) -> None:
    command = f"'{sys.executable}' trial.py"
    trial = {"codeDir": ".", "command": command, "gracePeriod": GRACE}
    paths = api.create(lab.config(HIDING, trial=trial, maxPhaseNum=1))
    wait_until((lab.root / "left").exists, "what it leaves")
    lines = (lab.root / "left").read_text().splitlines()
    left = {name: int(pid) for name, pid in (line.split(":") for line in lines)}
    trial_process = psutil.Process(left["stopped"])
    wait_until(lambda: trial_process.status() == psutil.STATUS_STOPPED, "the stopped process")
    starts = {name: start_of(pid) for name, pid in left.items()}
    assert [name for name, start in starts.items() if start is None] == ["zombie"]
    kill_manager(paths)

    stopped = stop_one(paths)
    assert (stopped.trials, stopped.phases, stopped.after.status) == (1, 1, "STOPPED")
    assert left["stopped"] not in stopped.killed  # it was woken to end by itself
    assert [name for name, pid in left.items() if is_alive(pid, starts[name])] == []
    late = re.findall(r"late:(\d+)", (lab.root / "left").read_text())
    assert late
    assert [pid for pid in late if start_of(int(pid))] == []
    assert lab.leftovers() == []

    (lab.root / "again").touch()
    with api.resume(paths) as started:
        started.wait_ready()
    api.wait(paths)
    assert [(phase.parameter_id, phase.status) for phase in api.phases(paths)] == [
        (0, "LOST"),
        (0, "SUCCEEDED"),
    ]
    assert api.show(paths).status == "DONE"


def kill_manager(paths: ExperimentPaths) -> None:
    pid = api.show(paths).manager_pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not api.show(paths).manager_alive, "the manager's end")


def test_no_manager_begins_while_the_last_ones_trials_are_ended(lab: Lab) -> None:
    paths = start(lab, "import time; print('up', flush=True); time.sleep(1000)")
    kill_manager(paths)

    def is_free() -> bool:
        with stopping._no_manager(paths) as alone:
            return alone

    wait_until(is_free, "the last thread of the manager to let go of its lock")
    with stopping._no_manager(paths) as alone:
        assert alone
        assert "has a manager already" in lab.run("resume", paths.id).stderr

    lab.write("tuner.py", 'open("importing", "w").close()\nimport time; time.sleep(1000)\n')
    one = stopping._Stop(paths, drain=False)
    one.ask()  # there is none
    with api.resume(paths):
        wait_until((paths.root / "importing").exists, "a manager that came too late to be asked")
        with stopping._no_manager(paths) as alone:
            assert not alone
        stopped = one.finish()
    assert (stopped.trials, stopped.after.status, stopped.killed) == (1, "STOPPED", ())
    assert not stopped.after.manager_alive
    assert lab.leftovers() == []


@pytest.mark.usefixtures("_impatient")
def test_manager_that_hangs_in_c_and_holds_the_interpreter_is_ended(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import ctypes, mpx
        class Counter(mpx.Tuner):
            def generate_parameters(self, parameter_id, **kwargs): return {}
            def receive_trial_result(self, *args, **kwargs):
                open("hangs", "w").close()
                ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the GIL: no other thread runs
        """,
    )
    paths = start(
        lab,
        """
        import mpx
        print("up", flush=True)
        for phase in mpx.phases():
            phase.report_final(1)
        """,
    )
    wait_until((paths.root / "hangs").exists, "the tuner's call")
    stopped = stop_one(paths)
    assert stopped.killed == (stopped.before.manager_pid,)
    assert (stopped.after.status, stopped.after.manager_alive) == ("STOPPED", False)
    assert "did not end by itself" in (stopped.after.reason or "")
    assert lab.leftovers() == []


def test_kill_ends_everything_at_once(lab: Lab) -> None:
    paths = start(lab)
    stopped = api.kill(paths)
    assert (stopped.after.status, stopped.after.reason) == ("STOPPED", "killed, as was asked")
    assert lab.leftovers() == []


def test_children_of_a_tuner_end_with_a_killed_manager(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import mpx, subprocess
        class Counter(mpx.Tuner):
            def __init__(self):
                subprocess.Popen(["sleep", "1000"], env={"CHILD_OF": __file__})
            def generate_parameters(self, parameter_id, **kwargs): return {}
            def receive_trial_result(self, *args, **kwargs): pass
        """,
    )
    mark = str(lab.root / "tuner.py")
    paths = start(lab)
    assert find_by_environment("CHILD_OF", mark)
    api.kill(paths)
    wait_until(lambda: not find_by_environment("CHILD_OF", mark), "the child's end")


def test_survivors_are_named_with_their_commands(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = stored.experiment(lab.home, trial_status=TrialStatus.RUNNING)
    monkeypatch.setattr(stopping, "processes_of", lambda paths: [os.getpid()])
    monkeypatch.setattr(stopping, "send_signal", lambda pids, number: None)
    monkeypatch.setattr(stopping, "kill_all", lambda name, value: [os.getpid(), 2**22 + 1])
    with pytest.raises(SurvivorsError) as caught:
        stop_one(paths)
    first, second, third = str(caught.value).splitlines()
    assert paths.id in first
    assert str(os.getpid()) in second
    assert Path(sys.executable).name in second
    assert "command unknown" in third


def test_survivors_of_one_do_not_keep_the_others_alive(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [stored.experiment(lab.home, f"abcdefg{n}") for n in range(2)]
    monkeypatch.setattr(stopping._Stop, "finish", _fail_for(targets[0], stopping._Stop.finish))
    stops = api.stop(targets)
    assert next(stops).after.id == targets[1].id
    with pytest.raises(SurvivorsError, match="immortal"):
        next(stops)


def _fail_for(paths: ExperimentPaths, finish: Callable[[stopping._Stop], api.Stopped]) -> object:
    def finish_or_fail(self: stopping._Stop) -> api.Stopped:
        if self._paths == paths:
            raise SurvivorsError("immortal")
        return finish(self)

    return finish_or_fail


def test_end_that_cannot_be_written_down_is_told_when_all_is_gone(lab: Lab) -> None:
    broken = stored.experiment(lab.home, "broken12", status=ExperimentStatus.RUNNING)
    broken.store.write_bytes(b"this is no database" * 1000)
    good = stored.experiment(lab.home, "good1234", status=ExperimentStatus.RUNNING)
    stops = api.stop([broken, good])
    assert next(stops).after.id == good.id
    with pytest.raises(
        MpxError,
        match=r"^nothing of experiment broken12 runs any more, but that cannot be written down",
    ) as caught:
        next(stops)
    assert not isinstance(caught.value, SurvivorsError)


def test_experiment_that_cannot_be_read_is_ended_all_the_same(lab: Lab) -> None:
    paths = stored.experiment(lab.home, status=ExperimentStatus.RUNNING)
    environment = {**os.environ, "MPX_EXPERIMENT_ID": paths.id}
    with subprocess.Popen(["sleep", "1000"], env=environment) as orphan:
        wait_until(lab.leftovers, "the orphan")
        paths.experiment.write_text("{")
        paths.store.unlink()
        stop_one(paths)
        assert orphan.wait() == -signal.SIGTERM


def test_all_are_asked_before_one_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(stopping._Stop, "ask", lambda self: events.append("ask"))
    monkeypatch.setattr(stopping._Stop, "finish", lambda self: events.append("finish"))
    targets = [stored.experiment(lab.home, f"abcdefg{n}") for n in range(2)]
    list(api.stop(targets))
    assert events == ["ask", "ask", "finish", "finish"]


def test_no_running_experiment_is_an_error_of_its_own(lab: Lab) -> None:
    stored.experiment(lab.home)
    assert api.running_experiments() == []
    with pytest.raises(NoSuchExperimentError, match="no experiment runs"):
        api.the_running_experiment()


def test_several_running_experiments_are_listed(lab: Lab) -> None:
    for name in ("first", "second"):
        paths = stored.experiment(lab.home, f"{name}12", status=ExperimentStatus.RUNNING, name=name)
        stored.say_who_manages(paths, os.getpid())
    with pytest.raises(UsageError, match=r"--all:\n  first12  first\n  second12  second"):
        api.the_running_experiment()


# -- the control socket ---------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with _listen(tmp_path / "control.sock") as listening:
        yield listening


def _listen(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)
    listening.bind(path.name)
    os.chdir(here)
    listening.listen()
    return listening


def test_socket_with_a_long_path_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    here = Path.cwd()
    with _listen(deep / "control.sock"), Control(deep / "control.sock", 1.0):
        assert Path.cwd() == here


def test_end_of_the_connection_is_the_managers_end(tmp_path: Path, server: socket.socket) -> None:
    with Control(tmp_path / "control.sock", 1.0) as connection:
        other_side, _ = server.accept()
        assert connection.wait_end(0.01) is False
        other_side.sendall(b'{"ok": true}\n')
        other_side.close()
        assert connection.wait_end(None) is True


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (b'{"ok": true, "pid": 1}\n', True),
        (b'{"ok": false}\n', False),
        (b"", False),
        (b"?\n", False),
    ],
)
def test_answer_tells_whether_the_manager_took_it(
    tmp_path: Path, server: socket.socket, answer: bytes, taken: bool
) -> None:
    asked: list[bytes] = []

    def serve() -> None:
        with server.accept()[0] as other_side:
            asked.append(other_side.recv(4096))
            other_side.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with Control(tmp_path / "control.sock", 5.0) as connection:
        assert connection.ask({"command": "stop", "drain": True}) is taken
    thread.join()
    assert json.loads(asked[0]) == {"command": "stop", "drain": True}


def test_manager_that_says_nothing_does_not_hold_us(tmp_path: Path, server: socket.socket) -> None:
    with Control(tmp_path / "control.sock", 0.05) as connection:
        assert connection.ask({"command": "ping"}) is False


def test_nobody_listening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Control(tmp_path / "control.sock", 1.0)


def test_longest_address_fits_every_system() -> None:
    assert control._LONGEST_ADDRESS <= 103
