"""Hyperband."""

from __future__ import annotations

from typing import Any

from mpx.search_space import SpaceProblem
from mpx.tuners.brackets import Bracket, bracket_sizes
from mpx.tuners.built_in import class_args
from mpx.tuners.encoding import Point
from mpx.tuners.learning import LearningTuner, Observation, Proposal
from mpx.tuners.learning import optimize_mode as optimize_mode_schema

BUDGET = "TRIAL_BUDGET"
MOST_BUDGET = 10**9
ETA = {
    "type": "integer",
    "minimum": 2,
    "default": 3,
    "description": "one of eta configurations goes on, with eta times the budget",
}


class BudgetTuner(LearningTuner):
    """Tries many configurations on small budgets, and the better ones again on greater ones.

    The budget of a phase, a whole number of whatever the trial likes (epochs, say), is one of its
    parameters, `TRIAL_BUDGET`. Where one bracket waits for results, the next one begins, so whoever
    asks is answered at once. A phase that failed counts as its rung's worst. A new search space begins
    with new brackets.

    Args:
        optimize_mode: "maximize" or "minimize".
        brackets: the rungs, (configurations, budget) each, of the brackets, which follow each other
            and then begin again.
    """

    def __init__(self, optimize_mode: str, brackets: list[list[tuple[int, int]]]) -> None:
        super().__init__(optimize_mode)
        self._sizes = brackets
        self._begun = 0
        self._brackets: list[Bracket] = []

    @classmethod
    def check_search_space(cls, space: Any) -> list[SpaceProblem]:
        """Return every mistake, a parameter that is called like the budget included."""
        problems = super().check_search_space(space)
        if isinstance(space, dict) and BUDGET in space:
            message = (
                "found a parameter of this name; allowed: any other, as the budget has this one"
            )
            problems.append(SpaceProblem((BUDGET,), message))
        return problems

    def _configuration(self) -> Point:
        """Choose one that is new to the bracket."""
        raise NotImplementedError

    def _begin(self, known: list[Observation]) -> None:
        self._begun = 0
        self._brackets = []

    def _propose(self) -> Proposal:
        bracket, (index, point) = self._task()
        chosen = self._configuration() if point is None else point
        parameters, point = self._encoding.decode(lambda dimension: chosen[dimension.name])
        parameters[BUDGET] = bracket.rungs[index].budget
        return Proposal(parameters, point, (bracket, index))

    def _task(self) -> tuple[Bracket, tuple[int, Point | None]]:
        for bracket in self._brackets:
            task = bracket.take()
            if task is not None:
                return bracket, task
        self._brackets.append(Bracket(self._sizes[self._begun % len(self._sizes)]))
        self._begun += 1
        return self._task()

    def _conclude(self, proposal: Proposal, loss: float | None) -> None:
        super()._conclude(proposal, loss)
        if proposal.token is not None:
            bracket, index = proposal.token
            bracket.note(index, proposal.point, loss)
            if bracket.is_complete:
                self._brackets.remove(bracket)

    def _learn(self, observation: Observation) -> None:
        pass

    def _encode(self, parameters: Any) -> Point | None:
        if not isinstance(parameters, dict):
            return None
        return super()._encode({k: each for k, each in parameters.items() if k != BUDGET})


class Hyperband(BudgetTuner):
    """Tries random configurations on small budgets, and the better ones again on greater ones.

    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR
    18 (2018), algorithm 1; budgets are rounded down to whole numbers.

    Args:
        R: the greatest budget.
        eta: factor between budgets, and the share of a rung that does not go on to the next.
        optimize_mode: "maximize" or "minimize".
        exec_mode: NNI's; no effect, as nobody waits for a bracket.
    """

    class_args_schema = class_args(
        optimize_mode=optimize_mode_schema("maximize"),
        exec_mode={
            "enum": ["parallelism", "serial"],
            "default": "parallelism",
            "description": "NNI's: whether brackets may overlap. No effect: they do",
        },
        R={
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_BUDGET,
            "default": 60,
            "description": "the greatest TRIAL_BUDGET",
        },
        eta=ETA,
    )

    def __init__(
        self,
        R: int = 60,  # noqa: N803 (NNI's name, and the paper's)
        eta: int = 3,
        optimize_mode: str = "maximize",
        exec_mode: str = "parallelism",
    ) -> None:
        super().__init__(optimize_mode, bracket_sizes(R, 1, eta))

    def _configuration(self) -> Point:
        return self._anywhere()[1]
