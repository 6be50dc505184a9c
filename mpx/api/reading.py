"""Looking at experiments, their trials and their phases; nothing here changes anything."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mpx.api.home import (
    ManagerProcess,
    describe,
    experiments,
    made_at,
    manager_of,
    processes_of,
)
from mpx.api.logs import Log, tail
from mpx.config.suggestions import closest
from mpx.errors import MpxError, UsageError
from mpx.lifecycle import ENDED
from mpx.processes import is_alive
from mpx.records import (
    LOG_MARK,
    ExperimentPaths,
    ExperimentRecord,
    ExperimentStatus,
    PhaseRecord,
    TrialRecord,
    TrialStatus,
)
from mpx.store_reader import Pace, StoreReader

_STARTING = 60.0  # seconds in which a manager that has not said so may still begin
_LAST_LINES = 10
_MOST_FAILED = 3
_MOST_PHASES = 1000
_REBUILDS = "the tuner is being rebuilt from its calls on record"
_LIVE = (TrialStatus.RUNNING, TrialStatus.WAITING)
_OURS = (LOG_MARK, "mpx: ")  # how lines of a log begin that the trial's own code did not print


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial that has not ended, and the phase it began last.

    Attributes:
        trial: the trial.
        phase: the phase.
        is_gone: no process of it lives, and no manager has noted that.
        batch: its phases that have not ended, where it has several at a time.
    """

    trial: TrialRecord
    phase: PhaseRecord | None
    is_gone: bool = False
    batch: tuple[PhaseRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """One experiment at one moment.

    Attributes:
        experiment: the experiment.
        running: the trials that have not ended, in the order of starting.
        failed: the newest of those that FAILED, with the last lines of their logs.
        pace: what its newest phases spent their time on.
        now: when this was so, in seconds since the epoch.
        last_word: what the trial of the best phase printed last, once the experiment is DONE.
    """

    experiment: ExperimentRecord
    running: tuple[RunningTrial, ...]
    failed: tuple[TrialRecord, ...]
    pace: Pace | None
    now: float
    last_word: str | None = None


def list_experiments() -> list[ExperimentRecord]:
    """Return all experiments, oldest first; one that cannot be read is ERROR and says why."""
    records = [show_or_excuse(paths) for paths in experiments()]
    return sorted(records, key=lambda record: record.created_at)


def show(paths: ExperimentPaths) -> ExperimentRecord:
    """Return one experiment.

    Raises:
        MpxError: what it left cannot be read.
    """
    manager = manager_of(paths)
    # Before the store is read: what a dead manager left there is final.
    alive = manager is not None and manager.is_alive()
    return _completed(_stored(paths, time.time() if alive else None), paths, manager, alive)


def show_or_excuse(paths: ExperimentPaths) -> ExperimentRecord:
    """Return one experiment; one that cannot be read is ERROR and says why."""
    try:
        return show(paths)
    except MpxError as error:
        return _empty(paths, paths.id, made_at(paths), ExperimentStatus.ERROR, str(error))


def has_ended(paths: ExperimentPaths) -> bool:
    """Say whether the experiment's end is on record.

    Raises:
        StoreError: the store cannot be read.
    """
    with opened(paths) as reader:
        record = reader.experiment(0.0) if reader else None
        return record is not None and record.ended_at is not None


def detail(paths: ExperimentPaths) -> Detail:
    """Return one experiment with what its trials do.

    Raises:
        MpxError: what it left cannot be read.
    """
    now = time.time()
    experiment = show(paths)
    # What an interrupted experiment's trials do on another machine, nothing here can tell.
    sees_processes = experiment.status is ExperimentStatus.INTERRUPTED and not other_host(paths)
    with opened(paths) as reader:
        if reader is None:
            return Detail(experiment, (), (), None, now)
        most = experiment.trial_concurrency
        live = [trial for status in _LIVE for trial in reader.newest_trials(status, most)]
        live.sort(key=lambda trial: trial.sequence_id)
        running = (_running(reader, trial, sees_processes and not _lives(trial)) for trial in live)
        failed = reader.newest_trials(TrialStatus.FAILED, _MOST_FAILED)
        return Detail(
            experiment,
            tuple(running),
            tuple(_with_last_lines(paths, trial) for trial in failed),
            reader.pace(_MOST_PHASES),
            now,
            _last_word(paths, experiment),
        )


def _running(reader: StoreReader, trial: TrialRecord, is_gone: bool) -> RunningTrial:
    open_phases = reader.open_phases(trial.sequence_id)
    batch = tuple(open_phases) if len(open_phases) > 1 else ()
    return RunningTrial(trial, reader.last_phase(trial.sequence_id), is_gone, batch)


def trials(paths: ExperimentPaths) -> list[TrialRecord]:
    """Return all trials in the order of starting; FAILED ones with the last lines of their logs."""
    return [
        _with_last_lines(paths, trial) if trial.status is TrialStatus.FAILED else trial
        for trial in _stored_trials(paths)
    ]


def phases(
    paths: ExperimentPaths, trial_id: str | None = None, top: int | None = None
) -> Iterator[PhaseRecord]:
    """Yield phases in the order of asking; or the `top` best SUCCEEDED ones, best first.

    However many there are, few are in memory at a time.

    Args:
        paths: the experiment.
        trial_id: of this trial only.
        top: how many of the best.
    """
    with opened(paths) as reader:
        experiment = reader and reader.experiment(0.0)
        if reader and experiment:
            yield from reader.phases(trial_id, top, experiment.optimize_mode)


def has_lineage(paths: ExperimentPaths) -> bool:
    """Say whether any phase of an experiment went on from the weights of another one."""
    with opened(paths) as reader:
        return reader is not None and reader.has_lineage()


def lineage(paths: ExperimentPaths, parameter_id: int | None = None) -> list[PhaseRecord]:
    """Return a phase and all that it goes back to, the first one first.

    Args:
        paths: the experiment.
        parameter_id: the phase; None: the best one.

    Raises:
        UsageError: there is no such phase.
    """
    with opened(paths) as reader:
        if parameter_id is None:
            best = show(paths).best
            if best is None:
                raise UsageError(f"no phase of experiment {paths.id} has a result yet")
            parameter_id = best.parameter_id
        found = reader.lineage(parameter_id) if reader else []
    if not found:
        raise UsageError(
            f"no phase with parameter_id {parameter_id} in experiment {paths.id};"
            f" `mpx phases {paths.id}` lists all"
        )
    return found


@contextmanager
def opened(paths: ExperimentPaths) -> Iterator[StoreReader | None]:
    """Look at the store at one moment; None where the manager has written nothing yet.

    Raises:
        StoreError: it cannot be read.
    """
    if not paths.store.exists():
        yield None
        return
    with StoreReader(paths.store) as reader:
        yield reader if reader.is_written() else None


def find_trial(paths: ExperimentPaths, text: str) -> TrialRecord:
    """Return the trial that a user means.

    Args:
        paths: its experiment.
        text: the trial's id, its sequence_id, or the beginning of its id; whichever fits first.

    Raises:
        UsageError: none fits, or several.
    """
    known = _stored_trials(paths)
    fits = (
        [trial for trial in known if trial.trial_id == text],
        [trial for trial in known if str(trial.sequence_id) == text],
        [trial for trial in known if text and trial.trial_id.startswith(text)],
    )
    found = next(filter(None, fits), [])
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(trial.trial_id for trial in found)
        raise UsageError(f"{text!r} may mean any of these trials: {several}")
    near = closest(text, [trial.trial_id for trial in known])
    hint = f"did you mean {near!r}?" if near else f"`mpx trials {paths.id}` lists all"
    raise UsageError(f"no trial {text!r} in experiment {paths.id}; {hint}")


def trial_logs(paths: ExperimentPaths, trial_id: str | None = None) -> list[Log]:
    """Return the logs of all trials, or of one."""
    manager = manager_of(paths)
    # Before the store is read: what a dead manager left there is final.
    alive = manager is not None and manager.is_alive()
    return [
        Log(
            paths.trial(trial.trial_id).log,
            trial,
            trial.status in _LIVE and (alive or _lives(trial)),
        )
        for trial in _stored_trials(paths)
        if trial_id in (None, trial.trial_id)
    ]


def _stored(paths: ExperimentPaths, now: float | None) -> ExperimentRecord:
    with opened(paths) as reader:
        record = reader.experiment(now) if reader else None
    return record or _described(paths)


def _stored_trials(paths: ExperimentPaths) -> list[TrialRecord]:
    with opened(paths) as reader:
        return reader.trials() if reader else []


def _described(paths: ExperimentPaths) -> ExperimentRecord:
    """Return what is known while the manager has written nothing."""
    description = describe(paths)
    config = description.config
    empty = _empty(paths, config.name, description.created_at, ExperimentStatus.INITIALIZING, None)
    return replace(
        empty,
        multi_phase=config.multi_phase,
        trial_concurrency=config.trial_concurrency,
        max_trial_num=config.max_trial_num,
        max_phase_num=config.max_phase_num,
        optimize_mode=config.optimize_mode or empty.optimize_mode,
    )


def _empty(
    paths: ExperimentPaths,
    name: str,
    created_at: float,
    status: ExperimentStatus,
    reason: str | None,
) -> ExperimentRecord:
    return ExperimentRecord(
        id=paths.id,
        name=name,
        status=status,
        reason=reason,
        created_at=created_at,
        started_at=None,
        ended_at=None,
        duration=0.0,
        multi_phase=False,
        trial_concurrency=1,
        max_trial_num=None,
        max_phase_num=None,
        optimize_mode="maximize",
        trials={},
        phases={},
        best=None,
        error=None,
        directory=paths.root,
    )


def _completed(
    record: ExperimentRecord, paths: ExperimentPaths, manager: ManagerProcess | None, alive: bool
) -> ExperimentRecord:
    """Add what no store can say: whether its writer lives, and what hinders it from writing."""
    if manager is not None:
        rebuilds = _REBUILDS if alive and manager.is_resuming else None
        trouble = manager.trouble or rebuilds
        record = replace(record, manager_pid=manager.pid, manager_alive=alive, trouble=trouble)
    if alive or record.status in ENDED:
        return record
    if manager is None and time.time() - record.created_at < _STARTING:
        return record
    elsewhere = other_host(paths)
    why = _unseen(record, elsewhere) if elsewhere else _why_interrupted(record, paths)
    return replace(record, status=ExperimentStatus.INTERRUPTED, reason=why)


def _why_interrupted(record: ExperimentRecord, paths: ExperimentPaths) -> str:
    how = (
        f": {record.trouble}"
        if record.trouble
        else f"; `mpx logs {record.id} --manager` may tell why"
    )
    return (
        f"the manager died without ending the experiment{how}. {_what_still_runs(paths)}:"
        f" `mpx resume {record.id}` takes everything up again, `mpx stop {record.id}` ends what is left"
    )


def _unseen(record: ExperimentRecord, host: str) -> str:
    return (
        f"it ran on {host}, and this is {socket.gethostname()}: whether it still runs there cannot be"
        f" seen from here. If that machine is gone, `mpx stop {record.id}` ends it on record"
    )


def other_host(paths: ExperimentPaths) -> str | None:
    """Return the name of the machine that the experiment ran on last, if that is not this one."""
    try:
        host = describe(paths).host
    except MpxError:
        return None
    return None if host == socket.gethostname() else host


def _what_still_runs(paths: ExperimentPaths) -> str:
    with opened(paths) as reader:
        living = sum(map(_lives, reader.unended_trials())) if reader else 0
        is_on_record = reader is not None
    if living:
        return f"{living} of its trials still run{'s' if living == 1 else ''} and can go on"
    if not is_on_record and processes_of(paths):
        return "Something that its trials started still runs"
    return "None of its trials runs any more"


def _lives(trial: TrialRecord) -> bool:
    return trial.pid is not None and is_alive(trial.pid, trial.process_start)


def _last_word(paths: ExperimentPaths, experiment: ExperimentRecord) -> str | None:
    """Return what the best phase's trial printed last: mostly what it makes of all its phases."""
    if experiment.best is None or experiment.status is not ExperimentStatus.DONE:
        return None
    lines = tail(paths.trial(experiment.best.trial_id).log, _LAST_LINES)
    printed = [line for line in lines if line.strip() and not line.startswith(_OURS)]
    return printed[-1] if printed else None


def _with_last_lines(paths: ExperimentPaths, trial: TrialRecord) -> TrialRecord:
    return replace(trial, last_lines=tail(paths.trial(trial.trial_id).log, _LAST_LINES))
