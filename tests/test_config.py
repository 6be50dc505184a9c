"""From a configuration file to an `ExperimentConfig`: what is accepted, and what it means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpx.config.model import ExperimentConfig, TrialConfig, TunerConfig
from mpx.config.schema import load_schema, properties
from mpx.config.validation import read_config
from mpx.errors import ConfigError

SMALLEST = """\
tuner: {builtinTunerName: Random}
trial: {command: python3 trial.py}
searchSpace: {x: {_type: uniform, _value: [0, 1]}}
"""

TUNER = """\
import mpx

class MyTuner(mpx.Tuner):
    def __init__(self, rate, steps=10): ...
    def generate_parameters(self, parameter_id, trial_job_id=None): ...
"""


@pytest.fixture
def write(tmp_path):
    """Return a function: name and text of a file → its path."""

    def write_file(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_file


def test_the_smallest_configuration_has_every_default(write, tmp_path):
    assert read_config(write("first.yml", SMALLEST)) == ExperimentConfig(
        name="first",
        tuner=TunerConfig(builtin_name="Random"),
        trial=TrialConfig(command="python3 trial.py", code_dir=str(tmp_path)),
        search_space={"x": {"_type": "uniform", "_value": [0, 1]}},
    )


def test_every_key_arrives(write, tmp_path):
    write("tuners/my.py", TUNER)
    write("trials/x", "")
    file = write(
        "full.yml",
        """\
authorName: me
experimentName: Full
description: |
  All of it.
trialConcurrency: 2
maxExecDuration: 24h
maxTrialNum: 10
maxPhaseNum: 1000
maxPhasesPerTrial: 200
phaseTimeout: 90s
trialTimeout: 7d
trainingServicePlatform: local
useAnnotation: false
multiPhase: true
multiThread: false
optimizeMode: minimize
seed: 7
durability: process
maxLineLength: 4096
tuner:
  codeDir: tuners
  classFileName: my.py
  className: MyTuner
  classArgs: {rate: 1e-5}
trial:
  command: python3 trial.py
  codeDir: ./trials
  gpuNum: 0
  env: {A: "1", B: yes}
  gracePeriod: 2m
  retries: 3
  orphanTimeout: 20m
searchSpace:
  b: {_type: choice, _value: [1, 2]}
  a: {_type: choice, _value: [1, 2]}
""",
    )

    config = read_config(file)

    assert config == ExperimentConfig(
        name="Full",
        author="me",
        description="All of it.\n",
        trial_concurrency=2,
        max_exec_duration=86400.0,
        max_trial_num=10,
        max_phase_num=1000,
        max_phases_per_trial=200,
        phase_timeout=90.0,
        trial_timeout=604800.0,
        multi_phase=True,
        optimize_mode="minimize",
        seed=7,
        durability="process",
        max_line_length=4096,
        tuner=TunerConfig(
            code_dir=str(tmp_path / "tuners"),
            class_file_name="my.py",
            class_name="MyTuner",
            class_args={"rate": 1e-5},
        ),
        trial=TrialConfig(
            command="python3 trial.py",
            code_dir=str(tmp_path / "trials"),
            gpu_num=0,
            environment={"A": "1", "B": "yes"},
            grace_period=120.0,
            retries=3,
            orphan_timeout=1200.0,
        ),
        search_space={
            "b": {"_type": "choice", "_value": [1, 2]},
            "a": {"_type": "choice", "_value": [1, 2]},
        },
    )
    assert list(config.search_space) == ["b", "a"]
    assert ExperimentConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_record_written_before_a_field_existed_has_its_default():
    record = {
        "name": "old",
        "tuner": {
            "builtin_name": "Random",
            "code_dir": None,
            "class_file_name": None,
            "class_name": None,
            "class_args": {},
        },
        "trial": {
            "command": "python3 trial.py",
            "code_dir": "/code",
            "gpu_num": None,
            "environment": {},
            "grace_period": 10.0,
        },
        "author": None,
        "description": None,
        "multi_phase": True,
        "trial_concurrency": 1,
        "max_trial_num": None,
        "max_phase_num": 9,
        "max_phases_per_trial": None,
        "max_exec_duration": None,
        "search_space": {"x": {"_type": "choice", "_value": [1]}},
        "optimize_mode": None,
        "seed": None,
        "durability": "power",
        "max_line_length": 67108864,
    }

    config = ExperimentConfig.from_json(record)

    assert (config.phase_timeout, config.trial_timeout) == (None, None)
    assert (config.trial.retries, config.trial.orphan_timeout) == (0, 3600.0)
    assert (config.max_phase_num, config.trial.code_dir) == (9, "/code")


@pytest.mark.parametrize(
    ("lines", "phase", "trial"),
    [
        ("phaseTimeout: 1d", 86400.0, None),
        ("trialTimeout: 1s", None, 1.0),
        ("phaseTimeout: 59m\ntrialTimeout: 1h", 3540.0, 3600.0),
        ("phaseTimeout: 60m\ntrialTimeout: 1h", 3600.0, 3600.0),
        ("maxExecDuration: 1h\nphaseTimeout: 2h", 7200.0, None),
    ],
)
def test_timeouts_of_phases_and_trials_are_set_apart(write, lines, phase, trial):
    config = read_config(write("c.yml", f"{lines}\n{SMALLEST}"))

    assert (config.phase_timeout, config.trial_timeout) == (phase, trial)


@pytest.mark.parametrize("retries", [0, 1, 1000])
def test_a_failed_trial_may_be_started_again(write, retries):
    file = write("c.yml", SMALLEST.replace("trial.py}", f"trial.py, retries: {retries}}}"))

    assert read_config(file).trial.retries == retries


def test_a_configuration_of_nni_v1_runs_as_it_is(write, tmp_path):
    write("tuners/enas/nni_controller_ptb.py", TUNER.replace("MyTuner", "ENASTuner"))
    write("trials/enas/x", "")
    file = write(
        "trials/enas/config.yml",
        """\
authorName: default
experimentName: example_enas
trialConcurrency: 2
maxExecDuration: 24h
maxTrialNum: 10
#choice: local, remote
trainingServicePlatform: local
#choice: true, false
useAnnotation: false
multiPhase: true
tuner:
  codeDir: ./../../tuners/enas
  classFileName: nni_controller_ptb.py
  className: ENASTuner
  classArgs:
    rate: 0.1
trial:
  command: sh ./script/ptb_child.sh
  codeDir: ./
""",
    )

    config = read_config(file)

    assert config.tuner.code_dir == str(tmp_path / "tuners/enas")
    assert config.trial.code_dir == str(tmp_path / "trials/enas")
    assert config.search_space is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "space.json",
            '{"z": {"_type": "choice", "_value": [1]},\n\t"a": {"_type": "choice", "_value": [2]}}',
        ),
        ("space.yml", "z: {_type: choice, _value: [1]}\na: {_type: choice, _value: [2]}\n"),
    ],
)
def test_the_search_space_may_lie_in_a_file_beside_the_configuration(
    write, monkeypatch, name, text
):
    write(f"spaces/{name}", text)
    file = write(
        "configs/c.yml",
        SMALLEST.replace(
            "searchSpace: {x: {_type: uniform, _value: [0, 1]}}",
            f"searchSpacePath: ../spaces/{name}",
        ),
    )
    monkeypatch.chdir("/")

    space = read_config(file).search_space

    assert list(space) == ["z", "a"]


def test_home_is_expanded(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("home/code/x", "")
    file = write(
        "c.yml", SMALLEST.replace("{command: python3 trial.py}", "{command: x, codeDir: ~/code}")
    )

    assert read_config(file).trial.code_dir == str(tmp_path / "home/code")


def test_a_relative_path_gives_absolute_ones(write, tmp_path, monkeypatch):
    write("configs/c.yml", SMALLEST)
    monkeypatch.chdir(tmp_path)

    assert read_config(Path("configs/c.yml")).trial.code_dir == str(tmp_path / "configs")


def test_anchors_and_merges_serve_whole_parts(write):
    file = write(
        "c.yml",
        """\
tuner: {builtinTunerName: Random}
trial: {command: python3 trial.py}
searchSpace:
  a: &rate {_type: loguniform, _value: [1e-5, 1e-1]}
  b: *rate
  c:
    <<: *rate
    _type: uniform
""",
    )

    assert read_config(file).search_space == {
        "a": {"_type": "loguniform", "_value": [1e-5, 0.1]},
        "b": {"_type": "loguniform", "_value": [1e-5, 0.1]},
        "c": {"_type": "uniform", "_value": [1e-5, 0.1]},
    }


@pytest.mark.parametrize(
    "source",
    [
        "from elsewhere import MyTuner",
        "from elsewhere import *",
        "MyTuner = make()",
        "try:\n    from elsewhere import MyTuner\nexcept ImportError:\n    MyTuner = None",
        "if True:\n    class MyTuner: ...",
        "globals()['MyTuner'] = type('MyTuner', (), {})",
        "def __getattr__(name): ...",
        "import elsewhere\nclass MyTuner(elsewhere.Base): ...",
        "@decorated\nclass MyTuner: ...",
    ],
)
def test_what_only_running_the_code_could_tell_is_no_mistake(write, source):
    write("my.py", source)
    file = write(
        "c.yml",
        "tuner: {codeDir: ., classFileName: my.py, className: MyTuner, classArgs: {any: 1}}\n"
        "trial: {command: x}\n",
    )

    assert read_config(file).tuner.class_args == {"any": 1}


def test_a_tuner_of_ones_own_may_know_types_that_we_do_not(write):
    write("my.py", TUNER)
    file = write(
        "c.yml",
        "tuner: {codeDir: ., classFileName: my.py, className: MyTuner, classArgs: {rate: 1}}\n"
        "trial: {command: x}\n"
        "searchSpace: {layer: {_type: layer_choice, _value: [conv, pool]}}\n",
    )

    assert read_config(file).search_space["layer"]["_type"] == "layer_choice"


def test_the_schema_explains_every_key():
    for path in ((), ("tuner",), ("trial",)):
        for key, schema in properties(*path).items():
            assert schema["title"], key
            assert schema["description"].endswith("."), key


def test_the_schema_is_one():
    jsonschema = pytest.importorskip("jsonschema")

    jsonschema.Draft202012Validator.check_schema(load_schema())


def test_each_level_of_the_schema_refuses_unknown_keys():
    schema = load_schema()

    assert not schema["additionalProperties"]
    assert not schema["properties"]["tuner"]["additionalProperties"]
    assert not schema["properties"]["trial"]["additionalProperties"]


def problems_of(file):
    try:
        read_config(file)
    except ConfigError as error:
        return error.problems
    return ()


def keys():
    known = [key for path in ((), ("tuner",), ("trial",)) for key in properties(*path)]
    return st.sampled_from([*known, "_type", "_value", "_name"]) | st.text(max_size=5)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["Random", "1h", ".", "code.py", "local", "choice", "minimize"])
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys(), VALUES, max_size=8))
def test_any_values_are_a_configuration_or_its_problems(tmp_path_factory, values):
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_text(json.dumps(values))

    found = problems_of(file)

    assert all(problem.message and str(problem) for problem in found)
    json.dumps([problem.to_json() for problem in found])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_its_problems(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "bytes.yml"
    file.write_bytes(data)

    with pytest.raises(ConfigError):
        read_config(file)
