"""From a configuration file to an `ExperimentConfig`: what is accepted, and what it means."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpx.config import classes, rules
from mpx.config.model import (
    AssessorConfig,
    ExperimentConfig,
    LocalConfig,
    TrialConfig,
    TunerConfig,
)
from mpx.config.schema import LEVELS, load_schema, properties
from mpx.config.validation import read_config
from mpx.errors import ConfigError
from mpx.loader import BUILT_IN_ASSESSORS, BUILT_IN_TUNERS
from mpx.tuners.random import Random

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

JUDGE = """\
from nni.assessor import Assessor

class Judge(Assessor):
    def __init__(self, patience): ...
    def assess_trial(self, trial_job_id, trial_history): ...
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


def test_every_key_arrives(write, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "missing_packages", lambda required: ())
    write("tuners/my.py", TUNER)
    write("judges/my.py", JUDGE)
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
multiThread: true
optimizeMode: minimize
seed: 7
durability: process
keepCheckpoints: 3
maxLineLength: 4096
tuner:
  codeDir: tuners
  classFileName: my.py
  className: MyTuner
  classArgs: {rate: 1e-5}
  includeIntermediateResults: true
  gpuIndices: 3
assessor:
  codeDir: judges
  classFileName: my.py
  className: Judge
  classArgs: {patience: 3}
  history: trial
localConfig:
  gpuIndices: 0, 2
  maxTrialNumPerGpu: 3
  useActiveGpu: true
logDir: logs
logLevel: warning
logCollection: http
debug: false
versionCheck: true
nniManagerIp: 10.0.0.1
trial:
  command: python3 trial.py
  codeDir: ./trials
  gpuNum: 2
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
        multi_thread=True,
        optimize_mode="minimize",
        seed=7,
        durability="process",
        keep_checkpoints=3,
        max_line_length=4096,
        tuner=TunerConfig(
            code_dir=str(tmp_path / "tuners"),
            class_file_name="my.py",
            class_name="MyTuner",
            class_args={"rate": 1e-5},
            include_intermediate_results=True,
            gpu_indices=(3,),
        ),
        assessor=AssessorConfig(
            code_dir=str(tmp_path / "judges"),
            class_file_name="my.py",
            class_name="Judge",
            class_args={"patience": 3},
            history="trial",
        ),
        local=LocalConfig(gpu_indices=(0, 2), max_trials_per_gpu=3, use_active_gpu=True),
        log_level="warning",
        log_dir=str(tmp_path / "logs"),
        trial=TrialConfig(
            command="python3 trial.py",
            code_dir=str(tmp_path / "trials"),
            gpu_num=2,
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
    record = json.loads(json.dumps(config.to_json()))
    assert record == config.to_json()
    assert ExperimentConfig.from_json(record) == config


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


def test_each_phase_may_have_a_search_space_of_its_own(write):
    write("second.json", '{"a": {"_type": "choice", "_value": [2]}}')
    file = write(
        "c.yml",
        SMALLEST.replace(
            "searchSpace: {x: {_type: uniform, _value: [0, 1]}}",
            "multiPhase: true\nmaxPhasesPerTrial: 2\nphases:\n"
            "  - {searchSpace: {z: {_type: choice, _value: [1]}}}\n"
            "  - {searchSpacePath: second.json}\n",
        ),
    )

    config = read_config(file)

    assert config.phase_spaces == [
        {"z": {"_type": "choice", "_value": [1]}},
        {"a": {"_type": "choice", "_value": [2]}},
    ]
    assert config.search_space is None
    assert ExperimentConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ("tuner: {builtinTunerName: Anneal}", "minimize"),
        ("tuner: {builtinTunerName: Anneal, classArgs: {optimize_mode: maximize}}", "maximize"),
        ("tuner: {builtinTunerName: Anneal}\noptimizeMode: maximize", "maximize"),
        ("tuner: {builtinTunerName: Random}", None),
    ],
)
def test_an_assessor_goes_by_what_its_tuner_goes_by(write, lines, mode):
    rest = SMALLEST.partition("\n")[2] + "assessor: {builtinAssessorName: Medianstop}\n"
    assessor = read_config(write("c.yml", f"{lines}\n{rest}")).assessor
    assert assessor.class_args.get("optimize_mode") == mode


@pytest.mark.parametrize(
    ("space", "is_allowed"),
    [
        ("{block: {layer: {layer_choice: [conv, pool], optional_input_size: [1, 2]}}}", True),
        ("{size: [1, 2, 3], name: anything}", True),
        ("{x: {_type: mutable_block, _value: {a: 1}}}", True),
        ("{x: {_type: unifrm, _value: [0, 1]}}", False),
        ("{x: {type: uniform, value: [0, 1]}}", False),
        ("{x: {_type: choice, _value: [{k: 1}]}}", False),
    ],
)
def test_a_tuner_of_ones_own_may_have_a_language_of_its_own(write, space, is_allowed):
    write("tuner.py", "class T:\n    def generate_parameters(self, parameter_id): ...\n")
    file = write(
        "c.yml",
        f"""\
tuner: {{codeDir: ., classFileName: tuner.py, className: T}}
trial: {{command: python3 trial.py}}
searchSpace: {space}
""",
    )
    if is_allowed:
        assert read_config(file).search_space
    else:
        with pytest.raises(ConfigError, match=r"searchSpace\.x"):
            read_config(file)


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


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ("", "info"),
        ("logLevel: error", "error"),
        ("debug: true", "debug"),
        ("debug: true\nlogLevel: info", "debug"),
        ("debug: true\nlogLevel: trace", "trace"),
    ],
)
def test_debug_is_a_log_level(write, lines, level):
    assert read_config(write("c.yml", f"{lines}\n{SMALLEST}")).log_level == level


class Described(Random):
    """A built-in tuner that says more of its arguments than its constructor does."""

    class_args_schema = {
        "properties": {
            "optimize_mode": {"enum": ["maximize", "minimize"]},
            "rate": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        },
        "required": ["optimize_mode"],
    }
    requires = {"nonesuch": "optuna", "json": "optuna", "none_such": "optuna"}


@pytest.fixture
def hyperband(monkeypatch):
    """`Described` as a built-in of that name, with the package that it needs."""
    monkeypatch.setitem(BUILT_IN_TUNERS, "Hyperband", f"{__name__}:Described")
    monkeypatch.setattr(classes, "missing_packages", lambda required: ())


@pytest.mark.parametrize(
    "chooser",
    [
        "advisor: {builtinAdvisorName: Hyperband, classArgs: {rate: 0.5}, gpuIndices: 1}",
        "tuner: {builtinTunerName: Hyperband, classArgs: {rate: 0.5}, gpuIndices: 1}",
    ],
)
def test_an_advisor_is_a_tuner_and_a_built_in_one_goes_by_the_direction(write, hyperband, chooser):
    _, *rest = SMALLEST.splitlines()
    file = write("c.yml", "\n".join([chooser, "optimizeMode: minimize", *rest]))

    assert read_config(file).tuner == TunerConfig(
        builtin_name="Hyperband",
        class_args={"optimize_mode": "minimize", "rate": 0.5},
        gpu_indices=(1,),
    )


def test_an_assessor_may_go_by_another_direction(write):
    lines = (
        "optimizeMode: minimize",
        "assessor: {builtinAssessorName: Medianstop, classArgs: {optimize_mode: maximize}}",
    )
    file = write("c.yml", "\n".join((*lines, SMALLEST)))

    assert read_config(file).assessor.class_args == {"optimize_mode": "maximize"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{}", "1:53: advisor.classArgs.optimize_mode: missing"),
        (
            "{optimize_mode: minimize, rate: 0}",
            "found 0; allowed: a number above 0 and of at most 1 or null",
        ),
    ],
)
def test_an_advisors_arguments_are_checked_as_its_schema_says(write, hyperband, arguments, problem):
    text = f"advisor: {{builtinAdvisorName: Hyperband, classArgs: {arguments}}}\n"
    _, *rest = SMALLEST.splitlines(keepends=True)

    [found] = problems_of(write("c.yml", text + "".join(rest)))

    assert problem in str(found)


@pytest.mark.parametrize(
    ("text", "where", "who", "advice"),
    [
        (
            SMALLEST.replace("Random", "Hyperband"),
            "1:27: tuner.builtinTunerName",
            "Hyperband needs the packages nonesuch and none_such",
            "pip install 'mpx-experiments[optuna]'",
        ),
        (
            SMALLEST.replace("trial.py", "trial.py, gpuNum: 1"),
            "2:44: trial.gpuNum",
            "needs the package nvidia-ml-py",
            "pip install 'mpx-experiments[gpu]'",
        ),
    ],
)
def test_a_missing_package_is_told_with_how_to_get_it(write, monkeypatch, text, where, who, advice):
    monkeypatch.setitem(BUILT_IN_TUNERS, "Hyperband", f"{__name__}:Described")
    monkeypatch.setattr(Described, "class_args_schema", {})
    monkeypatch.setitem(sys.modules, "pynvml", None)

    [found] = problems_of(write("c.yml", text))

    assert f"{where}: {who}, not installed here" in str(found)
    assert found.hint == advice


def test_checking_a_built_in_imports_nothing_that_it_needs(tmp_path):
    code = """if True:
        import sys
        from mpx import loader
        for name in loader.BUILT_IN_TUNERS:
            loader.load_built_in_tuner(name)
        for name in loader.BUILT_IN_ASSESSORS:
            loader.load_built_in_assessor(name)
        print({"numpy", "scipy", "sklearn", "optuna", "cmaes", "pynvml"} & set(sys.modules))
    """

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_the_schema_allows_the_assessors_and_advisors_that_there_are():
    assessors = properties("assessor")["builtinAssessorName"]["enum"]
    advisors = properties("advisor")["builtinAdvisorName"]["enum"]

    assert assessors == list(BUILT_IN_ASSESSORS)
    assert set(advisors) <= set(BUILT_IN_TUNERS)


def test_the_schema_explains_every_key():
    for path in LEVELS:
        for key, schema in properties(*path).items():
            assert schema["title"], key
            assert schema["description"].endswith("."), key


def test_what_is_to_be_used_instead_of_a_refused_tuner_is_there():
    schema = properties("tuner")["builtinTunerName"]
    refused = schema["x-refused"]

    named = (re.findall(r"\b[A-Z]\w+", reason) for reason in refused.values())
    instead = {word for words in named for word in words} - {"NNI"}

    assert instead == {"TPE", "Evolution", "RegularizedEvolution", "PBT", "ENAS"}
    assert instead <= set(schema["enum"])
    assert refused.keys().isdisjoint(schema["enum"])


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(load_schema())


@pytest.mark.parametrize(
    ("keys", "is_valid"),
    [
        ({"tuner"}, True),
        ({"advisor"}, True),
        ({"tuner", "assessor"}, True),
        (set(), False),
        ({"tuner", "advisor"}, False),
    ],
)
def test_an_editor_knows_what_excludes_what(keys, is_valid):
    config = {"trial": {"command": "x"}, **{key: {} for key in keys}}

    assert jsonschema.Draft202012Validator(load_schema()).is_valid(config) is is_valid


def test_each_level_of_the_schema_refuses_unknown_keys():
    levels = [load_schema(), *(load_schema()["properties"][path[0]] for path in LEVELS if path)]

    assert all(level["additionalProperties"] is False for level in levels)


def problems_of(file):
    try:
        read_config(file)
    except ConfigError as error:
        return error.problems
    return ()


def keys():
    known = [key for path in LEVELS for key in properties(*path)]
    return st.sampled_from([*known, "_type", "_value", "_name"]) | st.text(max_size=5)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["Random", "Medianstop", "1h", ".", "code.py", "local", "choice", "minimize", "0,1"]
    )
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
