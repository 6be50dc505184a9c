"""One experiment in full: how it stands, what its trials do, and why what failed did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from mpx.api import Detail, RunningTrial
from mpx.records import (
    CheckpointsRecord,
    ErrorRecord,
    ExitStatus,
    ExperimentRecord,
    PhaseRecord,
    PhaseStatus,
    TrialRecord,
    TrialStatus,
    ranges,
)
from mpx.render.tables import status
from mpx.render.text import (
    clock,
    counts,
    duration,
    parameters,
    place,
    plural,
    size,
    value,
    visible,
)

_LABEL = 10
_LONGEST_LINE = 400
_MOST_RUNNING = 20
_DAY = 24 * 3600.0


def detail(now_so: Detail) -> Iterator[Text]:
    """Yield what `mpx status ID` shows."""
    record = now_so.experiment
    yield headline(record)
    yield from fields(now_so)
    yield _field("created", clock(record.created_at))
    yield _field("directory", place(record.directory))
    yield from running_trials(now_so)
    yield from failures(now_so)
    if record.error:
        yield from failure(record.error)


def summary(now_so: Detail) -> Iterator[Text]:
    """Yield what `mpx create --foreground` ends with."""
    record = now_so.experiment
    yield headline(record)
    yield from fields(now_so)
    yield _field("results", place(record.directory))
    yield from failures(now_so)
    if record.error:
        yield from failure(record.error)
    if record.best:
        yield from next_commands(
            (f"mpx phases {record.id} --top 10", "the best phases"),
            (f"mpx export {record.id} -o phases.csv", "every phase, for a spreadsheet or pandas"),
        )


def next_commands(*commands: tuple[str, str]) -> Iterator[Text]:
    """Yield commands to type next, each with what it is for."""
    width = max(len(command) for command, _ in commands)
    yield Text()
    for command, purpose in commands:
        yield Text.assemble("  ", (command.ljust(width), "bold"), "  ", (purpose, "dim"))


def headline(record: ExperimentRecord) -> Text:
    """Return name, id, status and how long the experiment has run."""
    name = (visible(record.name), "bold")
    ran = f"for {duration(record.duration)}" if record.started_at is not None else ""
    return Text.assemble(name, "  ", record.id, "  ", status(record.status), "  ", (ran, "dim"))


def fields(now_so: Detail) -> Iterator[Text]:
    """Yield the figures of an experiment, and the reason for its status."""
    record = now_so.experiment
    if record.reason:
        yield _field("reason", visible(record.reason, keep="\n"))
    yield from notices(record)
    yield _field("phases", counts(record.phases) + _limit(record.max_phase_num))
    yield _field("trials", counts(record.trials) + _limit(record.max_trial_num))
    if record.best:
        best = record.best
        where = f"phase {best.phase_index} of trial {best.sequence_id}"
        number = Text(value(best.value), "bold green")
        text = f" ({record.optimize_mode}), {where}, parameter_id {best.parameter_id}"
        yield _field("best", Text.assemble(number, text))
        yield _field("", parameters(best.parameters))
    if record.checkpoints.kept or record.checkpoints.removed:
        yield _field("saved", _checkpoints(record.checkpoints))
    if now_so.last_word:
        yield _field("log ends", visible(now_so.last_word)[:_LONGEST_LINE])
    if now_so.pace:
        yield _field("overhead", _overhead(now_so.pace.waited, now_so.pace.computed))


def _checkpoints(record: CheckpointsRecord) -> str:
    """Return how many checkpoints of phases there are, and their size."""
    kept = f"{plural(record.kept, 'checkpoint')}, {size(record.bytes)}"
    return f"{kept}; {record.removed} removed" if record.removed else kept


def notices(record: ExperimentRecord) -> Iterator[Text]:
    """Yield what the manager waits for, and what went wrong and ended nothing."""
    if record.trouble and record.manager_alive:
        yield _field("waits", Text(f"{visible(record.trouble)}; it goes on by itself", "red"))
    if record.warning:
        yield _field("warning", Text(visible(record.warning), "yellow"))


def running_trials(now_so: Detail) -> Iterator[Text]:
    """Yield what each trial that has not ended does."""
    if now_so.running:
        yield Text()
    for running in now_so.running[:_MOST_RUNNING]:
        yield Text.assemble(
            f"trial {running.trial.sequence_id} ",
            (running.trial.trial_id, "dim"),
            "  ",
            (_gpus(running.trial), "dim"),
        ).append_text(_activity(running, now_so))
    if len(now_so.running) > _MOST_RUNNING:
        yield Text(f"and {len(now_so.running) - _MOST_RUNNING} more")


def failures(now_so: Detail) -> Iterator[Text]:
    """Yield how the newest trials that failed ended, with the last lines of their logs."""
    for trial in now_so.failed:
        yield Text()
        yield Text.assemble(
            f"trial {trial.sequence_id} ", (trial.trial_id, "dim"), "  "
        ).append_text(failed_trial(trial))
        yield from map(_quoted, trial.last_lines)


def failed_trial(trial: TrialRecord) -> Text:
    """Return how a trial that failed ended."""
    code = trial.exit_status
    how = visible(trial.reason or "") or (ExitStatus(code).describe() if code is not None else "")
    phases = plural(sum(trial.phases.values()), "phase")
    return Text.assemble(status(trial.status), f" after {phases}: {how}")


def failure(error: ErrorRecord) -> Iterator[Text]:
    """Yield an error with its traceback, as Python shows it."""
    yield Text()
    yield Text(f"{visible(error.type)}: {visible(error.message, keep=chr(10))}", "red")
    yield from map(_quoted, (error.traceback or "").splitlines())


def _field(label: str, text: str | Text) -> Text:
    line = Text.assemble((f"  {label:<{_LABEL}}", "dim"))
    return line.append_text(text) if isinstance(text, Text) else line.append(text)


def _limit(most: int | None) -> str:
    return "" if most is None else f" (at most {most})"


def _overhead(waited: float, computed: float) -> str:
    share = 100 * waited / (waited + computed) if waited + computed > 0 else 0.0
    digits = ".0f" if share >= 10 else ".2g"
    return (
        f"{duration(waited)} a phase, from its request to its parameters"
        f" ({share:{digits}} % of the time)"
    )


def _quoted(line: str) -> Text:
    text = visible(line, keep="\t")
    return Text.assemble(("  | ", "dim"), text[:_LONGEST_LINE])


def _gpus(trial: TrialRecord) -> str:
    return "" if trial.gpus is None else f"GPU {','.join(map(str, trial.gpus))}  "


def _activity(running: RunningTrial, now_so: Detail) -> Text:
    phase = running.phase
    if running.is_gone:
        what = "it had not been started" if running.trial.pid is None else "its process is gone"
        return Text(f"{what}; `mpx resume {now_so.experiment.id}` sees to it")
    if running.batch:
        return _batch(running.batch, now_so.now)
    if phase is None or (running.trial.status is TrialStatus.WAITING and running.trial.reason):
        return _before_first_phase(running.trial, now_so.now)
    number = f"phase {phase.phase_index} (parameter_id {phase.parameter_id})"
    if phase.status is PhaseStatus.RUNNING:
        since = _since(phase.started_at, now_so.now)
        what = f"runs {since}" if phase.reason is None else f"{visible(phase.reason)}, runs {since}"
        return Text(f"{number} {what}: {parameters(phase.parameters)}")
    if phase.status is PhaseStatus.WAITING:
        whom = "tuner" if phase.parameters is None else "trial, which has not asked yet,"
        return Text(f"{number} waits for the {whom} {_since(phase.requested_at, now_so.now)}")
    ended = f"{number} {phase.status} {_since(phase.ended_at, now_so.now)}"
    return Text(f"between two phases: {ended}")


def _batch(phases: Sequence[PhaseRecord], now: float) -> Text:
    """Return what the phases do that a trial has open at a time."""
    first = phases[0]
    waits = [phase for phase in phases if phase.status is PhaseStatus.WAITING]
    numbers = ranges([phase.phase_index for phase in phases])
    title = f"phases {numbers} (parameter_ids {ranges([p.parameter_id for p in phases])})"
    if waits:
        return Text(f"{title} wait for the tuner {_since(first.requested_at, now)}")
    reasons = [f"; phase {p.phase_index} {visible(p.reason)}" for p in phases if p.reason]
    return Text(f"{title} run {_since(first.started_at, now)}{''.join(reasons[:1])}")


def _before_first_phase(trial: TrialRecord, now: float) -> Text:
    if trial.status is TrialStatus.WAITING:
        return Text(
            f"waits to be started {_since(trial.created_at, now)}: {visible(trial.reason or '')}"
        )
    return Text(f"has not asked for parameters yet; it was started {_since(trial.started_at, now)}")


def _since(moment: float | None, now: float) -> str:
    if moment is None:
        return ""
    day_and_time = clock(moment)
    shown = day_and_time.partition(" ")[2] if now - moment < _DAY else day_and_time
    return f"since {shown} ({duration(now - moment)})"
