"""ENAS: a network that learns by reinforcement which architectures to try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpx.architectures import ARCHITECTURES, OPERATION, Decision
from mpx.errors import TunerError
from mpx.search_space import SpaceProblem
from mpx.space_problem import shown
from mpx.tuners.built_in import class_args
from mpx.tuners.learning import LearningTuner, Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema

if TYPE_CHECKING:
    from mpx.tuners.reinforce import Reinforce

_CHECKPOINT = "enas.pt"
_FORMAT = 1  # of what it holds


def _number(default: float, description: str, **bounds: float) -> dict[str, Any]:
    kind = "integer" if isinstance(default, int) else "number"
    return {"type": kind, "default": default, "description": description, **bounds}


class ENAS(LearningTuner):
    """Draws architectures from a network, the *controller*, which results teach to draw better ones.

    The parameters are architectures (`macro`, `cell`) and choices of plain values, as many as one likes.
    What is handed out at a time, first phases or a batch, is drawn in one pass of the network. After every
    `results_per_update` results it makes one step: what had a better result than the moving average
    becomes likelier, what had a worse one less so. Results may come in any order; what is open does not
    hold it up. Made for phases that share weights in a trial's process, by the hundred.

    Phases that failed teach nothing. Results of parameters that it did not draw (the user's, imported
    ones) teach it if they are better than the average, which they have no part in, but for imported ones
    before the first result. A new search space begins a new controller.

    Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2
    and, for the constants, section 3. Departures, chosen by experiments on made rewards so that it learns
    within a few hundred phases, where the paper's search has many thousands: a bias for each option of each
    decision; both learning rates (the paper has 0.00035); four results an update; rewards are measured
    from the average in standard deviations of them, so that accuracies and percentages are the same to it;
    the entropy is that of the decisions, as a mean, where the paper adds the sample's to the reward; 64
    hidden units (100); the decay of the average, of which the paper says nothing.

    Args:
        optimize_mode: "maximize" or "minimize".
        learning_rate: of the network.
        bias_learning_rate: of the bias that each option has.
        results_per_update: so many results make one step of the optimiser.
        baseline_decay: by how much the weight of a result in the moving average falls with each new one.
        entropy_weight: how much it counts that a decision remains open.
        skip_weight: how much it counts that skips are as frequent as `skip_target`.
        skip_target: the share of skips that is thought likely beforehand.
        tanh_constant: how far logits get from 0.
        temperature: what they are divided by before that.
        hidden_units: of the controller's LSTM.

    Raises:
        UsageError: `optimize_mode` is neither.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        learning_rate=_number(0.00035, "of the network", exclusiveMinimum=0),
        bias_learning_rate=_number(0.1, "of the bias that each option has", minimum=0),
        results_per_update=_number(4, "so many results make one step of the optimiser", minimum=1),
        baseline_decay=_number(
            0.95, "of a result's weight in the average", minimum=0, exclusiveMaximum=1
        ),
        entropy_weight=_number(0.1, "how much it counts that a decision remains open", minimum=0),
        skip_weight=_number(0.8, "how much it counts that skips are as aimed at", minimum=0),
        skip_target=_number(
            0.4, "the share of skips aimed at", exclusiveMinimum=0, exclusiveMaximum=1
        ),
        tanh_constant=_number(2.5, "how far logits get from 0", exclusiveMinimum=0),
        temperature=_number(5.0, "what logits are divided by", exclusiveMinimum=0),
        hidden_units=_number(64, "of the controller's LSTM", minimum=1, maximum=4096),
    )
    requires = {"torch": "torch"}
    types = ("choice", *ARCHITECTURES)

    @classmethod
    def check_search_space(cls, space: Any) -> list[SpaceProblem]:
        """Return every mistake; one is a space without parameters, another an option with its own."""
        return super().check_search_space(space) + list(_not_decidable(space))

    def __init__(
        self,
        optimize_mode: str = "maximize",
        learning_rate: float = 0.00035,
        bias_learning_rate: float = 0.1,
        results_per_update: int = 4,
        baseline_decay: float = 0.95,
        entropy_weight: float = 0.1,
        skip_weight: float = 0.8,
        skip_target: float = 0.4,
        tanh_constant: float = 2.5,
        temperature: float = 5.0,
        hidden_units: int = 64,
    ) -> None:
        super().__init__(optimize_mode)
        # Imported here, as torch need not be installed, and is slow to import.
        import torch

        from mpx.tuners.controller import Controller
        from mpx.tuners.reinforce import Baseline, Rates, Reinforce

        rates = Rates(
            learning_rate,
            bias_learning_rate,
            results_per_update,
            entropy_weight,
            skip_weight,
            skip_target,
        )

        def begin(parameters: list[tuple[Decision, ...]]) -> Reinforce:
            controller = Controller(
                parameters, self._generator, hidden_units, tanh_constant, temperature
            )
            return Reinforce(controller, rates, Baseline(baseline_decay))

        self._generator = torch.Generator().manual_seed(self._rng.getrandbits(63))
        self._new_learner = begin
        self._saved: dict[str, Any] | None = None

    def update_search_space(self, search_space: Any) -> None:
        """Begin a new controller for `search_space`, or go on with the one of a checkpoint.

        Raises:
            TunerError: the checkpoint is of another search space, or damaged.
            UsageError: the space has mistakes; the one before it stays in use.
        """
        super().update_search_space(search_space)
        if self._saved is not None:
            saved, self._saved = self._saved, None
            self._restore(saved)

    def generate_multiple_parameters(
        self, parameter_id_list: list[int], **kwargs: Any
    ) -> list[Any]:
        """Return the parameters of several phases, drawn all at a time."""
        drawn = self._draw(len(parameter_id_list))
        self._open.update(zip(parameter_id_list, drawn, strict=True))
        return [proposal.parameters for proposal in drawn]

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Learn from those results from elsewhere that are better than the average."""
        losses = (
            self._signed(row["value"]) for row in data if self._encode(row["parameter"]) is not None
        )
        self._learner.prime(-loss for loss in losses if loss is not None)
        super().import_data(data)

    def _begin(self, known: list[Observation]) -> None:
        self._learner = self._new_learner([_decisions(spec) for spec in self._space.values()])
        self._learner.prime(-observation.loss for observation in known)
        for observation in known:
            self._learn(observation)

    def _propose(self) -> Proposal:
        return self._draw(1)[0]

    def _draw(self, count: int) -> list[Proposal]:
        return [self._proposal(chosen) for chosen in self._learner.controller.draw(count)]

    def _proposal(self, chosen: list[int]) -> Proposal:
        names = (dimension.name for dimension in self._encoding.dimensions)
        options = dict(zip(names, chosen, strict=True))
        parameters, point = self._encoding.decode(lambda dimension: options[dimension.name])
        return Proposal(parameters, point, chosen)

    def _conclude(self, proposal: Proposal, loss: float | None) -> None:
        if loss is None:
            return
        if proposal.token is None:  # drawn before the search space changed
            super()._conclude(proposal, loss)
        else:
            self._learner.learn(proposal.token, -loss)

    def _learn(self, observation: Observation) -> None:
        point = observation.point
        chosen = [int(point[dimension.name]) for dimension in self._encoding.dimensions]
        self._learner.learn_from_elsewhere(chosen, -observation.loss)

    def save_checkpoint(self) -> None:
        """Write the controller, what it has learned, and the open phases."""
        import torch

        rest = {
            "format": _FORMAT,
            "space": self._space,
            "open": [
                [number, each.parameters, each.point, each.token]
                for number, each in self._open.items()
            ],
            "results": self._results,
            "knows_a_number": self._knows_a_number,
        }
        tensors = {"generator": self._generator.get_state(), "learner": self._learner.state()}
        torch.save({"rest": json.dumps(rest), **tensors}, self._checkpoint_file())

    def load_checkpoint(self) -> None:
        """Read what `save_checkpoint` wrote; it holds once the search space is known.

        Raises:
            TunerError: it cannot be read.
        """
        import torch

        try:
            self._saved = torch.load(self._checkpoint_file(), weights_only=True)
        except OSError as error:
            raise self._unusable(f"it cannot be read: {error.strerror}") from error
        # Border: what torch makes of a damaged file may be anything.
        except Exception as error:
            raise self._unusable("it is damaged") from error

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            rest = json.loads(saved["rest"])
            if (rest["format"], rest["space"]) != (_FORMAT, json.loads(json.dumps(self._space))):
                raise self._unusable("it is of another search space, or of another version of mpx")
            self._learner.restore(saved["learner"])
            self._generator.set_state(saved["generator"])
            self._open = {number: Proposal(*each) for number, *each in rest["open"]}
            self._results = [(parameters, loss) for parameters, loss in rest["results"]]
            self._knows_a_number = rest["knows_a_number"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self._unusable(f"it does not fit: {error!s:.200}") from error

    def _checkpoint_file(self) -> Path:
        return Path(self.get_checkpoint_path() or ".") / _CHECKPOINT

    def _unusable(self, reason: str) -> TunerError:
        return TunerError(
            f"the checkpoint {self._checkpoint_file()} is of no use: {reason}. Remove the folder"
            " checkpoints of the experiment, where it was copied from, and `mpx resume` makes all calls of"
            " the tuner again instead"
        )


def _decisions(spec: dict[str, Any]) -> tuple[Decision, ...]:
    kind, value = spec["_type"], spec["_value"]
    if kind in ARCHITECTURES:
        return ARCHITECTURES[kind](**value).decisions
    return (Decision(OPERATION, 0, 0, len(value)),)


def _not_decidable(space: Any) -> Iterator[SpaceProblem]:
    if not isinstance(space, dict):
        return
    if not space:
        yield SpaceProblem((), "found no parameters; allowed: at least one")
    for name, spec in space.items():
        options = spec.get("_value") if isinstance(spec, dict) else None
        if not isinstance(options, list) or spec.get("_type") != "choice":
            continue
        for index, option in enumerate(options):
            if isinstance(option, dict) and "_name" in option:
                message = f"found {shown(option)}, a sub-space; allowed: a plain value"
                yield SpaceProblem((name, "_value", index), message)
