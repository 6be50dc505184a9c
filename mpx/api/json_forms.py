"""What `--json` and the exports say: records as plain values that any JSON parser reads.

JSON has no NaN and no infinities: they are written as the strings "NaN", "Infinity" and "-Infinity".
Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from mpx.records import ExperimentRecord, PhaseRecord, TrialRecord

PHASE_COLUMNS = (
    "experiment_id",
    "trial_id",
    "sequence_id",
    "phase_index",
    "parameter_id",
    "status",
    "reason",
    "parameters",
    "value",
    "intermediates",
    "requested_at",
    "started_at",
    "ended_at",
    "parent",
    "checkpoint",
)
_TIMES = ("created_at", "requested_at", "started_at", "ended_at")


def iso(seconds: float | None) -> str | None:
    """Return a time, in seconds since the epoch, as ISO 8601 in UTC."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def dumps(value: Any, indent: int | None = None) -> str:
    """Return strict JSON, in ASCII; see the head of this module for floats that JSON has not."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_strict(value), indent=indent, allow_nan=False)


def experiment_json(record: ExperimentRecord) -> dict[str, Any]:
    """Return what `mpx status ID --json` prints."""
    best, error = record.best, record.error
    return {
        **_fields(record, _EXPERIMENT_FIELDS),
        "best": best and _fields(best, _BEST_FIELDS),
        "checkpoints": _fields(record.checkpoints, ("kept", "bytes", "removed")),
        "error": error and _fields(error, ("type", "message", "traceback")),
        "manager": {"pid": record.manager_pid, "alive": record.manager_alive},
        "directory": str(record.directory),
    }


def trial_json(record: TrialRecord) -> dict[str, Any]:
    """Return one element of what `mpx trials ID --json` prints."""
    return _fields(record, _TRIAL_FIELDS)


def phase_json(record: PhaseRecord) -> dict[str, Any]:
    """Return one row of the export, which is one element of what `mpx phases ID --json` prints."""
    return _fields(record, PHASE_COLUMNS)


_EXPERIMENT_FIELDS = (
    "id",
    "name",
    "status",
    "reason",
    "created_at",
    "started_at",
    "ended_at",
    "duration",
    "multi_phase",
    "trial_concurrency",
    "max_trial_num",
    "max_phase_num",
    "optimize_mode",
    "trials",
    "phases",
    "warning",
    "trouble",
)
_BEST_FIELDS = ("trial_id", "sequence_id", "phase_index", "parameter_id", "value", "parameters")
_TRIAL_FIELDS = (
    "trial_id",
    "sequence_id",
    "status",
    "reason",
    "created_at",
    "started_at",
    "ended_at",
    "exit_status",
    "pid",
    "gpus",
    "phases",
    "last_lines",
)


def _fields(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in names}
    return {name: iso(value) if name in _TIMES else value for name, value in values.items()}


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
