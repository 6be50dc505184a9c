"""What users test their own classes with. It needs no test runner, and works with any.

In a file of tests, for pytest::

    from mpx.testing import TunerContract
    from tuner import Mine

    class TestMine(TunerContract):
        tuner = Mine
        search_space = {"lr": {"_type": "loguniform", "_value": [1e-4, 0.1]}}

and for unittest `class TestMine(TunerContract, unittest.TestCase)`.
"""

from __future__ import annotations

from mpx.testing.tuner_contract import TunerContract

__all__ = ["TunerContract"]
