"""What keys ask of each other, which no single key's schema can say."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mpx.config.durations import parse_duration
from mpx.config.problem import Problem
from mpx.config.reader import Document
from mpx.config.unknown_keys import places_meant
from mpx.loader import BUILT_IN_TUNERS

_CUSTOM_KEYS = ("codeDir", "classFileName", "className")
_CUSTOM = "codeDir, classFileName and className"


def rule_problems(document: Document) -> Iterator[Problem]:
    """Yield where the keys of a document contradict or miss each other."""
    for rule in (
        _one_tuner,
        _one_search_space,
        _reachable_limits,
        _reachable_timeout,
        _one_direction,
    ):
        yield from rule(document)


def _one_tuner(document: Document) -> Iterator[Problem]:
    tuner = document.mapping("tuner")
    custom = [key for key in _CUSTOM_KEYS if key in tuner]
    if "builtinTunerName" in tuner and custom:
        message = f"found beside builtinTunerName; allowed: that alone, or {_CUSTOM}"
        yield document.key_problem(("tuner", custom[0]), message, "remove one or the other")
    elif custom:
        yield from _missing_custom_keys(document)
    elif document.find("tuner") == tuner and not _means_a_tuner(document):
        message = f"found no tuner; allowed: builtinTunerName, or {_CUSTOM}"
        yield document.problem(("tuner",), message)


def _means_a_tuner(document: Document) -> bool:
    return "builtinTunerName" in document.mapping("tuner") or bool(
        places_meant(document, ("tuner",))
    )


def _missing_custom_keys(document: Document) -> Iterator[Problem]:
    meant = places_meant(document, ("tuner",))
    for key in _CUSTOM_KEYS:
        if key not in document.mapping("tuner") and ("tuner", key) not in meant:
            hint = f"a tuner of your own is named by {_CUSTOM}"
            yield document.problem(("tuner", key), "missing", hint)


def _one_search_space(document: Document) -> Iterator[Problem]:
    spaces = {"searchSpace", "searchSpacePath"} & document.mapping().keys()
    tuner = document.text("tuner", "builtinTunerName")
    if len(spaces) == 2:
        message = "found beside searchSpace; allowed: one of the two"
        yield document.key_problem(("searchSpacePath",), message, "remove one or the other")
    elif tuner in BUILT_IN_TUNERS and not spaces and not _means_a_space(document):
        message = f"{tuner} needs a search space, and there is none"
        hint = "add searchSpace, or searchSpacePath with the file's name"
        yield document.problem(("tuner", "builtinTunerName"), message, hint)


def _means_a_space(document: Document) -> bool:
    return any(str(place[-1]).startswith("searchSpace") for place in places_meant(document, ()))


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


def _number(document: Document, key: str) -> int | None:
    value = document.find(key)
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
    theirs = document.text("tuner", "classArgs", "optimize_mode")
    if ours and theirs and ours != theirs:
        message = f"found {ours!r}, but tuner.classArgs.optimize_mode is {theirs!r}"
        yield document.problem(("optimizeMode",), message, "let the two say the same")
