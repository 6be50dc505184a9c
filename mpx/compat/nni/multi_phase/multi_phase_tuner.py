"""NNI's `nni.multi_phase.multi_phase_tuner` (v0.3-v0.8)."""

from mpx.tuner import MultiPhaseTuner

__all__ = ["MultiPhaseTuner"]
