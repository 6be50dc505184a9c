"""`mpx create` while it stays: what it shows, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpx import api
from mpx.api import Launch
from mpx.cli import foreground as foreground_module
from mpx.cli.foreground import Interrupts, stay
from mpx.records import ExperimentPaths
from mpx.render.progress import Silence
from tests.lab import Lab, wait_until
from tests.test_cli import on_terminal, unstyled

THREE = """
    import mpx
    for phase in mpx.phases():
        phase.report_final(phase.parameters["n"])
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("up", "w")
    time.sleep(1000)
"""


def stubborn(lab: Lab, grace: str) -> Path:
    command = f"'{sys.executable}' trial.py"
    return lab.config(STUBBORN, trial={"codeDir": ".", "command": command, "gracePeriod": grace})


def foreground(lab: Lab, config: Path, *options: str) -> subprocess.Popen[str]:
    """Start `mpx create --foreground` and return when its trial is up."""
    process = subprocess.Popen(
        lab.command("create", config, "--foreground", *options),
        cwd=lab.root,
        env=lab.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((lab.root / "up").exists, "the trial")
    return process


def test_foreground_tells_the_story_and_ends_with_a_summary(lab: Lab) -> None:
    said = lab.mpx("create", lab.config(THREE, maxPhaseNum=3), "--foreground")
    (experiment,) = lab.ids()
    assert f"config ({experiment}) is INITIALIZING" in said
    assert f"\nconfig  {experiment}  DONE  for " in said
    assert "  phases    3: 3 SUCCEEDED (at most 3)" in said
    assert "  best      2 (maximize), phase 2 of trial 0" in said
    assert f"mpx export {experiment} -o phases.csv" in said
    assert "\x1b" not in said


def test_foreground_draws_on_a_terminal(lab: Lab) -> None:
    config = lab.config(THREE, maxPhaseNum=3)
    drawn = unstyled(on_terminal(lab, "create", str(config), "-f"))
    assert "Ctrl-C stops the experiment" in drawn
    assert "\x1b[?25h" in drawn  # the cursor is back
    assert "  phases    3: 3 SUCCEEDED (at most 3)" in drawn


def test_quiet_prints_the_id_alone(lab: Lab) -> None:
    config = lab.config(THREE, maxPhaseNum=1)
    first = lab.mpx("create", config, "-q", "-f").strip()
    second = lab.mpx("create", config, "-q").strip()
    assert {first, second} == set(lab.ids())


@pytest.mark.parametrize("options", [["-f"], []])
def test_json_prints_one_object(lab: Lab, options: list[str]) -> None:
    said = json.loads(lab.mpx("create", lab.config(THREE, maxPhaseNum=1), "--json", *options))
    assert [said["id"]] == lab.ids()
    if options:
        assert (said["status"], said["phases"]) == ("DONE", {"SUCCEEDED": 1})


def test_create_says_what_to_type_next(lab: Lab) -> None:
    config = stubborn(lab, "1s")
    said = lab.mpx("create", config)
    (experiment,) = lab.ids()
    assert said.startswith(f"config  {experiment}  RUNNING")
    for command in ("status", "logs", "stop"):
        assert f"  mpx {command} {experiment}" in said
    assert lab.mpx("stop") == (
        f"{experiment} (config) is STOPPED: ended 1 trial and 1 open phase\n"
    )


BROKEN_TUNER = """
    import mpx
    class Counter(mpx.Tuner):
        def __init__(self):
            raise KeyError("my own key")
        def generate_parameters(self, parameter_id, **kwargs): return {}
        def receive_trial_result(self, *args, **kwargs): pass
"""


@pytest.mark.parametrize("options", [["-f"], [], ["-q"], ["-q", "-f"]])
def test_failed_start_shows_the_users_line_and_leaves_a_record(
    lab: Lab, options: list[str]
) -> None:
    lab.write("tuner.py", BROKEN_TUNER)
    done = lab.run("create", lab.config(THREE), *options)
    (experiment,) = lab.ids()
    assert done.returncode == 1
    assert done.stderr.startswith(f"mpx: error: experiment {experiment} failed: ")
    assert 'raise KeyError("my own key")' in done.stderr
    assert f"mpx status {experiment}" in done.stderr
    assert "Reported by" not in done.stderr
    assert lab.status(experiment)["error"]["type"] == "KeyError"


def test_failed_start_is_an_object_with_json(lab: Lab) -> None:
    lab.write("tuner.py", BROKEN_TUNER)
    said = json.loads(lab.mpx("create", lab.config(THREE), "--json", code=1))
    assert (said["status"], said["error"]["type"]) == ("ERROR", "KeyError")


def test_experiment_without_a_good_phase_is_a_failure(lab: Lab) -> None:
    said = lab.mpx("create", lab.config("raise SystemExit(3)"), "-f", code=1)
    assert "FAILED" in said
    assert "exit status 3" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_it_cleanly(lab: Lab, number: signal.Signals) -> None:
    with foreground(lab, stubborn(lab, "1s")) as process:
        process.send_signal(number)
        said, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "STOPPED" in said
    assert "a second Ctrl-C kills it" in complaint
    assert lab.leftovers() == []


def test_second_signal_kills(lab: Lab) -> None:
    with foreground(lab, stubborn(lab, "1h"), "-q") as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        (experiment,) = process.communicate(timeout=30)[0].split()
    assert process.returncode == 130
    assert lab.leftovers() == []
    status = lab.status(experiment)
    assert (status["status"], status["manager"]["alive"]) == ("STOPPED", False)


def test_signal_after_a_failure_is_an_interruption_all_the_same(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import mpx
        class Counter(mpx.Tuner):
            def generate_parameters(self, parameter_id, **kwargs): return {}
            def receive_trial_result(self, *args, **kwargs): raise KeyError("no")
        """,
    )
    config = lab.config(
        """
        import mpx, time
        mpx.get_next_parameter()
        if mpx.get_sequence_id() == 0:
            mpx.report_final_result(1)
        open("up", "w")
        time.sleep(1000)
        """,
        trialConcurrency=2,
        maxTrialNum=2,
    )
    with foreground(lab, config, "-q") as process:
        assert process.stdout
        experiment = process.stdout.readline().strip()
        wait_until(lambda: lab.status(experiment)["status"] == "ERROR", "the failure")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert lab.status(experiment)["status"] == "ERROR"


def test_reader_that_goes_away_stops_it(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import mpx
        class Counter(mpx.Tuner):
            def generate_parameters(self, parameter_id, **kwargs): return {"n": parameter_id}
            def receive_trial_result(self, *args, **kwargs): pass
        """,
    )
    config = lab.config(
        """
        import mpx, time
        open("up", "w")
        for phase in mpx.phases():
            phase.report_final(phase.index)
            time.sleep(0.1)
        """
    )
    with foreground(lab, config) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        complaint = process.stderr.read()
        assert process.wait(timeout=30) == 130
    assert "Traceback" not in complaint
    assert lab.leftovers() == []


def test_signal_before_the_first_trial_runs_stops_it_too(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import mpx, pathlib, time
        class Counter(mpx.Tuner):
            def __init__(self):
                pathlib.Path(__file__).with_name("up").touch()
                time.sleep(1000)
            def generate_parameters(self, parameter_id, **kwargs): return {}
            def receive_trial_result(self, *args, **kwargs): pass
        """,
    )
    process = subprocess.Popen(
        lab.command("create", lab.config(THREE)), env=lab.environment, stderr=subprocess.PIPE
    )
    with process:
        wait_until((lab.root / "up").exists, "the tuner")
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
    (experiment,) = lab.ids()
    assert not lab.status(experiment)["manager"]["alive"]


# -- signals --------------------------------------------------------------------------------------


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def readable(interrupts: Interrupts) -> bool:
    os.set_blocking(interrupts.fileno(), False)
    try:
        return bool(os.read(interrupts.fileno(), 1))
    except BlockingIOError:
        return False


def test_first_signal_is_something_to_select_on_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        assert not readable(interrupts)
        send(signal.SIGTERM)
        assert readable(interrupts)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_terminal_that_hangs_up_twice_counts_once() -> None:
    with Interrupts():
        send(signal.SIGHUP)
        send(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


def test_third_signal_does_not_keep_the_second_from_its_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = []

    def kill(paths: object) -> None:
        send(signal.SIGINT)
        killed.append(paths)

    def interrupted_twice() -> bool:
        send(signal.SIGINT)
        send(signal.SIGINT)
        return False

    monkeypatch.setattr(api, "kill", kill)
    read_fd, write_fd = os.pipe()
    started = Launch(ExperimentPaths(Path("x")), Any, Any, read_fd)
    with started, Interrupts() as interrupts:
        assert stay(started, interrupts, Silence(), interrupted_twice) is False
    os.close(write_fd)
    assert killed == [started.paths]


@pytest.mark.parametrize("is_resume", [True, False])
def test_resume_that_takes_long_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, is_resume: bool
) -> None:
    said: list[str] = []
    looks = iter(range(3))
    monkeypatch.setattr(foreground_module, "_SILENCE", 0.0)
    monkeypatch.setattr(foreground_module, "_say", said.append)
    monkeypatch.setattr(foreground_module, "_look", lambda started, progress: None)
    monkeypatch.setattr(Silence, "interval", 0.0)
    read_fd, write_fd = os.pipe()
    started = Launch(ExperimentPaths(Path("x")), Any, Any, read_fd, is_resume)
    with started, Interrupts() as interrupts:
        assert stay(started, interrupts, Silence(), lambda: next(looks, None) is None)
    os.close(write_fd)
    words = ["rebuilding the tuner; Ctrl-C leaves the experiment as it is"]
    assert said == (words if is_resume else [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ignored_signals_do_nothing(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        interrupts.ignore()
        send(number)
        assert not readable(interrupts)
