"""Results from elsewhere, for the tuner to learn from: NNI v1's, or those of another experiment.

A file of them is a JSON array, or JSON lines, of rows of two kinds. NNI's have `parameter` and a
`value` that may be JSON text (`"0.93"`, `"{\\"default\\": 0.93}"`). mpx's, which `mpx export` writes, have
`parameters` and a `value` as it is. Whatever else a row has (an id, times) is of no interest here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mpx.api.delivering import Delivery, deliver
from mpx.config.problem import KeyPath, Problem, key_path, shown
from mpx.errors import UsageError
from mpx.inbox import RESULTS
from mpx.records import ExperimentPaths
from mpx.wire import decode

_MOST_SHOWN = 20
_ROWS = (
    "a JSON array, or JSON lines, of rows with `parameter` and `value`, as NNI exports them, or with"
    " `parameters` and `value`, as `mpx export ID -o FILE.json` does"
)
_ROW = "a mapping with `parameter` and `value`"
_TEXT = 'a number, a mapping or a list, or one as JSON text such as "0.93"; null: no result'
# What exports write for the floats that JSON has not.
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Results:
    """Results from elsewhere.

    Attributes:
        data: dicts of `parameter` and `value`, as a tuner's `import_data` takes them.
        skipped: how many rows had no value.
    """

    data: tuple[dict[str, Any], ...] = ()
    skipped: int = 0


def read_results(file: Path) -> Results:
    """Return the results in a file.

    Raises:
        UsageError: it cannot be read, or has mistakes; the message lists them.
    """
    data, problems, skipped = [], [], 0
    for row in _rows(file):
        mistakes = list(_mistakes(row.content))
        if mistakes:
            problems += [
                Problem(str(file), row.line, None, key_path((*row.path, *path)), message)
                for path, message in mistakes
            ]
        elif (value := _value(row.content)) is None:
            skipped += 1
        else:
            data.append({"parameter": _parameters(row.content), "value": value})
    if problems:
        raise UsageError(_said(file, problems))
    return Results(tuple(data), skipped)


def import_results(paths: ExperimentPaths, results: Results) -> Delivery:
    """Have an experiment's tuner told of results; at once, if it runs.

    Raises:
        MpxError: they cannot be written down.
    """
    return deliver(paths, RESULTS, results.data)


class _Row(NamedTuple):
    """What a row holds, and where it stands: in which line of JSON lines, or which of an array."""

    line: int | None
    path: KeyPath
    content: Any


def _rows(file: Path) -> Iterator[_Row]:
    text = read_text(file)
    if text.lstrip().startswith("["):
        for index, content in enumerate(_decoded(file, text, None)):
            yield _Row(None, (index,), content)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _Row(number, (), _decoded(file, line, number))


def read_text(file: Path) -> str:
    """Return what a user's file says.

    Raises:
        UsageError: it cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8: {error}") from error


def _decoded(file: Path, text: str, line: int | None) -> Any:
    try:
        return decode(text)
    except ValueError as error:
        where = line or getattr(error, "lineno", None)
        problem = Problem(str(file), where, None, "", f"found no JSON: {error}; allowed: {_ROWS}")
        hint = ". CSV does not tell the text 1 from the number 1" * (file.suffix.lower() == ".csv")
        raise UsageError(f"{problem}{hint}") from error


def _mistakes(row: Any) -> Iterator[tuple[KeyPath, str]]:
    if not isinstance(row, dict):
        yield (), f"found {shown(row)}; allowed: {_ROW}"
        return
    if "value" not in row:
        yield (), f"found no `value`; allowed: {_ROW}"
    elif not _has_readable_value(row):
        yield ("value",), f"found {shown(row['value'])}; allowed: {_TEXT}"
    elif _value(row) is None:
        return  # nothing was found out about these parameters, so there need be none
    if "parameter" not in row and "parameters" not in row:
        yield (), f"found no `parameter`; allowed: {_ROW}"
    elif _parameters(row) is None:
        yield (_kind(row),), f"found {shown(None)}; allowed: what a tuner chose, mostly a mapping"


def _kind(row: dict[str, Any]) -> str:
    return "parameter" if "parameter" in row else "parameters"


def _parameters(row: dict[str, Any]) -> Any:
    found = row[_kind(row)]
    return found if "parameter" in row else _with_floats(found)


def _has_readable_value(row: dict[str, Any]) -> bool:
    try:
        _value(row)
    except ValueError:
        return False
    return True


def _value(row: dict[str, Any]) -> Any:
    """Return the final result that a row holds; None if it holds none.

    Raises:
        ValueError: it is text, and no JSON.
    """
    value = row["value"]
    if "parameter" not in row:
        return _with_floats(value)
    return decode(value) if isinstance(value, str) else value


def _with_floats(value: Any) -> Any:
    """Return a value of an export as it was before JSON had to say it."""
    if isinstance(value, str):
        return _FLOATS.get(value, value)
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    return [_with_floats(item) for item in value] if isinstance(value, list) else value


def _said(file: Path, problems: Sequence[Problem]) -> str:
    count, left = len(problems), len(problems) - _MOST_SHOWN
    mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
    lines = [f"{file} has {mistakes}, and nothing of it was imported:"]
    lines += map(str, problems[:_MOST_SHOWN])
    return "\n".join([*lines, f"… and {left} more"] if left > 0 else lines)
