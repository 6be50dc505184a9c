"""What all tuners that come with mpx have in common: they read the search space."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from mpx.errors import UsageError
from mpx.search_space import TYPE_NAMES, SpaceProblem, check
from mpx.tuner import Tuner


def class_args(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a tuner's `classArgs`: these, all of them optional, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [],
        "additionalProperties": False,
    }


class BuiltInTuner(Tuner):
    """A tuner that chooses from a search space which it has checked.

    Attributes:
        class_args_schema: JSON Schema of the constructor's arguments.
        requires: module that it imports → extra of this package that brings it.
        types: the types of parameters that it takes.
        goes_on: it is of use only where a trial has one phase after the other of the same search space.
    """

    class_args_schema: ClassVar[dict[str, Any]] = class_args()
    requires: ClassVar[dict[str, str]] = {}
    types: ClassVar[Collection[str]] = TYPE_NAMES
    goes_on: ClassVar[bool] = False

    def __init__(self) -> None:
        self._space: dict[str, Any] = {}

    def checkpoints_in_use(self) -> Collection[int] | None:
        """Return none: it lets no phase go on from another one."""
        return ()

    @classmethod
    def check_search_space(cls, space: Any) -> list[SpaceProblem]:
        """Return every mistake that keeps this tuner from using a search space.

        The validation of a configuration calls it, without constructing the tuner.
        """
        return check(space, cls.types)

    def update_search_space(self, search_space: Any) -> None:
        """Use `search_space` from the next parameters on.

        Raises:
            UsageError: the space has mistakes; the one before it stays in use.
        """
        problems = self.check_search_space(search_space)
        if problems:
            found = "\n".join(f"  {problem}" for problem in problems)
            raise UsageError(f"{type(self).__name__} cannot use this search space:\n{found}")
        self._space = search_space
