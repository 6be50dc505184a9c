"""NNI's `nni.msg_dispatcher_base`: takes the manager's commands by `nni.protocol` and handles them.

mpx hosts tuners without it. It is here for code that derives from it or unit-tests such code.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any, NoReturn

from mpx.wire import decode

from .common import multi_thread_enabled
from .env_vars import dispatcher_env_vars
from .protocol import CommandType, receive
from .recoverable import Recoverable
from .utils import MetricType

__all__ = ["MsgDispatcherBase"]

QUEUE_LEN_WARNING_MARK = 20
_worker_fast_exit_on_terminate = True

_logger = logging.getLogger(__name__)

_HANDLERS = {
    CommandType.Initialize: "handle_initialize",
    CommandType.RequestTrialJobs: "handle_request_trial_jobs",
    CommandType.UpdateSearchSpace: "handle_update_search_space",
    CommandType.ImportData: "handle_import_data",
    CommandType.AddCustomizedTrialJob: "handle_add_customized_trial",
    CommandType.ReportMetricData: "handle_report_metric_data",
    CommandType.TrialEnd: "handle_trial_end",
    CommandType.Ping: "handle_ping",
}


class MsgDispatcherBase(Recoverable):
    """Handles commands: an assessor's in one thread, all others in another, each in their order.

    With `nni.common.enable_multi_thread()` each command has a thread of its own.

    Attributes:
        stopping: no more commands are taken.
        worker_exceptions: what handlers raised.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.worker_exceptions: list[BaseException] = []
        self.default_command_queue: queue.Queue[Any] = queue.Queue()
        self.assessor_command_queue: queue.Queue[Any] = queue.Queue()
        self._is_multi_threaded = multi_thread_enabled()
        self._threads: list[threading.Thread] = []
        if not self._is_multi_threaded:
            for commands in (self.default_command_queue, self.assessor_command_queue):
                self._start_thread(self.command_queue_worker, commands)

    def run(self) -> None:
        """Take commands until Terminate, the end of the pipe, or an exception in a handler."""
        if dispatcher_env_vars.NNI_MODE == "resume":
            self.load_checkpoint()
        while not self.worker_exceptions:
            command, text = receive()
            if command is None or command is CommandType.Terminate:
                break
            data = decode(text) if text else text
            if self._is_multi_threaded:
                self._start_thread(self._process, command, data)
            else:
                self.enqueue_command(command, data)
        self.stopping = True
        for commands in (self.default_command_queue, self.assessor_command_queue):
            commands.put(None)
        for thread in self._threads:
            thread.join()

    def enqueue_command(self, command: CommandType, data: Any) -> None:
        """Put a command into the queue of its thread."""
        is_assessors = command is CommandType.TrialEnd or (
            command is CommandType.ReportMetricData and data["type"] == MetricType.PERIODICAL
        )
        commands = self.assessor_command_queue if is_assessors else self.default_command_queue
        commands.put((command, data))
        if commands.qsize() >= QUEUE_LEN_WARNING_MARK:
            _logger.warning("%d commands wait; the oldest takes long", commands.qsize())

    def command_queue_worker(self, command_queue: queue.Queue[Any]) -> None:
        """Handle a queue's commands until it ends, a handler raises, or (fast exit) all is to stop."""
        while not self.worker_exceptions:
            item = command_queue.get()
            if item is None or (self.stopping and _worker_fast_exit_on_terminate):
                return
            self._process(*item)

    def process_command(self, command: CommandType, data: Any) -> None:
        """Call the handler of a command.

        Raises:
            AssertionError: it has none.
        """
        if command not in _HANDLERS:
            raise AssertionError(f"{command} is no command to a dispatcher")
        getattr(self, _HANDLERS[command])(data)

    def _process(self, command: CommandType, data: Any) -> None:
        try:
            self.process_command(command, data)
        # Border: a user's handler may raise anything; whoever called `run` looks at the list.
        except BaseException as error:
            _logger.exception("%s failed", _HANDLERS.get(command, command))
            self.worker_exceptions.append(error)

    def _start_thread(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def handle_ping(self, data: Any) -> None:
        """Take a sign of life from the manager."""

    def handle_initialize(self, data: Any) -> None:
        """Take in the search space, and send `Initialized`."""
        self._lacks("handle_initialize")

    def handle_request_trial_jobs(self, data: int) -> None:
        """Send `NewTrialJob` so many times."""
        self._lacks("handle_request_trial_jobs")

    def handle_update_search_space(self, data: Any) -> None:
        """Take in a changed search space."""
        self._lacks("handle_update_search_space")

    def handle_import_data(self, data: Any) -> None:
        """Take in results from elsewhere: dicts of `parameter` and `value`."""
        self._lacks("handle_import_data")

    def handle_add_customized_trial(self, data: Any) -> None:
        """Take in parameters that a user offers."""
        self._lacks("handle_add_customized_trial")

    def handle_report_metric_data(self, data: dict[str, Any]) -> None:
        """Take in a result, or a request for a later phase's parameters.

        Args:
            data: parameter_id, trial_job_id, type (see `nni.utils.MetricType`), sequence, value (JSON), and
                parameter_index of a request, which `SendTrialJobParameter` answers.
        """
        self._lacks("handle_report_metric_data")

    def handle_trial_end(self, data: dict[str, Any]) -> None:
        """Take in the end of a trial: trial_job_id, event (its status) and hyper_params (JSON)."""
        self._lacks("handle_trial_end")

    def _lacks(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} has no {name} method")
