"""What all tuners that optimise numbers have in common, and those that learn from all results alike."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import Any

from mpx.errors import TunerError, UsageError
from mpx.lifecycle import objective
from mpx.tuners.built_in import BuiltInTuner
from mpx.tuners.encoding import Encoding, Point

_MODES = ("maximize", "minimize")

_log = logging.getLogger(__name__)


def optimize_mode(default: str) -> dict[str, Any]:
    """Return the JSON Schema of that argument."""
    return {
        "type": "string",
        "enum": list(_MODES),
        "default": default,
        "description": "which results are better: the greater or the smaller ones",
    }


@dataclass(slots=True)
class Proposal:
    """Parameters that were handed out.

    Attributes:
        parameters: as handed out.
        point: their coordinates.
        token: what the tuner needs to know when their result comes; None once the search space has
            changed.
    """

    parameters: Any
    point: Point
    token: Any = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A result: parameters, their coordinates, and a number that is better the smaller it is."""

    parameters: Any
    point: Point
    loss: float


class OptimizingTuner(BuiltInTuner):
    """Turns results into numbers to minimise, and parameters into coordinates.

    A result is a number, or a dict whose `default` is one. NaN is a failure, like a phase that ended
    without a result. Anything else is a failure too, named in the manager's log, if a number came
    before it; as the first result of all it is an error, for then no other would be better.

    Args:
        optimize_mode: "maximize" or "minimize".

    Raises:
        UsageError: it is neither.
    """

    def __init__(self, optimize_mode: str) -> None:
        super().__init__()
        if optimize_mode not in _MODES:
            raise UsageError(f"found optimize_mode {optimize_mode!r}; allowed: {', '.join(_MODES)}")
        self.optimize_mode = optimize_mode
        # The host seeds the global generator just before it constructs a tuner. One of its own,
        # seeded from there, makes the choices repeatable whatever else draws from the global one.
        self._rng = random.Random(random.getrandbits(64))
        self._encoding = Encoding({})
        self._knows_a_number = False

    def update_search_space(self, search_space: Any) -> None:
        """Choose from `search_space` from now on."""
        super().update_search_space(search_space)
        self._encoding = Encoding(search_space)

    def _encode(self, parameters: Any) -> Point | None:
        return self._encoding.encode(parameters)

    def _anywhere(self) -> tuple[dict[str, Any], Point]:
        """Return parameters drawn from the whole search space, and their coordinates."""
        return self._encoding.decode(lambda dimension: dimension.draw(self._rng))

    def _signed(self, value: Any) -> float | None:
        score = objective(value)
        return score if score is None or self.optimize_mode == "minimize" else -score

    def _loss(self, parameter_id: int, value: Any) -> float | None:
        """Return the number to minimise, None for a failure.

        Raises:
            TunerError: it is the first result, and no number.
        """
        loss = self._signed(value)
        if loss is None and not _is_nan(value):
            message = (
                f"{type(self).__name__} optimises numbers, and the result for parameter_id"
                f" {parameter_id} is {value!r:.80}; report a number, or a dict whose `default` is one"
            )
            if not self._knows_a_number:
                raise TunerError(message)
            _log.warning("%s. The phase counts as failed", message)
        self._knows_a_number = self._knows_a_number or loss is not None
        return loss


class LearningTuner(OptimizingTuner):
    """Learns from results, whichever trial they come from, and keeps apart the phases that are open.

    What a trial is said to have tried counts, not what was handed out: parameters that came from
    elsewhere teach the tuner as well. When the search space changes, results stay known if their
    parameters are of the new one.

    Args:
        optimize_mode: "maximize" or "minimize".

    Raises:
        UsageError: it is neither.
    """

    def __init__(self, optimize_mode: str) -> None:
        super().__init__(optimize_mode)
        self._open: dict[int, Proposal] = {}
        self._results: list[tuple[Any, float]] = []

    def update_search_space(self, search_space: Any) -> None:
        """Choose from `search_space` from now on, with what is known of it."""
        super().update_search_space(search_space)
        for proposal in self._open.values():
            proposal.token = None
        results, self._results = self._results, []
        known = [observation for each in results if (observation := self._note(*each))]
        self._begin(known)

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> Any:
        """Return the parameters of the next phase."""
        proposal = self._propose()
        self._open[parameter_id] = proposal
        return proposal.parameters

    def receive_trial_result(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_job_id: str | None = None,
        customized: bool = False,
        **kwargs: Any,
    ) -> None:
        """Learn from a result, that of parameters which the user chose included.

        Raises:
            TunerError: it is the first one, and no number.
        """
        loss = self._loss(parameter_id, value)
        proposal = self._open.pop(parameter_id, None)
        if proposal is not None and parameters == proposal.parameters:
            self._conclude(proposal, loss)
            return
        if proposal is not None:
            self._conclude(proposal, None)
        self._take(parameters, loss)

    def phase_end(self, parameter_id: int, success: bool, trial_job_id: str | None = None) -> None:
        """Take in that a phase ended, which is a failure if no result came before."""
        proposal = self._open.pop(parameter_id, None)
        if proposal is not None:
            self._conclude(proposal, None)

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Learn from results from elsewhere, those that are numbers and of this search space."""
        taken = sum(self._take(row["parameter"], self._signed(row["value"])) for row in data)
        if taken < len(data):
            name, left = type(self).__name__, len(data) - taken
            _log.warning(
                "%s learned from %d imported results, not from %d others: their values are no"
                " numbers, or their parameters not of the search space",
                name,
                taken,
                left,
            )

    def _begin(self, known: list[Observation]) -> None:
        """Begin anew on the search space of `self._encoding`, with what is known of it."""
        raise NotImplementedError

    def _propose(self) -> Proposal:
        """Choose parameters."""
        raise NotImplementedError

    def _learn(self, observation: Observation) -> None:
        """Take in a result of parameters that were not proposed, or before the space changed."""
        raise NotImplementedError

    def _conclude(self, proposal: Proposal, loss: float | None) -> None:
        """Take in the result of a proposal, or None for a failure."""
        if loss is not None:
            self._take(proposal.parameters, loss)

    def _take(self, parameters: Any, loss: float | None) -> bool:
        """Learn from a result from anywhere; say whether it was of use."""
        observation = None if loss is None else self._note(parameters, loss)
        if observation is not None:
            self._learn(observation)
        return observation is not None

    def _note(self, parameters: Any, loss: float) -> Observation | None:
        """Keep a result; return what it says of the present search space, None for nothing."""
        self._knows_a_number = True
        self._results.append((parameters, loss))
        point = self._encode(parameters)
        return None if point is None else Observation(parameters, point, loss)


def _is_nan(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("default")
    return isinstance(value, float) and value != value
