"""The phases of an experiment, as CSV, JSON, JSON lines, or as NNI v1 exports its results.

Few phases are in memory at a time.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from mpx.api.json_forms import PHASE_COLUMNS, dumps, phase_json
from mpx.api.reading import opened
from mpx.errors import MpxError, UsageError
from mpx.records import ExperimentPaths
from mpx.wire import encode


class Sink(Protocol):
    """What an export writes to: any text file."""

    def write(self, text: str, /) -> object: ...


# The rows of one moment, to be gone through more than once.
Rows = Callable[[], Iterator[dict[str, Any]]]


def export(paths: ExperimentPaths, sink: Sink, file_format: str) -> None:
    """Write the phases of an experiment.

    Args:
        paths: the experiment.
        sink: where to.
        file_format: one of `FORMATS`. JSON keeps `parameters` as they are; CSV has a column
            `parameters.KEY` for each key that any phase has, and JSON in the cells of what is
            no text and no number. These three have every phase; NNI's has those with a result.

    Raises:
        MpxError: the experiment cannot be read.
    """
    with opened(paths) as reader:
        FORMATS[file_format](lambda: map(phase_json, reader.phases() if reader else ()), sink)


def export_to_file(paths: ExperimentPaths, file: Path, file_format: str) -> None:
    """Write the phases of an experiment to a file, which is replaced once all is written.

    Raises:
        MpxError: the experiment cannot be read, or the file not be written.
    """
    try:
        # A link's target is replaced, not the link; a device or a pipe cannot be replaced at all.
        file = file.resolve()
        if file.exists() and not file.is_file():
            _export_into(paths, file, file_format)
            return
        draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
        try:
            _export_into(paths, draft, file_format)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise MpxError(f"cannot write {file}: {error.strerror or error}") from error


def format_of(file: Path) -> str:
    """Return the format that a file's suffix asks for.

    Raises:
        UsageError: none does.
    """
    suffix = file.suffix.lower().removeprefix(".")
    if suffix not in _SUFFIXES:
        known = ", ".join(f".{name}" for name in _SUFFIXES)
        raise UsageError(f"{file}: the suffix names no format; allowed: {known}, or give --format")
    return suffix


def _export_into(paths: ExperimentPaths, file: Path, file_format: str) -> None:
    with open(file, "w", encoding="utf-8", errors="backslashreplace", newline="") as sink:
        export(paths, sink, file_format)


def write_array(values: Iterable[Any], sink: Sink) -> None:
    """Write a JSON array, one element a line, without holding it in memory."""
    separator = "[\n"
    for value in values:
        sink.write(separator + dumps(value))
        separator = ",\n"
    sink.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_json(rows: Rows, sink: Sink) -> None:
    write_array(rows(), sink)


def _write_jsonl(rows: Rows, sink: Sink) -> None:
    for row in rows():
        sink.write(dumps(row) + "\n")


def _write_nni(rows: Rows, sink: Sink) -> None:
    """Write what `nnictl experiment export` does: results are JSON text, NaN and infinities in it.

    `id` is the trial's, so the results of one trial have the same.
    """
    write_array(
        (
            {"parameter": row["parameters"], "value": encode(row["value"]), "id": row["trial_id"]}
            for row in rows()
            if row["value"] is not None
        ),
        sink,
    )


def _write_csv(rows: Rows, sink: Sink) -> None:
    # The first look finds the columns, the second one writes.
    parameters: dict[str, None] = {}
    for row in rows():
        parameters.update(dict.fromkeys(_flat_parameters(row["parameters"])))
    at = PHASE_COLUMNS.index("parameters")
    columns = [*PHASE_COLUMNS[:at], *parameters, *PHASE_COLUMNS[at + 1 :]]
    writer = csv.DictWriter(sink, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows():
        writer.writerow({name: _cell(value) for name, value in _flat(row).items()})


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **_flat_parameters(row["parameters"])}


def _flat_parameters(parameters: Any) -> dict[str, Any]:
    if isinstance(parameters, dict):
        return {f"parameters.{key}": value for key, value in parameters.items()}
    return {} if parameters is None else {"parameters": parameters}


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    text = dumps(value)
    # The floats that JSON has not are texts there; in CSV every cell is one already.
    return text.strip('"') if isinstance(value, float) else text


FORMATS: dict[str, Callable[[Rows, Sink], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "nni": _write_nni,
}
_SUFFIXES = ("csv", "json", "jsonl")
