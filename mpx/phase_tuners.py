"""A tuner for each search space of the configuration's `phases`, all behind the face of one.

A trial's phase N is chosen by the N-th tuner, which knows its own search space and hears of its own
phases' results. Every ask of a trial that finds parameters takes it one space further; behind the last one
there are no more. So each trial goes through all spaces in their order, whatever else is tried in it.

What else is tried in it was chosen for another trial, which died, or by the user. Such a phase stands for
the trial's next one if it is of that very space; else it comes between two of the trial's own. Its result
goes to the tuner that chose it; that of parameters which the user chose, to the one whose space has them.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpx.adapted_tuner import AdaptedTuner, Launch, generate_until_none
from mpx.errors import NoMoreTrialError, TunerError

# Where tuners save what they know, in mpx as in NNI.
_CHECKPOINTS = "NNI_CHECKPOINT_DIRECTORY"
_STATE = "phases.json"


@dataclass(frozen=True, slots=True)
class _Choice:
    """A phase that has parameters.

    Attributes:
        index: of the space that they are of.
        customized: the user chose them.
    """

    index: int
    customized: bool = False


class PhaseTuners:
    """A tuner that asks, and tells, one of several by the phase's index in its trial.

    Args:
        construct: returns a new tuner; called once for each space, in order.
        count: how many spaces there are.

    Raises:
        ClassLoadError: what `construct` returns is no tuner.
    """

    def __init__(self, construct: Callable[[], Any], count: int) -> None:
        self._tuners: list[AdaptedTuner] = []
        for index in range(count):
            with _directory_of(index):
                self._tuners.append(AdaptedTuner(construct()))
        self._names: list[frozenset[str]] = [frozenset()] * count
        self._had: dict[str, int] = {}  # trial_id → how many spaces it has had parameters of
        self._choices: dict[int, _Choice] = {}  # by parameter_id, until the phase ends
        if all(tuner.saves for tuner in self._tuners):
            self.save_checkpoint = self._save_checkpoint
            self.load_checkpoint = self._load_checkpoint
        if any(tuner.takes_data for tuner in self._tuners):
            self.import_data = self._import_data

    @property
    def optimize_mode(self) -> Any:
        """The tuners' own."""
        return getattr(self._tuners[0].tuner, "optimize_mode", None)

    def update_search_space(self, search_space: Sequence[dict[str, Any]]) -> None:
        """Give each tuner its search space."""
        self._names = [frozenset(space) for space in search_space]
        for tuner, space in zip(self._tuners, search_space, strict=True):
            tuner.call("update_search_space", space)

    # -- asks ---------------------------------------------------------------------------------------

    def generate_parameters(self, parameter_id: int, trial_job_id: str) -> Any:
        """Return the parameters of a running trial's next phase; None: the tuner has none now.

        Raises:
            NoMoreTrialError: the trial has had a phase of each space.
        """
        index = self._had.get(trial_job_id, 0)
        if index == len(self._tuners):
            spaces = "the one search space" if index == 1 else f"each of the {index} search spaces"
            raise NoMoreTrialError(f"the trial has had a phase of {spaces} in `phases`")
        found = self._tuners[index].generate_next(parameter_id, trial_job_id)
        if found is not None:
            self._note(parameter_id, index, trial_job_id)
        return found

    def generate_multiple_parameters(
        self,
        parameter_ids: Sequence[int],
        trial_job_ids: Sequence[str] = (),
        trial_job_id: str | None = None,
        st_callback: Launch | None = None,
    ) -> list[Any]:
        """Return the parameters of several phases: the first ones of trials, or the next ones of one.

        Args:
            parameter_ids: one for each phase.
            trial_job_ids: the trials that are about to start, one for each phase.
            trial_job_id: the running trial instead.
            st_callback: what a tuner that has no first phases now may call later.

        Returns:
            For first phases None where there are none; for a running trial as many as there are.
        """
        if trial_job_id is not None:
            return generate_until_none(self.generate_parameters, parameter_ids, trial_job_id)
        assert st_callback is not None
        launch = functools.partial(self._launch, st_callback)
        first = self._tuners[0].generate_first(parameter_ids, trial_job_ids, launch)
        found = dict(first.found)
        for parameter_id, trial_id in zip(parameter_ids, trial_job_ids, strict=True):
            if parameter_id in found:
                self._note(parameter_id, 0, trial_id)
        return [found.get(parameter_id) for parameter_id in parameter_ids]

    def _launch(self, launch: Launch, parameter_id: int, parameters: Any) -> None:
        self._choices[parameter_id] = _Choice(0)  # whichever trial will have it
        launch(parameter_id, parameters)

    def _note(self, parameter_id: int, index: int, trial_id: str) -> None:
        self._choices[parameter_id] = _Choice(index)
        self._had[trial_id] = index + 1

    # -- what becomes of phases and trials --------------------------------------------------------------

    def receive_trial_result(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_job_id: str,
        customized: bool = False,
        **more: Any,
    ) -> None:
        """Tell the tuner that chose the parameters, or whose space those are of that the user chose."""
        if parameter_id not in self._choices:
            index = self._index_for(parameters, trial_job_id)
            if index is None:
                return
            self._choices[parameter_id] = _Choice(index, customized)
        choice = self._place(parameter_id, trial_job_id)
        self._tuners[choice.index].receive(
            parameter_id, parameters, value, trial_job_id, customized, **more
        )

    def phase_end(self, parameter_id: int, success: bool, trial_job_id: str) -> None:
        """Tell the tuner whose phase it was; nobody, if the user chose it and it has no result."""
        if parameter_id in self._choices:
            choice = self._place(parameter_id, trial_job_id)
            del self._choices[parameter_id]
            self._tuners[choice.index].phase_end(
                parameter_id, success, trial_job_id, choice.customized
            )

    def trial_end(self, parameter_id: int, success: bool, trial_job_id: str) -> None:
        """Tell all tuners."""
        self._had.pop(trial_job_id, None)
        for tuner in self._tuners:
            tuner.trial_end(parameter_id, success, trial_job_id)

    def _place(self, parameter_id: int, trial_id: str) -> _Choice:
        """Return a phase that ends; one that the trial did not ask for may stand for its next one."""
        choice = self._choices[parameter_id]
        if choice.index == self._had.get(trial_id, 0):
            self._had[trial_id] = choice.index + 1
        return choice

    def _index_for(self, parameters: Any, trial_id: str) -> int | None:
        """Return whose space parameters are of; None if that cannot be told.

        That of the trial's next phase, if their names do not speak against it; else the only one that
        has their names.
        """
        fitting = self._fitting(parameters)
        index = self._had.get(trial_id, 0)
        if index in fitting or (not fitting and index < len(self._tuners)):
            return index
        return fitting[0] if len(fitting) == 1 else None

    def _fitting(self, parameters: Any) -> list[int]:
        """Return the indexes of the spaces whose names parameters have."""
        if not isinstance(parameters, dict):
            return []
        return [index for index, names in enumerate(self._names) if names <= parameters.keys()]

    def _import_data(self, data: list[dict[str, Any]]) -> None:
        """Give each tuner the results that may be of its space."""
        fitting = [self._fitting(row["parameter"]) for row in data]
        for index, tuner in enumerate(self._tuners):
            rows = [row for row, of in zip(data, fitting, strict=True) if index in of or not of]
            if rows:
                tuner.call("import_data", rows)

    def checkpoints_in_use(self) -> frozenset[int] | None:
        """Return what any of the tuners may name as a parent; None if one of them cannot say."""
        found = [tuner.checkpoints_in_use() for tuner in self._tuners]
        said = [in_use for in_use in found if in_use is not None]
        return None if len(said) < len(found) else frozenset().union(*said)

    # -- what is kept -----------------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        """Have each tuner save its state, in a directory of its own.

        Raises:
            TunerError: some of them left files, and others none.
        """
        left = [self._save(index) for index in range(len(self._tuners))]
        if not any(left):
            return
        if not all(left):
            raise TunerError(
                f"the tuner of phase {left.index(False)} left no file, and that of phase"
                f" {left.index(True)} did: nothing is kept, and a resume makes all calls again"
            )
        choices = [(number, c.index, c.customized) for number, c in self._choices.items()]
        state = json.dumps({"had": self._had, "choices": choices})
        Path(os.environ[_CHECKPOINTS], _STATE).write_text(state)

    def _save(self, index: int) -> bool:
        """Have one tuner save its state; say whether it left a file."""
        with _directory_of(index):
            self._tuners[index].call("save_checkpoint")
            return any(path.is_file() for path in Path(os.environ[_CHECKPOINTS]).rglob("*"))

    def _load_checkpoint(self) -> None:
        state = json.loads(Path(os.environ[_CHECKPOINTS], _STATE).read_text())
        self._had = state["had"]
        self._choices = {number: _Choice(*rest) for number, *rest in state["choices"]}
        for index, tuner in enumerate(self._tuners):
            with _directory_of(index):
                tuner.call("load_checkpoint")

    def _on_exit(self) -> None:
        self._take_leave("_on_exit")

    def _on_error(self) -> None:
        self._take_leave("_on_error")

    def _take_leave(self, name: str) -> None:
        """Let every tuner say goodbye, whatever another one makes of it."""
        errors: list[BaseException] = []
        for tuner in self._tuners:
            try:
                tuner.call(name)
            except BaseException as error:  # noqa: BLE001 (the user's code; raised below)
                errors.append(error)
        if errors:
            raise errors[0]


@contextmanager
def _directory_of(index: int) -> Iterator[None]:
    """Have `get_checkpoint_path` name a directory of one tuner alone."""
    directory = os.environ.get(_CHECKPOINTS)
    if directory is None:  # outside an experiment
        yield
        return
    own = Path(directory, f"phase-{index}")
    own.mkdir(parents=True, exist_ok=True)
    os.environ[_CHECKPOINTS] = str(own)
    try:
        yield
    finally:
        os.environ[_CHECKPOINTS] = directory
