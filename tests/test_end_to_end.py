"""Whole experiments through the command line: what README promises, and what users do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpx.processes import start_of
from tests.lab import Lab, wait_until

LOOP = """
    import mpx
    for phase in mpx.phases():
        with phase:
            phase.report_final(phase.parameters["n"] / 1000)
"""


def test_thousand_phases_are_recorded_once_and_in_order(lab: Lab) -> None:
    config = lab.config(LOOP, trialConcurrency=2, maxTrialNum=2, maxPhasesPerTrial=500)
    experiment = lab.finish(config)

    phases = lab.phases(experiment)
    assert [p["status"] for p in phases] == ["SUCCEEDED"] * 1000
    assert sorted(p["parameter_id"] for p in phases) == list(range(1000))
    assert all(p["value"] == p["parameters"]["n"] / 1000 for p in phases)
    assert lab.status(experiment)["status"] == "DONE"
    assert lab.status(experiment)["best"]["value"] == 0.999
    _check_order(lab.calls(experiment))


def _check_order(calls: list[list[str]]) -> None:
    """In every trial the tuner saw result N before it was asked for N+1."""
    open_phase: dict[str, str] = {}
    for what, parameter_id, trial, *_ in calls:
        if what == "ask":
            assert trial not in open_phase
            open_phase[trial] = parameter_id
        elif what == "tell":
            assert open_phase.pop(trial) == parameter_id
    assert not open_phase


def test_nni_style_trial_without_hello_from_bash(lab: Lab) -> None:
    lab.write(
        "trial.sh",
        """
        while true; do
            echo '@mpx {"type": "request"}'
            read -r line
            case $line in *no_more*) break;; esac
            n=${line#*'"n":'}; n=${n%%[!0-9]*}
            echo "text of phase $n"
            echo "@mpx {\\"type\\": \\"final\\", \\"value\\": $n}"
        done
        """,
    )
    config = lab.config("", maxPhaseNum=3, trial={"codeDir": ".", "command": "bash trial.sh"})
    experiment = lab.finish(config)

    assert [p["value"] for p in lab.phases(experiment)] == [0, 1, 2]
    assert "text of phase 2" in lab.log(experiment)


# -- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "phases"),
    [
        ({"maxPhaseNum": 7, "maxTrialNum": 5, "trialConcurrency": 2}, 7),
        ({"maxPhasesPerTrial": 3, "maxTrialNum": 2}, 6),
        ({"multiPhase": False, "maxTrialNum": 3, "trialConcurrency": 2}, 3),
    ],
)
def test_limit_is_met_exactly(lab: Lab, keys: dict[str, Any], phases: int) -> None:
    experiment = lab.finish(lab.config(LOOP, **keys))
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": phases}


def test_single_phase_experiment_says_why_there_is_no_second(lab: Lab) -> None:
    experiment = lab.finish(lab.config(LOOP, multiPhase=False))
    assert "multiPhase" in lab.mpx("trials", experiment)


def test_duration_limit_ends_endless_trials(lab: Lab) -> None:
    experiment = lab.finish(lab.config(LOOP, maxExecDuration="1s"))
    status = lab.status(experiment)
    assert status["status"] == "DONE"
    assert set(status["phases"]) == {"SUCCEEDED"}


def test_trial_that_never_stops_asking_is_ended(lab: Lab) -> None:
    trial = """
        import mpx
        mpx.get_next_parameter(); mpx.report_final_result(1)
        while True: mpx.get_next_parameter()
    """
    experiment = lab.finish(lab.config(trial, maxPhaseNum=1))
    assert lab.status(experiment)["trials"] == {"SYS_CANCELED": 1}


# -- what trials do to their surroundings ---------------------------------------------------------


def test_large_parameters_and_results_pass(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        class Counter:
            def generate_parameters(self, parameter_id, trial_job_id=None):
                return {"n": parameter_id, "text": "é" * 300_000}
            def receive_trial_result(self, parameter_id, parameters, value, trial_job_id):
                assert len(parameters["text"]) == 300_000
                assert value["list"] == [i / 7 for i in range(1000)]
                assert len(value["line"]) == 10_000_000
        """,
    )
    trial = """
        import mpx
        for phase in mpx.phases():
            assert phase.parameters["text"] == "é" * 300_000
            phase.report_final({"list": [i / 7 for i in range(1000)], "line": "x" * 10_000_000})
    """
    experiment = lab.finish(lab.config(trial, maxPhaseNum=2))
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 2}


def test_result_over_the_limit_fails_its_phase_alone(lab: Lab) -> None:
    trial = """
        import mpx
        for phase in mpx.phases(on_error="continue"):
            with phase:
                phase.report_final("x" * 5000 if phase.index == 1 else phase.index)
    """
    experiment = lab.finish(lab.config(trial, maxPhaseNum=3, maxLineLength=4096))
    phases = lab.phases(experiment)
    assert [p["status"] for p in phases] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert "maxLineLength" in phases[1]["reason"]


def test_noise_of_a_trial_lands_in_its_log(lab: Lab) -> None:
    trial = """
        import os, subprocess, sys
        import mpx
        print("before the first ask", end="")
        for phase in mpx.phases():
            print("no newline", end="")
            os.write(1, b"raw without newline")
            print("to stderr", file=sys.stderr, end="")
            subprocess.run("echo hi from a child; cat", shell=True, check=True)
            assert sys.stdin.read() == ""
            if os.fork() == 0:
                mpx.report_final_result("from a fork")
                os._exit(0)
            os.wait()
            phase.report_final(phase.index)
        print("after the last")
    """
    experiment = lab.finish(lab.config(trial, maxPhaseNum=3))
    assert [p["value"] for p in lab.phases(experiment)] == [0, 1, 2]
    log = lab.log(experiment)
    for text in (
        "before the first ask",
        "no newline",
        "raw without",
        "to stderr",
        "hi from a child",
    ):
        assert text in log
    assert "is dropped" in log
    assert "after the last" in log


def test_stdin_is_empty_before_the_first_phase_too(lab: Lab) -> None:
    trial = """
        import mpx, subprocess, sys
        subprocess.run(["cat"], check=True)
        assert sys.stdin.read() == ""
        for phase in mpx.phases():
            phase.report_final(phase.index)
    """
    experiment = lab.finish(lab.config(trial, maxPhaseNum=2))
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 2}


def test_flood_of_text_disturbs_nobody(lab: Lab) -> None:
    trial = """
        import sys, subprocess
        import mpx
        if mpx.get_sequence_id() == 0:  # before the first ask, so through the pipe
            subprocess.run("yes 0123456789 | head -c 50000000", shell=True, check=True)
        for phase in mpx.phases():
            for stream in (sys.stdout, sys.stderr):
                stream.write("x" * 5_000_000)
            phase.report_final(phase.index)
    """
    experiment = lab.finish(
        lab.config(trial, maxTrialNum=2, trialConcurrency=2, maxPhasesPerTrial=3)
    )
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 6}
    trials = json.loads(lab.mpx("trials", experiment, "--json"))
    sizes = [lab.trial_file(experiment, t["trial_id"], "trial.log").stat().st_size for t in trials]
    assert sizes[0] > 80_000_000
    assert sizes[1] > 30_000_000


def test_crash_in_c_keeps_the_finished_phases(lab: Lab) -> None:
    trial = """
        import os, signal
        import mpx
        for phase in mpx.phases():
            print("in phase", phase.index)
            if phase.index == 2:
                os.kill(os.getpid(), signal.SIGSEGV)
            phase.report_final(phase.index)
    """
    experiment = lab.finish(lab.config(trial))
    assert [p["status"] for p in lab.phases(experiment)] == ["SUCCEEDED", "SUCCEEDED", "LOST"]
    shown = lab.mpx("status", experiment)
    assert "SIGSEGV" in shown
    assert "in phase 2" in shown


def test_pipes_that_the_command_redirects_are_found(lab: Lab) -> None:
    command = f"'{sys.executable}' trial.py < /dev/null | tee copy.txt; exit ${{PIPESTATUS[0]}}"
    experiment = lab.finish(
        lab.config(LOOP, maxPhaseNum=2, trial={"codeDir": ".", "command": command})
    )
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 2}


def test_several_processes_one_after_another_speak_for_a_trial(lab: Lab) -> None:
    trial = """
        import mpx
        mpx.get_next_parameter(); mpx.report_final_result(1)
        mpx.get_next_parameter()  # and dies with this phase open
    """
    command = f"for i in 1 2 3; do '{sys.executable}' trial.py; done"
    experiment = lab.finish(lab.config(trial, trial={"codeDir": ".", "command": command}))
    statuses = [p["status"] for p in lab.phases(experiment)]
    assert statuses == ["SUCCEEDED", "ABANDONED"] * 2 + ["SUCCEEDED", "LOST"]


# -- failing tuners -------------------------------------------------------------------------------

_TUNER = """
    {at_import}
    class Counter:
        def __init__(self):
            {in_constructor}
        def update_search_space(self, space):
            {in_search_space}
        def generate_parameters(self, parameter_id, trial_job_id=None):
            {in_generate}
            return {{"n": parameter_id}}
        def receive_trial_result(self, parameter_id, parameters, value, trial_job_id):
            {in_receive}
"""
_PLACES = ("at_import", "in_constructor", "in_search_space", "in_generate", "in_receive")


@pytest.mark.parametrize("place", _PLACES)
def test_failing_tuner_shows_its_own_traceback(lab: Lab, place: str) -> None:
    bodies = dict.fromkeys(_PLACES, "pass")
    bodies[place] = "raise RuntimeError('broken on purpose')"
    lab.write("tuner.py", _TUNER.format(**bodies))
    lab.mpx("create", lab.config(LOOP), "--foreground", code=1)

    (experiment,) = lab.ids()
    status = lab.status(experiment)
    assert status["status"] == "ERROR"
    assert status["error"]["type"] == "RuntimeError"
    assert "broken on purpose" in status["error"]["message"]
    assert "tuner.py" in status["error"]["traceback"]
    assert "broken on purpose" in lab.mpx("status", experiment)
    assert not lab.leftovers()


@pytest.mark.parametrize("place", _PLACES[:4])
def test_create_fails_with_the_reason_when_the_tuner_does(lab: Lab, place: str) -> None:
    bodies = dict.fromkeys(_PLACES, "pass")
    bodies[place] = "raise RuntimeError('broken on purpose')"
    lab.write("tuner.py", _TUNER.format(**bodies))
    done = lab.run("create", lab.config(LOOP))
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Traceback" not in done.stdout


def test_computing_trial_finishes_its_phase_when_the_tuner_fails(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        class Counter:
            def generate_parameters(self, parameter_id, trial_job_id=None):
                return {"n": parameter_id}
            def receive_trial_result(self, parameter_id, parameters, value, trial_job_id):
                raise RuntimeError("broken on purpose")
        """,
    )
    trial = """
        import os, time
        import mpx
        for phase in mpx.phases():
            if phase.parameters["n"] == 1:
                open("computing", "w").close()
            while not os.path.exists("go" if phase.parameters["n"] == 1 else "computing"):
                time.sleep(0.01)
            phase.report_final(phase.parameters["n"])
    """
    experiment = lab.create(lab.config(trial, trialConcurrency=2, maxTrialNum=2))
    wait_until(lambda: lab.status(experiment)["status"] == "ERROR", "the tuner's failure")
    assert lab.status(experiment)["manager"]["alive"]
    lab.write("go", "")
    wait_until(lambda: not lab.status(experiment)["manager"]["alive"], "the manager's end")
    values = {p["parameter_id"]: p["value"] for p in lab.phases(experiment)}
    assert values == {0: 0, 1: 1}


def test_prints_and_sys_argv_of_a_tuner_are_harmless(lab: Lab) -> None:
    lab.write(
        "tuner.py",
        """
        import os, random, sys
        assert len(sys.argv) == 1
        print("printed at import")
        os.write(1, b"raw at import")
        open("log of the tuner", "w").close()
        class Counter:
            def generate_parameters(self, parameter_id, trial_job_id=None):
                if os.fork() == 0:
                    os._exit(0)
                return {"n": parameter_id}
        """,
    )
    experiment = lab.finish(lab.config(LOOP, maxPhaseNum=3))
    directory = lab.home / "experiments" / experiment
    assert (directory / "log of the tuner").exists()
    manager_log = (directory / "manager.log").read_text()
    assert "printed at import" in manager_log
    assert "raw at import" in manager_log


# -- stopping -------------------------------------------------------------------------------------

_STUBBORN = """
    import signal, subprocess, sys, time
    import mpx
    mpx.get_next_parameter()
    subprocess.Popen(["bash", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
    subprocess.Popen(["setsid", "bash", "-c", "trap '' TERM; while true; do sleep 0.1; done"])
    open(f"busy{mpx.get_sequence_id()}", "w").close()
    while True: pass
"""


def test_stop_leaves_no_process_of_busy_trials(lab: Lab) -> None:
    trial = {
        "codeDir": ".",
        "command": f"'{sys.executable}' trial.py",
        "gracePeriod": "1s",
    }
    config = lab.config(_STUBBORN, trialConcurrency=8, maxTrialNum=8, trial=trial)
    experiment = lab.create(config)
    wait_until(lambda: all((lab.root / f"busy{i}").exists() for i in range(8)), "eight busy trials")
    lab.mpx("stop", experiment)
    assert not lab.leftovers()
    status = lab.status(experiment)
    assert status["status"] == "STOPPED"
    assert status["trials"] == {"USER_CANCELED": 8}
    assert not status["manager"]["alive"]


def test_child_that_cast_off_its_environment_and_session_is_ended(lab: Lab) -> None:
    trial = """
        import subprocess, time
        import mpx
        mpx.get_next_parameter()
        child = subprocess.Popen(["env", "-i", "setsid", "sleep", "600"])
        with open("child", "w") as file:
            file.write(str(child.pid))
        time.sleep(600)
    """
    experiment = lab.create(lab.config(trial))
    pid = int(wait_until(lambda: _text(lab.root / "child"), "the child"))
    assert start_of(pid) is not None
    lab.mpx("stop", experiment)
    assert start_of(pid) is None


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_drain_lets_open_phases_finish(lab: Lab) -> None:
    trial = """
        import os, time
        import mpx
        for phase in mpx.phases():
            open("open", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
            phase.report_final(1)
    """
    experiment = lab.create(lab.config(trial))
    wait_until((lab.root / "open").exists, "an open phase")
    with subprocess.Popen(lab.command("stop", experiment, "--drain"), env=lab.environment) as stop:
        wait_until(lambda: lab.status(experiment)["status"] == "STOPPING", "the draining")
        lab.write("go", "")
        assert stop.wait(30) == 0
    assert lab.status(experiment)["phases"] == {"SUCCEEDED": 1}
    assert lab.status(experiment)["status"] == "STOPPED"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_foreground_stops_cleanly(lab: Lab, number: signal.Signals) -> None:
    trial = "import mpx, time\nmpx.get_next_parameter()\nopen('open', 'w').close()\ntime.sleep(600)"
    config = lab.config(trial)
    with subprocess.Popen(
        lab.command("create", config, "-f"), env=lab.environment, stdout=subprocess.DEVNULL
    ) as create:
        wait_until((lab.root / "open").exists, "an open phase")
        os.kill(create.pid, number)
        assert create.wait(30) == 130
    (experiment,) = lab.ids()
    assert lab.status(experiment)["status"] == "STOPPED"
    assert not lab.leftovers()


def test_stop_cleans_up_after_a_manager_that_was_killed(lab: Lab) -> None:
    trial = "import mpx, time\nmpx.get_next_parameter()\nopen('open', 'w').close()\ntime.sleep(600)"
    experiment = lab.create(lab.config(trial))
    wait_until((lab.root / "open").exists, "an open phase")
    os.kill(lab.status(experiment)["manager"]["pid"], signal.SIGKILL)
    wait_until(lambda: lab.status(experiment)["status"] == "INTERRUPTED", "the manager's death")
    lab.mpx("stop", experiment)
    assert not lab.leftovers()
    assert lab.status(experiment)["status"] == "STOPPED"


def test_command_not_found_is_told(lab: Lab) -> None:
    config = lab.config("", trial={"codeDir": ".", "command": "no-such-command-at-all"})
    experiment = lab.finish(config, code=1)
    assert "no-such-command-at-all" in lab.mpx("status", experiment)
    assert "127" in lab.mpx("status", experiment)


def test_paths_with_blanks_and_quotes(tmp_path: Path) -> None:
    lab = Lab(tmp_path / 'it\'s a "dir" with $odd; names')
    try:
        experiment = lab.finish(lab.config(LOOP, maxPhaseNum=2))
        assert lab.status(experiment)["phases"] == {"SUCCEEDED": 2}
    finally:
        lab.close()


def test_idle_manager_uses_no_cpu(lab: Lab) -> None:
    """Whether it polls shows in the number of times it woke up, not in time."""
    trial = "import mpx, time\nmpx.get_next_parameter()\nopen('open', 'w').close()\ntime.sleep(600)"
    experiment = lab.create(lab.config(trial))
    wait_until((lab.root / "open").exists, "an open phase")
    pid = lab.status(experiment)["manager"]["pid"]
    woken = _settled(lambda: _times_woken(pid))
    wait_until(lambda: _uptime() > woken[1] + 2, "two quiet seconds")
    assert _times_woken(pid) == woken[0]


def _settled(measure: Any) -> tuple[int, float]:
    """Return a measure that stayed the same for half a second, and when."""
    last, since = measure(), _uptime()

    def quiet() -> bool:
        nonlocal last, since
        now = measure()
        if now != last:
            last, since = now, _uptime()
        return _uptime() > since + 0.5

    wait_until(quiet, "the manager to come to rest")
    return last, since


def _times_woken(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


@pytest.mark.parametrize("ends_by_stop", [True, False])
def test_what_a_tuner_started_ends_with_the_experiment(lab: Lab, ends_by_stop: bool) -> None:
    lab.write(
        "tuner.py",
        """
        import os, subprocess, mpx

        class Counter(mpx.Tuner):
            def __init__(self):
                child = subprocess.Popen(["sleep", "600"])
                stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"])
                forked = os.fork()
                while not forked:
                    os.read(os.pipe()[0], 1)
                with open("children", "w") as file:
                    print(child.pid, stubborn.pid, forked, file=file)

            def generate_parameters(self, parameter_id, **kwargs):
                return {}
        """,
    )
    code = "import mpx, time; mpx.get_next_parameter()" + "; time.sleep(600)" * ends_by_stop
    if ends_by_stop:
        experiment = lab.create(lab.config(code))
        lab.mpx("stop", experiment)
    else:
        experiment = lab.finish(lab.config(code), code=1)
    pids = (lab.home / "experiments" / experiment / "children").read_text().split()
    assert [pid for pid in pids if start_of(int(pid)) is not None] == []


@pytest.mark.parametrize(
    ("keys", "logged"),
    [({}, ["info"]), ({"debug": True}, ["debug", "info"]), ({"logLevel": "warning"}, [])],
)
def test_what_a_tuner_logs_is_in_the_managers_log(
    lab: Lab, keys: dict[str, Any], logged: list[str]
) -> None:
    lab.write(
        "tuner.py",
        """
        import logging, mpx

        class Counter(mpx.Tuner):
            def generate_parameters(self, parameter_id, **kwargs):
                logging.getLogger("mine").debug("at debug")
                logging.getLogger("mine").info("at info")
                return {}
        """,
    )
    experiment = lab.finish(lab.config("import mpx; mpx.get_next_parameter()", **keys), code=1)
    text = lab.mpx("logs", experiment, "--manager")
    assert [level for level in ("debug", "info") if f"(mine) at {level}" in text] == logged
