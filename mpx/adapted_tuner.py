"""A tuner of any age behind one calling convention."""

from __future__ import annotations

import functools
import inspect
import operator
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpx.errors import ClassLoadError, NoMoreTrialError, TunerError
from mpx.host import call_if_there
from mpx.tuner import Tuner

# Called with a parameter_id and parameters for it.
Launch = Callable[[int, Any], None]


@dataclass(frozen=True, slots=True)
class FirstPhases:
    """What a tuner has for trials that are about to start.

    Attributes:
        found: (parameter_id, parameters) of as many as it has.
        promised: parameter_ids for which it has none, but may have some later, for it kept the
            `st_callback` that it was given.
    """

    found: list[tuple[int, Any]]
    promised: frozenset[int]


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
        self._wants_trial_ids = _Signature.of(self._generate_many).names("trial_job_ids")
        self._takes_trial_id = _Signature.of(self._generate_many).takes("trial_job_id")
        self._takes_callback = _Signature.of(self._generate_many or generate).takes("st_callback")
        self._generate_first = self._generate_one if generate is None else self._first(generate)
        self._generate = self._generate_one if generate is None else adapt(generate, 1)
        self._receive = self._adapted("receive_trial_result", 3, customized=False)
        old = self._own("receive_customized_trial_result")
        self._old_receiver = None if old is None else adapt(old, 3)
        self._receive_customized = self._customized_receiver()
        self._takes_checkpoint = _Signature.of(self._own("receive_trial_result")).takes(
            "checkpoint"
        )
        self._phase_end = self._adapted("phase_end", 2)
        self.trial_end = self._adapted("trial_end", 2)
        both = (self._own("save_checkpoint"), self._own("load_checkpoint"))
        self.saves = None not in both  # what could not be loaded would be lost
        self.takes_data = self._own("import_data") is not None

    def call(self, name: str, *args: Any) -> None:
        """Call a method that takes just these arguments, if the tuner has it."""
        call_if_there(self.tuner, name, *args)

    def checkpoints_in_use(self) -> frozenset[int] | None:
        """Return the parameter_ids of the phases that the tuner may name as parents; None: any.

        Raises:
            TunerError: it returned something else.
        """
        ask = self._own("checkpoints_in_use")
        found = None if ask is None else ask()
        try:
            return None if found is None else frozenset(map(operator.index, found))
        except TypeError:
            raise TunerError(
                f"checkpoints_in_use returned {found!r:.200}; allowed: a collection of parameter_ids,"
                " or None where it may be any"
            ) from None

    def generate_first(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str], launch: Launch
    ) -> FirstPhases:
        """Return the parameters of as many first phases as the tuner has.

        Args:
            parameter_ids: one for each phase.
            trial_ids: their trials.
            launch: what a tuner that has none now may call later: NNI's `st_callback`.
        """
        # One that is alive when the tuner has returned is one that the tuner keeps.
        callback = functools.partial(launch)
        kept = weakref.ref(callback)
        more = {"st_callback": callback} if self._takes_callback else {}
        del callback
        if self._generate_many is None:
            found = self._generate_each(parameter_ids, trial_ids, more)
            asked = parameter_ids[: len(found) + 1]
        else:
            found = self._generate_together(parameter_ids, trial_ids, more)
            asked = parameter_ids
        more.clear()
        promised = frozenset(asked).difference(number for number, _ in found)
        return FirstPhases(found, promised if kept() is not None else frozenset())

    def _generate_together(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str], more: dict[str, Any]
    ) -> list[tuple[int, Any]]:
        try:
            found = self._generate_list(parameter_ids, trial_ids, more)
        except NoMoreTrialError:
            return []
        return [pair for pair in zip(parameter_ids, found, strict=False) if pair[1] is not None]

    def _generate_list(
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str], more: dict[str, Any]
    ) -> Sequence[Any]:
        assert self._generate_many is not None
        if self._wants_trial_ids:
            more = {**more, "trial_job_ids": list(trial_ids)}
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
        self, parameter_ids: Sequence[int], trial_ids: Sequence[str], more: dict[str, Any]
    ) -> list[tuple[int, Any]]:
        found = []
        for parameter_id, trial_id in zip(parameter_ids, trial_ids, strict=True):
            try:
                parameters = self._generate_first(parameter_id, trial_id, **more)
            except NoMoreTrialError:
                break
            if parameters is None:
                break
            found.append((parameter_id, parameters))
        return found

    def _first(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """Return what generates a first phase: NNI named no trial there, and old tuners rely on that."""
        is_told = getattr(self.tuner, "first_phase_names_trial", True)
        if is_told or _Signature.of(generate).needs > 1:
            return adapt(generate, 1)
        return lambda parameter_id, trial_id, **more: generate(parameter_id, **more)

    def generate_next(self, parameter_id: int, trial_id: str) -> Any:
        """Return the parameters of one phase of a running trial; None if there are no more.

        Raises:
            NoMoreTrialError: there are no more, and the tuner may say why.
        """
        return self._generate(parameter_id, trial_id)

    def generate_batch(self, parameter_ids: Sequence[int], trial_id: str) -> list[Any]:
        """Return the parameters of several phases of a running trial, or of as many as there are.

        Raises:
            NoMoreTrialError: there are none, and the tuner may say why.
            TunerError: there are none for one phase, and some for a later one.
        """
        if self._generate_many is None:
            return generate_until_none(self.generate_next, parameter_ids, trial_id)
        found = self._generate_for(trial_id, parameter_ids)
        count = next((n for n, each in enumerate(found) if each is None), len(found))
        if any(each is not None for each in found[count:]):
            raise TunerError(
                f"generate_multiple_parameters returned None at position {count} of {len(found)} and"
                f" parameters behind it, for the phases of one trial ({trial_id}), which have them in"
                " order; where there are no more, return a shorter list"
            )
        return list(found[:count])

    def _generate_one(self, parameter_id: int, trial_id: str) -> Any:
        found = self._generate_for(trial_id, [parameter_id])
        return found[0] if found else None

    def _generate_for(self, trial_id: str, parameter_ids: Sequence[int]) -> Sequence[Any]:
        more = {"trial_job_id": trial_id} if self._takes_trial_id else {}
        return self._generate_list(parameter_ids, [trial_id] * len(parameter_ids), more)

    def receive(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_id: str,
        customized: bool,
        checkpoint: str | None = None,
    ) -> None:
        """Tell of a final result.

        Args:
            parameter_id: the phase's.
            parameters: the phase's.
            value: as reported.
            trial_id: the phase's trial.
            customized: the user chose the parameters; not all tuners care for such results.
            checkpoint: path of what the phase has saved.
        """
        receive = self._receive_customized if customized else self._receive
        takes_it = self._takes_checkpoint and receive is not self._old_receiver
        if checkpoint is not None and takes_it:
            receive(parameter_id, parameters, value, trial_id, checkpoint=checkpoint)
        else:
            receive(parameter_id, parameters, value, trial_id)

    def phase_end(self, parameter_id: int, success: bool, trial_id: str, customized: bool) -> None:
        """Tell of the end of a phase."""
        if not customized or self._receive_customized is not _nothing:
            self._phase_end(parameter_id, success, trial_id)

    def _customized_receiver(self) -> Callable[..., Any]:
        """Return what takes the results of phases whose parameters the user chose.

        A tuner of NNI v1.0 or older has a method for them. Later ones say that they accept them, or, in
        mpx, show it by naming the argument `customized`.
        """
        method = self._own("receive_trial_result")
        if self._old_receiver is not None:
            return self._old_receiver
        accepts = getattr(self.tuner, "_accept_customized", False)
        if accepts or _Signature.of(method).names("customized"):
            return self._adapted("receive_trial_result", 3, customized=True)
        return _nothing

    def _own(self, name: str) -> Callable[..., Any] | None:
        """Return the method unless the tuner has only the base class's."""
        if getattr(type(self.tuner), name, None) is getattr(Tuner, name, None):
            return None
        method = getattr(self.tuner, name, None)
        return None if _is_inherited_from_nni(method) else method

    def _adapted(self, name: str, leading: int, **more: Any) -> Callable[..., Any]:
        method = self._own(name)
        return _nothing if method is None else adapt(method, leading, **more)


def generate_until_none(
    generate: Callable[[int, str], Any], parameter_ids: Sequence[int], trial_id: str
) -> list[Any]:
    """Return the parameters of several phases of a running trial, chosen one by one.

    Args:
        generate: returns those of one phase, given its parameter_id and the trial; None ends the list.
        parameter_ids: one for each phase.
        trial_id: the trial.

    Raises:
        NoMoreTrialError: there are none for the first; later it ends the list.
    """
    found: list[Any] = []
    for parameter_id in parameter_ids:
        try:
            parameters = generate(parameter_id, trial_id)
        except NoMoreTrialError:
            if not found:
                raise
            break
        if parameters is None:
            break
        found.append(parameters)
    return found


class _Signature:
    """What a method may be called with; anything, if it is written in C without a signature."""

    def __init__(self, parameters: Sequence[inspect.Parameter] | None) -> None:
        self._parameters = parameters

    @classmethod
    def of(cls, method: Callable[..., Any] | None) -> _Signature:
        try:
            found = () if method is None else inspect.signature(method).parameters.values()
        except (TypeError, ValueError):
            return cls(None)
        return cls(tuple(found))

    @property
    def is_known(self) -> bool:
        return self._parameters is not None

    def names(self, name: str) -> bool:
        """Say whether there is an argument of this name."""
        return any(p.name == name and p.kind in _BY_NAME for p in self._parameters or ())

    def takes(self, name: str) -> bool:
        """Say whether it may be given an argument by this name."""
        return self.names(name) or any(p.kind is p.VAR_KEYWORD for p in self._parameters or ())

    @property
    def needs(self) -> int:
        """How many arguments have no default."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return sum(p.default is p.empty and p.kind not in kinds for p in self._parameters or ())

    def room(self, besides: str) -> int | float:
        """Return how many arguments may be given by position, but for one of this name."""
        parameters = self._parameters or ()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return float("inf")
        return sum(p.kind in _BY_POSITION and p.name != besides for p in parameters)


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def adapt(method: Callable[..., Any], leading: int, **more: Any) -> Callable[..., Any]:
    """Return a callable that takes `leading` positional arguments and a trial's id.

    The id is passed on by the name `trial_job_id` if the method knows it (or takes any keyword), else as
    one more positional argument if there is room for one, else not at all.

    Args:
        method: the tuner's.
        leading: how many arguments come before the trial's id.
        **more: passed on by name, where the method takes them.
    """
    signature = _Signature.of(method)
    if not signature.is_known:
        return method
    fixed = {name: value for name, value in more.items() if signature.takes(name)}
    if signature.takes("trial_job_id"):
        return lambda *args, **named: method(
            *args[:leading], trial_job_id=args[leading], **fixed, **named
        )
    if signature.room(besides="customized") > leading:
        return lambda *args, **named: method(*args, **fixed, **named)
    return lambda *args, **named: method(*args[:leading], **fixed, **named)


def _is_inherited_from_nni(method: Callable[..., Any] | None) -> bool:
    """Say whether a method is one of those that NNI's base classes had, and that do nothing of their own.

    They are marked, for this module may not know that package.
    """
    return getattr(method, "of_base_class", False)


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a method the tuner does not have."""


def _describe(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
