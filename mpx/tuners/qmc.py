"""Quasi-random search."""

from __future__ import annotations

import random
from typing import Any

from mpx.tuners.built_in import BuiltInTuner
from mpx.tuners.encoding import Encoding


class QMC(BuiltInTuner):
    """Goes through a scrambled Sobol' sequence, which fills the search space more evenly than chance.

    Results do not matter to it. It is at its most even after 2, 4, 8 ... phases. A new search space
    begins a new sequence. It has more parameters for as long as it is asked.

    Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012),
    section 5; Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14
    (1998). `scipy.stats.qmc` has the sequence.
    """

    requires = {"scipy": "optuna"}

    def __init__(self) -> None:
        super().__init__()
        # Imported here, as it need not be installed, and is slow to import.
        from scipy.stats import qmc

        self._qmc = qmc
        self._rng = random.Random(random.getrandbits(64))
        self._encoding = Encoding({})

    def update_search_space(self, search_space: Any) -> None:
        """Begin a new sequence, in `search_space`."""
        super().update_search_space(search_space)
        self._encoding = Encoding(search_space)
        self._sequence = self._qmc.Sobol(
            max(1, len(self._encoding.dimensions)), rng=self._rng.getrandbits(32)
        )

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the next of the sequence."""
        (shares,) = self._sequence.random().tolist()
        names = (dimension.name for dimension in self._encoding.dimensions)
        share = dict(zip(names, shares, strict=False))
        parameters, _ = self._encoding.decode(
            lambda dimension: dimension.coordinate(share[dimension.name])
        )
        return parameters
