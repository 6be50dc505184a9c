"""Every kind of mistake in a configuration: what is said, and where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from mpx.config import reader, rules
from mpx.config.validation import read_config
from mpx.errors import ConfigError

CONFIG = """\
tuner: {builtinTunerName: Random}
trial: {command: python3 trial.py}
searchSpace: {x: {_type: uniform, _value: [0, 1]}}
"""
TUNER, TRIAL, SPACE = CONFIG.splitlines(keepends=True)

FILES = {
    "code/good.py": (
        "import mpx\n\n\nclass GoodTuner(mpx.Tuner):\n"
        "    def __init__(self, rate, steps=10): ...\n\n"
        "    def generate_parameters(self, parameter_id, trial_job_id=None): ...\n"
    ),
    "code/directed.py": (
        "class Directed:\n    def __init__(self, optimize_mode): ...\n\n"
        "    def generate_parameters(self, parameter_id): ...\n"
    ),
    "code/other.py": (
        "class NoTuner:\n    def ask(self): ...\n\n\n"
        "class Child(NoTuner): ...\n\n\n"
        "def make_tuner(): ...\n"
    ),
    "code/judge.py": (
        "import mpx\n\n\nclass Judge(mpx.Assessor):\n"
        "    def __init__(self, patience): ...\n\n"
        "    def assess_trial(self, trial_job_id, trial_history): ...\n\n\n"
        "class Mute(mpx.Assessor): ...\n"
    ),
    "code/broken.py": "class T:\n    def f(self)\n        pass\n",
    "code/not_utf8.py": b"class T:\n    x = '\xff'\n",
    "code/dir.py/x": "",
    "space.json": '{"x": {"_type": "uniform", "_value": [0, 1]}}',
    "bad.json": (
        '{"x": {"_type": "uniform", "_value": [2, 1]},\n "y": {"_type": "nonesuch", "_value": 1}}'
    ),
    "twice.json": (
        '{"x": {"_type": "choice", "_value": [1]},\n "x": {"_type": "choice", "_value": [2]}}'
    ),
    "comma.json": '{"x": {"_type": "choice", "_value": [1 2]}}',
    "cut.json": '{"x": {"_type": "choice",',
    "list.json": "[1, 2]",
    "binary.json": b"\0\1\2",
}

BOMB = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


def top(*lines):
    return "".join(f"{line}\n" for line in lines) + CONFIG


def tuner(*lines):
    return "tuner:\n" + "".join(f"  {line}\n" for line in lines) + TRIAL + SPACE


def custom(file, class_name, *lines):
    return tuner("codeDir: code", f"classFileName: {file}", f"className: {class_name}", *lines)


def assessor(*lines):
    return "assessor:\n" + "".join(f"  {line}\n" for line in lines) + CONFIG


def advisor(*lines):
    return "advisor:\n" + "".join(f"  {line}\n" for line in lines) + TRIAL + SPACE


def trial(*lines):
    return "trial:\n" + "".join(f"  {line}\n" for line in lines) + TUNER + SPACE


def space(*lines, tuner="Random"):
    text = "searchSpace:\n" + "".join(f"  {line}\n" for line in lines)
    return text + TUNER.replace("Random", tuner) + TRIAL


def phases(*entries, before=("multiPhase: true",), tuner="Random"):
    text = "phases:\n" + "".join(f"  - {entry}\n" for entry in entries)
    return "".join(f"{line}\n" for line in before) + text + TUNER.replace("Random", tuner) + TRIAL


def space_file(name):
    return f"searchSpacePath: {name}\n" + TUNER + TRIAL


def case(name, text, *expected):
    """`expected` holds for each problem how it begins behind the file's name, and its hint."""
    return pytest.param(text, expected, id=name)


CASES = [
    # types
    case(
        "text for a number",
        top("trialConcurrency: two"),
        "1:19: trialConcurrency: found 'two'; allowed: a whole number from 1 to 99999",
    ),
    case(
        "quoted number",
        top('trialConcurrency: "2"'),
        "1:19: trialConcurrency: found '2'; allowed: a whole number from 1 to 99999 | "
        "write 2, without quotes",
    ),
    case(
        "float for a whole number",
        top("maxTrialNum: 2.0"),
        "1:14: maxTrialNum: found 2.0; allowed: a whole number from 1 to 99999 | write 2",
    ),
    case(
        "boolean for a number",
        top("maxTrialNum: true"),
        "1:14: maxTrialNum: found true; allowed: a whole number from 1 to 99999",
    ),
    case(
        "null for a number",
        top("maxTrialNum:"),
        "1:13: maxTrialNum: found nothing (null); allowed: a whole number from 1 to 99999",
    ),
    case(
        "number for text",
        top("experimentName: 12"),
        "1:17: experimentName: found 12; allowed: a name that is not blank | put it in "
        'quotes: "12"',
    ),
    case(
        "float for text",
        top("authorName: 1e3"),
        '1:13: authorName: found 1000.0; allowed: text | put it in quotes: "1e3"',
    ),
    case(
        "boolean for text",
        top("description: true"),
        '1:14: description: found true; allowed: text | put it in quotes: "true"',
    ),
    case(
        "yes for a boolean",
        top("multiPhase: yes"),
        "1:13: multiPhase: found 'yes'; allowed: true or false | write true",
    ),
    case(
        "True in quotes",
        top('multiPhase: "True"'),
        "1:13: multiPhase: found 'True'; allowed: true or false | write true",
    ),
    case(
        "number for a boolean",
        top("multiPhase: 1"),
        "1:13: multiPhase: found 1; allowed: true or false",
    ),
    case(
        "list for a mapping",
        trial("- command: x"),
        "1:1: trial: found a list; allowed: a mapping of keys to values",
    ),
    case(
        "text for a mapping",
        CONFIG.replace("{builtinTunerName: Random}", "Random"),
        "1:8: tuner: found 'Random'; allowed: a mapping of keys to values",
    ),
    case(
        "list for text",
        trial("command: [python3, trial.py]"),
        "2:12: trial.command: found a list; allowed: a shell command, such as python3 trial.py",
    ),
    # ranges
    case(
        "zero concurrency",
        top("trialConcurrency: 0"),
        "1:19: trialConcurrency: found 0; allowed: a whole number from 1 to 99999",
    ),
    case(
        "too much concurrency",
        top("trialConcurrency: 100000"),
        "1:19: trialConcurrency: found 100000; allowed: a whole number from 1 to 99999",
    ),
    case(
        "zero trials",
        top("maxTrialNum: 0"),
        "1:14: maxTrialNum: found 0; allowed: a whole number from 1 to 99999",
    ),
    case(
        "more phases than any database counts",
        top("maxPhaseNum: 999999999999999999999999"),
        "1:14: maxPhaseNum: found 999999999999999999999999; allowed: a whole number from 1 to",
    ),
    case(
        "zero phases",
        top("maxPhaseNum: 0"),
        "1:14: maxPhaseNum: found 0; allowed: a whole number from 1 to 1000000000",
    ),
    case(
        "negative seed",
        top("seed: -1"),
        "1:7: seed: found -1; allowed: a whole number from 0 to 4294967295",
    ),
    case(
        "seed beyond 32 bits",
        top("seed: 4294967296"),
        "1:7: seed: found 4294967296; allowed: a whole number from 0 to 4294967295",
    ),
    case(
        "negative retries",
        trial("command: x", "retries: -1"),
        "3:12: trial.retries: found -1; allowed: a whole number from 0 to 1000",
    ),
    case(
        "too many retries",
        trial("command: x", "retries: 1001"),
        "3:12: trial.retries: found 1001; allowed: a whole number from 0 to 1000",
    ),
    case(
        "boolean for retries",
        trial("command: x", "retries: true"),
        "3:12: trial.retries: found true; allowed: a whole number from 0 to 1000",
    ),
    case(
        "short lines",
        top("maxLineLength: 100"),
        "1:16: maxLineLength: found 100; allowed: a whole number from 4096 to 1073741824",
    ),
    case(
        "blank name",
        top('experimentName: " "'),
        "1:17: experimentName: found ' '; allowed: a name that is not blank",
    ),
    case(
        "blank command",
        trial('command: ""'),
        "2:12: trial.command: found ''; allowed: a shell command, such as python3 trial.py",
    ),
    case(
        "NUL in the command",
        trial('command: "a\\0b"'),
        "2:12: trial.command: found 'a\\x00b'; allowed: a shell command, such as python3 trial.py",
    ),
    # durations
    case(
        "compound duration",
        top("maxExecDuration: 1h30m"),
        "1:18: maxExecDuration: found '1h30m'; allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h | write 90m",
    ),
    case(
        "duration without a unit",
        top("maxExecDuration: 3600"),
        "1:18: maxExecDuration: found 3600; allowed: one whole number and s, m, h or d, "
        "such as 90s or 24h | write 1h",
    ),
    case(
        "zero duration",
        top("maxExecDuration: 0s"),
        "1:18: maxExecDuration: found '0s'; allowed: one whole number and s, m, h or d, "
        "such as 90s or 24h",
    ),
    case(
        "NNI's literal pipe",
        top('maxExecDuration: "1|"'),
        "1:18: maxExecDuration: found '1|'; allowed: one whole number and s, m, h or d, "
        "such as 90s or 24h",
    ),
    case(
        "duration with a long unit",
        trial("command: x", "gracePeriod: 10 seconds"),
        "3:16: trial.gracePeriod: found '10 seconds'; allowed: one whole number and s, "
        "m, h or d, such as 90s or 24h | write 10s",
    ),
    case(
        "phase timeout without a unit",
        top("phaseTimeout: 90"),
        "1:15: phaseTimeout: found 90; allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h | write 90s",
    ),
    case(
        "compound trial timeout",
        top("trialTimeout: 1h 30m"),
        "1:15: trialTimeout: found '1h 30m'; allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h | write 90m",
    ),
    case(
        "wait of zero for a new manager",
        trial("command: x", "orphanTimeout: 0s"),
        "3:18: trial.orphanTimeout: found '0s'; allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h",
    ),
    case(
        "no timeouts, written as null",
        "phaseTimeout:\n" + top("trialTimeout: null"),
        "1:14: phaseTimeout: found nothing (null); allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h",
        "2:15: trialTimeout: found nothing (null); allowed: one whole number and s, m, h or "
        "d, such as 90s or 24h",
    ),
    # enums
    case(
        "wrong case in an enum",
        top("optimizeMode: Maximize"),
        "1:15: optimizeMode: found 'Maximize'; allowed: maximize, minimize | did you "
        "mean maximize?",
    ),
    case(
        "short form in an enum",
        top("optimizeMode: max"),
        "1:15: optimizeMode: found 'max'; allowed: maximize, minimize | did you mean maximize?",
    ),
    case(
        "typo in a tuner's name",
        tuner("builtinTunerName: Gridsearch"),
        "2:21: tuner.builtinTunerName: found 'Gridsearch'; allowed: Random, GridSearch, "
        "BatchTuner | did you mean GridSearch?",
    ),
    case(
        "unknown tuner",
        tuner("builtinTunerName: Oracle"),
        "2:21: tuner.builtinTunerName: found 'Oracle'; allowed: Random, GridSearch, BatchTuner",
    ),
    case(
        "unknown platform",
        top("trainingServicePlatform: locale"),
        "1:26: trainingServicePlatform: found 'locale'; allowed: local | did you mean local?",
    ),
    case(
        "number in an enum",
        top("durability: 1"),
        "1:13: durability: found 1; allowed: power, process",
    ),
    case(
        "neither a number of checkpoints nor all",
        top("keepCheckpoints: some"),
        "1:18: keepCheckpoints: found 'some'; allowed: a number of phases, from 0 to 999999, or all",
    ),
    # unknown keys
    case(
        "wrong case of a key",
        top("trialconcurrency: 2"),
        "1:1: trialconcurrency: unknown key | did you mean trialConcurrency?",
    ),
    case(
        "snake case",
        top("trial_concurrency: 2"),
        "1:1: trial_concurrency: unknown key | did you mean trialConcurrency?",
    ),
    case(
        "typo of a key",
        top("maxTrialNun: 2"),
        "1:1: maxTrialNun: unknown key | did you mean maxTrialNum?",
    ),
    case(
        "key of a lower level",
        top("codeDir: ."),
        "1:1: codeDir: unknown key | it belongs under tuner or under assessor or under trial",
    ),
    case(
        "key of a higher level",
        trial("command: x", "multiPhase: true"),
        "3:3: trial.multiPhase: unknown key | it belongs at the top level",
    ),
    case(
        "NNI v2 key",
        top("maxTrialNumber: 2"),
        "1:1: maxTrialNumber: unknown key | did you mean maxTrialNum?",
    ),
    case(
        "NNI v2 key of a trial's longest time",
        top("maxTrialDuration: 2h"),
        "1:1: maxTrialDuration: unknown key | did you mean trialTimeout?",
    ),
    case(
        "timeout of a phase in the trial",
        trial("command: x", "phaseTimeout: 1h"),
        "3:3: trial.phaseTimeout: unknown key | it belongs at the top level",
    ),
    case(
        "NNI v2 key of a lower level",
        "trialCommand: x\n" + CONFIG,
        "1:1: trialCommand: unknown key | did you mean trial.command?",
    ),
    case(
        "unknown key",
        top("foo: 1"),
        "1:1: foo: unknown key; allowed here: authorName, experimentName, description, "
        "trialConcurrency, maxExecDuration, maxTrialNum, maxPhaseNum, maxPhasesPerTrial, "
        "phaseTimeout, trialTimeout, trainingServicePlatform, searchSpacePath, searchSpace, phases, "
        "useAnnotation, multiPhase, multiThread, optimizeMode, seed, durability, keepCheckpoints, "
        "maxLineLength, tuner, "
        "assessor, advisor, trial, localConfig, nniManagerIp, logDir, logLevel, logCollection, debug, "
        "versionCheck",
    ),
    case(
        "typo of a required key",
        trial("comand: x"),
        "2:3: trial.comand: unknown key | did you mean trial.command?",
    ),
    case(
        "NNI v2 tuner name",
        tuner("name: Random"),
        "2:3: tuner.name: unknown key | did you mean tuner.builtinTunerName?",
    ),
    case(
        "key of the tuner unknown",
        tuner("builtinTunerName: Random", "qwertz: 1"),
        "3:3: tuner.qwertz: unknown key; allowed here: builtinTunerName, codeDir, "
        "classFileName, className, classArgs, includeIntermediateResults, gpuIndices",
    ),
    # missing
    case(
        "no tuner",
        TRIAL + SPACE,
        "1:1: tuner: missing | What chooses the parameters: builtinTunerName, or your "
        "own class by codeDir, classFileName and className.",
    ),
    case(
        "no trial",
        TUNER + SPACE,
        "1:1: trial: missing | How a trial is started.",
    ),
    case(
        "no command",
        trial("codeDir: ."),
        "1:1: trial.command: missing | Shell command that runs a trial, in codeDir.",
    ),
    case(
        "empty tuner",
        tuner("classArgs: {}"),
        "1:1: tuner: found no tuner; allowed: builtinTunerName, or codeDir, "
        "classFileName and className",
    ),
    case(
        "no search space for a built-in",
        TUNER + TRIAL,
        "1:27: tuner.builtinTunerName: Random needs a search space, and there is none | "
        "add searchSpace, or searchSpacePath with the file's name",
    ),
    # environment
    case(
        "number in env",
        trial("command: x", "env:", "  A: 1"),
        '4:8: trial.env.A: found 1; allowed: text, without NUL characters | put it in quotes: "1"',
    ),
    case(
        "boolean in env",
        trial("command: x", "env: {A: true}"),
        "3:12: trial.env.A: found true; allowed: text, without NUL characters | put it "
        'in quotes: "true"',
    ),
    case(
        "our variable in env",
        trial("command: x", "env: {MPX_TRIAL_ID: a}"),
        "3:9: trial.env.MPX_TRIAL_ID: found this name; allowed: the name of a variable, "
        "without '=', and not MPX_..., which mpx sets itself",
    ),
    case(
        "equals sign in env",
        trial("command: x", "env: {A=B: c}"),
        "3:9: trial.env['A=B']: found this name; allowed: the name of a variable, "
        "without '=', and not MPX_..., which mpx sets itself",
    ),
    # known and refused
    case(
        "annotations",
        top("useAnnotation: true"),
        "1:16: useAnnotation: found true; allowed: false | mpx reads no annotations: "
        "list the parameters under searchSpace, and ask for them in the trial with "
        "mpx.get_next_parameter()",
    ),
    case(
        "remote platform",
        top("trainingServicePlatform: remote"),
        "1:26: trainingServicePlatform: found 'remote', which is not supported | start mpx on "
        "that machine itself, and run there: local",
    ),
    case(
        "cloud platform",
        top("trainingServicePlatform: paiYarn"),
        "1:26: trainingServicePlatform: found 'paiYarn', which is not supported | mpx speaks to "
        "no cluster: start mpx inside a job there, and run in it: local",
    ),
    case(
        "platform whose work comes later",
        top("trainingServicePlatform: slurm"),
        "1:26: trainingServicePlatform: found 'slurm', which is not supported yet | start mpx "
        "inside a job and run there: local",
    ),
    case(
        "built-in tuner of NNI alone",
        tuner("builtinTunerName: smac"),
        "2:21: tuner.builtinTunerName: found 'smac', which is not supported | use TPE",
    ),
    case(
        "built-in tuner of NNI that is here under another name",
        tuner("builtinTunerName: RegularizedEvolutionTuner"),
        "2:21: tuner.builtinTunerName: found 'RegularizedEvolutionTuner', which is not supported | "
        "it chose for layer_choice and input_choice: write each of those as a choice in searchSpace, "
        "and use RegularizedEvolution",
    ),
    case(
        "built-in tuner that works otherwise here",
        tuner("builtinTunerName: PBTTuner"),
        "2:21: tuner.builtinTunerName: found 'PBTTuner', which is not supported | use PBT: a trial "
        "goes on phase after phase, calls phase.save_checkpoint(path)",
    ),
    case(
        "number of the tuner's GPUs, as before NNI v0.9",
        tuner("builtinTunerName: Random", "gpuNum: 0"),
        "3:3: tuner.gpuNum: not supported | name the GPUs instead: gpuIndices: 0",
    ),
    case(
        "advisor of one's own",
        advisor("codeDir: code", "classFileName: good.py", "className: GoodTuner"),
        *(
            f"{line}:3: advisor.{key}: not supported | write a tuner (mpx.Tuner)"
            for line, key in enumerate(("codeDir", "classFileName", "className"), 2)
        ),
    ),
    case(
        "machines",
        top("machineList: []", "remoteConfig: {reuse: true}"),
        "1:1: machineList: not supported | remove the key: trials run on this machine",
        "2:1: remoteConfig: not supported | remove the key: trials run on this machine",
    ),
    case(
        "classic NAS",
        trial("command: x", "nasMode: classic_mode"),
        "3:3: trial.nasMode: not supported | remove the key, and ask for the architecture with "
        "mpx.get_next_parameter()",
    ),
    # GPUs
    case(
        "negative number of GPUs",
        trial("command: x", "gpuNum: -1"),
        "3:11: trial.gpuNum: found -1; allowed: a whole number from 0 to 99999",
    ),
    case(
        "more GPUs than there are to choose from",
        trial("command: x", "gpuNum: 3") + 'localConfig: {gpuIndices: "0, 2,2"}\n',
        "3:11: trial.gpuNum: found 3, but localConfig.gpuIndices has 2: no trial could start | "
        "ask for fewer, or list more",
    ),
    case(
        "GPUs by name",
        tuner("builtinTunerName: Random", "gpuIndices: gpu0"),
        "3:15: tuner.gpuIndices: found 'gpu0'; allowed: the number of a GPU, such as 0, or of "
        'several, such as "0,1"',
    ),
    case(
        "list of GPUs",
        top("localConfig: {gpuIndices: [0, 1]}"),
        "1:27: localConfig.gpuIndices: found a list; allowed: the number of a GPU, such as 0, or "
        'of several, such as "0,1" | write "0,1"',
    ),
    case(
        "no trial per GPU",
        top("localConfig: {maxTrialNumPerGpu: 0, useActiveGpu: yes}"),
        "1:34: localConfig.maxTrialNumPerGpu: found 0; allowed: a whole number of at least 1",
        "1:51: localConfig.useActiveGpu: found 'yes'; allowed: true or false | write true",
    ),
    case(
        "key of localConfig elsewhere",
        top("useActiveGpu: true"),
        "1:1: useActiveGpu: unknown key | it belongs under localConfig",
    ),
    # assessor and advisor
    case(
        "advisor beside tuner and assessor",
        top(
            "advisor: {builtinAdvisorName: Hyperband}",
            "assessor: {builtinAssessorName: Medianstop}",
        ),
        "1:1: advisor: found beside tuner and assessor; allowed: an advisor alone, or a tuner | "
        "remove one or the other",
    ),
    case(
        "advisor without a name",
        advisor("classArgs: {}"),
        "1:1: advisor: found no advisor; allowed: builtinAdvisorName",
    ),
    case(
        "tuner for an advisor",
        advisor("builtinAdvisorName: Random"),
        "2:23: advisor.builtinAdvisorName: found 'Random'; allowed: Hyperband, BOHB",
    ),
    case(
        "budgets the wrong way round",
        advisor("builtinAdvisorName: BOHB", "classArgs: {min_budget: 5}"),
        "3:14: advisor.classArgs.max_budget: found 3; allowed: at least min_budget, 5",
    ),
    case(
        "sample beyond the population",
        tuner(
            "builtinTunerName: RegularizedEvolution",
            "classArgs: {sample_size: 21}",
        ),
        "3:28: tuner.classArgs.sample_size: found 21; allowed: at most population_size, 20",
    ),
    case(
        "population with one phase",
        tuner("builtinTunerName: PBT"),
        "2:21: tuner.builtinTunerName: PBT goes on phase after phase, and a trial has one unless "
        "multiPhase is true | add multiPhase: true",
    ),
    case(
        "population with a search space for each phase",
        phases(f"{{{SPACE.strip()}}}", tuner="PBT"),
        "2:1: phases: found with PBT, of which there would be one for each search space: none would "
        "have a phase to go on from | write searchSpace for all phases, or choose another tuner than PBT",
    ),
    case(
        "more members than the population has",
        "multiPhase: true\n"
        + tuner(
            "builtinTunerName: PBT", "classArgs: {population_size: 1, initial: [{x: 0.1}, {x: 1}]}"
        ),
        "4:44: tuner.classArgs.initial: found 2 members; allowed: at most population_size, 1",
    ),
    case(
        "members that are not of the search space",
        "multiPhase: true\n"
        + tuner("builtinTunerName: PBT", "classArgs: {initial: [{x: 0.1}, {x: 3}, {b: 1}]}"),
        "4:35: tuner.classArgs.initial[1]: found {'x': 3}; allowed: a value within its range for each "
        "parameter of the search space, and no other: x",
        "4:43: tuner.classArgs.initial[2]: found {'b': 1}; allowed: a value within its range for each "
        "parameter of the search space, and no other: x",
    ),
    case(
        "assessor for a tuner",
        tuner("builtinTunerName: asha"),
        "2:21: tuner.builtinTunerName: found 'asha'; allowed: Random, | ASHA is an assessor: assessor: "
        "{builtinAssessorName: ASHA}",
    ),
    case(
        "tuner for an assessor",
        assessor("builtinAssessorName: TPE"),
        "2:24: assessor.builtinAssessorName: found 'TPE'; allowed: Medianstop, Curvefitting, ASHA | TPE is "
        "a tuner: tuner: {builtinTunerName: TPE}",
    ),
    case(
        "curves that end before they are judged",
        assessor("builtinAssessorName: Curvefitting", "classArgs: {epoch_num: 5}"),
        "3:14: assessor.classArgs.start_step: found 6 (the default); allowed: less than epoch_num, 5, or "
        "no curve is ever judged",
    ),
    case(
        "no factors",
        "multiPhase: true\n" + tuner("builtinTunerName: PBT", "classArgs: {factors: []}"),
        "4:24: tuner.classArgs.factors: found an empty list; allowed: a list of at least one item",
    ),
    case(
        "unknown assessor",
        assessor("builtinAssessorName: MedianStopping"),
        "2:24: assessor.builtinAssessorName: found 'MedianStopping'; allowed: Medianstop, "
        "Curvefitting, ASHA | did you mean Medianstop?",
    ),
    case(
        "brackets that there are no rungs for",
        assessor("builtinAssessorName: ASHA", "classArgs: {brackets: 4, max_resource: 26}"),
        "3:25: assessor.classArgs.brackets: found 4; allowed: as many as there are rungs (1, 3, 9), "
        "or fewer",
    ),
    case(
        "empty assessor",
        top("assessor: {}"),
        "1:11: assessor: found no assessor; allowed: builtinAssessorName, or codeDir, "
        "classFileName and className",
    ),
    case(
        "unknown history",
        assessor("builtinAssessorName: Medianstop", "history: job"),
        "3:12: assessor.history: found 'job'; allowed: phase, trial",
    ),
    case(
        "assessor without its file",
        assessor("codeDir: code", "className: Judge"),
        "1:1: assessor.classFileName: missing | an assessor of your own is named by codeDir, "
        "classFileName and className",
    ),
    case(
        "assessor that is a tuner",
        assessor("codeDir: code", "classFileName: good.py", "className: GoodTuner"),
        "4:14: assessor.className: the class GoodTuner in code/good.py has no method assess_trial "
        "| an assessor derives from mpx.Assessor and defines it",
    ),
    case(
        "assessor that judges nothing",
        assessor("codeDir: code", "classFileName: judge.py", "className: Mute"),
        "4:14: assessor.className: the class Mute in code/judge.py has no method assess_trial",
    ),
    case(
        "argument that the assessor lacks",
        assessor("codeDir: code", "classFileName: judge.py", "className: Judge"),
        "1:1: assessor.classArgs.patience: missing: the constructor of Judge has no default for it",
    ),
    # arguments of built-ins
    case(
        "argument out of range",
        assessor(
            "builtinAssessorName: Curvefitting",
            "classArgs:",
            "  epoch_num: 0",
            "  threshold: .inf",
            "  gap: 2.0",
            "  optimize_mode: max",
        ),
        "4:16: assessor.classArgs.epoch_num: found 0; allowed: a whole number of at least 1",
        "5:16: assessor.classArgs.threshold: found inf; allowed: a number of at least 0",
        "6:10: assessor.classArgs.gap: found 2.0; allowed: a whole number of at least 1 | write 2",
        "7:20: assessor.classArgs.optimize_mode: found 'max'; allowed: maximize, minimize | did "
        "you mean maximize?",
    ),
    case(
        "quoted and unknown argument",
        assessor(
            "builtinAssessorName: Curvefitting",
            'classArgs: {epoch_num: "20", threshold: "1e-1", start: 6}',
        ),
        "3:26: assessor.classArgs.epoch_num: found '20'; allowed: a whole number of at least 1 | "
        "write 20, without quotes",
        "3:43: assessor.classArgs.threshold: found '1e-1'; allowed: a number of at least 0 | "
        "write 1e-1, without quotes",
        "3:51: assessor.classArgs.start: Curvefitting takes no such argument; allowed: epoch_num, "
        "start_step, threshold, gap, optimize_mode | did you mean start_step?",
    ),
    case(
        "missing argument of a built-in",
        assessor("builtinAssessorName: Curvefitting"),
        "1:1: assessor.classArgs.epoch_num: missing: the constructor of Curvefitting has no "
        "default for it | How many results a curve has at its end.",
    ),
    # logs
    case(
        "unknown level",
        top("logLevel: warn"),
        "1:11: logLevel: found 'warn'; allowed: trace, debug, info, warning, error, fatal | did "
        "you mean warning?",
    ),
    case(
        "directory of logs nowhere",
        top("logDir: no/where/logs"),
        "1:9: logDir: found nothing at no/where; allowed: a directory, in which logs can be made",
    ),
    case(
        "directory of logs is a file",
        top("logDir: space.json"),
        "1:9: logDir: space.json is no directory; allowed: a directory",
    ),
    case(
        "directory of logs in a file",
        top("logDir: space.json/logs"),
        "1:9: logDir: cannot look at space.json/logs: Not a directory",
    ),
    # contradictions
    case(
        "built-in and class",
        custom("good.py", "GoodTuner", "builtinTunerName: Random"),
        "2:3: tuner.codeDir: found beside builtinTunerName; allowed: that alone, or "
        "codeDir, classFileName and className | remove one or the other",
    ),
    case(
        "class without its file",
        tuner("codeDir: code", "className: GoodTuner"),
        "1:1: tuner.classFileName: missing | a tuner of your own is named by codeDir, "
        "classFileName and className",
    ),
    case(
        "two search spaces",
        top("searchSpacePath: space.json"),
        "1:1: searchSpacePath: found beside searchSpace; allowed: one of the two | "
        "remove one or the other",
    ),
    case(
        "a space for each phase, and one for all",
        phases("searchSpace: {}") + SPACE + "searchSpacePath: space.json\n",
        "2:1: phases: found beside searchSpace and searchSpacePath; allowed: one or the other | "
        "searchSpace is for all phases alike, phases has a space for each: remove one",
        "7:1: searchSpacePath: found beside searchSpace",
    ),
    case(
        "a space for each phase without multiPhase",
        phases("searchSpace: {}", "searchSpace: {}", before=["multiPhase: false"]),
        "2:1: phases: found 2 search spaces, but a trial has one phase unless multiPhase is true | "
        "add multiPhase: true",
    ),
    case(
        "no space for any phase",
        "multiPhase: true\nphases: []\n" + TUNER + TRIAL,
        "2:9: phases: found an empty list; allowed: a list of at least one item, each with searchSpace or",
    ),
    case(
        "one space where there is one for each phase",
        "multiPhase: true\nphases: {searchSpace: {}}\n" + TUNER + TRIAL,
        "2:9: phases: found a mapping; allowed: a list of at least one item, each with",
    ),
    case(
        "more phases than spaces",
        phases("searchSpace: {}", before=["multiPhase: true", "maxPhasesPerTrial: 2"]),
        "2:20: maxPhasesPerTrial: found 2, but phases has one search space: a trial has no more of its "
        "own | write 1, or remove it",
    ),
    case(
        "mistakes in the spaces of phases",
        phases(
            "searchSpace: {x: {_type: uniform, _value: [0, 1]}}",
            "searchSpacePath: bad.json",
            "{searchSpace: {x: {_type: choice, _value: []}}, searchSpacePath: space.json}",
            "searchSpacePath: spice.json",
            "{}",
            "7",
            "serchSpace: {}",
            "{searchSpace: 1, more: 1}",
            tuner="GridSearch",
        ),
        "3:30: phases[0].searchSpace.x._type: found uniform, which this tuner does not take; allowed: ",
        "5:53: phases[2].searchSpacePath: found beside searchSpace; allowed: one of the two | ",
        "6:22: phases[3].searchSpacePath: found nothing at spice.json; allowed: a file | did you mean",
        "7:5: phases[4]: found no search space; allowed: searchSpace or searchSpacePath | add ",
        "8:5: phases[5]: found 7; allowed: a mapping with searchSpace or searchSpacePath",
        "9:5: phases[6].serchSpace: unknown key | did you mean phases[6].searchSpace?",
        "10:19: phases[7].searchSpace: found 1; allowed: a mapping of keys to values",
        "10:22: phases[7].more: unknown key; allowed here: searchSpacePath, searchSpace",
        "bad.json:1:17: x._type: found uniform",
        "bad.json:1:42: x._value[1]: found 1",
        "bad.json:2:17: y._type: found 'nonesuch'",
        "space.json:1:17: x._type: found uniform",
    ),
    case(
        "phases per trial without multiPhase",
        top("maxPhasesPerTrial: 2"),
        "1:20: maxPhasesPerTrial: found 2, but a trial has one phase unless multiPhase "
        "is true | add multiPhase: true",
    ),
    case(
        "unreachable limit",
        "maxTrialNum: 3\n" + top("maxPhaseNum: 4"),
        "2:14: maxPhaseNum: found 4, but 3 trials have one phase each unless multiPhase "
        "is true | add multiPhase: true",
    ),
    case(
        "phase timeout beyond the trial's",
        "trialTimeout: 90m\n" + top("phaseTimeout: 2h"),
        "2:15: phaseTimeout: found '2h', but trialTimeout ends every trial after '90m' | "
        "make it shorter than trialTimeout, or remove it",
    ),
    case(
        "phase timeout beyond one that is no duration",
        "trialTimeout: soon\n" + top("phaseTimeout: 2h"),
        "1:15: trialTimeout: found 'soon'; allowed: one whole number",
    ),
    case(
        "two directions",
        "optimizeMode: minimize\n"
        + custom("directed.py", "Directed", "classArgs: {optimize_mode: maximize}"),
        "1:15: optimizeMode: found 'minimize', but tuner.classArgs.optimize_mode is "
        "'maximize' | let the two say the same",
    ),
    # files and classes
    case(
        "no code directory of the tuner",
        tuner("codeDir: cod", "classFileName: good.py", "className: T"),
        "2:12: tuner.codeDir: found nothing at cod; allowed: a directory | did you mean code?",
    ),
    case(
        "code directory is a file",
        tuner("codeDir: space.json", "classFileName: good.py", "className: T"),
        "2:12: tuner.codeDir: space.json is no directory; allowed: a directory | did you "
        "mean twice.json?",
    ),
    case(
        "no code directory of the trial",
        trial("command: x", "codeDir: nowhere"),
        "3:12: trial.codeDir: found nothing at nowhere; allowed: a directory",
    ),
    case(
        "home of nobody",
        trial("command: x", "codeDir: ~nobody-of-this-name/x"),
        "3:12: trial.codeDir: found nothing at ~nobody-of-this-name/x; allowed: a directory",
    ),
    case(
        "endless name of a directory",
        trial("command: x", "codeDir: " + "x" * 300),
        f"3:12: trial.codeDir: cannot look at {'x' * 300}: File name too long",
    ),
    case(
        "no class file",
        custom("goood.py", "GoodTuner"),
        "3:18: tuner.classFileName: found nothing at code/goood.py; allowed: a file | "
        "did you mean code/good.py?",
    ),
    case(
        "class file without suffix",
        custom("good", "GoodTuner"),
        "3:18: tuner.classFileName: found 'good'; allowed: the name of a Python file in "
        "codeDir, such as my_code.py",
    ),
    case(
        "class file is a directory",
        custom("dir.py", "GoodTuner"),
        "3:18: tuner.classFileName: code/dir.py is no file; allowed: a file | did you "
        "mean code/directed.py?",
    ),
    case(
        "class file with a syntax error",
        custom("broken.py", "T"),
        "code/broken.py:2:16: tuner.classFileName: no valid Python: expected ':'",
    ),
    case(
        "class file not UTF-8",
        custom("not_utf8.py", "T"),
        f"code/not_utf8.py:2:{12 if sys.version_info < (3, 12) else 9}: tuner.classFileName: no valid"
        " Python: (unicode error) 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    case(
        "no such class",
        custom("good.py", "GodTuner"),
        "4:14: tuner.className: found no class GodTuner in code/good.py | did you mean GoodTuner?",
    ),
    case(
        "no such class, none near",
        custom("good.py", "Optimizer"),
        "4:14: tuner.className: found no class Optimizer in code/good.py | the file "
        "defines GoodTuner",
    ),
    case(
        "function for a class",
        custom("other.py", "make_tuner"),
        "4:14: tuner.className: found a function make_tuner in code/other.py; allowed: a class",
    ),
    case(
        "class that is no tuner",
        custom("other.py", "NoTuner"),
        "4:14: tuner.className: the class NoTuner in code/other.py has no method "
        "generate_parameters | a tuner derives from mpx.Tuner and defines it",
    ),
    case(
        "child of a class that is no tuner",
        custom("other.py", "Child"),
        "4:14: tuner.className: the class Child in code/other.py has no method "
        "generate_parameters | a tuner derives from mpx.Tuner and defines it",
    ),
    case(
        "dotted class",
        custom("good.py", "good.GoodTuner"),
        "4:14: tuner.className: found 'good.GoodTuner'; allowed: the name of a class, "
        "such as MyClass",
    ),
    case(
        "unknown argument",
        custom("good.py", "GoodTuner", "classArgs: {rate: 1, step: 2}"),
        "5:24: tuner.classArgs.step: GoodTuner takes no such argument; allowed: rate, "
        "steps | did you mean steps?",
    ),
    case(
        "missing argument",
        custom("good.py", "GoodTuner"),
        "1:1: tuner.classArgs.rate: missing: the constructor of GoodTuner has no default for it",
    ),
    case(
        "argument of a built-in",
        tuner("builtinTunerName: Random", "classArgs: {optimize_mode: maximize}"),
        "3:15: tuner.classArgs.optimize_mode: Random takes no such argument; allowed: no arguments",
    ),
    # search spaces
    case(
        "unknown type",
        space("x: {_type: unifrm, _value: [0, 1]}"),
        "2:14: searchSpace.x._type: found 'unifrm'; allowed: choice, randint, uniform, "
        "quniform, loguniform, qloguniform, normal, qnormal, lognormal, qlognormal, macro, "
        "cell; did you mean uniform?",
    ),
    case(
        "key of an architecture",
        space("x: {_type: macro, _value: {layer: 2, layers: 2, operations: [a, a]}}"),
        "2:37: searchSpace.x._value.layer: found the key 'layer'; allowed: layers, operations, "
        "skips; did you mean layers?",
        "2:67: searchSpace.x._value.operations[1]: found 'a' a second time; allowed: each",
    ),
    case(
        "bounds upside down",
        space("x: {_type: uniform, _value: [1, 0]}"),
        "2:35: searchSpace.x._value[1]: found 0; allowed: hi >= lo = 1",
    ),
    case(
        "no _value",
        space("x:", "  _type: uniform"),
        "2:3: searchSpace.x: found no _value; allowed: both _type and _value",
    ),
    case(
        "text for a bound",
        space("x: {_type: uniform, _value: [0, one]}"),
        "2:35: searchSpace.x._value[1]: found 'one'; allowed: hi, a finite number",
    ),
    case(
        "plain value as a space",
        space("x: [1, 2]"),
        "2:6: searchSpace.x: found [1, 2]; allowed: a mapping of _type and _value; for a "
        "fixed value, a choice of one option",
    ),
    case(
        "log of zero",
        space("x: {_type: loguniform, _value: [0, 1]}"),
        "2:35: searchSpace.x._value[0]: found 0; allowed: lo > 0, as its logarithm is taken",
    ),
    case(
        "sub-space without a name",
        space("x:", "  _type: choice", "  _value:", "    - {k: {_type: uniform, _value: [0, 1]}}"),
        "5:9: searchSpace.x._value[0]: found a mapping without _name; allowed: a plain "
        "value, or a sub-space with a _name",
    ),
    case(
        "grid of a continuous type",
        space("x: {_type: uniform, _value: [0, 1]}", tuner="GridSearch"),
        "2:14: searchSpace.x._type: found uniform, which this tuner does not take; allowed:",
    ),
    case(
        "batch of two",
        space(
            "x: {_type: choice, _value: [1]}", "y: {_type: choice, _value: [1]}", tuner="BatchTuner"
        ),
        "3:6: searchSpace.y: found 2 parameters; allowed: exactly one, of type choice",
    ),
    case(
        "no space file",
        space_file("spase.json"),
        "1:18: searchSpacePath: found nothing at spase.json; allowed: a file | did you "
        "mean space.json?",
    ),
    case(
        "space file is a directory",
        space_file("code"),
        "1:18: searchSpacePath: code is no file; allowed: a file",
    ),
    case(
        "mistakes in the space file",
        space_file("bad.json"),
        "bad.json:1:42: x._value[1]: found 1; allowed: hi >= lo = 2",
        "bad.json:2:17: y._type: found 'nonesuch'; allowed:",
    ),
    case(
        "key twice in the space file",
        space_file("twice.json"),
        "twice.json:2:2: x: found the key a second time; the first is in line 1 | keep one of them",
    ),
    case(
        "missing comma in the space file",
        space_file("comma.json"),
        'comma.json:1:38: x._value[0]: found 1 2; allowed in JSON: "text" in quotes, a '
        "number, true, false, null",
    ),
    case(
        "space file cut off",
        space_file("cut.json"),
        "cut.json:1:26: found the end where a value should be",
    ),
    case(
        "binary space file",
        space_file("binary.json"),
        "binary.json: is a binary file; allowed: text in UTF-8",
    ),
    case(
        "list as a space",
        space_file("list.json"),
        "list.json:1:1: found [1, 2]; allowed: a mapping of parameter names to _type and _value",
    ),
    # YAML
    case(
        "key twice",
        top("maxTrialNum: 1\nmaxTrialNum: 2"),
        "2:1: maxTrialNum: found the key a second time; the first is in line 1 | keep one of them",
    ),
    case(
        "key twice below",
        trial("command: x", "command: y"),
        "3:3: trial.command: found the key a second time; the first is in line 2 | keep "
        "one of them",
    ),
    case(
        "number as a key",
        top("1: x"),
        "1:1: found 1 as a key; allowed: text | put it in quotes: '1'",
    ),
    case(
        "null as a key",
        top("? \n: x"),
        "1:2: found nothing (null) as a key; allowed: text | put it in quotes: ''",
    ),
    case(
        "list as a key",
        top("? [a]\n: x"),
        "1:3: found a list as a key; allowed: text",
    ),
    case(
        "tab",
        "trial:\n\tcommand: x\n",
        "2:1: found a tab in the indentation | indent with spaces: YAML allows no tabs there",
    ),
    case(
        "bad indentation",
        "trial:\n    command: x\n  codeDir: .\n",
        "3:3: found this out of line with what begins at line 1, column 1 | check the "
        "indentation, and that each quote and bracket is closed",
    ),
    case(
        "colon in plain text",
        top("description: a: b"),
        "1:15: found a `:` where no key can be | check the indentation, and the line "
        "above; text that holds `: ` needs quotes",
    ),
    case(
        "no space after the colon",
        top("description:text"),
        "2:6: found a `:` where no key can be | check the indentation, and the line "
        "above; text that holds `: ` needs quotes",
    ),
    case(
        "list never closed",
        "description: [a, b\ntuner: x\n",
        "2:6: found no `,` or `]` in the list that begins at line 1, column 14",
    ),
    case(
        "mapping never closed",
        "tuner: {a: b\ntrial: x\n",
        "2:6: found no `,` or `}` in the mapping that begins at line 1, column 8",
    ),
    case(
        "quote never closed",
        "description: 'it\ntuner: x\n",
        "1:14: found no end of the quote that opens at line 1, column 14",
    ),
    case(
        "at sign",
        top("description: @home"),
        "1:14: found '@', which cannot begin a value | put the text in quotes",
    ),
    case(
        "backslash in double quotes",
        top('description: "\\q"'),
        "1:15: found an unknown escape in double quotes | write \\\\ for a backslash, or "
        "use single quotes",
    ),
    case(
        "list item among keys",
        "tuner: a\n- b\n",
        "2:1: found this out of line with what begins at line 1, column 1 | check the "
        "indentation, and that each quote and bracket is closed",
    ),
    case(
        "list on the key's line",
        top("description: - b"),
        "1:14: found a `- ` where no list can be | begin the list on a new line",
    ),
    case(
        "key among list items",
        "- a\nb: c\n",
        "2:1: found this out of line with what begins at line 1, column 1 | check the "
        "indentation, and that each quote and bracket is closed",
    ),
    case(
        "stray bracket",
        top("description: ]"),
        "1:14: found ']' where a value should be",
    ),
    case(
        "YAML 2",
        "%YAML 2.0\n---\na: b\n",
        "1:1: found another version of YAML; allowed: 1.2 and 1.1 | remove the %YAML line",
    ),
    case(
        "anchor without a name",
        top("description: & x"),
        "1:15: no valid YAML",
    ),
    case(
        "python tag",
        top("description: !!python/object/apply:os.system [echo]"),
        "1:14: description: found the tag '!!python/object/apply:os.system'; allowed: "
        "values without a tag",
    ),
    case(
        "custom tag",
        top("description: !mine x"),
        "1:14: description: found the tag '!mine'; allowed: values without a tag",
    ),
    case(
        "custom tag on a mapping",
        trial("command: x", "env: !env {A: b}"),
        "3:8: trial.env: found the tag '!env'; allowed: values without a tag",
    ),
    case(
        "tag with a handle",
        top("description: !e!mine x"),
        "1:14: found a tag; allowed: values without a tag",
    ),
    case(
        "tag that does not fit",
        top("description: !!int x"),
        "1:14: description: found 'x' with the tag '!!int', which it is not",
    ),
    case(
        "unknown alias",
        top("seed: &start 1\nmaxTrialNum: *strat"),
        "2:14: maxTrialNum: found *strat, but no &strat above it | did you mean *start?",
    ),
    case(
        "alias in itself",
        tuner("builtinTunerName: &a [*a]"),
        "2:21: tuner.builtinTunerName: found a list; allowed: Random, GridSearch, BatchTuner",
        "2:25: tuner.builtinTunerName[0]: found *a inside the very value that &a names",
    ),
    case(
        "merge of text",
        top("<<: text"),
        "1:5: ['<<']: found 'text'; allowed: a mapping, or a list of mappings",
    ),
    case(
        "alias bomb",
        BOMB,
        "6:5: a5: found more than 1 MB, with aliases written out",
    ),
    case(
        "nesting",
        "a: " + "[" * 101 + "]" * 101,
        "1:103: a[0][0][0][0][0][0][0][0][0][0",
    ),
    case(
        "deep nesting",
        "{a: " * 100_000,
        "1:401: a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.",
    ),
    case(
        "two documents",
        CONFIG + "---\n" + CONFIG,
        "4:1: found a second document; allowed: one",
    ),
    case(
        "infinite number",
        top("seed: 1e999"),
        "1:7: seed: found a number too large for a float; infinity is written .inf",
    ),
    case(
        "endless number",
        top("seed: " + "9" * 5000),
        "1:7: seed: found a number of more than 300 digits",
    ),
    case(
        "list at the top",
        "- a\n- b\n",
        "1:1: found a list; allowed: a mapping of keys to values",
    ),
    case(
        "text at the top",
        "hello\n",
        "1:1: found 'hello'; allowed: a mapping of keys to values",
    ),
    case(
        "control character",
        top("description: a\x1bb"),
        "1:15: found the control character '\\x1b' in the text | remove it",
    ),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    root = tmp_path_factory.mktemp("configs")
    for name, content in FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture
def problems(directory, monkeypatch):
    """Return a function: text of a configuration → its problems."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(rules, "missing_packages", lambda required: ())

    def read(text):
        Path("c.yml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_config(Path("c.yml"))
        return caught.value.problems

    return read


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_mistake_is_told_with_its_place_and_what_to_do(problems, text, expected):
    found = problems(text)

    assert len(found) == len(expected), [str(problem) for problem in found]
    for problem, wanted in zip(found, expected, strict=True):
        start, _, hint = wanted.partition(" | ")
        assert str(problem).removeprefix("c.yml:").startswith(start)
        assert hint in problem.hint


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_parser_in_python_finds_the_same_mistakes(problems, monkeypatch, text, expected):
    monkeypatch.setattr(reader, "_LOADER", yaml.SafeLoader)

    found = problems(text)

    assert len(found) == len(expected)
    for problem, wanted in zip(found, expected, strict=True):
        # The two parsers may place the same mistake a column apart.
        words = wanted.partition(" | ")[0].split(": ", 1)[1]
        assert words in str(problem)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(problems):
    found = problems(
        "trialConcurrency: 0\n"
        "maxTrialNun: 3\n"
        "multiPhase: yes\n"
        "tuner: {codeDir: code, classFileName: broken.py, className: T}\n"
        "trial: {comand: x, gpuNum: -2}\n"
        "searchSpacePath: bad.json\n"
        "debug: on\n"
        "debug: on\n"
    )

    assert [(problem.file, problem.line, problem.key) for problem in found] == [
        ("c.yml", 1, "trialConcurrency"),
        ("c.yml", 2, "maxTrialNun"),
        ("c.yml", 3, "multiPhase"),
        ("c.yml", 5, "trial.comand"),
        ("c.yml", 5, "trial.gpuNum"),
        ("c.yml", 7, "debug"),
        ("c.yml", 8, "debug"),
        ("bad.json", 1, "x._value[1]"),
        ("code/broken.py", 2, "tuner.classFileName"),
    ]


def test_a_problem_prints_its_place_its_line_a_caret_and_a_hint(problems):
    [found] = problems(top("maxExecDuration: 90 min"))

    assert str(found) == (
        "c.yml:1:18: maxExecDuration: found '90 min'; "
        "allowed: one whole number and s, m, h or d, such as 90s or 24h\n"
        "    maxExecDuration: 90 min\n"
        "                     ^\n"
        "    write 90m"
    )
    assert found.to_json() == {
        "file": "c.yml",
        "line": 1,
        "column": 18,
        "key": "maxExecDuration",
        "message": (
            "found '90 min'; allowed: one whole number and s, m, h or d, such as 90s or 24h"
        ),
        "hint": "write 90m",
        "source": "maxExecDuration: 90 min",
    }


def test_a_long_line_is_cut_around_the_caret(problems):
    before, after = ("".join(f"{name}{n}: text, " for n in range(100)) for name in "AC")

    [found] = problems(trial("command: x", f"env: {{{before}B: 7, {after}}}"))

    _, source, caret, _ = str(found).splitlines()
    assert len(source) <= 104
    assert source[caret.index("^")] == "7"


def test_the_caret_stays_below_its_character_behind_tabs(problems):
    [found] = problems(top("seed:\t\t-1"))

    assert str(found).splitlines()[1:3] == ["    seed:\t\t-1", "         \t\t^"]


def test_paths_are_shown_as_the_configuration_was_named(directory, tmp_path, monkeypatch):
    monkeypatch.chdir(directory.parent)
    config = Path(directory.name, "c.yml")
    config.write_text(custom("good.py", "Nobody"))

    with pytest.raises(ConfigError) as caught:
        read_config(config)

    [problem] = caught.value.problems
    assert problem.file == str(config)
    assert str(Path(directory.name, "code", "good.py")) in problem.message


def whole_file(path):
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    [problem] = caught.value.problems
    assert problem.file == str(path)
    return problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"# a comment\n", "is empty"),
        (b"---\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a binary file"),
        ("tuner: x".encode("utf-16"), "is UTF-16 text"),
        (b"# " + b"x" * 1_000_000, "is larger than 1 MB"),
    ],
)
def test_a_file_of_another_kind_is_refused_as_a_whole(tmp_path, content, expected):
    file = tmp_path / "c.yml"
    file.write_bytes(content)

    problem = whole_file(file)

    assert problem.message.startswith(expected)
    assert problem.line is None
    assert str(problem).startswith(f"{file}: {expected}")


def test_a_byte_that_is_no_utf8_is_pointed_at(tmp_path):
    file = tmp_path / "c.yml"
    file.write_bytes(b"\xef\xbb\xbfa: b\nc: \xc3\xa4\xff")

    problem = whole_file(file)

    assert (problem.line, problem.column) == (2, 5)
    assert problem.message == "byte 0xff is no UTF-8"


def test_a_missing_file_is_told_with_the_one_that_was_meant(tmp_path):
    (tmp_path / "digits.yml").write_text("")

    problem = whole_file(tmp_path / "digit.yml")

    assert problem.message == "no such file"
    assert problem.hint == f"did you mean {tmp_path / 'digits.yml'}?"


def test_a_directory_is_told_with_a_configuration_in_it(tmp_path):
    (tmp_path / "b.yml").write_text("")

    problem = whole_file(tmp_path)

    assert problem.message == "is a directory; allowed: a file"
    assert problem.hint == f"did you mean {tmp_path / 'b.yml'}?"


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    assert whole_file(tmp_path / "c.yml").message == "cannot be read: Permission denied"


def test_a_name_with_a_file_for_a_directory_is_no_traceback(tmp_path):
    (tmp_path / "file").write_text("")

    assert "Not a directory" in whole_file(tmp_path / "file" / "c.yml").message
