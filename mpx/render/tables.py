"""Tables: experiments, trials, phases. One line each, columns in step, for eyes and for grep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from rich.text import Text

from mpx.records import ExitStatus, ExperimentRecord, PhaseRecord, TrialRecord
from mpx.render.text import clock, counts, duration, parameters, value, visible

_GAP = 2
# So many rows settle the widths of the columns; those after them are printed as they come.
_MEASURED = 1000

_STYLES = {
    "INITIALIZING": "cyan",
    "WAITING": "cyan",
    "RUNNING": "cyan",
    "STOPPING": "yellow",
    "STOPPED": "yellow",
    "INTERRUPTED": "red",
    "DONE": "green",
    "SUCCEEDED": "green",
    "ERROR": "red",
    "FAILED": "red",
    "LOST": "red",
    "EARLY_STOPPED": "yellow",
    "ABANDONED": "yellow",
    "USER_CANCELED": "yellow",
    "SYS_CANCELED": "yellow",
}


_LONGEST_NAME = 32


class Column(NamedTuple):
    """A column's title; numbers stand on the right."""

    title: str
    right: bool = False


def experiments(records: Sequence[ExperimentRecord]) -> Iterator[Text]:
    """Yield a table of experiments, oldest first."""
    columns = [
        Column("ID"),
        Column("NAME"),
        Column("STATUS"),
        Column("CREATED"),
        Column("RAN FOR", right=True),
        Column("PHASES", right=True),
        Column("BEST", right=True),
        Column("REASON"),
    ]
    return _table(columns, map(_experiment, records))


def trials(records: Iterable[TrialRecord], now: float) -> Iterator[Text]:
    """Yield a table of trials; with the GPUs they were given, if any was.

    Args:
        records: the trials.
        now: seconds since the epoch, for how long a trial has run.
    """
    records = list(records)
    gpus = [Column("GPU")] if any(record.gpus is not None for record in records) else []
    columns = [
        Column("TRIAL", right=True),
        Column("ID"),
        Column("STATUS"),
        Column("RAN FOR", right=True),
        Column("EXIT"),
        *gpus,
        Column("PHASES"),
        Column("REASON"),
    ]
    return _table(columns, (_trial(record, now, bool(gpus)) for record in records))


def phases(
    records: Iterable[PhaseRecord], now: float, shows_parents: bool = False
) -> Iterator[Text]:
    """Yield a table of phases; however many there are, few are in memory at a time.

    Args:
        records: the phases.
        now: seconds since the epoch, for how long a phase has run.
        shows_parents: say for each which phase it went on from.
    """
    parents = [Column("PARENT", right=True)] if shows_parents else []
    columns = [
        Column("PARAMETER_ID", right=True),
        *parents,
        Column("TRIAL", right=True),
        Column("PHASE", right=True),
        Column("STATUS"),
        Column("VALUE", right=True),
        Column("TOOK", right=True),
        Column("PARAMETERS"),
        Column("REASON"),
    ]
    return _table(columns, (_phase(record, now, shows_parents) for record in records))


def lineage(records: Sequence[PhaseRecord]) -> Iterator[Text]:
    """Yield a table of phases, each of which went on from the one before.

    Those that went on in the same process with the same parameters share a line, and the value is the last
    one's.
    """
    columns = [
        Column("PARAMETER_IDS", right=True),
        Column("TRIAL", right=True),
        Column("PHASES", right=True),
        Column("VALUE", right=True),
        Column("PARAMETERS"),
        Column("WEIGHTS"),
    ]
    stages: list[list[PhaseRecord]] = []
    for record in records:
        if stages and _is_like(stages[-1][-1], record):
            stages[-1].append(record)
        else:
            stages.append([record])
    return _table(columns, map(_stage, stages, [None, *stages]))


def status(name: str) -> Text:
    """Return a status in its colour."""
    return Text(name, _STYLES.get(name, ""))


def _cut(text: str, most: int) -> Text:
    return Text(text if len(text) <= most else text[: most - 1] + "…")


def _experiment(record: ExperimentRecord) -> list[Text]:
    return [
        Text(record.id, "bold"),
        _cut(visible(record.name), _LONGEST_NAME),
        status(record.status),
        Text(clock(record.created_at)),
        Text("-" if record.started_at is None else duration(record.duration)),
        Text(str(sum(record.phases.values()))),
        Text(value(record.best.value) if record.best else "-"),
        Text(_first_line(record.reason or (record.trouble if record.manager_alive else None))),
    ]


def _trial(record: TrialRecord, now: float, shows_gpus: bool) -> list[Text]:
    code = record.exit_status
    gpus = [Text(",".join(map(str, record.gpus or ())) or "-")] if shows_gpus else []
    return [
        Text(str(record.sequence_id), "bold"),
        Text(record.trial_id),
        status(record.status),
        Text(_took(record.started_at, record.ended_at, now)),
        Text("-" if code is None else ExitStatus(code).describe()),
        *gpus,
        Text(counts(record.phases)),
        Text(_first_line(record.reason)),
    ]


def _phase(record: PhaseRecord, now: float, shows_parents: bool) -> list[Text]:
    parent = "-" if record.parent is None else str(record.parent)
    return [
        Text(str(record.parameter_id), "bold"),
        *([Text(parent)] if shows_parents else []),
        Text(str(record.sequence_id)),
        Text(str(record.phase_index)),
        status(record.status),
        Text(_result(record)),
        Text(_took(record.started_at, record.ended_at, now)),
        Text(parameters(record.parameters)),
        Text(_first_line(record.reason)),
    ]


def _result(record: PhaseRecord) -> str:
    """Return a phase's result, or, in brackets, the last one on its way to none."""
    if record.value is None and record.intermediates:
        return f"({value(record.intermediates[-1])})"
    return value(record.value)


def _is_like(parent: PhaseRecord, record: PhaseRecord) -> bool:
    return (parent.sequence_id, parent.parameters) == (record.sequence_id, record.parameters)


def _stage(phases: Sequence[PhaseRecord], before: Sequence[PhaseRecord] | None) -> list[Text]:
    first, last = phases[0], phases[-1]
    if before is None:
        weights = "new"
    elif before[-1].sequence_id == first.sequence_id:
        weights = "went on"
    else:
        weights = f"from trial {before[-1].sequence_id}"
    return [
        Text(_span(first.parameter_id, last.parameter_id), "bold"),
        Text(str(first.sequence_id)),
        Text(_span(first.phase_index, last.phase_index)),
        Text(_result(last)),
        Text(parameters(first.parameters)),
        Text(weights),
    ]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _took(started_at: float | None, ended_at: float | None, now: float) -> str:
    return "-" if started_at is None else duration((ended_at or now) - started_at)


def _first_line(reason: str | None) -> str:
    return visible((reason or "").partition("\n")[0])


def _table(columns: Sequence[Column], rows: Iterable[Sequence[Text]]) -> Iterator[Text]:
    rows = iter(rows)
    head = [[Text(column.title, "dim") for column in columns], *islice(rows, _MEASURED)]
    widths = [max(cell.cell_len for cell in cells) for cells in zip(*head, strict=True)]
    return (_line(cells, columns, widths) for cells in chain(head, rows))


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, column, width in zip(cells, columns, widths, strict=True):
        blank = " " * (width - cell.cell_len)
        line.append(blank if column.right else "")
        line.append_text(cell)
        line.append(" " * _GAP if column.right else blank + " " * _GAP)
    line.rstrip()
    return line
