"""How the controller of ENAS learns: REINFORCE with a moving baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mpx.tuners.controller import Controller, one_thread

# Results that are further from 0 have no part in the averages: their squares are no floats.
_GREATEST = 1e150
_MOST_ADVANTAGE = 3.0  # standard deviations: one wild result must not undo what the others taught


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast, and towards what, a controller learns.

    Attributes:
        learning_rate: of the network.
        bias_learning_rate: of the bias that each option has.
        results_per_update: so many results make one step of the optimiser.
        entropy_weight: of the entropy, which is to be great.
        skip_weight: of the divergence of skips from `skip_target`, which is to be small.
        skip_target: the share of skips that is aimed at.
    """

    learning_rate: float
    bias_learning_rate: float
    results_per_update: int
    entropy_weight: float
    skip_weight: float
    skip_target: float


class Baseline:
    """Moving averages of the results and of their squared distance from it.

    The weights of results fall by `decay` with each new one, and sum to 1 from the first one on.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 3, for averages
    that do not begin at 0.

    Args:
        decay: from 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._mean = self._variance = 0.0
        self._count = 0

    @property
    def is_known(self) -> bool:
        """Say whether there was a result."""
        return self._count > 0

    def add(self, reward: float) -> None:
        """Take in a result; one that is infinite, or nearly so, has no part in the averages."""
        if abs(reward) > _GREATEST:
            return
        self._count += 1
        weight = (1 - self._decay) / (1 - self._decay**self._count)
        distance = reward - self._mean
        self._mean += weight * distance
        self._variance = (1 - weight) * (self._variance + weight * distance**2)

    def advantage(self, reward: float) -> float:
        """Return how much better than the average a result is, in standard deviations."""
        if self._variance == 0:
            return 0.0
        distance = (reward - self._mean) / math.sqrt(self._variance)
        return min(max(distance, -_MOST_ADVANTAGE), _MOST_ADVANTAGE)

    def state(self) -> tuple[int, float, float]:
        """Return what `restore` takes."""
        return self._count, self._mean, self._variance

    def restore(self, state: tuple[int, float, float]) -> None:
        """Go on from a state."""
        self._count, self._mean, self._variance = state


class Reinforce:
    """Makes a controller draw what had better results than the average, and not what had worse ones.

    What was drawn is scored anew when its results are learned from, by the weights as they are then.
    A result of options that the controller did not draw teaches only if it is better than the average.

    Source: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
    Learning", Machine Learning 8 (1992); for what was not drawn Oh et al., "Self-Imitation Learning",
    ICML 2018, section 3.

    Args:
        controller: which learns.
        rates: how.
        baseline: the average that results are compared with.

    Attributes:
        controller: the one given.
    """

    def __init__(self, controller: Controller, rates: Rates, baseline: Baseline) -> None:
        self.controller = controller
        self._rates = rates
        self._baseline = baseline
        self._waiting: list[tuple[list[int], float]] = []
        self._optimizer = torch.optim.Adam(
            [
                {"params": list(controller.weights.values()), "lr": rates.learning_rate},
                {"params": [controller.biases], "lr": rates.bias_learning_rate},
            ]
        )

    def learn(self, chosen: list[int], reward: float) -> None:
        """Take in the result of options that the controller drew; greater is better."""
        advantage = self._baseline.advantage(reward)
        self._baseline.add(reward)
        self._learn(chosen, advantage)

    def prime(self, rewards: Iterable[float]) -> None:
        """Let these make the average if there is none yet."""
        if not self._baseline.is_known:
            for reward in rewards:
                self._baseline.add(reward)

    def learn_from_elsewhere(self, chosen: list[int], reward: float) -> None:
        """Take in the result of options that the controller did not draw."""
        self.prime([reward])
        advantage = self._baseline.advantage(reward)
        if advantage > 0:
            self._learn(chosen, advantage)

    def _learn(self, chosen: list[int], advantage: float) -> None:
        self._waiting.append((chosen, advantage))
        if len(self._waiting) >= self._rates.results_per_update:
            self._update()
            self._waiting.clear()

    def _update(self) -> None:
        rates = self._rates
        advantages = torch.tensor(
            [advantage for _, advantage in self._waiting], dtype=torch.float32, device="cpu"
        )
        with one_thread(), torch.enable_grad():
            score = self.controller.score(
                [chosen for chosen, _ in self._waiting], rates.skip_target
            )
            losses = (
                -advantages * score.log_prob
                - rates.entropy_weight * score.entropy
                + rates.skip_weight * score.skip_divergence
            )
            self._optimizer.zero_grad()
            torch.autograd.backward(losses.mean())
            self._optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, all of it numbers and tensors."""
        return {
            "weights": {name: each.detach() for name, each in self.controller.weights.items()},
            "biases": self.controller.biases.detach(),
            "optimizer": self._optimizer.state_dict(),
            "baseline": self._baseline.state(),
            "waiting": list(self._waiting),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it is not that of such a controller.
        """
        mine = {**self.controller.weights, "biases": self.controller.biases}
        theirs = {**state["weights"], "biases": state["biases"]}
        shapes = [
            {name: each.shape for name, each in weights.items()} for weights in (mine, theirs)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError("its network has other weights")
        with torch.no_grad():
            for name, weight in mine.items():
                weight.copy_(theirs[name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._baseline.restore(state["baseline"])
        self._waiting = list(state["waiting"])
