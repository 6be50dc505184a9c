"""NNI's `nni.msg_dispatcher`: a dispatcher that calls a tuner and an assessor.

mpx hosts both without it. It is here for code that imports or unit-tests it.
"""

from __future__ import annotations

from typing import Any

from mpx.errors import NoMoreTrialError
from mpx.wire import decode

from .assessor import AssessResult
from .msg_dispatcher_base import MsgDispatcherBase
from .protocol import CommandType, send
from .utils import MetricType, to_json

__all__ = ["MsgDispatcher"]

_trial_params: dict[Any, Any] = {}  # by parameter_id: the very objects that the tuner returned
_customized_parameter_ids: set[Any] = set()


def _pack_parameter(
    parameter_id: Any,
    params: Any,
    customized: bool = False,
    trial_job_id: str | None = None,
    parameter_index: int | None = None,
) -> str:
    """Return the JSON that tells the manager of parameters."""
    _trial_params[parameter_id] = params
    packed = {
        "parameter_id": parameter_id,
        "parameter_source": "customized" if customized else "algorithm",
        "parameters": params,
        "parameter_index": parameter_index or 0,
    }
    if trial_job_id is not None:
        packed["trial_job_id"] = trial_job_id
    return to_json(packed)


class MsgDispatcher(MsgDispatcherBase):
    """Calls a tuner and an assessor as NNI v1.9 does.

    Args:
        tuner: chooses parameters.
        assessor: judges trials, if there is one.
    """

    def __init__(self, tuner: Any, assessor: Any = None) -> None:
        self.tuner = tuner
        self.assessor = assessor
        self._histories: dict[str, list[Any]] = {}
        self._next_id = 0
        super().__init__()

    def load_checkpoint(self) -> None:
        """Have both load their states."""
        self.tuner.load_checkpoint()
        if self.assessor is not None:
            self.assessor.load_checkpoint()

    def save_checkpoint(self) -> None:
        """Have both save their states."""
        self.tuner.save_checkpoint()
        if self.assessor is not None:
            self.assessor.save_checkpoint()

    def handle_initialize(self, data: Any) -> None:
        """Give the tuner its search space."""
        self.tuner.update_search_space(data)
        send(CommandType.Initialized, "")

    def handle_request_trial_jobs(self, data: int) -> None:
        """Ask the tuner for the first phases of new trials."""
        ids = [self._create_id() for _ in range(data)]
        found = self.tuner.generate_multiple_parameters(ids, st_callback=self.send_trial_callback)
        for parameter_id, parameters in zip(ids, found):
            send(CommandType.NewTrialJob, _pack_parameter(parameter_id, parameters))
        if len(found) < len(ids):
            send(CommandType.NoMoreTrialJobs, _pack_parameter(ids[0], ""))

    def send_trial_callback(self, parameter_id: Any, params: Any) -> None:
        """Start a trial with parameters that the tuner owed."""
        send(CommandType.NewTrialJob, _pack_parameter(parameter_id, params))

    def handle_update_search_space(self, data: Any) -> None:
        """Give the tuner a changed search space."""
        self.tuner.update_search_space(data)

    def handle_import_data(self, data: Any) -> None:
        """Give the tuner results from elsewhere."""
        self.tuner.import_data(data)

    def handle_add_customized_trial(self, data: Any) -> None:
        """Start a trial with parameters that a user offers."""
        parameter_id = self._create_id()
        _customized_parameter_ids.add(parameter_id)
        send(CommandType.NewTrialJob, _pack_parameter(parameter_id, data, customized=True))

    def handle_report_metric_data(self, data: dict[str, Any]) -> None:
        """Give a result to the tuner or the assessor, or the trial its next parameters."""
        if data["type"] == MetricType.REQUEST_PARAMETER:
            self._answer(data["trial_job_id"], data["parameter_index"])
            return
        value = data["value"]
        value = decode(value) if isinstance(value, str) else value
        if data["type"] == MetricType.FINAL:
            self._tell(data["parameter_id"], data["trial_job_id"], value)
        elif data["type"] == MetricType.PERIODICAL:
            self._assess(data["trial_job_id"], data["sequence"], value)
        else:
            raise ValueError(f"{data['type']!r} is no type of a result")

    def handle_trial_end(self, data: dict[str, Any]) -> None:
        """Tell both that a trial ended."""
        success = data["event"] == "SUCCEEDED"
        if (
            self._histories.pop(data["trial_job_id"], None) is not None
            and self.assessor is not None
        ):
            self.assessor.trial_end(data["trial_job_id"], success)
        self.tuner.trial_end(decode(data["hyper_params"])["parameter_id"], success)

    def _create_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _answer(self, trial_id: str, index: int) -> None:
        parameter_id = self._create_id()
        try:
            parameters = self.tuner.generate_parameters(parameter_id, trial_job_id=trial_id)
        except NoMoreTrialError:
            parameters = None
        packed = _pack_parameter(
            parameter_id, parameters, trial_job_id=trial_id, parameter_index=index
        )
        send(CommandType.SendTrialJobParameter, packed)

    def _tell(self, parameter_id: Any, trial_id: str, value: Any) -> None:
        is_customized = parameter_id in _customized_parameter_ids
        if is_customized and not getattr(self.tuner, "_accept_customized", False):
            return
        self.tuner.receive_trial_result(
            parameter_id,
            _trial_params.get(parameter_id),
            value,
            customized=is_customized,
            trial_job_id=trial_id,
        )

    def _assess(self, trial_id: str, sequence: int, value: Any) -> None:
        history = self._histories.setdefault(trial_id, [])
        if self.assessor is None or sequence != len(history):
            return
        history.append(value)
        verdict = self.assessor.assess_trial(trial_id, list(history))
        if verdict in (AssessResult.Bad, False):
            send(CommandType.KillTrialJob, to_json(trial_id))
