"""NNI's `nni.multi_phase` (v0.3-v0.8)."""

from .multi_phase_tuner import MultiPhaseTuner

__all__ = ["MultiPhaseTuner"]
