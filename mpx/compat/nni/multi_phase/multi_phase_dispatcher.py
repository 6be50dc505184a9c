"""NNI's `nni.multi_phase.multi_phase_dispatcher` (v0.3-v0.8)."""

from __future__ import annotations

from ..msg_dispatcher import (  # noqa: TID252 (known as `nni` and as `mpx.compat.nni`)
    MsgDispatcher,
    _pack_parameter,
)

__all__ = ["MultiPhaseMsgDispatcher", "_pack_parameter"]


class MultiPhaseMsgDispatcher(MsgDispatcher):
    """A dispatcher; since v0.9 every one is multi-phase."""
