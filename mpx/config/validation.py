"""From a user's file to an `ExperimentConfig`, or to all that is wrong with it.

Checked in this order, each step over whatever the ones before it could make sense of: the file's text
and structure (`reader`), each key by the schema (`messages`), keys against each other (`rules`), the
files, the tuner's class and the search space that it names. All problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mpx.config.durations import parse_duration
from mpx.config.messages import schema_problems
from mpx.config.model import ExperimentConfig, TrialConfig, TunerConfig
from mpx.config.paths import fault_of_directory, path_from, similar_path
from mpx.config.problem import Problem
from mpx.config.reader import Document, read_document
from mpx.config.rules import rule_problems
from mpx.config.schema import default
from mpx.config.space import read_space
from mpx.config.tuner_class import tuner_problems
from mpx.errors import ConfigError


def read_config(path: Path) -> ExperimentConfig:
    """Read the configuration file at `path`, with every default filled in and every path absolute.

    Raises:
        ConfigError: it has mistakes; `problems` holds all of them, as `Problem`s in the order of the
            file, those of other files behind.
    """
    document = read_document(path)
    space = read_space(document)
    found = [
        *schema_problems(document),
        *rule_problems(document),
        *_trial_problems(document),
        *tuner_problems(document),
        *space.problems,
    ]
    if document.problems or found:
        raise ConfigError(_in_order(document, found))
    return _build(document, space.value)


def _trial_problems(document: Document) -> Iterator[Problem]:
    code_dir = _value(document, "trial", "codeDir")
    if isinstance(code_dir, str) and "\0" not in code_dir:
        directory = path_from(document.path, code_dir)
        if fault := fault_of_directory(directory):
            yield document.problem(("trial", "codeDir"), fault, similar_path(directory))


def _in_order(document: Document, found: Iterable[Problem]) -> list[Problem]:
    """Return all problems by file and position; what follows from a misread value is left out."""
    misread = {(problem.line, problem.column) for problem in document.problems}
    kept = [
        problem
        for problem in dict.fromkeys(found)
        if problem.file != document.source.name or (problem.line, problem.column) not in misread
    ]
    return sorted([*document.problems, *kept], key=partial(_rank, document.source.name))


def _rank(first_file: str, problem: Problem) -> tuple[bool, str, int, int]:
    return (problem.file != first_file, problem.file, problem.line or 0, problem.column or 0)


def _build(document: Document, space: dict[str, Any] | None) -> ExperimentConfig:
    value = partial(_value, document)
    return ExperimentConfig(
        name=value("experimentName") or document.path.stem,
        author=value("authorName"),
        description=value("description"),
        tuner=_build_tuner(document),
        trial=_build_trial(document),
        multi_phase=value("multiPhase"),
        trial_concurrency=value("trialConcurrency"),
        max_trial_num=value("maxTrialNum"),
        max_phase_num=value("maxPhaseNum"),
        max_phases_per_trial=value("maxPhasesPerTrial"),
        max_exec_duration=_seconds(value("maxExecDuration")),
        phase_timeout=_seconds(value("phaseTimeout")),
        trial_timeout=_seconds(value("trialTimeout")),
        search_space=space,
        optimize_mode=value("optimizeMode"),
        seed=value("seed"),
        durability=value("durability"),
        max_line_length=value("maxLineLength"),
    )


def _build_tuner(document: Document) -> TunerConfig:
    value = partial(_value, document, "tuner")
    return TunerConfig(
        builtin_name=value("builtinTunerName"),
        code_dir=_directory(document, value("codeDir")),
        class_file_name=value("classFileName"),
        class_name=value("className"),
        class_args=dict(value("classArgs")),
    )


def _build_trial(document: Document) -> TrialConfig:
    value = partial(_value, document, "trial")
    return TrialConfig(
        command=value("command"),
        code_dir=str(_directory(document, value("codeDir"))),
        gpu_num=value("gpuNum"),
        environment=dict(value("env")),
        grace_period=parse_duration(value("gracePeriod")),
        retries=value("retries"),
        orphan_timeout=parse_duration(value("orphanTimeout")),
    )


def _value(document: Document, *path: str) -> Any:
    """Return what a document says at `path`, else the schema's default."""
    is_given = path[-1] in document.mapping(*path[:-1])
    return document.find(*path) if is_given else default(*path)


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration(duration)


def _directory(document: Document, text: str | None) -> str | None:
    return None if text is None else str(path_from(document.path, text).resolve())
