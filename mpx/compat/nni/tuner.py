"""NNI's `nni.tuner`."""

from mpx.tuner import Tuner

__all__ = ["Tuner"]
