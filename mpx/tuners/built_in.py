"""What all tuners that come with mpx have in common: they read the search space."""

from __future__ import annotations

from typing import Any

from mpx.errors import UsageError
from mpx.search_space import SpaceProblem, check
from mpx.tuner import Tuner


class BuiltInTuner(Tuner):
    """A tuner that chooses from a search space which it has checked."""

    def __init__(self) -> None:
        self._space: dict[str, Any] = {}

    @staticmethod
    def check_search_space(space: Any) -> list[SpaceProblem]:
        """Return every mistake that keeps this tuner from using a search space.

        The validation of a configuration calls it, without constructing the tuner.
        """
        return check(space)

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
