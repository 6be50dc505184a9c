"""Exports: rows, formats, files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpx import api
from mpx.api import json_forms
from mpx.errors import MpxError, UsageError
from mpx.records import PhaseStatus
from tests import stored

COLUMNS = (
    *(
        "experiment_id",
        "trial_id",
        "sequence_id",
        "phase_index",
        "parameter_id",
        "status",
        "reason",
    ),
    *("parameters", "value", "intermediates", "requested_at", "started_at", "ended_at"),
    *("parent", "checkpoint"),
)

ODD = [
    {
        "parameters": {"lr": math.nan, "layers": [1, 2], "on": True, "text": 'a,"b"\n'},
        "value": {"default": 0.5, "worst": -math.inf},
        "score": 0.5,
        "intermediates": [math.inf, 1],
    },
    {"parameters": {"lr": 0.1, "other": None}},
    {
        "parameters": None,
        "value": None,
        "score": None,
        "status": PhaseStatus.WAITING,
        "started_at": None,
        "ended_at": None,
    },
    {"parameters": [1, 2]},
]


def _export(tmp_path: Path, file_format: str) -> str:
    sink = io.StringIO()
    api.export(stored.experiment(tmp_path, phases=ODD), sink, file_format)
    return sink.getvalue()


def test_json_rows_have_the_columns_and_strict_values(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    rows = json.loads(_export(tmp_path, "json"), parse_constant=refuse)
    assert [tuple(row) for row in rows] == [COLUMNS] * 4
    assert rows[0]["parameters"] == {"lr": "NaN", "layers": [1, 2], "on": True, "text": 'a,"b"\n'}
    assert rows[0]["value"] == {"default": 0.5, "worst": "-Infinity"}
    assert rows[0]["intermediates"] == ["Infinity", 1]
    assert rows[0]["requested_at"] == "2026-01-02T03:04:06.000000Z"
    assert (rows[2]["parameters"], rows[2]["started_at"]) == (None, None)


def test_json_lines_are_the_same_rows(tmp_path: Path) -> None:
    lines = _export(tmp_path / "a", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(_export(tmp_path / "b", "json"))


def test_csv_has_a_column_for_every_parameter(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(_export(tmp_path, "csv"))))
    flat = ["lr", "layers", "on", "text", "other"]
    at = COLUMNS.index("parameters")
    assert [*rows[0]] == [
        *COLUMNS[:at],
        *(f"parameters.{key}" for key in flat),
        "parameters",
        *COLUMNS[at + 1 :],
    ]
    assert [rows[0][f"parameters.{key}"] for key in flat] == [
        "NaN",
        "[1, 2]",
        "true",
        'a,"b"\n',
        "",
    ]
    assert rows[0]["value"] == '{"default": 0.5, "worst": "-Infinity"}'
    assert (rows[1]["parameters.lr"], rows[1]["parameters.on"], rows[1]["value"]) == (
        "0.1",
        "",
        "1.0",
    )
    assert (rows[2]["parameters.lr"], rows[2]["parameters"]) == ("", "")
    assert rows[3]["parameters"] == "[1, 2]"


def test_nni_rows_are_the_results_alone(tmp_path: Path) -> None:
    rows = json.loads(_export(tmp_path, "nni"))
    assert rows == [
        {
            "parameter": {"lr": "NaN", "layers": [1, 2], "on": True, "text": 'a,"b"\n'},
            "value": '{"default":0.5,"worst":-Infinity}',
            "id": "trialA",
        },
        {"parameter": {"lr": 0.1, "other": None}, "value": "1.0", "id": "trialA"},
        {"parameter": [1, 2], "value": "3.0", "id": "trialA"},
    ]


@pytest.mark.parametrize(
    ("file_format", "text"), [("json", "[]\n"), ("jsonl", ""), ("nni", "[]\n")]
)
def test_experiment_without_phases_exports_nothing(
    tmp_path: Path, file_format: str, text: str
) -> None:
    sink = io.StringIO()
    api.export(stored.experiment(tmp_path), sink, file_format)
    assert sink.getvalue() == text


def test_file_is_replaced_once_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = stored.experiment(tmp_path, phases=[{}])
    file = tmp_path / "phases.jsonl"
    file.write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr("mpx.api.exporting.dumps", _raise_full_disk)
        with pytest.raises(MpxError, match=r"cannot write .*phases\.jsonl: No space left"):
            api.export_to_file(paths, file, "jsonl")
    assert file.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"phases.jsonl", "experiments"}

    api.export_to_file(paths, file, "jsonl")
    assert json.loads(file.read_text())["experiment_id"] == paths.id


def _raise_full_disk(value: object) -> str:
    raise OSError(28, "No space left on device")


def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link, target = tmp_path / "link.json", tmp_path / "deep" / "target.json"
    link.symlink_to(target)
    api.export_to_file(stored.experiment(tmp_path), link, "json")
    assert link.is_symlink()
    assert target.read_text() == "[]\n"


def test_what_is_no_plain_file_is_written_into_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    paths = stored.experiment(tmp_path)
    writer = threading.Thread(target=api.export_to_file, args=(paths, pipe, "json"))
    writer.start()
    assert pipe.read_text() == "[]\n"
    writer.join()
    assert pipe.is_fifo()


def test_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(MpxError, match=r"cannot write .*none/x\.csv: No such file"):
        api.export_to_file(stored.experiment(tmp_path), tmp_path / "none" / "x.csv", "csv")


@pytest.mark.parametrize("name", ["a.csv", "b.JSON", "c.d.jsonl"])
def test_suffix_names_the_format(name: str) -> None:
    assert api.format_of(Path(name)) == name.rpartition(".")[2].lower()


@pytest.mark.parametrize("name", ["a", "a.parquet", "csv", "a.nni"])
def test_other_suffixes_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"allowed: \.csv, \.json, \.jsonl"):
        api.format_of(Path(name))


def test_few_rows_are_in_memory_at_a_time() -> None:
    events: list[str] = []

    class Sink:
        def write(self, text: str) -> None:
            events.append("written")

    def values() -> Iterator[int]:
        for number in range(3):
            events.append("drawn")
            yield number

    api.write_array(values(), Sink())
    assert events == ["drawn", "written"] * 3 + ["written"]


def test_status_has_the_fields_that_scripts_rely_on(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, phases=[{"value": math.inf}])
    found = json.loads(api.dumps(api.experiment_json(api.show(paths))))
    assert " ".join(found) == (
        "id name status reason created_at started_at ended_at duration multi_phase trial_concurrency"
        " max_trial_num max_phase_num optimize_mode trials phases warning trouble best checkpoints error"
        " manager directory"
    )
    assert found["best"] == {
        "trial_id": "trialA",
        "sequence_id": 0,
        "phase_index": 0,
        "parameter_id": 0,
        "value": "Infinity",
        "parameters": {"n": 0},
    }
    assert found["created_at"] == "2026-01-02T03:04:05.000000Z"
    assert (found["trials"], found["phases"]) == ({"SUCCEEDED": 1}, {"SUCCEEDED": 1})
    assert found["manager"] == {"pid": stored.DEAD_MANAGER["pid"], "alive": False}
    assert found["directory"] == str(paths.root)


def test_json_is_ascii_and_survives_half_characters() -> None:
    assert json_forms.dumps("ü\ud800\x1b") == '"\\u00fc\\ud800\\u001b"'
