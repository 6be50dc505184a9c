"""The process of one experiment: `python -m mpx.manager DIRECTORY READY_FD`.

It wires the parts together and owns the loop, the signals, the control socket and the lock. What is
decided, `experiment` decides.

Before the user's tuner is imported, the process is made a safe place for it: the working directory is
the experiment's, `sys.argv` names nothing, fds 1 and 2 are `manager.log` (the caller saw to that), and a
child that the tuner forks closes what would make a dead manager look alive.

READY_FD gets one line of JSON when the first trial runs or the experiment has failed, and stays open
until the process ends.
"""

from __future__ import annotations

import faulthandler
import fcntl
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from mpx import loader
from mpx.config.model import ExperimentConfig
from mpx.control import ControlSocket
from mpx.errors import StoreError
from mpx.experiment import Experiment
from mpx.lifecycle import ENDED
from mpx.loop import Loop, Timer
from mpx.processes import kill_all, start_of
from mpx.records import EXPERIMENT_MARK, TRIAL_MARK, ExperimentPaths
from mpx.rows import ExperimentRow
from mpx.store import Store
from mpx.syncer import Syncer
from mpx.training_service.local import LocalService
from mpx.tuner_host import Load, TunerHost, describe_error

# Rows that nobody waits for are on disk after this many seconds.
_LAZY_COMMIT = 0.05
# A tuner has this many seconds to say goodbye (`_on_exit`) when the experiment was stopped.
_FAREWELL = 10.0


class Manager:
    """Runs the experiment in a directory until it ends.

    Args:
        paths: the experiment's files; `experiment.json` says what to run.
        ready_fd: where to say that the first trial runs.
    """

    def __init__(self, paths: ExperimentPaths, ready_fd: int) -> None:
        self._paths = paths
        self._ready_fd = ready_fd
        self._is_ready = False
        self._lock_fd = -1
        self._commit_timer: Timer | None = None
        self._stops = 0
        self._turn_has_notes = False
        self._inherited = dict(os.environ)  # before the tuner can change it
        self._loop = Loop()
        about = json.loads(paths.experiment.read_text())
        self._config = ExperimentConfig.from_json(about["config"])
        self._virtual_env: str | None = about.get("virtual_env")
        self._host = TunerHost()
        self._store = Store(paths.store)
        self._syncer = Syncer(self._store.sync) if self._config.durability == "power" else None
        self._service = LocalService(self._loop, paths.trial)
        self._experiment = Experiment(
            self._config,
            _new_row(about, self._config),
            self._store,
            self._host,
            self._service,
            self,
            self._environment,
        )
        self._service.listener = self._experiment

    def run(self) -> None:
        """Run the experiment to its end."""
        self._lock()
        self._loop.on_turn_end = self._end_turn
        self._loop.on_error = self._on_bug
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        control = ControlSocket(
            self._loop,
            self._paths.control_socket.name,
            {
                "ping": lambda request: None,
                "stop": lambda request: self.stop(bool(request.get("drain"))),
            },
        )
        os.register_at_fork(after_in_child=functools.partial(self._close_in_child, control))
        self._loop.add_reader(self._host.fileno(), self._on_answers)
        if self._syncer is not None:
            self._loop.add_reader(self._syncer.fileno(), self._syncer.run_waiting)
        self._store.put_experiment(self._experiment.row)
        self._store.commit()
        self._host.start()
        self._host.post([self._load()])
        self._loop.run()
        control.close()
        self._store.close()

    # -- the loop, as the controller needs it -----------------------------------------------------

    def end_turn_soon(self) -> None:
        self._turn_has_notes = True

    def commit_soon(self) -> None:
        if self._commit_timer is None:
            self._commit_timer = self._loop.call_later(_LAZY_COMMIT, self._commit)

    def when_durable(self, then: Callable[[], None]) -> None:
        if self._syncer is None:
            then()
        else:
            self._syncer.when_durable(then, hurry=self._experiment.trial_count == 1)

    def ready(self) -> None:
        if self._is_ready:
            return
        self._is_ready = True
        row = self._experiment.row
        error = row.error and asdict(row.error)
        line = {"status": row.status.value, "reason": row.reason, "error": error}
        try:
            os.write(self._ready_fd, json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            pass  # whoever started us did not wait

    def finished(self) -> None:
        self.ready()
        self._loop.stop()

    def _end_turn(self) -> None:
        while self._turn_has_notes:
            self._turn_has_notes = False
            self._experiment.end_turn()

    def _commit(self) -> None:
        self._commit_timer = None
        self._experiment.commit()

    def _on_answers(self) -> None:
        self._experiment.on_answers(self._host.collect())

    # -- stopping ---------------------------------------------------------------------------------

    def stop(self, drain: bool = False) -> None:
        """End the experiment; asked again without `drain`, at once."""
        self._experiment.on_stop(drain)
        if not drain:
            self._loop.call_later(self._patience(), self._give_up)

    def _patience(self) -> float:
        return self._config.trial.grace_period + _FAREWELL

    def _give_up(self) -> None:
        """The tuner does not return from its last call: end without its goodbye."""
        if self._experiment.row.status in ENDED:
            self.finished()
        else:
            self._loop.call_later(_FAREWELL, self._give_up)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop_by_signal)

    def _stop_by_signal(self) -> None:
        self._stops += 1
        if self._stops == 1:
            self.stop()
        else:
            self._experiment.kill()

    def _on_bug(self, error: Exception) -> None:
        """An exception that no handler expected ends the experiment, with its traceback."""
        record = describe_error(error)
        print(record.traceback, file=sys.stderr, flush=True)
        if isinstance(error, StoreError):
            # Nothing can be recorded any more; the log tells why.
            kill_all(EXPERIMENT_MARK, self._paths.id)
            os._exit(1)
        self._experiment.on_failure(record, "mpx itself failed")

    # -- what the tuner and the trials find -------------------------------------------------------

    def _load(self) -> Load:
        tuner = self._config.tuner
        os.environ["NNI_CHECKPOINT_DIRECTORY"] = str(self._paths.checkpoint)
        sys.path.insert(0, str(self._paths.sdk))
        if tuner.builtin_name is not None:
            load_class = functools.partial(loader.load_built_in_tuner, tuner.builtin_name)
        else:
            assert tuner.code_dir is not None
            assert tuner.class_file_name is not None
            assert tuner.class_name is not None
            load_class = functools.partial(
                loader.load_class, Path(tuner.code_dir), tuner.class_file_name, tuner.class_name
            )
        return Load(
            load_class=load_class,
            construct=lambda tuner_class: loader.construct(tuner_class, tuner.class_args),
            search_space="" if self._config.search_space is None else self._config.search_space,
            seed=self._experiment.row.seed,
        )

    def _environment(self, trial_id: str, sequence_id: int) -> dict[str, str]:
        """Return a trial's variables, over those the experiment was created with."""
        paths, environment = self._paths.trial(trial_id), dict(self._inherited)
        if self._virtual_env is not None:
            environment["PATH"] = _first_on_path(
                str(Path(self._virtual_env) / "bin"), environment.get("PATH", os.defpath)
            )
        environment["PYTHONPATH"] = _first_on_path(
            str(self._paths.sdk), environment.get("PYTHONPATH", "")
        )
        if self._config.trial.gpu_num == 0:
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        environment.update(self._config.trial.environment)
        environment.update({EXPERIMENT_MARK: self._paths.id, TRIAL_MARK: trial_id})
        environment.update(
            MPX_SEQUENCE_ID=str(sequence_id),
            MPX_TRIAL_DIR=str(paths.root),
            MPX_OUTPUT_DIR=str(paths.output),
            MPX_MAX_LINE_LENGTH=str(self._config.max_line_length),
            NNI_PLATFORM="local",
            NNI_EXP_ID=self._paths.id,
            NNI_TRIAL_JOB_ID=trial_id,
            NNI_TRIAL_SEQ_ID=str(sequence_id),
            NNI_SYS_DIR=str(paths.root),
            NNI_OUTPUT_DIR=str(paths.output),
            NNI_CODE_DIR=self._config.trial.code_dir,
            MULTI_PHASE="true" if self._config.multi_phase else "false",
        )
        return environment

    # -- one manager only -------------------------------------------------------------------------

    def _lock(self) -> None:
        """Hold the lock on manager.pid for life, and write this process's identity into it."""
        self._lock_fd = os.open(self._paths.manager_pid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        identity = {"pid": os.getpid(), "start": start_of(os.getpid())}
        os.ftruncate(self._lock_fd, 0)
        os.write(self._lock_fd, json.dumps(identity).encode())

    def _close_in_child(self, control: ControlSocket) -> None:
        if self._lock_fd < 0:
            return  # the child of a child: these numbers may be other files by now
        self._service.close_in_child()
        control.close_in_child()
        for fd in (self._lock_fd, self._ready_fd):
            os.close(fd)
        self._lock_fd = -1


def _new_row(about: dict[str, Any], config: ExperimentConfig) -> ExperimentRow:
    class_mode = config.tuner.class_args.get("optimize_mode")
    drawn = int.from_bytes(os.urandom(4), "big")
    return ExperimentRow(
        id=about["id"],
        name=config.name,
        created_at=about["created_at"],
        multi_phase=config.multi_phase,
        trial_concurrency=config.trial_concurrency,
        max_trial_num=config.max_trial_num,
        max_phase_num=config.max_phase_num,
        optimize_mode=config.optimize_mode or class_mode or "maximize",
        seed=drawn if config.seed is None else config.seed,
    )


def _first_on_path(directory: str, path: str) -> str:
    """Return a search path that begins with `directory`, with no empty entry (it would mean cwd)."""
    entries = [entry for entry in path.split(os.pathsep) if entry and entry != directory]
    return os.pathsep.join([directory, *entries])


def main() -> None:
    """Be the manager of the experiment that the command line names."""
    directory, ready_fd = sys.argv[1], int(sys.argv[2])
    os.set_inheritable(ready_fd, False)
    os.chdir(directory)
    sys.argv = ["mpx"]
    faulthandler.enable()  # a tuner that crashes in C leaves its Python stack in manager.log
    began = time.monotonic()
    Manager(ExperimentPaths(Path(directory)), ready_fd).run()
    print(f"the manager ended after {time.monotonic() - began:.1f} s", flush=True)
    sys.stdout.flush()
    # A tuner's threads, or its hanging last call, are no reason to stay.
    os._exit(0)


if __name__ == "__main__":
    main()
