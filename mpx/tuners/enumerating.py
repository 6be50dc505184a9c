"""What GridSearch and BatchTuner share: a list of candidates, each handed out once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mpx.errors import NoMoreTrialError
from mpx.tuners.built_in import BuiltInTuner


class EnumeratingTuner(BuiltInTuner):
    """Hands out the candidates of a search space in order, to whichever trial asks.

    Results do not matter to it. A candidate whose phase failed is not handed out again. When the
    search space changes, the new one is gone through from its start, without what was handed out
    before; so is what `import_data` brought. A candidate listed twice in one space comes twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._candidates: Iterator[Any] = iter(())
        self._passed = 0
        self._known: set[str] = set()

    def candidates(self, space: dict[str, Any]) -> Iterator[Any]:
        """Return what there is to hand out, in order: the same each time it is called."""
        raise NotImplementedError(f"{type(self).__name__} has no candidates method")

    def update_search_space(self, search_space: Any) -> None:
        """Begin to go through `search_space`, without what was handed out before."""
        previous = self._space
        super().update_search_space(search_space)
        # Walked again, not remembered: a change is rare, and a grid can have millions of points.
        self._known.update(map(_key, islice(self.candidates(previous), self._passed)))
        self._candidates = self.candidates(search_space)
        self._passed = 0

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> Any:
        """Return the next candidate.

        Raises:
            NoMoreTrialError: all have been handed out.
        """
        for candidate in self._candidates:
            self._passed += 1
            if _key(candidate) not in self._known:
                return candidate
        raise NoMoreTrialError("every candidate of the search space has been handed out")

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Take the parameters in `data` for handed out where a result came with them."""
        self._known.update(_key(row["parameter"]) for row in data if row["value"] is not None)


def _key(candidate: Any) -> str:
    """Return one text for all candidates that a trial cannot tell apart."""
    return json.dumps(candidate, sort_keys=True)
