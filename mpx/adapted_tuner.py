"""A tuner of any age behind one calling convention."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mpx.errors import ClassLoadError, NoMoreTrialError, TunerError
from mpx.tuner import Tuner


class AdaptedTuner:
    """A tuner of any age behind one calling convention.

    NNI's tuners differ by version in whether they take `trial_job_id`, by name or by position, and
    whether they take more by `**kwargs`. Each method's signature is read once.
    """

    def __init__(self, tuner: Any) -> None:
        self.tuner = tuner
        generate = self._own("generate_parameters")
        self._generate_many = self._own("generate_multiple_parameters")
        if generate is None and self._generate_many is None:
            raise ClassLoadError(
                f"{type(tuner).__name__} is no tuner: it has no `generate_parameters` method"
            )
        self._wants_trial_ids = _names(self._generate_many, "trial_job_ids")
        self.generate = self._generate_one if generate is None else adapt(generate, 1)
        self.receive = self._adapted("receive_trial_result", 3)
        self.phase_end = self._adapted("phase_end", 2)
        self.trial_end = self._adapted("trial_end", 2)
        both = (self._own("save_checkpoint"), self._own("load_checkpoint"))
        self.saves = None not in both  # what could not be loaded would be lost

    def call(self, name: str, *args: Any) -> Any:
        """Call a method that takes just these arguments, if the tuner has it."""
        method = getattr(self.tuner, name, None)
        return None if method is None else method(*args)

    def generate_first(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> list[tuple[int, Any]]:
        """Return (parameter_id, parameters) of as many first phases as the tuner has."""
        if self._generate_many is None:
            return self._generate_each(parameter_ids, trial_ids)
        try:
            found = self._generate_list(parameter_ids, trial_ids)
        except NoMoreTrialError:
            return []
        return [pair for pair in zip(parameter_ids, found, strict=False) if pair[1] is not None]

    def _generate_list(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> Sequence[Any]:
        assert self._generate_many is not None
        more = {"trial_job_ids": list(trial_ids)} if self._wants_trial_ids else {}
        found = self._generate_many(list(parameter_ids), **more)
        if found is None:
            return []
        if not isinstance(found, (list, tuple)) or len(found) > len(parameter_ids):
            raise TunerError(
                f"generate_multiple_parameters was asked for {len(parameter_ids)} and returned"
                f" {_describe(found)}; it may return a list of as many, or fewer"
            )
        return found

    def _generate_each(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str]
    ) -> list[tuple[int, Any]]:
        found = []
        for parameter_id, trial_id in zip(parameter_ids, trial_ids, strict=True):
            parameters = self.generate_next(parameter_id, trial_id)
            if parameters is None:
                break
            found.append((parameter_id, parameters))
        return found

    def generate_next(self, parameter_id: int, trial_id: str) -> Any:
        """Return the parameters of one phase; None if there are no more."""
        try:
            return self.generate(parameter_id, trial_id)
        except NoMoreTrialError:
            return None

    def _generate_one(self, parameter_id: int, trial_id: str) -> Any:
        found = self._generate_list([parameter_id], [trial_id])
        return found[0] if found else None

    def _own(self, name: str) -> Callable[..., Any] | None:
        """Return the method unless the tuner has only the base class's."""
        if getattr(type(self.tuner), name, None) is getattr(Tuner, name):
            return None
        return getattr(self.tuner, name, None)

    def _adapted(self, name: str, leading: int) -> Callable[..., Any]:
        method = self._own(name)
        return _nothing if method is None else adapt(method, leading)


def adapt(method: Callable[..., Any], leading: int) -> Callable[..., Any]:
    """Return a callable that takes `leading` positional arguments and a trial's id.

    The id is passed on by the name `trial_job_id` if the method knows it (or takes any keyword), else as
    one more positional argument if there is room for one, else not at all. NNI's `customized` is passed
    as False where it is known.
    """
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # written in C, without a signature
        return method
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    more = {"customized": False} if "customized" in named else {}
    if any_name or "trial_job_id" in named:
        return lambda *args: method(*args[:leading], trial_job_id=args[leading], **more)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    room = sum(p.name != "customized" for p in positional)
    if room > leading or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return lambda *args: method(*args, **more)
    return lambda *args: method(*args[:leading], **more)


def _names(method: Callable[..., Any] | None, argument: str) -> bool:
    """Say whether a method has an argument of this name."""
    try:
        return method is not None and argument in inspect.signature(method).parameters
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def _nothing(*_: Any) -> None:
    """Stand in for a method the tuner does not have."""


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
