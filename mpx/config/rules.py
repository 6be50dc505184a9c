"""What keys ask of each other, which no single key's schema can say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mpx.config.durations import parse_duration
from mpx.config.gpus import parse_gpu_indices
from mpx.config.packages import missing_packages
from mpx.config.problem import KeyPath, Problem
from mpx.config.reader import Document
from mpx.config.roles import ADVISOR, ASSESSOR, CUSTOM, CUSTOM_KEYS, TUNER, Role, chooser
from mpx.config.schema import properties
from mpx.config.unknown_keys import places_meant

_SPACES = ("searchSpace", "searchSpacePath")


def rule_problems(document: Document) -> Iterator[Problem]:
    """Yield where the keys of a document contradict or miss each other."""
    for rule in (
        _tuner_or_advisor,
        _one_class_each,
        _one_search_space,
        _phase_spaces,
        _phases_to_go_on,
        _reachable_limits,
        _reachable_timeout,
        _one_direction,
        _enough_gpus,
        _seen_gpus,
    ):
        yield from rule(document)


def _tuner_or_advisor(document: Document) -> Iterator[Problem]:
    found = document.mapping()
    beside = [key for key in ("tuner", "assessor") if key in found]
    if "advisor" in found and beside:
        message = f"found beside {' and '.join(beside)}; allowed: an advisor alone, or a tuner"
        hint = "remove one or the other: a tuner may stand with an assessor, an advisor is both"
        yield document.key_problem(("advisor",), message, hint)
    elif isinstance(document.value, dict) and not _means_a_chooser(document):
        yield document.problem(("tuner",), "missing", properties()["tuner"]["description"])


def _means_a_chooser(document: Document) -> bool:
    found = {(key,) for key in document.mapping()}
    return not found.union(places_meant(document, ())).isdisjoint({("tuner",), ("advisor",)})


def _one_class_each(document: Document) -> Iterator[Problem]:
    for role in (TUNER, ADVISOR, ASSESSOR):
        if isinstance(document.find(role.key), dict):
            yield from _one_class(document, role)


def _one_class(document: Document, role: Role) -> Iterator[Problem]:
    named = document.mapping(role.key)
    custom = [key for key in CUSTOM_KEYS if key in named]
    if not custom:
        if role.name_key not in named and not places_meant(document, (role.key,)):
            message = f"found no {role.key}; allowed: {role.allowed}"
            yield document.problem((role.key,), message)
    elif role.methods and role.name_key in named:
        message = f"found beside {role.name_key}; allowed: that alone, or {CUSTOM}"
        yield document.key_problem((role.key, custom[0]), message, "remove one or the other")
    elif role.methods:
        yield from _missing_custom_keys(document, role)


def _missing_custom_keys(document: Document, role: Role) -> Iterator[Problem]:
    meant = places_meant(document, (role.key,))
    for key in CUSTOM_KEYS:
        if key not in document.mapping(role.key) and (role.key, key) not in meant:
            hint = f"{role.article} {role.key} of your own is named by {CUSTOM}"
            yield document.problem((role.key, key), "missing", hint)


def _one_search_space(document: Document) -> Iterator[Problem]:
    found = document.mapping()
    role = chooser(document)
    name = role.built_in_name(document)
    yield from _two_spaces(document, ())
    if name and found.keys().isdisjoint({*_SPACES, "phases"}) and not _means_a_space(document):
        message = f"{name} needs a search space, and there is none"
        hint = "add searchSpace, or searchSpacePath with the file's name"
        yield document.problem(role.name_path, message, hint)


def _two_spaces(document: Document, at: KeyPath) -> Iterator[Problem]:
    if document.mapping(*at).keys() >= {*_SPACES}:
        message = "found beside searchSpace; allowed: one of the two"
        yield document.key_problem((*at, "searchSpacePath"), message, "remove one or the other")


def _means_a_space(document: Document, at: KeyPath = ()) -> bool:
    return any(
        str(place[-1]).startswith("searchSpace") or place == ("phases",)
        for place in places_meant(document, at)
    )


def _phase_spaces(document: Document) -> Iterator[Problem]:
    key, found = ("phases",), document.mapping()
    phases = found.get("phases")
    if not isinstance(phases, list) or not phases:
        return
    if beside := [each for each in _SPACES if each in found]:
        message = f"found beside {' and '.join(beside)}; allowed: one or the other"
        hint = f"{beside[0]} is for all phases alike, phases has a space for each: remove one"
        yield document.key_problem(key, message, hint)
    if found.get("multiPhase", False) is False:
        message = f"found {_spaces(phases)}, but a trial has one phase unless multiPhase is true"
        yield document.key_problem(key, message, "add multiPhase: true")
    most = _number(document, "maxPhasesPerTrial")
    if most is not None and most > len(phases):
        message = f"found {most}, but phases has {_spaces(phases)}: a trial has no more of its own"
        hint = f"write {len(phases)}, or remove it, or list the spaces that are missing"
        yield document.problem(("maxPhasesPerTrial",), message, hint)
    for index in range(len(phases)):
        yield from _phase_space(document, ("phases", index))


def _phases_to_go_on(document: Document) -> Iterator[Problem]:
    role = chooser(document)
    if not getattr(role.built_in(document), "goes_on", False):
        return
    name, found = role.built_in_name(document), document.mapping()
    if "phases" in found:
        message = (
            f"found with {name}, of which there would be one for each search space: none would have a"
            " phase to go on from"
        )
        hint = f"write searchSpace for all phases, or choose another tuner than {name}"
        yield document.key_problem(("phases",), message, hint)
    elif found.get("multiPhase", False) is False and ("multiPhase",) not in places_meant(
        document, ()
    ):
        message = f"{name} goes on phase after phase, and a trial has one unless multiPhase is true"
        yield document.problem(role.name_path, message, "add multiPhase: true")


def _spaces(phases: list[Any]) -> str:
    return "one search space" if len(phases) == 1 else f"{len(phases)} search spaces"


def _phase_space(document: Document, at: KeyPath) -> Iterator[Problem]:
    yield from _two_spaces(document, at)
    entry = document.find(*at)
    is_empty = isinstance(entry, dict) and entry.keys().isdisjoint(_SPACES)
    if is_empty and not _means_a_space(document, at):
        message = "found no search space; allowed: searchSpace or searchSpacePath"
        hint = "add searchSpace, or searchSpacePath with the file's name"
        yield document.problem(at, message, hint)


def _reachable_limits(document: Document) -> Iterator[Problem]:
    if document.find("multiPhase") not in (None, False):
        return
    per_trial, phases, trials = (
        _number(document, key) for key in ("maxPhasesPerTrial", "maxPhaseNum", "maxTrialNum")
    )
    hint = "add multiPhase: true"
    if per_trial is not None and per_trial > 1:
        message = f"found {per_trial}, but a trial has one phase unless multiPhase is true"
        yield document.problem(("maxPhasesPerTrial",), message, hint)
    if phases is not None and trials is not None and phases > trials:
        message = (
            f"found {phases}, but {trials} trials have one phase each unless multiPhase is true"
        )
        yield document.problem(("maxPhaseNum",), message, hint)


def _number(document: Document, *path: str) -> int | None:
    value = document.find(*path)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _reachable_timeout(document: Document) -> Iterator[Problem]:
    phase, trial = document.text("phaseTimeout"), document.text("trialTimeout")
    if phase and trial and _seconds(phase) > _seconds(trial):
        message = f"found {phase!r}, but trialTimeout ends every trial after {trial!r}"
        hint = "make it shorter than trialTimeout, or remove it"
        yield document.problem(("phaseTimeout",), message, hint)


def _seconds(duration: str) -> float:
    """Return a duration in seconds; NaN, which no comparison holds for, if it is none."""
    try:
        return parse_duration(duration)
    except ValueError:
        return math.nan


def _one_direction(document: Document) -> Iterator[Problem]:
    ours = document.text("optimizeMode")
    key = chooser(document).key
    theirs = document.text(key, "classArgs", "optimize_mode")
    if ours and theirs and ours != theirs:
        message = f"found {ours!r}, but {key}.classArgs.optimize_mode is {theirs!r}"
        yield document.problem(("optimizeMode",), message, "let the two say the same")


def _enough_gpus(document: Document) -> Iterator[Problem]:
    wanted = _number(document, "trial", "gpuNum")
    try:
        usable = len(parse_gpu_indices(document.find("localConfig", "gpuIndices")))
    except ValueError:  # all of the machine, or a mistake that is told elsewhere
        return
    if wanted is not None and wanted > usable:
        message = f"found {wanted}, but localConfig.gpuIndices has {usable}: no trial could start"
        yield document.problem(("trial", "gpuNum"), message, "ask for fewer, or list more")


def _seen_gpus(document: Document) -> Iterator[Problem]:
    if (_number(document, "trial", "gpuNum") or 0) > 0:
        for packages, advice in missing_packages({"pynvml": "gpu"}):
            yield document.problem(("trial", "gpuNum"), f"needs {packages}", advice)
