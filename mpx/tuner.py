"""The base classes of tuners.

A tuner chooses the parameters of every phase. All its methods are called from one thread, one at a
time, and in this order for each trial: `generate_parameters` for phase N, `receive_trial_result`
for phase N, `phase_end` for phase N, and only then `generate_parameters` for phase N+1.

Methods may be declared with fewer arguments than listed here (NNI v0.8's four positionals, v1.9's
`**kwargs`): mpx looks at the signature once and passes what it accepts.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from mpx.errors import NoMoreTrialError


class Continued:
    """What a tuner returns for a phase that goes on from the weights of an earlier one.

    Where the weights are not in the trial's process, because another trial trained them or an earlier
    process of this one, the trial is given the checkpoint that the earlier phase has saved.

    Args:
        parameters: as a tuner returns them otherwise; the object that comes back with the result.
        parent: parameter_id of the phase to go on from.
    """

    def __init__(self, parameters: Any, parent: int) -> None:
        self.parameters = parameters
        self.parent = parent

    def __repr__(self) -> str:
        return f"Continued({self.parameters!r}, parent={self.parent})"


class Tuner:
    """Chooses parameters. Subclass it and write `generate_parameters` at least."""

    def generate_parameters(
        self, parameter_id: int, trial_job_id: str | None = None, **kwargs: Any
    ) -> Any:
        """Return the parameters of one phase.

        Args:
            parameter_id: number of the phase in the whole experiment, from 0.
            trial_job_id: the trial that asks.

        Returns:
            Anything JSON can say, numpy scalars and arrays included; mostly a dict of name → value.
            `None` says there is nothing (now): a running trial is told so, a new one not started.
            `Continued` says which phase's weights to go on from.

        Raises:
            NoMoreTrialError: says the same as `None`.
        """
        raise NotImplementedError(type(self).__name__ + " has no generate_parameters method")

    def generate_multiple_parameters(
        self, parameter_id_list: list[int], **kwargs: Any
    ) -> list[Any]:
        """Return the parameters of several phases; a shorter list says that there are no more (now).

        They are the first phases of trials that are about to start, or phases that one running trial is to
        have open at the same time. The default calls `generate_parameters` for each and stops at `None` or
        `NoMoreTrialError`.

        Args:
            parameter_id_list: one number for each set of parameters wanted.
            **kwargs: for first phases, a method that names a `trial_job_ids` argument is given the trials'
                ids there; for a running trial, one that takes `trial_job_id` is given that trial's.
        """
        found: list[Any] = []
        for parameter_id in parameter_id_list:
            try:
                parameters = self.generate_parameters(parameter_id, **kwargs)
            except NoMoreTrialError:
                break
            if parameters is None:
                break
            found.append(parameters)
        return found

    def receive_trial_result(
        self,
        parameter_id: int,
        parameters: Any,
        value: Any,
        trial_job_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take in the final result of one phase.

        Args:
            parameter_id: the phase's number.
            parameters: the very object that `generate_parameters` returned for it.
            value: what the trial reported: a number, or a dict whose `default` is one, or whatever
                else the trial's author chose.
            trial_job_id: the trial that reported it.
            **kwargs: `checkpoint`, the path of what the phase saved, if it did: a copy that stays as
                it is and is on record. A method that takes no such argument is not given it. When
                calls are made again in a resume, it may have been removed: see `checkpoints_in_use`.
        """

    def phase_end(self, parameter_id: int, success: bool, trial_job_id: str | None = None) -> None:
        """Called once for each phase that ended, after its result if it has one.

        Args:
            parameter_id: the phase's number.
            success: False if the phase failed, was abandoned, or its trial died.
            trial_job_id: its trial.
        """

    def trial_end(
        self,
        parameter_id: int,
        success: bool,
        trial_job_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Called once for each trial that ended, after all of its phases.

        Args:
            parameter_id: the number of the trial's first phase.
            success: True if the trial exited with status 0, and was neither stopped early nor turned
                away by `mpx stop` or a failure.
            trial_job_id: the trial.
        """

    def update_search_space(self, search_space: Any) -> None:
        """Take in the search space: called before all else, and again whenever it changes.

        Args:
            search_space: name → {"_type", "_value"}, ordered as in the file, a private copy;
                `''` where the configuration has none.
        """

    def checkpoints_in_use(self) -> Collection[int] | None:
        """Return the parameter_ids of the phases that it may yet name as a parent, by `Continued`.

        Asked each time the tuner was told of a phase that has saved something; what no one else needs
        either is then removed. What an open phase goes on from is kept in any case. It changes nothing,
        and need not be as the tuner was told: it may name phases that have saved nothing.

        Returns:
            None, the default, says that it may be any: then nothing is removed, unless the
            configuration has `keepCheckpoints`.
        """
        return None

    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Take in results from elsewhere: dicts of `parameter` and `value`."""

    def load_checkpoint(self) -> None:
        """Restore what `save_checkpoint` wrote to `get_checkpoint_path()`.

        Called on `mpx resume`, behind the constructor and before `update_search_space`; only the calls
        made after that checkpoint are then made again.
        """

    def save_checkpoint(self) -> None:
        """Write the tuner's state, as files, to `get_checkpoint_path()`.

        A tuner need not have it: without, `mpx resume` makes all its calls again. It is called after
        every hundred results, and when the experiment ends or is stopped. The states of `random` and
        `numpy.random` are kept with what it writes.
        """

    def get_checkpoint_path(self) -> str | None:
        """Return the directory for checkpoints, or None outside an experiment."""
        path = os.environ.get("NNI_CHECKPOINT_DIRECTORY")
        return path if path and os.path.isdir(path) else None  # noqa: PTH112 (stdlib, Python 3.7)

    def _on_exit(self) -> None:
        """Called last when the experiment ends well."""

    def _on_error(self) -> None:
        """Called last when the experiment ends because the tuner failed."""


class MultiPhaseTuner(Tuner):
    """A tuner whose choice for one phase may depend on the results of the trial's earlier ones.

    It has the methods of `Tuner`; the name says what it is for, and old code expects it.
    """
