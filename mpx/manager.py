"""The process of one experiment: `python -m mpx.manager DIRECTORY READY_FD OPTIONS`.

It wires the parts together and owns the loop, the signals, the control socket and the lock. What is
decided, `experiment` decides.

Before the user's tuner is imported, the process is made a safe place for it: the working directory is
the experiment's, `sys.argv` names nothing, fds 1 and 2 are `manager.log` (the caller saw to that), and a
child that the tuner forks closes what would make a dead manager look alive.

READY_FD gets one line of JSON when the first trial runs or the experiment has failed, and stays open
until the process ends. OPTIONS is JSON: `limits` are those that `mpx resume` raised, null for a new
experiment; `hash_seed` is what the user's PYTHONHASHSEED was, which trials are to see.

A store that cannot be written now, because the disk is full, say, makes the manager wait: nothing is
acknowledged, and it tries again until the store takes what waits. A store that never can be written
ends the manager, and with it nothing else: trials wait for another one.
"""

from __future__ import annotations

import faulthandler
import fcntl
import functools
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mpx import loader
from mpx.assessor_calls import LoadAssessor
from mpx.assessor_host import AssessorHost
from mpx.checkpoints import Checkpoints
from mpx.config.model import ClassConfig, ExperimentConfig
from mpx.control import ControlSocket
from mpx.errors import MpxError, StoreError
from mpx.experiment import Experiment
from mpx.gpus import visible_variables
from mpx.history import Past, StoredHistory
from mpx.host import describe_error
from mpx.inbox import Inbox
from mpx.lifecycle import ENDED
from mpx.loop import Loop, Timer
from mpx.nvml import Nvml, NvmlDevices
from mpx.phase_tuners import PhaseTuners
from mpx.processes import group_members, send_signal, signal_group, start_of
from mpx.records import (
    ErrorRecord,
    ExperimentPaths,
    ExperimentStatus,
)
from mpx.rows import ExperimentRow
from mpx.store import Store
from mpx.syncer import Syncer
from mpx.training_service.local import LocalService
from mpx.trial_environment import trial_environment
from mpx.tuner_calls import Load
from mpx.tuner_host import TunerHost

# Rows that nobody waits for are on disk after this many seconds.
_LAZY_COMMIT = 0.05
# A tuner has this many seconds to say goodbye (`_on_exit`) when the experiment was stopped.
_FAREWELL = 10.0
# Seconds until a store that could not be written is tried again.
_NEXT_TRY = 1.0
# `logLevel` of the configuration, as the `logging` module calls it.
_LOG_LEVELS = {"trace": "DEBUG", "fatal": "CRITICAL"}
_LOG_FORMAT = "[%(asctime)s] %(levelname)s (%(name)s) %(message)s"
# Seconds that a lock is waited for, and that what the tuner started has to end.
_LAST_BREATH = 1.0
# `manager.pid` has this many bytes from the start, so that a full disk hinders no word in it.
_SELF_DESCRIPTION = 4096


class Manager:
    """Runs the experiment in a directory until it ends.

    Args:
        paths: the experiment's files; `experiment.json` says what to run.
        ready_fd: where to say that the first trial runs.
        options: see the head of this module.

    Raises:
        MpxError: another manager runs, or the store cannot be opened.
    """

    def __init__(self, paths: ExperimentPaths, ready_fd: int, options: dict[str, Any]) -> None:
        self._paths = paths
        self._ready_fd = ready_fd
        self._is_ready = False
        self._lock_fd = -1
        self._commit_timer: Timer | None = None
        self._retry_timer: Timer | None = None
        self._trouble: str | None = None
        self._stops = 0
        self._turn_has_notes = False
        self._inherited = _without_ours(options["hash_seed"])  # before the tuner can change it
        self._loop = Loop()
        self._is_resuming = options["limits"] is not None
        self._lock()
        self._about = json.loads(paths.experiment.read_text())
        config = ExperimentConfig.from_json(self._about["config"])
        self._config = replace(config, **(options["limits"] or {}))
        self._host = TunerHost(Checkpoints(paths.checkpoint, paths.kept_checkpoints))
        self._assessor = AssessorHost() if self._config.assessor else None
        self._inbox = Inbox(paths.inbox)
        self._taken_in: set[str] = (
            set()
        )  # letters; of some that had been, the files may lie there still
        self._new_letters: list[str] = []  # those that are not committed
        if self._is_resuming:
            self._check_store()
        self._store = Store(paths.store)
        past = self._read_past() if self._is_resuming else None
        self._is_resuming = past is not None
        self._history = StoredHistory(paths.store) if past else None
        self._syncer = Syncer(self._store.sync) if self._config.durability == "power" else None
        self._service = LocalService(self._loop, paths.trial)
        self._experiment = Experiment(
            self._config,
            _raised(past.experiment, self._config) if past else _new_row(self._about, self._config),
            self._store,
            self._host,
            self._service,
            self,
            functools.partial(trial_environment, self._config, paths, self._inherited),
            assessor=self._assessor,
            load_assessor=self._load_assessor(),
            devices=self._devices(),
        )
        self._service.listener = self._experiment.listener
        if past is not None:
            self._experiment.restore(past)
            self._taken_in |= past.letters

    def _devices(self) -> NvmlDevices | None:
        """Return what looks at GPUs, if trials are to be given some; loaded before the user's code."""
        if not self._config.trial.gpu_num:
            return None
        nvml = Nvml(self._inherited.get("CUDA_VISIBLE_DEVICES"))
        # GPUs are the machine's, whatever home an experiment has.
        lock = Path(tempfile.gettempdir()) / f"mpx-gpus-{os.getuid()}.lock"
        return NvmlDevices(nvml, self._loop.call_soon_threadsafe, lock)

    def _check_store(self) -> None:
        """Refuse to begin anew where trials have begun: opening the store would create it."""
        if not self._paths.store.exists() and any(self._paths.trials.iterdir()):
            raise self._store_is_gone()

    def _read_past(self) -> Past | None:
        past = StoredHistory(self._paths.store).read()
        if past is None and any(self._paths.trials.iterdir()):
            raise self._store_is_gone()
        return past

    def _store_is_gone(self) -> StoreError:
        return StoreError(
            f"{self._paths.store} says nothing of the trials in {self._paths.trials}: it was emptied,"
            " removed or replaced"
        )

    def run(self) -> None:
        """Run the experiment to its end."""
        self._loop.on_turn_end = self._end_turn
        self._loop.on_error = self._on_bug
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        control = ControlSocket(
            self._loop,
            self._paths.control_socket.name,
            {
                "ping": lambda request: None,
                "read": lambda request: self.read_inbox(),
                "stop": lambda request: self.stop(bool(request.get("drain"))),
            },
        )
        os.register_at_fork(after_in_child=functools.partial(self._close_in_child, control))
        self._loop.add_reader(self._host.fileno(), self._on_answers)
        if self._assessor is not None:
            self._loop.add_reader(self._assessor.fileno(), self._on_verdicts)
            self._assessor.start()
        if self._syncer is not None:
            self._loop.add_reader(self._syncer.fileno(), self._syncer.run_waiting)
        if not self._experiment.is_resuming:
            self._store.put_experiment(self._experiment.row)
        self._store.commit()
        self._host.start()
        self._host.post([self._load()])
        self._loop.run()
        control.close()
        self._service.finish_removals()
        try:
            self._store.close()
        except StoreError as error:  # what was not acknowledged is told again, or run again
            _log(str(error))

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

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(delay, callback)

    def ready(self) -> None:
        row = self._experiment.row
        self._say_ready(row.status, row.reason, row.error)

    def _say_ready(
        self, status: ExperimentStatus, reason: str | None, error: ErrorRecord | None = None
    ) -> None:
        if not self._is_ready:
            self._is_ready = True
            say_ready(self._ready_fd, status, reason, error)

    def resumed(self) -> None:
        """Keep the limits that were raised and the place where it runs, now that they hold."""
        self._is_resuming = False
        self._inbox.remove(self._taken_in)
        self._describe_self()
        draft = self._paths.experiment.with_suffix(".draft")
        self._about.update(config=self._config.to_json(), host=socket.gethostname())
        try:
            draft.write_text(json.dumps(self._about, indent=2) + "\n")
            draft.rename(self._paths.experiment)
        except OSError as error:
            _log(f"cannot write {self._paths.experiment}: {error}")

    def abandon(self, error: ErrorRecord, reason: str) -> None:
        """End, and leave everything as an earlier manager left it."""
        why = f"{reason} while it was rebuilt: {error.type}: {error.message}"
        self._say_ready(ExperimentStatus.INTERRUPTED, why, error)
        self._loop.stop()

    def finished(self) -> None:
        self.ready()
        self._loop.stop()

    def _end_turn(self) -> None:
        while self._turn_has_notes:
            self._turn_has_notes = False
            self._experiment.end_turn()
            if self._new_letters:
                names, self._new_letters = self._new_letters, []
                self.when_durable(functools.partial(self._inbox.remove, names))
            if self._trouble is not None and not self._store.pending:
                self._set_trouble(None)

    def _commit(self) -> None:
        self._commit_timer = None
        self._experiment.commit()
        self._turn_has_notes = self._turn_has_notes or self._trouble is not None

    def _on_answers(self) -> None:
        self._experiment.on_answers(self._host.collect())

    def _on_verdicts(self) -> None:
        assert self._assessor is not None
        self._experiment.on_answers(self._assessor.collect())

    def read_inbox(self) -> None:
        if not self._experiment.takes_letters:
            return  # they are read when it does, or by another manager
        letters = self._inbox.read(self._taken_in)
        if letters:
            self._experiment.on_letters(letters)
            self._new_letters += [letter.name for letter in letters]
            self._taken_in.update(self._new_letters)

    # -- stopping ---------------------------------------------------------------------------------

    def stop(self, drain: bool = False) -> None:
        """End the experiment; asked again without `drain`, at once."""
        if (
            self._experiment.is_resuming
        ):  # nothing is taken over yet: whoever stops it ends that too
            self._say_ready(ExperimentStatus.STOPPED, None)
            self._loop.stop()
            return
        self._experiment.on_stop(drain)
        if not drain:
            self._loop.call_later(self._patience(), self._give_up)

    def _patience(self) -> float:
        # A store that cannot be written keeps back the call that lets the tuner say goodbye.
        farewell = _FAREWELL if self._trouble is None else 0.0
        return self._config.trial.grace_period + farewell

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

    # -- what no handler expected -----------------------------------------------------------------

    def _on_bug(self, error: Exception) -> None:
        """End the experiment, with the traceback; but see to a store that cannot be written."""
        if isinstance(error, StoreError):
            self._on_store_error(error)
            return
        record = describe_error(error)
        _log(record.traceback)
        self._experiment.on_failure(record, "mpx itself failed")

    def _on_store_error(self, error: StoreError) -> None:
        """Wait for better times, or leave the trials to another manager."""
        if self._trouble is None:
            _log(str(error))
        self._set_trouble(str(error))
        if not error.may_pass:
            self._say_ready(ExperimentStatus.INTERRUPTED, str(error))
            _end(1)
        if self._retry_timer is None:
            self._retry_timer = self._loop.call_later(_NEXT_TRY, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._turn_has_notes = True

    def _set_trouble(self, trouble: str | None) -> None:
        """Say what the manager waits for, or died of, where readers find it without the store."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._describe_self()

    # -- what the tuner and the trials find -------------------------------------------------------

    def _load(self) -> Load:
        tuner = self._config.tuner
        level = _LOG_LEVELS.get(self._config.log_level, self._config.log_level.upper())
        logging.basicConfig(level=level, format=_LOG_FORMAT)  # for the tuner and the assessor
        os.environ["NNI_CHECKPOINT_DIRECTORY"] = str(self._paths.checkpoint)
        os.environ.update(visible_variables(tuner.gpu_indices))
        sys.path.insert(0, str(self._paths.sdk))
        construct = functools.partial(loader.construct, class_args=tuner.class_args)
        space, phase_spaces = self._config.search_space, self._config.phase_spaces
        if phase_spaces is not None:
            construct = functools.partial(_construct_for_phases, construct, len(phase_spaces))
        return Load(
            load_class=_class_loader(tuner, loader.load_built_in_tuner),
            construct=construct,
            search_space=phase_spaces or ("" if space is None else space),
            seed=self._experiment.row.seed,
            multi_thread=self._config.multi_thread,
            history=self._history,
            checkpoint=self._experiment.row.checkpoint,
        )

    def _load_assessor(self) -> LoadAssessor | None:
        assessor = self._config.assessor
        if assessor is None:
            return None
        return LoadAssessor(
            load_class=_class_loader(assessor, loader.load_built_in_assessor),
            construct=lambda assessor_class: loader.construct(assessor_class, assessor.class_args),
            history=assessor.history,
            calls=self._history.assessor_calls() if self._history is not None else (),
        )

    # -- one manager only -------------------------------------------------------------------------

    def _lock(self) -> None:
        """Hold the lock on manager.pid for life, and write this process's identity into it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            # Closing any descriptor of this file frees the lock, so no code here opens it again.
            self._lock_fd = os.open(self._paths.manager_pid, flags, 0o600)
            is_free = _try_lock(self._lock_fd)
        except OSError as error:
            raise MpxError(f"cannot lock {self._paths.manager_pid}: {error}") from error
        if not is_free:
            raise MpxError(
                f"experiment {self._paths.id} has a manager already, or is being stopped"
            )
        self._describe_self()

    def _describe_self(self) -> None:
        about = {
            "pid": os.getpid(),
            "start": start_of(os.getpid()),
            "trouble": self._trouble and self._trouble[:600],
            "is_resuming": self._is_resuming,
        }
        # In one write over what is there: readers never find half of it.
        try:
            os.pwrite(self._lock_fd, json.dumps(about).ljust(_SELF_DESCRIPTION).encode(), 0)
        except OSError as error:
            _log(f"cannot write {self._paths.manager_pid}: {error}")

    def _close_in_child(self, control: ControlSocket) -> None:
        if self._lock_fd < 0:
            return  # the child of a child: these numbers may be other files by now
        self._service.close_in_child()
        control.close_in_child()
        for fd in (self._lock_fd, self._ready_fd):
            os.close(fd)
        self._lock_fd = -1


def _class_loader(config: ClassConfig, built_in: Callable[[str], type]) -> Callable[[], type]:
    """Return what returns the class that a configuration names."""
    if config.builtin_name is not None:
        return functools.partial(built_in, config.builtin_name)
    assert config.code_dir is not None
    assert config.class_file_name is not None
    assert config.class_name is not None
    return functools.partial(
        loader.load_class, Path(config.code_dir), config.class_file_name, config.class_name
    )


def _construct_for_phases(
    construct: Callable[[type], Any], count: int, tuner_class: type
) -> PhaseTuners:
    """Return a tuner for each search space of `phases`, as one."""
    return PhaseTuners(functools.partial(construct, tuner_class), count)


def _try_lock(fd: int) -> bool:
    """Lock a file; False if another process has it locked.

    The last threads of a manager that was killed may hold the lock for a moment longer than it lives.
    """
    deadline = time.monotonic() + _LAST_BREATH
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            if time.monotonic() > deadline:
                return False
        time.sleep(0.01)


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


def _raised(row: ExperimentRow, config: ExperimentConfig) -> ExperimentRow:
    """Return the row with the limits that hold from now on."""
    row.max_trial_num, row.max_phase_num = config.max_trial_num, config.max_phase_num
    return row


def _without_ours(hash_seed: str | None) -> dict[str, str]:
    """Return the user's environment: the manager's own, but for the seed that makes replays alike."""
    environment = {**os.environ}
    environment.pop("PYTHONHASHSEED", None)
    return environment if hash_seed is None else {**environment, "PYTHONHASHSEED": hash_seed}


def _log(text: str | None) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass  # the disk is full: the user is told another way, or not at all


def say_ready(
    fd: int, status: ExperimentStatus, reason: str | None, error: ErrorRecord | None = None
) -> None:
    """Tell whoever started the manager how it begins."""
    line = {"status": status.value, "reason": reason, "error": error and asdict(error)}
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    except BrokenPipeError:
        pass  # nobody waits


def _end(code: int) -> NoReturn:
    """End this process, and whatever the tuner and the assessor started in its process group.

    Their threads, or a hanging last call, are no reason to stay.
    """
    group = os.getpid()  # of which it is the leader, unless somebody started it otherwise
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + _LAST_BREATH
    while children := set(group_members(group)) - {group}:
        if time.monotonic() > deadline:
            send_signal(children, signal.SIGKILL)
            break
        time.sleep(0.01)
    os._exit(code)


def main() -> None:
    """Be the manager of the experiment that the command line names."""
    directory, ready_fd, options = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    os.set_inheritable(ready_fd, False)
    os.chdir(directory)
    sys.argv = ["mpx"]
    faulthandler.enable()  # a tuner that crashes in C leaves its Python stack in manager.log
    began = time.monotonic()
    try:
        Manager(ExperimentPaths(Path(directory)), ready_fd, options).run()
    except MpxError as error:
        _log(str(error))
        say_ready(ready_fd, ExperimentStatus.INTERRUPTED, str(error))
        _end(1)
    _log(f"the manager ended after {time.monotonic() - began:.1f} s")
    _end(0)


if __name__ == "__main__":
    main()
