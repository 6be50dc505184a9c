"""A place to run whole experiments in: a home of its own, files, and the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpx.processes import find_by_environment, send_signal

REPOSITORY = Path(__file__).resolve().parent.parent

COUNTER = """
    import mpx

    class Counter(mpx.MultiPhaseTuner):
        '''Hands out 0, 1, 2 … and writes down every call.'''
        def __init__(self, log="calls.log"):
            self.log = open(log, "w", buffering=1)
        def generate_parameters(self, parameter_id, trial_job_id=None):
            print("ask", parameter_id, trial_job_id, file=self.log)
            return {"n": parameter_id}
        def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
            print("tell", parameter_id, trial_job_id, value, file=self.log)
        def phase_end(self, parameter_id, success, trial_job_id=None):
            print("end", parameter_id, trial_job_id, success, file=self.log)
        def trial_end(self, parameter_id, success, trial_job_id=None):
            print("gone", parameter_id, trial_job_id, success, file=self.log)
"""


class Lab:
    """Files in `root`, experiments in `home`, commands as a user types them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        # Tests of mpx itself may run inside an experiment: none of that may leak.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MPX_", "NNI_"))}
        self.environment = {**clean, "MPX_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        self.write("tuner.py", COUNTER)

    def write(self, name: str, text: str) -> Path:
        """Write a file; indented text is dedented."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def config(self, code: str, name: str = "config.yml", **keys: Any) -> Path:
        """Write a configuration that runs the Python `code` with the Counter tuner."""
        self.write("trial.py", code)
        content = {
            "multiPhase": True,
            "maxTrialNum": 1,
            "tuner": {"codeDir": ".", "classFileName": "tuner.py", "className": "Counter"},
            "trial": {"codeDir": ".", "command": f"'{sys.executable}' trial.py"},
            **keys,
        }
        return self.write(name, json.dumps(content, indent=1))

    def mpx(self, *arguments: str | Path, code: int | None = 0, timeout: float = 60) -> str:
        """Run a command; return its stdout after checking its exit code (None: any)."""
        done = self.run(*arguments, timeout=timeout)
        said = f"mpx {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout

    def run(self, *arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command and return all it said."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "mpx", *map(str, arguments)]

    def create(self, config: Path, code: int = 0) -> str:
        """Run an experiment in the background and return its id."""
        return self.mpx("create", config, "--quiet", code=code).strip()

    def finish(self, config: Path, code: int = 0, timeout: float = 60) -> str:
        """Run an experiment to its end and return its id."""
        known = set(self.ids())
        self.mpx("create", config, "--foreground", code=code, timeout=timeout)
        (new,) = set(self.ids()) - known
        return new

    def ids(self) -> list[str]:
        experiments = self.home / "experiments"
        return [path.name for path in experiments.iterdir()] if experiments.exists() else []

    def status(self, experiment: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.mpx("status", experiment, "--json"))
        return found

    def phases(self, experiment: str) -> list[dict[str, Any]]:
        """Return the experiment's phases as `mpx export` tells them."""
        return [
            json.loads(line)
            for line in self.mpx("export", experiment, "--format", "jsonl").splitlines()
        ]

    def log(self, experiment: str) -> str:
        """Return the log of the experiment's first trial."""
        (trial, *_) = json.loads(self.mpx("trials", experiment, "--json"))
        return self.trial_file(experiment, trial["trial_id"], "trial.log").read_text()

    def trial_file(self, experiment: str, trial: str, name: str) -> Path:
        return self.home / "experiments" / experiment / "trials" / trial / name

    def calls(self, experiment: str) -> list[list[str]]:
        """Return the tuner's calls, as Counter wrote them into the experiment's directory."""
        log = self.home / "experiments" / experiment / "calls.log"
        return [line.split() for line in log.read_text().splitlines()]

    def leftovers(self) -> list[int]:
        """Return the processes of this lab's trials that live."""
        return [
            pid
            for experiment in self.ids()
            for pid in find_by_environment("MPX_EXPERIMENT_ID", experiment)
        ]

    def close(self) -> None:
        """End what a failed test left running."""
        for experiment in self.ids():
            identity = self.home / "experiments" / experiment / "manager.pid"
            if identity.exists() and identity.stat().st_size:
                pid = json.loads(identity.read_text())["pid"]
                if _is_manager_of(pid, experiment):
                    send_signal([pid], signal.SIGKILL)
        send_signal(self.leftovers(), signal.SIGKILL)


def _is_manager_of(pid: int, experiment: str) -> bool:
    try:
        return experiment.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_until(condition: Callable[[], Any], what: str, patience: float = 30) -> Any:
    """Return the condition's value as soon as it is true.

    Args:
        condition: asked again and again.
        what: what is waited for, for the message.
        patience: seconds after which the test fails; far more than it should ever take.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.01)
    return value
