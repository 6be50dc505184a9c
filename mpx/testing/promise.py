"""Promises: what a test holds a class to, and what the test says when that is broken."""

from __future__ import annotations

import functools
import inspect
import textwrap
import unittest
from collections.abc import Callable
from typing import Any

Test = Callable[[Any], None]


class BrokenPromiseError(AssertionError):
    """A promise is broken.

    Args:
        seen: what was seen.
        to_do: what the author of the class can do about it, if that is not what the test says.
    """

    def __init__(self, seen: str, to_do: str | None = None) -> None:
        super().__init__(seen)
        self.to_do = to_do


def promise(to_do: str, after: tuple[str, ...] = ()) -> Callable[[Test], Test]:
    """Return a decorator for a test whose docstring is the promise.

    Of the AssertionError that it raises is made one that says the promise, what was seen and what to do.
    If one of the tests in `after` fails as well, this one is skipped: there is the cause.

    Args:
        to_do: how to keep the promise.
        after: names of tests.
    """

    def decorate(test: Test) -> Test:
        contract = " ".join(inspect.cleandoc(test.__doc__ or "").split())

        @functools.wraps(test)
        def checked(self: Any) -> None:
            __tracebackhide__ = True  # what pytest shows of a failure is its message
            try:
                test(self)
            except AssertionError as broken:
                _look_for_the_cause(self, after)
                raise AssertionError(_message(self, contract, broken, to_do)) from None

        return checked

    return decorate


def _look_for_the_cause(tested: Any, names: tuple[str, ...]) -> None:
    for name in names:
        test = getattr(tested, name, None)
        if not callable(test):
            continue  # its user has left it out
        try:
            test()
        except AssertionError:
            raise unittest.SkipTest(f"not to be judged while {name} fails") from None


def _message(tested: Any, contract: str, broken: AssertionError, to_do: str) -> str:
    parts = {
        "the contract": contract,
        "seen": str(broken),
        "to do": getattr(broken, "to_do", None) or to_do,
    }
    said = [f"  {name}: {_hanging(text)}" for name, text in parts.items()]
    return "\n".join([f"{type(tested).__name__}: a tuner's contract is broken", *said])


def _hanging(text: str) -> str:
    """Return a text whose lines, but for the first, are indented below it."""
    return textwrap.indent(text.rstrip(), " " * 4).lstrip()
