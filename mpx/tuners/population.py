"""A population whose members train side by side, and who of them copies from whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from mpx.errors import TunerError


@dataclass(frozen=True, slots=True)
class State:
    """Weights as a phase left them.

    Attributes:
        parameter_id: the phase's.
        parameters: those it was trained with.
        loss: its result, as a number that is better the smaller it is.
    """

    parameter_id: int
    parameters: Any
    loss: float


@dataclass(slots=True, eq=False)
class Member:
    """One model of a population; the trial that trains it may change.

    Attributes:
        trial: the one that has its weights; None for none.
        state: its weights; None before its first result, and once a phase has failed.
        saved: the last state with a confirmed checkpoint.
        loss: of its last phase: infinite if that failed, None before the first has ended.
        phases: how many have ended since it began or copied.
        phases_in_all: how many have ended.
        arrival: when its last phase ended: a number that grows.
        is_training: one of its phases is open.
        has_ended: it is not trained any more.
    """

    trial: str | None
    state: State | None = None
    saved: State | None = None
    loss: float | None = None
    phases: int = 0
    phases_in_all: int = 0
    arrival: int = 0
    is_training: bool = False
    has_ended: bool = False

    def fall_back(self) -> None:
        """Lose the trial and its weights: what is left is the checkpoint."""
        self.trial, self.state, self.phases = None, self.saved, 0
        self.loss = None if self.saved is None else self.saved.loss


class Population:
    """The members of a population, in the order in which they began.

    Args:
        size: how many may begin.
        phases: after how many of them a member has ended; None: when its trial ends well.
    """

    def __init__(self, size: int, phases: int | None = None) -> None:
        self._size = size
        self._phases = phases
        self._members: list[Member] = []
        self._arrivals = 0

    def seat(self, trial: str) -> Member | None:
        """Return the member that a trial is to train next; None if there is none left for it.

        It is its own one. A trial without takes one over whose trial is gone, from its last confirmed
        checkpoint if it has one, or else begins one, as long as there is room. A trial with several
        phases open trains as many members.
        """
        for its_trial in (trial, None):
            for member in self._members:
                if member.trial == its_trial and not member.is_training and not member.has_ended:
                    member.trial = trial
                    return member
        if len(self._members) == self._size:
            return None
        self._members.append(Member(trial))
        return self._members[-1]

    def move(self, member: Member, trial: str) -> None:
        """Take in that another trial has tried again what a dead one was to do for a member.

        A member that the other trial trained until then has lost its weights to it.
        """
        for other in self._members:
            is_idle = not other.is_training and not other.has_ended
            if other.trial == trial and other is not member and is_idle:
                other.fall_back()
                break
        member.trial, member.has_ended = trial, False

    def note(self, member: Member, state: State | None, is_saved: bool = False) -> None:
        """Take in that a member's phase ended.

        Args:
            member: whose.
            state: what it left; None if it failed.
            is_saved: there is a confirmed checkpoint of it.
        """
        self._arrivals += 1
        member.arrival = self._arrivals
        member.is_training = False
        member.phases += 1
        member.phases_in_all += 1
        member.has_ended = member.phases_in_all == self._phases
        member.state = state
        member.loss = math.inf if state is None else state.loss
        if is_saved:
            member.saved = state

    def leave(self, trial: str, success: bool) -> None:
        """Take in that a trial ended: members that have not ended wait for another one."""
        for member in self._members:
            if member.trial == trial:
                member.has_ended = member.has_ended or (success and self._phases is None)
                if member.has_ended:
                    member.trial = None
                else:
                    member.fall_back()

    def saved(self) -> list[int]:
        """Return the parameter_ids of the confirmed checkpoints: members go on from no other ones."""
        return [m.saved.parameter_id for m in self._members if m.saved is not None]

    def ranked(self) -> list[Member]:
        """Return those whose result is known, best first; of equals the one that was there first."""
        known = [member for member in self._members if member.loss is not None]
        return sorted(known, key=lambda member: (member.loss, member.arrival))

    def sources(self, member: Member) -> list[State]:
        """Return the states that a member can copy, best first: all that are confirmed.

        Its own is among them only where its weights are lost.

        Raises:
            TunerError: there are results, and of none a checkpoint.
        """
        found = [
            other.saved
            for other in self._members
            if other.saved is not None and (other is not member or member.state is None)
        ]
        if not found and member.saved is None and any(self._results_of_others(member)):
            raise TunerError(
                "a member of the population is to copy another one, and no phase has saved a"
                " checkpoint: call phase.save_checkpoint(path) in the trial before"
                " phase.report_final(value), and load phase.checkpoint where it is not None"
            )
        return sorted(found, key=lambda state: state.loss)

    def _results_of_others(self, member: Member) -> Iterator[bool]:
        return (other.state is not None for other in self._members if other is not member)


def truncation(
    population: Population, member: Member, fraction: float, rng: Random
) -> State | None:
    """Choose what a member copies if it is among the worst: any of the best. None: it copies nothing.

    Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846,
    section 4.

    Args:
        population: all members.
        member: who asks. One whose phase failed is among the worst in any case.
        fraction: of the members with results, the share of the worst, and of the best; one at least.
        rng: draws.

    Raises:
        TunerError: it is to copy, and nobody has a checkpoint.
    """
    ranked = population.ranked()
    share = max(1, int(fraction * len(ranked)))
    if member.state is not None and member not in ranked[-share:]:
        return None
    best = population.sources(member)[:share]
    good = [state for state in best if member.loss is None or state.loss <= member.loss]
    return rng.choice(good) if good else None


def binary(population: Population, member: Member, fraction: float, rng: Random) -> State | None:
    """Choose what a member copies: any other one, if that is better. None: it copies nothing.

    Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846,
    section 4 ("binary tournament").

    Args:
        population: all members.
        member: who asks.
        fraction: without effect.
        rng: draws.

    Raises:
        TunerError: nobody has a checkpoint.
    """
    sources = population.sources(member)
    rival = rng.choice(sources) if sources else None
    is_better = rival is not None and (member.loss is None or rival.loss < member.loss)
    return rival if is_better else None


Exploit = Callable[[Population, Member, float, Random], State | None]
EXPLOITS: dict[str, Exploit] = {"truncation": truncation, "binary": binary}
