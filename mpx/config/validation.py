"""From a user's file to an `ExperimentConfig`, or to all that is wrong with it.

Checked in this order, each step over whatever the ones before it could make sense of: the file's text
and structure (`reader`), each key by the schema (`messages`), keys against each other (`rules`), the
files, the classes and the search space that it names. All problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mpx.config.classes import class_problems
from mpx.config.durations import parse_duration
from mpx.config.gpus import parse_gpu_indices
from mpx.config.messages import schema_problems
from mpx.config.model import (
    AssessorConfig,
    ExperimentConfig,
    LocalConfig,
    TrialConfig,
    TunerConfig,
)
from mpx.config.paths import (
    fault_of_directory,
    fault_of_place_for_directory,
    path_from,
    similar_path,
)
from mpx.config.problem import Problem
from mpx.config.reader import Document, read_document
from mpx.config.roles import ASSESSOR, Role, chooser
from mpx.config.rules import rule_problems
from mpx.config.schema import default
from mpx.config.space import FoundSpace, read_phase_spaces, read_space
from mpx.errors import ConfigError


def read_config(path: Path) -> ExperimentConfig:
    """Read the configuration file at `path`, with every default filled in and every path absolute.

    Raises:
        ConfigError: it has mistakes; `problems` holds all of them, as `Problem`s in the order of the
            file, those of other files behind.
    """
    document = read_document(path)
    space, phase_spaces = read_space(document), read_phase_spaces(document)
    found = [
        *schema_problems(document),
        *rule_problems(document),
        *_directory_problems(document),
        *class_problems(document, space),
        *(problem for each in (space, *phase_spaces) for problem in each.problems),
    ]
    if document.problems or found:
        raise ConfigError(_in_order(document, found))
    return _build(document, space, phase_spaces)


def _directory_problems(document: Document) -> Iterator[Problem]:
    for path, fault_of in (
        (("trial", "codeDir"), fault_of_directory),
        (("logDir",), fault_of_place_for_directory),
    ):
        text = _value(document, *path)
        if isinstance(text, str) and text and "\0" not in text:
            directory = path_from(document.path, text)
            if fault := fault_of(directory):
                yield document.problem(path, fault, similar_path(directory))


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


def _build(
    document: Document, space: FoundSpace, phase_spaces: list[FoundSpace]
) -> ExperimentConfig:
    value = partial(_value, document)
    return ExperimentConfig(
        name=value("experimentName") or document.path.stem,
        author=value("authorName"),
        description=value("description"),
        tuner=_build_tuner(document),
        trial=_build_trial(document),
        assessor=_build_assessor(document),
        local=_build_local(document),
        multi_phase=value("multiPhase"),
        multi_thread=value("multiThread"),
        trial_concurrency=value("trialConcurrency"),
        max_trial_num=value("maxTrialNum"),
        max_phase_num=value("maxPhaseNum"),
        max_phases_per_trial=value("maxPhasesPerTrial"),
        max_exec_duration=_seconds(value("maxExecDuration")),
        phase_timeout=_seconds(value("phaseTimeout")),
        trial_timeout=_seconds(value("trialTimeout")),
        search_space=space.value,
        phase_spaces=[each.value or {} for each in phase_spaces] or None,
        optimize_mode=value("optimizeMode"),
        seed=value("seed"),
        durability=value("durability"),
        keep_checkpoints=value("keepCheckpoints"),
        max_line_length=value("maxLineLength"),
        log_level=_log_level(document),
        log_dir=_directory(document, value("logDir")),
    )


def _build_tuner(document: Document) -> TunerConfig:
    role = chooser(document)
    value = partial(_value, document, role.key)
    return TunerConfig(
        **_build_class(document, role),
        include_intermediate_results=value("includeIntermediateResults") or False,
        gpu_indices=_gpu_indices(value("gpuIndices")) or (),
    )


def _build_assessor(document: Document) -> AssessorConfig | None:
    if ASSESSOR.key not in document.mapping():
        return None
    history = _value(document, ASSESSOR.key, "history")
    return AssessorConfig(**_build_class(document, ASSESSOR), history=history)


def _build_class(document: Document, role: Role) -> dict[str, Any]:
    """Return the fields of a `ClassConfig`."""
    value = partial(_value, document, role.key)
    return {
        "builtin_name": value(role.name_key),
        "code_dir": _directory(document, value("codeDir")),
        "class_file_name": value("classFileName"),
        "class_name": value("className"),
        "class_args": role.arguments(document),
    }


def _build_local(document: Document) -> LocalConfig:
    value = partial(_value, document, "localConfig")
    return LocalConfig(
        gpu_indices=_gpu_indices(value("gpuIndices")),
        max_trials_per_gpu=value("maxTrialNumPerGpu"),
        use_active_gpu=value("useActiveGpu"),
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


def _log_level(document: Document) -> str:
    level: str = _value(document, "logLevel")
    return "debug" if _value(document, "debug") and level != "trace" else level


def _gpu_indices(value: str | int | None) -> tuple[int, ...] | None:
    return None if value is None else parse_gpu_indices(value)


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration(duration)


def _directory(document: Document, text: str | None) -> str | None:
    return None if text is None else str(path_from(document.path, text).resolve())
