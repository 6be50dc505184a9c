"""The network that makes the decisions of ENAS, one after the other, each in view of those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from mpx.architectures import INPUT, SKIP, Decision

_INITIAL = 0.1  # weights are drawn from within this distance of 0 (Pham et al., section 3)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, and afterwards as before.

    Work as small as a controller's takes several times as long where it is shared out to threads, and
    takes the time from trials.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Score:
    """What a controller says of sets of options, each a tensor with one number for each set.

    Attributes:
        log_prob: logarithm of the probability that it draws this set.
        entropy: of its decisions, their mean.
        skip_divergence: Kullback-Leibler divergence of the skips from the share that is aimed at, their
            mean; 0 without any.
    """

    log_prob: Tensor
    entropy: Tensor
    skip_divergence: Tensor


class Controller:
    """An LSTM that makes all decisions of a search space in order.

    For an operation, or the option of a choice, the hidden state goes through a layer of the parameter's
    own, and an embedding of what was chosen is the next input. What an input or a skip may come from is an
    *anchor*: the hidden state behind a layer or node, or a vector of its own for what lies outside a cell.
    Attention between hidden state and anchors gives a logit for each. Of inputs one is chosen, of skips
    each is decided by itself; the next input is the chosen anchor, or the mean of those that are joined.
    Each option of each decision has a bias as well. Logits are c tanh(u / temperature + bias).

    Source: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2,
    for the logits section 3. The biases are not in the paper: without them nothing but the hidden state
    tells one layer from the next, and it takes thousands of results to learn to.

    Args:
        parameters: the decisions of each parameter; those about a layer or node follow each other.
        generator: what weights and options are drawn from.
        size: hidden units of the LSTM.
        tanh_constant: c, how far from 0 logits get: no option is ever out of reach.
        temperature: what logits are divided by.

    Attributes:
        weights: by name, all that is learned but the biases.
        biases: of every option, in order.
    """

    def __init__(
        self,
        parameters: Sequence[Sequence[Decision]],
        generator: torch.Generator,
        size: int,
        tanh_constant: float,
        temperature: float,
    ) -> None:
        self._generator = generator
        self._tanh_constant = tanh_constant
        self._temperature = temperature
        self._steps = [
            [list(step) for _, step in groupby(decisions, key=lambda each: each.step)]
            for decisions in parameters
        ]
        self.weights: dict[str, Tensor] = {}
        self._add("start", 1, size)
        self._add("lstm.input", 4 * size, size)
        self._add("lstm.hidden", 4 * size, size)
        self._add("lstm.bias", 4 * size)
        for number, decisions in enumerate(parameters):
            self._add_heads(str(number), decisions, size)
        count = sum(each.size for decisions in parameters for each in decisions)
        self.biases = torch.zeros(count, dtype=torch.float32, device="cpu").requires_grad_()

    def _add_heads(self, name: str, decisions: Sequence[Decision], size: int) -> None:
        first = {each.kind: each.size for each in reversed(decisions)}
        for kind, options in first.items():
            if kind not in (INPUT, SKIP):
                self._add(f"{name}.head", options, size)
                self._add(f"{name}.embedding", options, size)
        if INPUT in first:
            self._add(f"{name}.outside", first[INPUT], size)  # all that the first node may choose
        if INPUT in first or SKIP in first:
            self._add(f"{name}.anchor", size, size)
            self._add(f"{name}.query", size, size)
            self._add(f"{name}.attention", size)

    def _add(self, name: str, *shape: int) -> None:
        # Not by torch's own initialisation, which draws from the generator of the whole process.
        weight = torch.empty(shape, dtype=torch.float32, device="cpu")
        weight.uniform_(-_INITIAL, _INITIAL, generator=self._generator)
        self.weights[name] = weight.requires_grad_()

    def draw(self, count: int) -> list[list[int]]:
        """Return so many sets of options, drawn all at a time."""
        decider = _Drawing(self._generator)
        with one_thread(), torch.no_grad():
            self._decide(count, decider)
        found: list[list[int]] = torch.cat(decider.chosen, dim=1).tolist()
        return found

    def score(self, chosen: Sequence[Sequence[int]], skip_target: float) -> Score:
        """Return what the weights say now of sets of options; it can be differentiated by them.

        Args:
            chosen: the sets.
            skip_target: the share of skips that is aimed at.
        """
        decider = _Scoring(torch.tensor(chosen, dtype=torch.int64, device="cpu"), skip_target)
        self._decide(len(chosen), decider)
        return decider.score()

    def _decide(self, count: int, decider: _Decider) -> None:
        state = _State(self, count)
        for number, steps in enumerate(self._steps):
            anchors = _Anchors(self, str(number), count)
            for decisions in steps:
                self._decide_step(str(number), decisions, state, anchors, decider)

    def _decide_step(
        self,
        name: str,
        decisions: Sequence[Decision],
        state: _State,
        anchors: _Anchors,
        decider: _Decider,
    ) -> None:
        skips = [each for each in decisions if each.kind == SKIP]
        for decision in decisions[: len(decisions) - len(skips)]:
            hidden = state.advance()
            if decision.kind == INPUT:
                logits = anchors.attend(hidden)
                chosen = decider.decide(INPUT, self._bounded(logits[:, None], state))
                state.input = anchors.of(chosen[:, 0])
            else:
                logits = hidden @ self.weights[f"{name}.head"].T
                chosen = decider.decide(decision.kind, self._bounded(logits[:, None], state))
                state.input = self.weights[f"{name}.embedding"][chosen[:, 0]]
        if not anchors.are_used:
            return
        hidden = state.advance()
        state.restart()
        if skips:
            logits = anchors.attend(hidden)[:, : len(skips)]
            either = torch.stack([-logits, logits], dim=2)
            chosen = decider.decide(SKIP, self._bounded(either, state))
            state.input = anchors.mean(chosen, otherwise=state.input)
        anchors.add(hidden)

    def _bounded(self, logits: Tensor, state: _State) -> Tensor:
        biased = logits / self._temperature + state.next_biases(logits.shape[1:])
        return self._tanh_constant * torch.tanh(biased)


class _State:
    """How far the decisions have got: the LSTM's state, its next input, the biases that are left."""

    def __init__(self, controller: Controller, count: int) -> None:
        self._weights = controller.weights
        self._biases = controller.biases
        self._passed = 0
        self._start = self._weights["start"].expand(count, -1)
        self._hidden = self._cell = torch.zeros_like(self._start)
        self.input = self._start

    def restart(self) -> None:
        """Let the next input be the one before which nothing was chosen."""
        self.input = self._start

    def advance(self) -> Tensor:
        """Take in the next input; return the hidden state."""
        weights = self._weights
        self._hidden, self._cell = torch.lstm_cell(
            self.input,
            (self._hidden, self._cell),
            weights["lstm.input"],
            weights["lstm.hidden"],
            weights["lstm.bias"],
        )
        return self._hidden

    def next_biases(self, shape: Sequence[int]) -> Tensor:
        """Return the biases of the next decisions, of (decisions, options)."""
        decisions, options = shape
        begin, self._passed = self._passed, self._passed + decisions * options
        return self._biases[begin : self._passed].view(decisions, options)


class _Anchors:
    """What the inputs and skips of one parameter may come from; each a tensor of (count, size)."""

    def __init__(self, controller: Controller, name: str, count: int) -> None:
        self._weights = controller.weights
        self._name = name
        self._anchors: list[Tensor] = []
        self._keys: list[Tensor] = []
        self.are_used = f"{name}.attention" in self._weights
        for vector in self._weights.get(f"{name}.outside", ()):
            self.add(vector.expand(count, -1))

    def add(self, anchor: Tensor) -> None:
        """Let what comes later choose this one."""
        self._anchors.append(anchor)
        self._keys.append(anchor @ self._weights[f"{self._name}.anchor"].T)

    def attend(self, hidden: Tensor) -> Tensor:
        """Return a logit for each anchor, of (count, anchors)."""
        query = hidden @ self._weights[f"{self._name}.query"].T
        keys = torch.stack(self._keys, dim=1)
        return torch.tanh(keys + query[:, None]) @ self._weights[f"{self._name}.attention"]

    def of(self, chosen: Tensor) -> Tensor:
        """Return the chosen anchors."""
        rows = torch.arange(len(chosen), device="cpu")
        return torch.stack(self._anchors, dim=1)[rows, chosen]

    def mean(self, joined: Tensor, otherwise: Tensor) -> Tensor:
        """Return the mean of the anchors that are joined.

        Args:
            joined: 1 or 0 for each of the first anchors, of (count, anchors).
            otherwise: what to return where none is.
        """
        share = joined.to(otherwise.dtype)
        anchors = torch.stack(self._anchors[: joined.shape[1]], dim=1)
        total = share.sum(dim=1, keepdim=True)
        mean = (share[:, :, None] * anchors).sum(dim=1) / total.clamp(min=1)
        return torch.where(total > 0, mean, otherwise)


class _Decider(Protocol):
    """Makes decisions."""

    def decide(self, kind: str, logits: Tensor) -> Tensor:
        """Return an option for each decision, of (count, decisions).

        Args:
            kind: of the decisions, which are independent of each other.
            logits: of (count, decisions, options).
        """


class _Drawing:
    """Draws options."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self.chosen: list[Tensor] = []

    def decide(self, kind: str, logits: Tensor) -> Tensor:
        """Draw each option with its probability."""
        shares = torch.softmax(logits, dim=2).flatten(0, 1)
        drawn = torch.multinomial(shares, 1, generator=self._generator).view(logits.shape[:2])
        self.chosen.append(drawn)
        return drawn


class _Scoring:
    """Decides what was decided before, and notes how likely that is."""

    def __init__(self, chosen: Tensor, skip_target: float) -> None:
        self._chosen = chosen
        self._passed = 0
        self._target = torch.tensor(
            [1 - skip_target, skip_target], dtype=torch.float32, device="cpu"
        ).log()
        zeros = torch.zeros(len(chosen), dtype=torch.float32, device="cpu")
        self._log_prob = self._entropy = self._divergence = zeros
        self._skips = 0

    def decide(self, kind: str, logits: Tensor) -> Tensor:
        """Return what was decided."""
        begin, self._passed = self._passed, self._passed + logits.shape[1]
        chosen = self._chosen[:, begin : self._passed]
        log_probs = torch.log_softmax(logits, dim=2)
        probs = log_probs.exp()
        self._log_prob = self._log_prob + log_probs.gather(2, chosen[:, :, None]).sum(dim=(1, 2))
        self._entropy = self._entropy - (probs * log_probs).sum(dim=(1, 2))
        if kind == SKIP:
            away = probs * (log_probs - self._target)
            self._divergence = self._divergence + away.sum(dim=(1, 2))
            self._skips += logits.shape[1]
        return chosen

    def score(self) -> Score:
        """Return what was noted."""
        return Score(
            self._log_prob,
            self._entropy / self._passed,
            self._divergence / max(self._skips, 1),
        )
