"""A list of parameters, run as it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from mpx.search_space import SpaceProblem, check
from mpx.tuners.enumerating import EnumeratingTuner


class BatchTuner(EnumeratingTuner):
    """Hands out the options of a single choice in order, each as it is and once.

    The search space is one parameter, of type choice. Its name serves the reader alone: the
    parameters of a phase are the option itself, and not `{name: option}`. Then there are no more
    parameters.

    Source: the tuner of that name in NNI v1.
    """

    types = ("choice",)

    @classmethod
    def check_search_space(cls, space: Any) -> list[SpaceProblem]:
        """Return every mistake: anything but one choice, or an option that is null."""
        # What an option holds is between its author and the trial: nothing below it is looked at.
        problems = [problem for problem in check(space, cls.types) if len(problem.path) < 3]
        if isinstance(space, dict):
            problems += _check_count(list(space))
            problems += _check_options(space)
        return problems

    def candidates(self, space: dict[str, Any]) -> Iterator[Any]:
        """Return the options."""
        return chain.from_iterable(spec["_value"] for spec in space.values())


def _check_count(names: list[str]) -> list[SpaceProblem]:
    if len(names) == 1:
        return []
    message = f"found {len(names)} parameters; allowed: exactly one, of type choice"
    return [SpaceProblem(tuple(names[1:2]), message)]


def _check_options(space: dict[str, Any]) -> list[SpaceProblem]:
    message = (
        "found nothing (null); allowed: anything else, as no parameters mean that there are no more"
    )
    return [
        SpaceProblem((name, "_value", index), message)
        for name, spec in space.items()
        if isinstance(spec, dict) and isinstance(spec.get("_value"), list)
        for index, option in enumerate(spec["_value"])
        if option is None
    ]
