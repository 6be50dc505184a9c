"""NNI's `nni.nas_utils`: classic NAS, which mpx does not have."""

from __future__ import annotations

from typing import Any, NoReturn


def training_update(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise NotImplementedError: it is part of NNI's classic NAS."""
    raise NotImplementedError(
        "nni.training_update belongs to NNI's classic NAS, which mpx does not have: ask for each"
        " architecture with nni.get_next_parameter() and build the network from it"
    )
