"""What users send to an experiment: results from elsewhere, and parameters for one phase."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from mpx import api
from mpx.errors import MpxError, UsageError
from mpx.inbox import PARAMETERS, RESULTS, Inbox
from mpx.records import ExperimentStatus
from tests import stored
from tests.lab import COUNTER, Lab, wait_until
from tests.test_resume import FREE, GATED, begun, go, kill_manager, wait_end

# -- files of results -----------------------------------------------------------------------------


def results(tmp_path: Path, text: str, name: str = "results.json") -> api.Results:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return api.read_results(file)


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ({"parameter": {"x": 1}, "value": "0.93", "id": "abc"}, 0.93),
        (
            {"parameter": {"x": 1}, "value": '{"default": 0.5, "n": [1]}'},
            {"default": 0.5, "n": [1]},
        ),
        ({"parameter": {"x": 1}, "value": "[1, 2]"}, [1, 2]),
        ({"parameter": {"x": 1}, "value": "-Infinity"}, -math.inf),
        ({"parameter": {"x": 1}, "value": '"text"'}, "text"),
        ({"parameter": {"x": 1}, "value": 0}, 0),
        ({"parameter": {"x": 1}, "value": {"default": 0}}, {"default": 0}),
        ({"parameters": {"x": 1}, "value": 0.5, "status": "SUCCEEDED"}, 0.5),
        ({"parameters": {"x": 1}, "value": "text"}, "text"),
        ({"parameters": {"x": 1}, "value": {"a": ["Infinity"]}}, {"a": [math.inf]}),
    ],
)
@pytest.mark.parametrize("form", ["[{}]", "\ufeff[\n {}\n]", "{}", "{}\r\n\r\n"])
def test_row_of_either_kind_is_a_result(
    tmp_path: Path, form: str, row: dict[str, Any], value: Any
) -> None:
    found = results(tmp_path, form.replace("{}", json.dumps(row)))
    assert found == api.Results(({"parameter": {"x": 1}, "value": value},))


def test_rows_without_a_result_are_counted(tmp_path: Path) -> None:
    rows = [
        {"parameter": {"x": 1}, "value": None},
        {"parameter": {"x": 1}, "value": "null"},
        {"parameters": None, "value": None},
        {"parameters": {"x": "\u2028"}, "value": 1},
    ]
    expected = api.Results(({"parameter": {"x": "\u2028"}, "value": 1},), skipped=3)
    assert results(tmp_path, json.dumps(rows, ensure_ascii=False)) == expected
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert results(tmp_path, lines) == expected
    assert results(tmp_path, "\n") == api.Results()


def test_all_mistakes_are_told_with_their_places(tmp_path: Path) -> None:
    rows = [
        {"parameter": {"x": 1}, "value": 1},
        {"parameter": {"x": 1}, "value": "good"},
        7,
        {"score": 1},
        {"parameter": None, "value": 1},
        {"parameters": None, "value": 1},
    ]
    mistakes = [
        ("[1].value", "found 'good'; allowed: a number, a mapping or a list, or one as JSON text"),
        ("[2]", "found 7; allowed: a mapping with `parameter` and `value`"),
        ("[3]", "found no `value`"),
        ("[3]", "found no `parameter`"),
        ("[4].parameter", "found nothing (null)"),
        ("[5].parameters", "found nothing (null)"),
    ]
    with pytest.raises(UsageError) as raised:
        results(tmp_path, json.dumps(rows))
    head, *lines = str(raised.value).splitlines()
    assert head.endswith("results.json has 6 mistakes, and nothing of it was imported:")
    for line, (key, message) in zip(lines, mistakes, strict=True):
        assert f"results.json: {key}: {message}" in line

    with pytest.raises(UsageError, match=r"results\.json:3: value: found 'good'"):
        results(tmp_path, "\n\n".join(map(json.dumps, rows[:2])))
    with pytest.raises(UsageError, match=r"has 300 mistakes(.*\n){21}… and 280 more$"):
        results(tmp_path, json.dumps([7] * 300))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.json",
            '[{"parameter": {},\n "value" 1}]',
            r"a\.json:2: found no JSON: .*allowed: a JSON arr",
        ),
        ("a.json", '{"parameter": {}, "value": 1}\n{', r"a\.json:2: found no JSON"),
        ("a.json", "[" * 100_000, r"a\.json: found no JSON: nested too deeply"),
        (
            "a.csv",
            "x,value\n1,2\n",
            r"a\.csv:1: found no JSON.*CSV does not tell the text 1 from the",
        ),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        results(tmp_path, text, name)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"a\.json is no text in UTF-8"):
        api.read_results(tmp_path / "a.json")


@pytest.mark.parametrize("file_format", ["nni", "json", "jsonl"])
def test_what_one_experiment_exports_another_imports(tmp_path: Path, file_format: str) -> None:
    values = [0.5, {"default": 0.25, "worst": -math.inf}, [1, [2.5]], 3, 1e-300]
    phases = [{"value": value, "score": None} for value in values]
    phases[0]["parameters"] = {"lr": 0.1, "layers": [1, {"_name": "a"}], "text": "7"}
    paths = stored.experiment(
        tmp_path,
        phases=[*phases, {"value": None, "score": None}, {"value": math.nan, "score": None}],
    )
    file = tmp_path / "exported"
    api.export_to_file(paths, file, file_format)
    found = api.read_results(file)
    *data, last = found.data
    chosen = [phases[0]["parameters"], *({"n": number} for number in range(1, 5))]
    assert data == [
        {"parameter": parameter, "value": value}
        for parameter, value in zip(chosen, values, strict=True)
    ]
    assert math.isnan(last["value"])
    assert last["parameter"] == {"n": 6}
    assert found.skipped == (file_format != "nni")


# -- parameters for one phase ---------------------------------------------------------------------

SPACE = {"lr": {"_type": "uniform", "_value": [0, 1]}, "act": {"_type": "choice", "_value": ["a"]}}


@pytest.mark.parametrize(
    ("parameters", "tuner", "said"),
    [
        ({"lr": 7, "act": "b"}, "Random", []),
        ({"Lr": 7, "act": "b", "more": 1}, "Random", [
            "not in the search space: 'Lr' (did you mean 'lr'?), 'more'", "without a value: 'lr'",
        ]),
        ([7], "Random", ["the search space has lr, act; found a list"]),
        ({"anything": 1}, "BatchTuner", []),
    ],
)  # fmt: skip
def test_parameters_beside_the_search_space_are_doubted(
    tmp_path: Path, parameters: Any, tuner: str, said: list[str]
) -> None:
    paths = stored.experiment(tmp_path, search_space=SPACE)
    about = json.loads(paths.experiment.read_text())
    about["config"]["tuner"]["builtin_name"] = tuner
    paths.experiment.write_text(json.dumps(about))
    assert api.doubts(paths, parameters) == said


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"lr": 7, "act": "b"}, []),
        ({"size": 3}, []),
        ({"lr": 7, "size": 3, "akt": "b"}, [
            "of no search space in phases; phase 1 has the nearest",
            "not in the search space: 'lr', 'akt'",
        ]),
        ({"Lr": 7, "act": "b"}, [
            "of no search space in phases; phase 0 has the nearest",
            "not in the search space: 'Lr' (did you mean 'lr'?)",
            "without a value: 'lr'",
        ]),
    ],
)  # fmt: skip
def test_parameters_of_no_phase_s_search_space_are_doubted(
    tmp_path: Path, parameters: Any, said: list[str]
) -> None:
    spaces = [SPACE, {"size": {"_type": "choice", "_value": [3]}}]
    paths = stored.experiment(tmp_path, phase_spaces=spaces)
    assert api.doubts(paths, parameters) == said


def test_without_a_search_space_nothing_is_doubted(tmp_path: Path) -> None:
    assert api.doubts(stored.experiment(tmp_path), {"x": 1}) == []


def test_parameters_are_text_or_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chosen.json"
    file.write_text('\ufeff{"x": [1]}\n')
    assert api.read_parameters('{"x": [1]}') == api.read_parameters(f"@{file}") == {"x": [1]}
    file.write_text("{")
    with pytest.raises(UsageError, match=r"chosen\.json: found no JSON"):
        api.read_parameters(f"@{file}")


# -- when it is taken in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "has_manager", "taken"),
    [
        (ExperimentStatus.INITIALIZING, True, "soon"),
        (ExperimentStatus.RUNNING, True, "soon"),  # nobody listens at its socket
        (ExperimentStatus.RUNNING, False, "on resume"),
        (ExperimentStatus.STOPPING, True, "on resume"),
        (ExperimentStatus.DONE, True, "on resume"),
        (ExperimentStatus.ERROR, False, "on resume"),
    ],
)
def test_delivery_says_when_it_is_taken_in(
    tmp_path: Path, status: ExperimentStatus, has_manager: bool, taken: str
) -> None:
    paths = stored.experiment(tmp_path, status=status)
    if has_manager:
        stored.say_who_manages(paths, os.getpid())
    assert api.enqueue(paths, {"x": math.inf}).taken == taken
    data = ({"parameter": {"x": 1}, "value": 2},)
    assert api.import_results(paths, api.Results(data)).taken == taken
    letters = [(letter.about, letter.data) for letter in Inbox(paths.inbox).read(())]
    assert letters == [(PARAMETERS, {"x": math.inf}), (RESULTS, [*data])]


def test_resume_that_rebuilds_the_tuner_takes_it_in_soon(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path, status=ExperimentStatus.STOPPED)
    stored.say_who_manages(paths, os.getpid())
    said = json.loads(paths.manager_pid.read_text())
    paths.manager_pid.write_text(json.dumps({**said, "is_resuming": True}))
    assert api.enqueue(paths, {}).taken is api.Taken.SOON


def test_what_cannot_be_written_down_is_told(tmp_path: Path) -> None:
    paths = stored.experiment(tmp_path)
    paths.inbox.write_text("in the way")
    with pytest.raises(MpxError, match=r"cannot write to .*inbox: "):
        api.enqueue(paths, {})


# -- whole experiments ----------------------------------------------------------------------------

LEARNER = (
    COUNTER
    + """
        def import_data(self, data):
            for row in data:
                print("import", row["parameter"]["n"], row["value"], file=self.log)
"""
)


@pytest.fixture
def learner(lab: Lab) -> Lab:
    """A lab whose tuner writes down what it is told of, and in which a file of results lies."""
    lab.write("tuner.py", LEARNER)
    rows = [
        {"parameter": {"n": 70}, "value": "0.7", "id": "x"},
        {"parameter": {"n": 80}, "value": None},
        {"parameter": {"n": 90}, "value": '{"default": 9}'},
    ]
    lab.write("old.json", json.dumps(rows))
    return lab


def told(lab: Lab, experiment: str) -> list[list[str]]:
    """Return the asks and the imports, in order, that the tuner which now lives has seen."""
    kinds = {"ask": 2, "import": 2}
    return [call[: kinds[call[0]]] for call in lab.calls(experiment) if call[0] in kinds]


IMPORTED = [["import", "70"], ["import", "90"]]


def asks(*numbers: int) -> list[list[str]]:
    return [["ask", str(n)] for n in numbers]


def test_tuner_knows_what_create_imports_before_it_chooses(learner: Lab) -> None:
    config = learner.config(FREE, maxPhaseNum=2)
    said = learner.mpx("create", config, "--import", "old.json", "-f")
    assert "2 results (skipped: 1 row without a value) of old.json" in said
    (experiment,) = learner.ids()
    assert told(learner, experiment) == [*IMPORTED, *asks(0, 1)]
    assert ["import", "90", "{'default':", "9}"] in learner.calls(experiment)


def test_running_experiment_takes_in_both_at_once_and_after_a_crash_neither_again(
    learner: Lab,
) -> None:
    lab = learner
    experiment = lab.create(lab.config(GATED, maxPhaseNum=4))
    begun(lab, 0)
    said = lab.mpx("import", experiment, "old.json")
    assert f"{experiment} (config): its tuner is told of 2 results (skipped: 1 row" in said
    wait_until(lambda: told(lab, experiment) == [*asks(0), *IMPORTED], "the import")
    found = json.loads(lab.mpx("enqueue", experiment, '{"n": 500}', "--json"))
    enqueued = {"id": experiment, "parameters": {"n": 500}, "taken": "now", "warnings": []}
    assert found == enqueued
    go(lab, 0)
    begun(lab, 500)
    kill_manager(lab, experiment)
    go(lab, 500, 2, 3)
    lab.mpx("resume", experiment)
    wait_end(lab, experiment)

    rows = json.loads(lab.mpx("phases", experiment, "--json"))
    assert [(row["parameters"]["n"], row["value"]) for row in rows] == [
        (0, 0.0),
        (500, 0.5),
        (2, 0.002),
        (3, 0.003),
    ]
    assert told(lab, experiment) == [*asks(0), *IMPORTED, *asks(2, 3)]
    assert not [*(lab.home / "experiments" / experiment / "inbox").iterdir()]


def test_experiment_that_does_not_run_takes_in_both_when_it_is_resumed(learner: Lab) -> None:
    lab = learner
    experiment = lab.finish(lab.config(FREE, maxPhaseNum=1, maxTrialNum=2))
    said = lab.mpx("import", experiment, "old.json")
    assert "does not run (DONE): its tuner will be told of 2 results" in said
    assert f"mpx resume {experiment}" in said
    done = lab.run("enqueue", experiment, '{"n": 500}')
    assert f"gets these parameters after mpx resume {experiment}" in done.stdout
    lab.mpx("resume", experiment, "-f", "--max-phases", "3")

    rows = [(row["parameters"]["n"], row["status"]) for row in lab.phases(experiment)]
    assert rows == [(0, "SUCCEEDED"), (500, "SUCCEEDED"), (2, "SUCCEEDED")]
    assert told(lab, experiment) == [*asks(0), *IMPORTED, *asks(2)]


def test_file_without_results_is_sent_to_nobody(learner: Lab) -> None:
    learner.write("none.json", '[{"parameter": {"n": 1}, "value": null}]')
    paths = stored.experiment(learner.home)
    said = "none.json has 0 results (skipped: 1 row without a value): there is nothing to tell\n"
    assert learner.mpx("import", paths.id, "none.json") == said
    found = json.loads(learner.mpx("import", paths.id, "none.json", "--json"))
    assert found == {"id": paths.id, "results": 0, "skipped": 1, "taken": None}
    assert not paths.inbox.exists()


def test_doubts_about_parameters_are_warnings(lab: Lab) -> None:
    paths = stored.experiment(lab.home, search_space=SPACE)
    done = lab.run("enqueue", paths.id, '{"lr": 1, "\\u001b": 2}')
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "mpx: warning: not in the search space: '\\x1b'",
        "mpx: warning: without a value: 'act'",
    ]
