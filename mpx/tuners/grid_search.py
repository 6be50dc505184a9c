"""Grid search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpx.search_space import GRID_TYPES, grid
from mpx.tuners.enumerating import EnumeratingTuner


class GridSearch(EnumeratingTuner):
    """Hands out every point of the search space's grid once; the first parameter changes slowest.

    The space may use choice (sub-spaces included), randint, quniform, macro and cell. Then there
    are no more parameters.

    Source: the tuner of that name in NNI v1; `mpx.search_space.grid` defines the points.
    """

    types = GRID_TYPES

    def candidates(self, space: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the points of the grid."""
        return grid(space)
