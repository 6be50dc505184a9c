"""Population based training."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any

from mpx.errors import NoMoreTrialError, UsageError
from mpx.tuner import Continued
from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Dimension, Encoding, Point
from mpx.tuners.learning import OptimizingTuner
from mpx.tuners.learning import optimize_mode as optimize_mode_schema
from mpx.tuners.population import EXPLOITS, Member, Population, State

_log = logging.getLogger(__name__)

_POPULATION_SIZE = 10


class PBT(OptimizingTuner):
    """Trains a population side by side; who does badly goes on from the weights of who does well.

    A member is what one trial trains, phase after phase, from weights that stay in its process. Before
    each phase a member may *exploit*: take over weights and parameters of a better one; it then
    *explores*: each number is multiplied by one of the factors, or, with a probability, drawn anew.
    Nobody waits for anybody. Only what `phase.save_checkpoint` has saved is copied, with the result
    that the same phase reported.

    A phase that failed, or whose result is NaN or infinitely bad, leaves its member with nothing: it
    copies. A member whose trial died is taken over by the next trial, from its last checkpoint. There is
    nothing for other trials once the population is complete.

    Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846,
    algorithm 1 and section 4.

    Args:
        optimize_mode: "maximize" or "minimize".
        population_size: members; as many trials should run at a time.
        exploit: "truncation": the worst copy any of the best; "binary": each copies a random other one
            if that is better.
        fraction: with truncation, the share of the worst, and of the best; one member at least.
        interval: phases that a member trains, from its begin or its last copy, before it may copy.
        factors: what a number is multiplied by, all equally likely.
        resample_probability: with which a parameter is drawn anew instead.
        phases_per_member: after how many a member has ended, in whatever trials; None: when its trial
            ends well.
        initial: parameters of the first members; those of the others are drawn.

    Raises:
        UsageError: an unknown `optimize_mode` or `exploit`, or `check_class_args` finds a problem.
    """

    goes_on = True
    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        population_size={
            "type": "integer",
            "minimum": 1,
            "maximum": 99999,
            "default": _POPULATION_SIZE,
            "description": "members; let trialConcurrency be as many",
        },
        exploit={
            "type": "string",
            "enum": list(EXPLOITS),
            "default": "truncation",
            "description": "who copies: the worst from the best, or each from a random better one",
        },
        fraction={
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 0.5,
            "default": 0.2,
            "description": "the share of the worst, which copy, and of the best, which are copied",
        },
        interval={
            "type": "integer",
            "minimum": 1,
            "default": 1,
            "description": "phases that a member trains before it may copy",
        },
        factors={
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0},
            "minItems": 1,
            "default": [0.8, 1.2],
            "description": "what a number may be multiplied by after a copy",
        },
        resample_probability={
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.25,
            "description": "probability of drawing a parameter anew after a copy",
        },
        phases_per_member={
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
            "description": "phases that each member trains; null: until its trial ends well",
        },
        initial={
            "type": "array",
            "items": {"type": "object"},
            "default": [],
            "description": "parameters of the first members",
        },
    )

    @staticmethod
    def check_class_args(given: dict[str, Any]) -> list[tuple[str, str]]:
        """Return, by argument, what is wrong between the arguments."""
        size, initial = given.get("population_size", _POPULATION_SIZE), given.get("initial", ())
        if len(initial) <= size:
            return []
        message = f"found {len(initial)} members; allowed: at most population_size, {size}"
        return [("initial", message)]

    @staticmethod
    def check_class_args_in(
        space: dict[str, Any], given: dict[str, Any]
    ) -> list[tuple[tuple[str | int, ...], str]]:
        """Return, by their places below `classArgs`, the members of `initial` that are not of the space."""
        encoding, allowed = Encoding(space), f"allowed: {_of_space(space)}"
        return [
            (("initial", index), f"found {parameters!r:.200}; {allowed}")
            for index, parameters in enumerate(given.get("initial", ()))
            if encoding.encode(parameters) is None
        ]

    def __init__(
        self,
        optimize_mode: str = "maximize",
        population_size: int = _POPULATION_SIZE,
        exploit: str = "truncation",
        fraction: float = 0.2,
        interval: int = 1,
        factors: Sequence[float] = (0.8, 1.2),
        resample_probability: float = 0.25,
        phases_per_member: int | None = None,
        initial: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(optimize_mode)
        if exploit not in EXPLOITS:
            raise UsageError(f"found exploit {exploit!r}; allowed: {', '.join(EXPLOITS)}")
        given = {"population_size": population_size, "initial": initial}
        for argument, message in self.check_class_args(given):
            raise UsageError(f"{argument}: {message}")
        self._population = Population(population_size, phases_per_member)
        self._exploit = EXPLOITS[exploit]
        self._fraction = fraction
        self._interval = interval
        self._factors = list(factors)
        self._resample_probability = resample_probability
        self._initial = list(initial)
        self._training: dict[int, Member] = {}  # by parameter_id

    def update_search_space(self, search_space: Any) -> None:
        """Choose from `search_space` from now on; what is of it in a member's parameters stays.

        Raises:
            UsageError: the space has mistakes, or what is left of `initial` is not of it.
        """
        super().update_search_space(search_space)
        for _, message in self.check_class_args_in(search_space, {"initial": self._initial}):
            raise UsageError(f"PBT: initial: {message}")

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> Any:
        """Return how a trial's member goes on: `Continued`, or plain parameters for a new one.

        Raises:
            NoMoreTrialError: no member is left for this trial: all have begun, and its own has ended.
            TunerError: the member is to copy another one, and nobody has saved a checkpoint.
        """
        member = self._population.seat(trial_job_id or "")
        if member is None:
            raise NoMoreTrialError("no member of the population is left for this trial")
        chosen = self._choose(member)
        member.is_training = True
        self._training[parameter_id] = member
        return chosen

    def receive_trial_result(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_job_id: str | None = None,
        customized: bool = False,
        checkpoint: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take in where a member has come to, with parameters that the user chose as well.

        Raises:
            TunerError: it is the first result, and no number.
        """
        loss = self._loss(parameter_id, value)
        if loss is None or loss == math.inf:
            self._end(parameter_id, trial_job_id, None)
        else:
            state = State(parameter_id, parameters, loss)
            self._end(parameter_id, trial_job_id, state, checkpoint is not None)

    def phase_end(self, parameter_id: int, success: bool, trial_job_id: str | None = None) -> None:
        """Take in that a phase ended, which is a failure if no result came before."""
        if not success:
            self._end(parameter_id, trial_job_id, None)

    def trial_end(
        self, parameter_id: int, success: bool, trial_job_id: str | None = None, **kwargs: Any
    ) -> None:
        """Take in that a trial ended; if it did not end well, another one takes over its member."""
        self._population.leave(trial_job_id or "", success)

    def checkpoints_in_use(self) -> Collection[int] | None:
        """Return the phases with the last confirmed checkpoint of each member."""
        return self._population.saved()

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Leave results from elsewhere alone: no weights come with them."""
        _log.warning("PBT makes no use of imported results, for no weights come with them")

    def _choose(self, member: Member) -> Any:
        is_lost = member.state is None and member.loss is not None
        if is_lost or (member.state is not None and member.phases >= self._interval):
            better = self._exploit(self._population, member, self._fraction, self._rng)
            if better is not None:
                member.phases = 0
                return Continued(self._explore(better.parameters), better.parameter_id)
        if member.state is None:
            return self._begin()
        return Continued(self._fit(member.state.parameters), member.state.parameter_id)

    def _begin(self) -> dict[str, Any]:
        return deepcopy(self._initial.pop(0)) if self._initial else self._anywhere()[0]

    def _end(
        self, parameter_id: int, trial: str | None, state: State | None, is_saved: bool = False
    ) -> None:
        member = self._training.pop(parameter_id, None)
        if member is None:  # the user chose the parameters
            member = self._population.seat(trial or "")
        elif member.trial != (trial or ""):
            self._population.move(member, trial or "")
        if member is not None:
            self._population.note(member, state, is_saved)

    def _explore(self, parameters: Any) -> dict[str, Any]:
        """Return other parameters nearby."""
        point = self._known(parameters)

        def coordinate(dimension: Dimension) -> float:
            resamples = self._rng.random() < self._resample_probability
            if resamples or dimension.name not in point:
                return dimension.draw(self._rng)
            factor = self._rng.choice(self._factors)
            return self._encoding.scale(dimension, point[dimension.name], factor)

        return self._encoding.decode(coordinate)[0]

    def _fit(self, parameters: Any) -> Any:
        """Return the same parameters; what is not of the search space any more is drawn anew."""
        if self._encode(parameters) is not None:
            return parameters
        point = self._known(parameters)
        return self._encoding.decode(
            lambda each: point[each.name] if each.name in point else each.draw(self._rng)
        )[0]

    def _known(self, parameters: Any) -> Point:
        """Return the coordinates of what is of the search space."""
        point: Point = {}
        for name, spec in self._space.items():
            if isinstance(parameters, dict) and name in parameters:
                alone = Encoding({name: spec}).encode({name: parameters[name]})
                point.update(alone or {})
        return point


def _of_space(space: dict[str, Any]) -> str:
    """Say in words what parameters of a search space are."""
    names = ", ".join(space)
    return f"a value within its range for each parameter of the search space, and no other: {names}"
