"""`nni.protocol` and NNI's dispatchers, which mpx does without: what code that derives from them meets."""

from __future__ import annotations

import importlib
import io
import json
import threading

import pytest

from mpx.compat.nni import common, msg_dispatcher, msg_dispatcher_base, protocol, tuner
from mpx.compat.nni.assessor import Assessor, AssessResult
from mpx.compat.nni.protocol import CommandType
from mpx.errors import NoMoreTrialError

SPACE = {"n": {"_type": "randint", "_value": [0, 9]}}


@pytest.fixture
def pipe(monkeypatch):
    """Set what the manager says; what was sent to it is in `_out_file`."""
    monkeypatch.setattr(protocol, "_out_file", io.BytesIO())

    def say(*frames):
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(protocol, "_out_file", written)
            for command, data in frames:
                protocol.send(command, data if isinstance(data, str) else json.dumps(data))
        monkeypatch.setattr(protocol, "_in_file", io.BytesIO(written.getvalue()))

    return say


def sent(monkeypatch):
    """Return the frames that were sent to the manager."""
    monkeypatch.setattr(protocol, "_in_file", io.BytesIO(protocol._out_file.getvalue()))
    frames = list(iter(protocol.receive, (None, None)))
    return [(command.name, json.loads(data) if data else data) for command, data in frames]


def test_a_frame_is_a_command_a_length_in_bytes_and_text(pipe):
    protocol.send(CommandType.NewTrialJob, "你好")
    assert protocol._out_file.getvalue() == b"TR00000000000006" + "你好".encode()
    pipe((CommandType.Initialize, "hello"), (CommandType.Terminate, ""))
    assert protocol.receive() == (CommandType.Initialize, "hello")
    assert protocol.receive() == (CommandType.Terminate, "")
    assert protocol.receive() == (None, None)


@pytest.mark.parametrize("call", [protocol.receive, lambda: protocol.send(CommandType.Ping, "")])
def test_without_a_pipe_it_says_what_to_do(call):
    with pytest.raises(
        RuntimeError, match=r"is not set: under mpx .* derive from nni\.tuner\.Tuner"
    ):
        call()


class Counter(tuner.Tuner):
    def __init__(self):
        self.results = []
        self.ends = []

    def update_search_space(self, search_space):
        self.search_space = search_space

    def generate_parameters(self, parameter_id, **kwargs):
        if parameter_id == 3:
            raise NoMoreTrialError("that is all")
        return {"n": parameter_id}

    def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
        self.results.append((parameter_id, parameters, value, kwargs))

    def trial_end(self, parameter_id, success, **kwargs):
        self.ends.append((parameter_id, success))


class Impatient(Assessor):
    def __init__(self):
        self.calls = []

    def assess_trial(self, trial_job_id, trial_history):
        self.calls.append((trial_job_id, trial_history))
        return AssessResult.Bad if len(trial_history) > 1 else True

    def trial_end(self, trial_job_id, success):
        self.calls.append((trial_job_id, success))


def result(parameter_id, kind, value, sequence=0):
    return CommandType.ReportMetricData, {
        "parameter_id": parameter_id,
        "trial_job_id": "aTrial",
        "type": kind,
        "sequence": sequence,
        "value": json.dumps(value),
    }


@pytest.mark.parametrize("phase_id", [2, 3], ids=["more", "no more"])
def test_a_dispatcher_calls_a_tuner_and_an_assessor(pipe, monkeypatch, phase_id):
    pipe(
        (CommandType.Initialize, SPACE),
        (CommandType.RequestTrialJobs, phase_id),
        result(1, "PERIODICAL", 0.1),
        result(1, "PERIODICAL", 0.2, 1),
        result(1, "FINAL", {"default": 0.5}),
        (
            CommandType.ReportMetricData,
            {"type": "REQUEST_PARAMETER", "trial_job_id": "aTrial", "parameter_index": 1},
        ),
        (CommandType.AddCustomizedTrialJob, {"n": 99}),
        result(phase_id + 1, "FINAL", 1),
        (
            CommandType.TrialEnd,
            {
                "trial_job_id": "aTrial",
                "event": "SUCCEEDED",
                "hyper_params": json.dumps({"parameter_id": 1}),
            },
        ),
        (CommandType.Ping, ""),
    )
    counter, impatient = Counter(), Impatient()
    dispatcher = msg_dispatcher.MsgDispatcher(counter, impatient)
    monkeypatch.setattr(msg_dispatcher_base, "_worker_fast_exit_on_terminate", False)
    dispatcher.run()
    assert dispatcher.worker_exceptions == []
    assert counter.search_space == SPACE
    told = {"customized": False, "trial_job_id": "aTrial"}
    assert counter.results == [(1, {"n": 1}, {"default": 0.5}, told)]
    assert counter.ends == [(1, True)]
    assert impatient.calls == [("aTrial", [0.1]), ("aTrial", [0.1, 0.2]), ("aTrial", True)]
    frames = sent(monkeypatch)
    assert ("KillTrialJob", "aTrial") in frames  # by another thread, so anywhere among the others
    frames.remove(("KillTrialJob", "aTrial"))
    first = [
        {
            "parameter_id": n,
            "parameter_source": "algorithm",
            "parameters": {"n": n},
            "parameter_index": 0,
        }
        for n in range(phase_id)
    ]
    later = {
        "parameter_id": phase_id,
        "parameter_source": "algorithm",
        "parameters": {"n": phase_id} if phase_id < 3 else None,
        "parameter_index": 1,
        "trial_job_id": "aTrial",
    }
    offered = {
        "parameter_id": phase_id + 1,
        "parameter_source": "customized",
        "parameters": {"n": 99},
        "parameter_index": 0,
    }
    assert frames == [
        ("Initialized", ""),
        *[("NewTrialJob", packed) for packed in first],
        ("SendTrialJobParameter", later),
        ("NewTrialJob", offered),
    ]


def test_a_tuner_that_has_fewer_first_phases_says_so(pipe, monkeypatch):
    msg_dispatcher.MsgDispatcher(Counter()).handle_request_trial_jobs(5)
    assert [name for name, _ in sent(monkeypatch)] == [*["NewTrialJob"] * 3, "NoMoreTrialJobs"]


@pytest.mark.parametrize("is_multi_threaded", [False, True])
def test_a_derived_advisor_is_given_commands_until_one_fails(pipe, monkeypatch, is_multi_threaded):
    monkeypatch.setattr(common, "_multi_thread", is_multi_threaded)
    monkeypatch.setattr(msg_dispatcher_base, "_worker_fast_exit_on_terminate", False)

    class Advisor(msg_dispatcher_base.MsgDispatcherBase):
        def handle_initialize(self, data):
            self.initialized = (data, threading.current_thread() is threading.main_thread())

    pipe(
        (CommandType.Initialize, SPACE),
        (CommandType.RequestTrialJobs, 1),
        (CommandType.Terminate, ""),
    )
    advisor = Advisor()
    advisor.run()
    assert advisor.initialized == (SPACE, False)
    assert [str(error) for error in advisor.worker_exceptions] == [
        "Advisor has no handle_request_trial_jobs method"
    ]


def test_the_old_name_of_the_dispatcher():
    old = importlib.import_module("mpx.compat.nni.multi_phase.multi_phase_dispatcher")
    assert issubclass(old.MultiPhaseMsgDispatcher, msg_dispatcher.MsgDispatcher)
