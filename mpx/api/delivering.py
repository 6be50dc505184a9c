"""What a user sends to an experiment: its manager takes it in at once, or another one on `mpx resume`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mpx.api.control import Control
from mpx.api.home import manager_of
from mpx.api.reading import show_or_excuse
from mpx.errors import MpxError
from mpx.inbox import Inbox
from mpx.records import ExperimentPaths, ExperimentRecord, ExperimentStatus

_ANSWER = 5.0  # seconds in which a manager that is well answers


class Taken(StrEnum):
    """When an experiment takes in what was sent to it.

    NOW: its manager has it. SOON: its manager takes it in when the tuner is there, or when it can.
    ON_RESUME: no manager takes it in before `mpx resume`.
    """

    NOW = "now"
    SOON = "soon"
    ON_RESUME = "on resume"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of something that was sent.

    Attributes:
        experiment: to whom, as it was then.
        taken: when it takes it in.
    """

    experiment: ExperimentRecord
    taken: Taken


def deliver(paths: ExperimentPaths, about: str, data: Any) -> Delivery:
    """Send something to an experiment, whether it runs or not.

    Args:
        paths: the experiment.
        about: what `data` is: `inbox.RESULTS` or `inbox.PARAMETERS`.
        data: anything JSON can say.

    Raises:
        MpxError: it cannot be written down.
    """
    try:
        Inbox(paths.inbox).put(about, data)
    except OSError as error:
        raise MpxError(f"cannot write to {paths.inbox}: {error.strerror or error}") from error
    was_heard = _ring(paths)
    experiment, manager = show_or_excuse(paths), manager_of(paths)
    is_rebuilding = manager is not None and manager.is_resuming and manager.is_alive()
    if is_rebuilding or experiment.status is ExperimentStatus.INITIALIZING:
        return Delivery(experiment, Taken.SOON)
    if experiment.status is not ExperimentStatus.RUNNING:
        return Delivery(experiment, Taken.ON_RESUME)
    return Delivery(experiment, Taken.NOW if was_heard else Taken.SOON)


def _ring(paths: ExperimentPaths) -> bool:
    """Have the manager look for what was sent; say whether one has heard it."""
    try:
        with Control(paths.control_socket, _ANSWER) as control:
            return control.ask({"command": "read"})
    except OSError:
        return False
