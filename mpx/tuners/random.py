"""Random search."""

from __future__ import annotations

import random
from typing import Any

from mpx.search_space import sample
from mpx.tuners.built_in import BuiltInTuner


class Random(BuiltInTuner):
    """Draws every phase's parameters anew from the search space, whatever the results were.

    Each parameter is independent of the others and of all earlier draws, so a set can come twice.
    `mpx.search_space` defines the distributions. It has more parameters for as long as it is asked.

    Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012).
    """

    def __init__(self) -> None:
        super().__init__()
        # The host seeds the global generator just before it constructs a tuner. One of its own,
        # seeded from there, makes the draws repeatable whatever else draws from the global one.
        self._rng = random.Random(random.getrandbits(64))

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return a new draw."""
        return sample(self._space, self._rng)
