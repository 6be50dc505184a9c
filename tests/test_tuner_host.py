"""The tuner's host: calls are made in order, answered, made again, and their failures told."""

from __future__ import annotations

import enum
import json
import operator
import random
import select
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import mpx
from mpx import tuner_host
from mpx.checkpoints import Checkpoints
from mpx.errors import ClassLoadError
from mpx.host import Finish, Finished
from mpx.tuner_calls import (
    Ask,
    AskBatch,
    AskFirst,
    Enqueued,
    Failed,
    ForgetCheckpoints,
    Import,
    InUse,
    Launched,
    Load,
    Loaded,
    Parameters,
    PhaseEnd,
    Recorded,
    SaveCheckpoint,
    Saved,
    Tell,
    TrialEnd,
    Warned,
)
from mpx.tuner_host import TunerHost
from mpx.wake_up import WakeUp
from mpx.wire import encode

# -- the host -------------------------------------------------------------------------------------


NOWHERE = Checkpoints(Path("/nowhere/current"), Path("/nowhere/kept"))


class Hosted:
    """A host with a tuner loaded, and what came of each call.

    Attributes:
        early: the answers before the one to `Load`.
        loaded: that one.
    """

    def __init__(
        self, tuner_class, search_space="", seed=1, load_class=None, checkpoints=NOWHERE, **past
    ):
        self.host = TunerHost(checkpoints)
        self.host.start()
        self.load = Load(
            load_class=load_class or (lambda: tuner_class),
            construct=operator.call,
            search_space=search_space,
            seed=seed,
            **past,
        )
        self.host.post([self.load])
        *self.early, self.loaded = self.collect(
            lambda found: found and isinstance(found[-1], (Loaded, Failed))
        )

    def post(self, *calls, answers):
        """Post calls in one batch; return as many answers as are awaited."""
        self.host.post(list(calls))
        found = self.collect(lambda found: len(found) >= answers)
        assert len(found) == answers
        return found

    def settle(self, *calls):
        """Post calls and the end; return the answers to the calls."""
        self.host.post([*calls, Finish(well=True)])
        *found, finished = self.collect(lambda found: Finished() in found)
        assert finished == Finished()
        return found

    def is_awake(self):
        return bool(select.select([self.host.fileno()], [], [], 0)[0])

    def collect(self, is_enough):
        found = []
        while not is_enough(found):
            readable, _, _ = select.select([self.host.fileno()], [], [], 30)
            assert readable, f"only {found} came"
            found += self.host.collect()
        return found


class Recorder(mpx.Tuner):
    """Writes down each call and its thread."""

    def __init__(self):
        self.calls = []
        self.note("__init__")

    def note(self, *call):
        self.calls.append((*call, threading.get_ident()))

    def update_search_space(self, search_space):
        self.note("update_search_space", search_space)

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self.note("generate_parameters", parameter_id, trial_job_id)
        return None if parameter_id == 99 else {"id": parameter_id}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        self.note("receive_trial_result", parameter_id, parameters, value, trial_job_id)

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.note("phase_end", parameter_id, success, trial_job_id)

    def trial_end(self, parameter_id, success, trial_job_id=None):
        self.note("trial_end", parameter_id, success, trial_job_id)

    def _on_exit(self):
        self.note("_on_exit")

    def _on_error(self):
        self.note("_on_error")


def host_of(tuner, **load):
    return Hosted(lambda: tuner, **load)


class Keeping(Recorder):
    """Says from which phases it may go on: those in the list that it was given, if that is one."""

    def __init__(self, in_use):
        super().__init__()
        self.in_use = in_use

    def checkpoints_in_use(self):
        return self.in_use


SAVED = Tell(0, 0.5, "a", checkpoint="/saved")


@pytest.mark.parametrize(("returned", "told"), [([], []), ({3, 1}, [1, 3]), (iter([2]), [2])])
def test_a_tuner_is_asked_what_it_uses_when_something_was_saved(returned, told):
    tuner = Keeping([7])
    hosted = host_of(tuner)
    assert hosted.loaded.in_use == {7}
    tuner.in_use = returned
    again = Tell(1, 0.5, "a")
    _, _, in_use = hosted.settle(Ask(0, "a"), Ask(1, "a"), SAVED, again)
    assert in_use == InUse(0, frozenset(told))


@pytest.mark.parametrize("multi_thread", [False, True])
def test_a_tuner_that_cannot_say_what_it_uses_is_not_asked_again(multi_thread):
    hosted = host_of(Keeping([7] if multi_thread else None), multi_thread=multi_thread)
    assert hosted.loaded.in_use is None
    assert len(hosted.settle(Ask(0, "a"), SAVED)) == 1


@pytest.mark.parametrize("returned", [3, ["0"], [0.5]])
def test_what_it_says_must_be_parameter_ids(returned):
    tuner = Keeping([])
    hosted = host_of(tuner)
    tuner.in_use = returned
    _, failed = hosted.settle(Ask(0, "a"), SAVED)
    assert failed.error.type == "TunerError"
    assert "checkpoints_in_use returned" in failed.error.message
    assert "allowed: a collection of parameter_ids" in failed.error.message


@pytest.fixture(autouse=True)
def _switch_interval():
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize(
    "has_eventfd",
    [
        pytest.param(True, marks=pytest.mark.skipif(not WakeUp.has_eventfd, reason="no eventfd")),
        False,
    ],
)
def test_all_calls_are_made_in_order_on_one_thread(monkeypatch, has_eventfd):
    monkeypatch.setattr(WakeUp, "has_eventfd", has_eventfd)
    hosted = Hosted(Recorder, search_space={"lr": 1})
    assert hosted.loaded == Loaded(None)
    recorder = hosted.host._tuner.tuner
    first = hosted.post(AskFirst([0, 1], ["a", "b"]), answers=2)
    assert first == [Parameters(0, '{"id":0}'), Parameters(1, '{"id":1}')]
    assert hosted.post(
        Tell(0, 0.5, "a"), Ask(2, "a"), PhaseEnd(1, "b"), TrialEnd(1, False, "b"), answers=1
    ) == [Parameters(2, '{"id":2}')]
    assert hosted.post(Ask(99, "a"), answers=1) == [Parameters(99, None)]
    assert hosted.post(PhaseEnd(99, "a"), Finish(well=True), answers=1) == [Finished()]
    assert [call[:-1] for call in recorder.calls] == [
        ("__init__",),
        ("update_search_space", {"lr": 1}),
        ("generate_parameters", 0, "a"),
        ("generate_parameters", 1, "b"),
        ("receive_trial_result", 0, {"id": 0}, 0.5, "a"),
        ("phase_end", 0, True, "a"),
        ("generate_parameters", 2, "a"),
        ("phase_end", 1, False, "b"),
        ("trial_end", 1, False, "b"),
        ("generate_parameters", 99, "a"),
        # phase 99 had no parameters: it never was
        ("_on_exit",),
    ]
    (thread,) = {call[-1] for call in recorder.calls}
    assert thread != threading.get_ident()


def test_collected_answers_wake_nobody_again():
    hosted = Hosted(Recorder)
    hosted.post(Ask(0, "a"), answers=1)
    assert hosted.settle() == []
    assert not hosted.is_awake()


def test_the_tuner_gets_back_the_very_object_it_returned():
    class Keeps(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            self.given = {"tuple": (1, 2), "self": {3}}
            return self.given

        def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
            self.is_same = parameters is self.given

    tuner = Keeps()
    hosted = host_of(tuner)
    (answer,) = hosted.post(Ask(0, "a"), answers=1)
    assert answer.text == '{"tuple":[1,2],"self":{"__set__":[3]}}'
    hosted.post(Tell(0, 1, "a"), Finish(well=True), answers=1)
    assert tuner.is_same


def test_the_search_space_is_a_private_copy():
    class Greedy(Recorder):
        def update_search_space(self, search_space):
            search_space["layers"]["_value"].clear()

    space = {"layers": {"_type": "choice", "_value": [1, 2]}}
    Hosted(Greedy, search_space=space)
    assert space == {"layers": {"_type": "choice", "_value": [1, 2]}}


class OptimizeMode(enum.Enum):
    MINIMIZE = "minimize"


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        (OptimizeMode.MINIMIZE, "minimize"),
        ("maximize", "maximize"),
        ("Maximize", "maximize"),
        ("sideways", None),
        (None, None),
        (7, None),
    ],
)
def test_the_tuner_says_what_it_optimizes(mode, found):
    hosted = Hosted(type("Minded", (Recorder,), {"optimize_mode": mode}))
    assert hosted.loaded == Loaded(found)


def test_answers_do_not_wait_for_a_slow_call_behind_them():
    may_go_on = threading.Event()

    class Slow(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            if parameter_id == 1:
                assert may_go_on.wait(30)
            time.sleep(0.002)
            return parameter_id

    hosted = Hosted(Slow)
    assert hosted.post(Ask(0, "a"), Ask(1, "b"), answers=1) == [Parameters(0, "0")]
    assert sys.getswitchinterval() == pytest.approx(0.0002)
    may_go_on.set()
    assert hosted.collect(bool) == [Parameters(1, "1")]


# -- failures -------------------------------------------------------------------------------------

CALLS = {
    "generate_parameters": [Ask(0, "a")],
    "receive_trial_result": [Ask(0, "a"), Tell(0, 1, "a")],
    "phase_end": [Ask(0, "a"), PhaseEnd(0, "a")],
    "trial_end": [TrialEnd(0, True, "a")],
}


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("method", CALLS)
def test_an_exception_is_told_with_the_users_frames_and_ends_the_calls(method, error, capfd):
    def fail(self, *args, **kwargs):
        self.note(method)
        raise error("the tuner's own")

    tuner = type("Failing", (Recorder,), {method: fail})()
    hosted = host_of(tuner)
    *_, failed = hosted.settle(*CALLS[method], Ask(5, "a"), TrialEnd(5, True, "a"))
    assert isinstance(failed, Failed)
    assert (failed.error.type, failed.error.message) == (error.__name__, "the tuner's own")
    first_frame = failed.error.traceback.splitlines()[1]
    assert __file__ in first_frame
    assert first_frame.endswith("in fail")
    assert [call[0] for call in tuner.calls][-2:] == [method, "_on_error"]
    assert failed.error.traceback in capfd.readouterr().err  # which is manager.log


@pytest.mark.parametrize("method", ["__init__", "update_search_space"])
def test_a_tuner_that_fails_to_begin_is_told(method):
    def fail(self, *args):
        raise KeyError("lr")

    hosted = Hosted(type("Failing", (Recorder,), {method: fail, "_on_error": mpx.Tuner._on_error}))
    assert isinstance(hosted.loaded, Failed)
    assert (hosted.loaded.error.type, hosted.loaded.error.message) == ("KeyError", "'lr'")
    assert hosted.loaded.error.traceback.count("  File ") == 1
    assert hosted.settle() == []


def test_a_class_that_cannot_be_loaded_is_told_by_its_cause():
    def load_class():
        try:
            compile("x =", "tuner.py", "exec")
        except SyntaxError as error:
            raise ClassLoadError("tuner.py cannot be imported: invalid syntax") from error

    hosted = Hosted(None, load_class=load_class)
    assert hosted.loaded.error.type == "SyntaxError"
    assert hosted.loaded.error.message == "tuner.py cannot be imported: invalid syntax"
    assert "x =" in hosted.loaded.error.traceback


def test_parameters_that_json_cannot_say_are_named():
    class Odd(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            return {"layers": {(3, 3): "conv"}}

    (failed,) = Hosted(Odd).post(Ask(0, "a"), answers=1)
    assert failed.error.type == "TunerError"
    assert failed.error.message.startswith(
        "generate_parameters returned {'layers': {(3, 3): 'conv'}}: JSON cannot say this: keys must"
    )


def test_parameters_that_cannot_be_shown_are_named_by_their_type():
    class Secret:
        def __repr__(self):
            raise RuntimeError

    class Odd(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            return Secret()

    (failed,) = Hosted(Odd).post(Ask(0, "a"), answers=1)
    assert failed.error.message.startswith("generate_parameters returned a Secret: JSON cannot say")


def test_an_exception_that_cannot_say_what_it_is_is_told():
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    tuner = type(
        "Failing", (Recorder,), {"generate_parameters": lambda *_: (_ for _ in ()).throw(OddError)}
    )
    (failed,) = Hosted(tuner).post(Ask(0, "a"), answers=1)
    assert (failed.error.type, failed.error.message) == (
        "OddError",
        "no message: its __str__ failed",
    )


def test_the_users_frames_are_those_outside_this_package_whatever_their_folder_is_called():
    names = {"mpx": mpx, "Recorder": Recorder}
    code = """
class Mine(Recorder):
    def generate_parameters(self, parameter_id):
        return inner()
def inner():
    1 / 0
"""
    exec(compile(code, tuner_host.__file__.replace("/mpx/", "/mpx_tuners/"), "exec"), names)
    (failed,) = Hosted(names["Mine"]).post(Ask(0, "a"), answers=1)
    assert failed.error.traceback.count("mpx_tuners") == 2
    assert failed.error.traceback.count("  File ") == 2


@pytest.mark.parametrize(("well", "last"), [(True, "_on_exit"), (False, "_on_error")])
def test_the_tuner_is_told_how_the_experiment_ends(well, last):
    tuner = Recorder()
    assert host_of(tuner).post(Finish(well=well), answers=1) == [Finished()]
    assert tuner.calls[-1][0] == last


def test_a_farewell_that_fails_holds_up_no_end():
    def fail(self):
        raise RuntimeError("no goodbye")

    hosted = Hosted(type("Rude", (Recorder,), {"_on_exit": fail}))
    finished, failed = hosted.post(Finish(well=True), answers=2)
    assert finished == Finished()
    assert failed.error.message == "no goodbye"


# -- the same again -------------------------------------------------------------------------------


class Drawing(Recorder):
    def __init__(self):
        super().__init__()
        self.drawn = random.random()

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return [self.drawn, random.random()]


def drawn(tuner_class, seed, load_class=None):
    hosted = Hosted(tuner_class, seed=seed, load_class=load_class)
    return [answer.text for answer in hosted.post(Ask(0, "a"), Ask(1, "a"), answers=2)]


@pytest.mark.parametrize("seed", [0, 7, 2**40, -3])
def test_a_seed_repeats_what_random_draws(seed):
    assert drawn(Drawing, seed) == drawn(Drawing, seed) != drawn(Drawing, seed + 10)


# -- what earlier managers left -------------------------------------------------------------------


class Record:
    """The calls on record, from number 1, and who asked for them.

    Attributes:
        threads: those that asked.
    """

    def __init__(self, *recorded: Recorded, parameters: Mapping[int, str] | None = None):
        self._recorded = recorded
        self._parameters = parameters or {}
        self.threads = set()

    def calls(self, after):
        for recorded in self._recorded[after:]:
            self.threads.add(threading.get_ident())
            yield recorded

    def parameters(self, after):
        self.threads.add(threading.get_ident())
        return self._parameters

    def unanswered(self, until):
        answers = [r.answers for r in self._recorded[:until]]
        return [number for found in answers for number, text in found.items() if text is None]


def ask(parameter_id, *text, trial="a"):
    """Return an ask on record, and its answer if that is there too."""
    return Recorded(Ask(parameter_id, trial), dict.fromkeys([parameter_id], *text) if text else {})


def tell(parameter_id, value=0.5, trial="a"):
    return Recorded(Tell(parameter_id, value, trial), {})


def calls_of(tuner):
    return [call[:-1] for call in tuner.calls]


def test_the_calls_on_record_are_made_again_in_order_on_the_tuners_thread():
    record = Record(
        Recorded(AskFirst([0, 1], ["a", "b"]), {0: '{"id":0}', 1: '{"id":1}'}),
        tell(0),
        ask(2, '{"id":2}'),
        Recorded(PhaseEnd(1, "b"), {}),
        Recorded(TrialEnd(1, False, "b"), {}),
        ask(99, None),
        tell(2, {"default": 1}),
    )
    tuner = Recorder()
    hosted = host_of(tuner, search_space={"lr": 1}, history=record)
    assert (hosted.early, hosted.loaded) == ([], Loaded(None))
    assert hosted.settle(Ask(3, "a")) == [Parameters(3, '{"id":3}')]
    assert calls_of(tuner) == [
        ("__init__",),
        ("update_search_space", {"lr": 1}),
        ("generate_parameters", 0, "a"),
        ("generate_parameters", 1, "b"),
        ("receive_trial_result", 0, {"id": 0}, 0.5, "a"),
        ("phase_end", 0, True, "a"),
        ("generate_parameters", 2, "a"),
        ("phase_end", 1, False, "b"),
        ("trial_end", 1, False, "b"),
        ("generate_parameters", 99, "a"),
        ("receive_trial_result", 2, {"id": 2}, {"default": 1}, "a"),
        ("phase_end", 2, True, "a"),
        ("generate_parameters", 3, "a"),
        ("_on_exit",),
    ]
    assert record.threads == {tuner.calls[-1][-1]}


def test_the_tuner_gets_back_its_very_object_when_its_calls_are_made_again():
    class Keeps(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            self.given = {"tuple": (1, 2), "nan": float("nan")}
            return self.given

        def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
            self.is_same = parameters is self.given

    tuner = Keeps()
    hosted = host_of(tuner, history=Record(ask(0, '{"tuple":[1,2],"nan":NaN}'), tell(0)))
    assert hosted.early == []
    assert tuner.is_same


WARNING = (
    "when its calls were made again, the tuner answered otherwise than before, first for"
    " parameter_id {}: {} instead of {}. What was recorded stays; what it chooses from now on may"
    " differ from what it would have chosen"
)


def test_what_was_recorded_wins_and_the_first_difference_is_told():
    record = Record(
        ask(0, '{"id":0}'), ask(1, '{"id":-1}'), tell(1), ask(2, '{"id":-2}'), tell(2), tell(0)
    )
    tuner = Recorder()
    hosted = host_of(tuner, history=record)
    assert hosted.early == [Warned(WARNING.format(1, '{"id":1}', '{"id":-1}'))]
    assert isinstance(hosted.loaded, Loaded)
    assert [call for call in calls_of(tuner) if call[0] == "receive_trial_result"] == [
        ("receive_trial_result", 1, {"id": -1}, 0.5, "a"),
        ("receive_trial_result", 2, {"id": -2}, 0.5, "a"),
        ("receive_trial_result", 0, {"id": 0}, 0.5, "a"),
    ]


def test_parameters_that_were_recorded_win_over_none():
    tuner = Recorder()
    hosted = host_of(tuner, history=Record(ask(99, '{"id":99}'), tell(99)))
    assert hosted.early == [Warned(WARNING.format(99, "no parameters", '{"id":99}'))]
    assert ("receive_trial_result", 99, {"id": 99}, 0.5, "a") in calls_of(tuner)


def test_none_that_was_recorded_wins_over_parameters():
    tuner = Recorder()
    record = Record(ask(5, None), Recorded(PhaseEnd(5, "a"), {}))
    hosted = host_of(tuner, history=record)
    assert hosted.early == [Warned(WARNING.format(5, '{"id":5}', "no parameters"))]
    assert "phase_end" not in {call[0] for call in calls_of(tuner)}


def test_a_difference_that_is_long_is_told_in_short():
    tuner = type("Long", (Recorder,), {"generate_parameters": lambda *_: "x" * 1000})
    (warned,) = Hosted(tuner, history=Record(ask(0, '"' + "y" * 1000 + '"'))).early
    assert f'"{"x" * 199} instead of "{"y" * 199}. What' in warned.message


def test_an_ask_whose_answer_is_not_on_record_is_answered_before_all_is_loaded():
    record = Record(
        Recorded(AskFirst([0, 1, 99], ["a", "b", "c"]), {0: '{"id":0}'}), ask(2), tell(0), ask(98)
    )
    hosted = Hosted(Recorder, history=record)
    assert hosted.early == [
        Parameters(1, '{"id":1}'),
        Parameters(99, None),
        Parameters(2, '{"id":2}'),
        Parameters(98, '{"id":98}'),
    ]
    assert hosted.settle(Tell(1, 1, "b"), Tell(2, 1, "a")) == []


def test_answers_on_record_are_for_the_calls_on_record_alone():
    hosted = Hosted(Recorder, history=Record(ask(0, '{"id":0}')))
    assert hosted.post(Ask(0, "b"), answers=1) == [Parameters(0, '{"id":0}')]


def test_what_is_tried_again_is_given_to_the_tuner_as_it_was_recorded():
    """No call of this record chose them: one before a checkpoint did, or one before calls had numbers."""
    tuner = Recorder()
    record = Record(tell(4), Recorded(PhaseEnd(5, "a"), {}), parameters={4: '{"x":4}', 5: "[5]"})
    host_of(tuner, history=record)
    assert calls_of(tuner)[2:] == [
        ("receive_trial_result", 4, {"x": 4}, 0.5, "a"),
        ("phase_end", 4, True, "a"),
        ("phase_end", 5, False, "a"),
    ]


@pytest.mark.parametrize("method", CALLS)
def test_a_tuner_that_fails_when_its_calls_are_made_again_is_not_loaded(method, capfd):
    def fail(self, *args, **kwargs):
        raise ValueError("the tuner's own")

    tuner = type("Failing", (Recorder,), {method: fail})()
    record = Record(*(Recorded(call, {}) for call in CALLS[method]), ask(7))
    hosted = host_of(tuner, history=record)
    assert all(isinstance(answer, Parameters) for answer in hosted.early)
    assert isinstance(hosted.loaded, Failed)
    assert (hosted.loaded.error.type, hosted.loaded.error.message) == (
        "ValueError",
        "the tuner's own",
    )
    assert hosted.settle(Ask(8, "a")) == []
    assert 7 not in {call[1] for call in calls_of(tuner) if call[0] == "generate_parameters"}
    assert hosted.loaded.error.traceback in capfd.readouterr().err


def test_a_history_that_cannot_be_read_is_told():
    class Damaged(Record):
        def calls(self, after):
            yield ask(0, '{"id":0}')
            raise OSError("the disk is gone")

    hosted = Hosted(Recorder, history=Damaged())
    assert hosted.loaded.error.message == "the disk is gone"


# -- checkpoints ----------------------------------------------------------------------------------


class Saving(Recorder):
    """Saves its calls."""

    def __init__(self, file):
        self.file = file
        super().__init__()

    def save_checkpoint(self):
        self.note("save_checkpoint")
        self.file.write_text(json.dumps(calls_of(self)))

    def load_checkpoint(self):
        self.note("load_checkpoint", json.loads(self.file.read_text()))


class Kept:
    """Checkpoints, and tuners that save there."""

    def __init__(self, directory):
        self.kept = directory / "checkpoints"
        self.current = directory / "checkpoint"
        self.current.mkdir()
        self.checkpoints = Checkpoints(self.current, self.kept)

    def host(self, tuner_class=Saving, **load):
        self.tuner = tuner_class(self.current / "state.json")
        return host_of(self.tuner, checkpoints=self.checkpoints, **load)

    def numbers(self):
        return sorted(int(copy.name) for copy in self.kept.iterdir()) if self.kept.exists() else []


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


def test_whether_a_tuner_saves_is_told(kept):
    assert kept.host().loaded == Loaded(None, saves=True)
    assert Hosted(Recorder).loaded == Loaded(None, saves=False)


def test_what_the_tuner_saves_is_kept_by_the_number_of_the_call_before(kept):
    hosted = kept.host()
    found = hosted.post(Ask(0, "a"), SaveCheckpoint(1), Ask(1, "a"), SaveCheckpoint(2), answers=4)
    assert found == [Parameters(0, '{"id":0}'), Saved(1), Parameters(1, '{"id":1}'), Saved(2)]
    assert kept.numbers() == [1, 2]
    assert hosted.settle(ForgetCheckpoints(2)) == []
    assert kept.numbers() == [2]


def test_a_tuner_whose_save_leaves_no_file_has_saved_nothing(kept):
    class Absent(Saving):
        def save_checkpoint(self):
            """As NNI's tuners have it."""

    assert kept.host(Absent).settle(SaveCheckpoint(1)) == []
    assert kept.numbers() == []


def find_no_space(*args):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("methods", [{"save_checkpoint": find_no_space}, {}])
def test_a_save_that_fails_is_told_and_ends_nothing(kept, monkeypatch, capfd, methods):
    hosted = kept.host(type("Full", (Saving,), methods))
    monkeypatch.setattr(kept.checkpoints, "keep", find_no_space)
    assert hosted.settle(SaveCheckpoint(1), Ask(0, "a")) == [
        Warned("save_checkpoint failed: OSError: [Errno 28] No space left on device"),
        Parameters(0, '{"id":0}'),
    ]
    assert kept.tuner.calls[-1][0] == "_on_exit"
    assert "in find_no_space" in capfd.readouterr().err


def test_a_tuner_that_failed_saves_nothing(kept):
    def fail(*args):
        raise ValueError("boom")

    hosted = kept.host(type("Failing", (Saving,), {"trial_end": fail}))
    (failed,) = hosted.settle(TrialEnd(0, True, "a"), SaveCheckpoint(1))
    assert isinstance(failed, Failed)
    assert kept.numbers() == []


def test_a_tuner_loads_its_checkpoint_and_only_what_came_after_is_told_again(kept):
    recorded = [ask(0, '{"id":0}'), ask(1, '{"id":1}'), tell(0), ask(2, '{"id":2}'), tell(2)]
    kept.host().post(Ask(0, "a"), Ask(1, "a"), SaveCheckpoint(2), answers=3)
    (kept.current / "state.json").write_text("half of the ne")
    record = Record(*recorded, parameters={0: '{"id":0}', 1: '{"id":1}'})
    hosted = kept.host(search_space={"lr": 1}, history=record, checkpoint=2)
    assert (hosted.early, hosted.loaded) == ([], Loaded(None, saves=True))
    saved = [
        ["__init__"],
        ["update_search_space", ""],
        ["generate_parameters", 0, "a"],
        ["generate_parameters", 1, "a"],
        ["save_checkpoint"],
    ]
    assert calls_of(kept.tuner) == [
        ("__init__",),
        ("load_checkpoint", saved),
        ("update_search_space", {"lr": 1}),
        ("receive_trial_result", 0, {"id": 0}, 0.5, "a"),
        ("phase_end", 0, True, "a"),
        ("generate_parameters", 2, "a"),
        ("receive_trial_result", 2, {"id": 2}, 0.5, "a"),
        ("phase_end", 2, True, "a"),
    ]
    assert hosted.settle(Tell(1, 1.0, "a")) == []


@pytest.mark.parametrize("checkpoint", [None, 1, 3])
def test_without_its_copy_all_calls_are_made_again(kept, checkpoint):
    kept.host().post(Ask(0, "a"), SaveCheckpoint(1), answers=2)
    shutil.rmtree(kept.kept)
    kept.host(history=Record(ask(0, '{"id":0}'), tell(0)), checkpoint=checkpoint)
    assert [call[0] for call in calls_of(kept.tuner)] == [
        "__init__",
        "update_search_space",
        "generate_parameters",
        "receive_trial_result",
        "phase_end",
    ]


def test_a_checkpoint_that_cannot_be_loaded_is_told(kept):
    kept.host().post(SaveCheckpoint(0), Ask(0, "a"), SaveCheckpoint(1), answers=3)
    (kept.kept / "1" / "files" / "state.json").write_text("half")
    hosted = kept.host(history=Record(ask(0, '{"id":0}')), checkpoint=1)
    assert hosted.loaded.error.type == "JSONDecodeError"


@pytest.mark.parametrize("generator", ["random", "numpy"])
def test_random_goes_on_behind_a_checkpoint(kept, generator):
    draw = random.random if generator == "random" else pytest.importorskip("numpy").random.random

    class DrawsAlways(Saving):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            return float(draw())

        def load_checkpoint(self):
            draw()

        def update_search_space(self, search_space):
            draw()

    hosted = kept.host(DrawsAlways)
    asks = [Ask(number, "a") for number in range(4)]
    *before, saved = hosted.post(*asks[:2], SaveCheckpoint(2), answers=3)
    after = hosted.post(*asks[2:], answers=2)
    assert saved == Saved(2)
    record = Record(*(ask(p.parameter_id, p.text) for p in [*before, after[0]]))
    again = kept.host(DrawsAlways, history=record, checkpoint=2)
    assert again.early == []
    assert again.post(asks[3], answers=1) == [after[1]]
    from_the_start = kept.host(DrawsAlways, history=record)
    assert from_the_start.early == []
    assert from_the_start.post(asks[3], answers=1) == [after[1]]


# -- what a tuner launches ------------------------------------------------------------------------


class Credit(Recorder):
    """Has nothing when it is asked; launches a phase for each trial that ends, as NNI's Evolution."""

    launches = True

    def __init__(self):
        super().__init__()
        self.callback, self.owed = None, []

    def generate_multiple_parameters(self, parameter_id_list, st_callback):
        self.note("generate_multiple_parameters", parameter_id_list)
        self.callback = st_callback
        self.owed += parameter_id_list
        return []

    def generate_parameters(self, parameter_id, trial_job_id):
        self.owed.append(parameter_id)
        raise mpx.NoMoreTrialError("later")

    def trial_end(self, parameter_id, success, trial_job_id=None):
        super().trial_end(parameter_id, success, trial_job_id)
        if self.launches and self.owed:
            number = self.owed.pop(0)
            self.callback(number, {"launched": number})


def launched(parameter_id, text=None):
    return Launched(parameter_id, text or f'{{"launched":{parameter_id}}}')


def test_a_promise_is_told_and_what_is_launched_later_comes_behind_it():
    tuner = Credit()
    hosted = host_of(tuner)
    assert hosted.settle(
        AskFirst([0, 1], ["a", "b"]), Ask(2, "c"), TrialEnd(9, True, "c"), Tell(0, 1.0, "d")
    ) == [
        Parameters(0, None, is_promised=True),
        Parameters(1, None, is_promised=True),
        Parameters(2, None, reason="later"),
        launched(0),
    ]
    assert ("receive_trial_result", 0, {"launched": 0}, 1.0, "d") in calls_of(tuner)


def test_what_a_running_trial_was_refused_can_be_launched_too():
    hosted = host_of(Credit())
    hosted.post(AskFirst([0], ["a"]), TrialEnd(9, True, "x"), answers=2)
    assert hosted.settle(Ask(1, "b"), TrialEnd(9, True, "x")) == [
        Parameters(1, None, reason="later"),
        launched(1),
    ]


def test_a_launch_from_another_thread_wakes_the_loop_and_gives_back_the_very_object():
    tuner = Credit()
    hosted = host_of(tuner)
    hosted.post(AskFirst([0], ["a"]), answers=1)
    parameters = {"tuple": (1, 2)}
    thread = threading.Thread(target=tuner.callback, args=[0, parameters])
    thread.start()
    assert hosted.collect(bool) == [launched(0, '{"tuple":[1,2]}')]
    thread.join()
    hosted.settle(Tell(0, 1.0, "b"))
    (told,) = [call for call in tuner.calls if call[0] == "receive_trial_result"]
    assert told[2] is parameters


@pytest.mark.parametrize("has_thread", [False, True])
@pytest.mark.parametrize("returned", [None, "returned"])
def test_a_launch_in_the_very_call_that_asks_is_as_good_as_returning(returned, has_thread):
    class AtOnce(Recorder):
        def launch(self, parameter_id):
            if has_thread:
                thread = threading.Thread(target=self.callback, args=[parameter_id, "launched"])
                thread.start()
                thread.join()
            else:
                self.callback(parameter_id, "launched")

        def generate_multiple_parameters(self, parameter_id_list, st_callback):
            self.callback = st_callback
            self.launch(parameter_id_list[1])
            return [returned, returned]

        def generate_parameters(self, parameter_id, trial_job_id):
            self.launch(parameter_id)
            return returned

    text = f'"{returned or "launched"}"'
    assert host_of(AtOnce()).settle(AskFirst([0, 1], ["a", "b"]), Ask(2, "a")) == [
        Parameters(0, '"returned"') if returned else Parameters(0, None, is_promised=True),
        Parameters(1, text),
        Parameters(2, text),
    ]


def test_what_has_its_parameters_is_not_launched_again():
    tuner = Credit()
    hosted = host_of(tuner)
    hosted.post(AskFirst([0, 1], ["a", "b"]), answers=2)
    tuner.launches = False
    tuner.callback(0, "first")
    tuner.callback(0, "second")
    tuner.callback(0, "third")
    found = hosted.settle(Tell(0, 1.0, "c"))
    tuner.callback(0, "fourth")
    assert found == [
        Launched(0, '"first"'),
        Warned(
            "st_callback was called for parameter_id 0, which has its parameters already, or was asked"
            " for by a trial that is gone: such calls are ignored"
        ),
    ]
    assert hosted.host.collect() == []
    assert ("receive_trial_result", 0, "first", 1.0, "c") in calls_of(tuner)


@pytest.mark.parametrize("named", [7, -1, "0", None, 0.0])
def test_what_nobody_asked_for_cannot_be_launched(named):
    class Odd(Credit):
        def trial_end(self, parameter_id, success, trial_job_id=None):
            self.callback(named, "x")

    hosted = host_of(Odd())
    *_, failed = hosted.settle(AskFirst([0], ["a"]), TrialEnd(0, True, "a"))
    assert failed.error.type == "TunerError"
    assert failed.error.message == (
        f"st_callback was called for parameter_id {named!r}, which the tuner was never asked for; the"
        " last one was 0"
    )


def test_numbers_of_numpy_name_a_phase_as_well():
    numpy = pytest.importorskip("numpy")
    tuner = Credit()
    hosted = host_of(tuner)
    hosted.post(AskFirst([0], ["a"]), answers=1)
    tuner.callback(numpy.int64(0), "x")
    (found,) = hosted.collect(bool)
    assert (found, type(found.parameter_id)) == (Launched(0, '"x"'), int)


def test_a_launch_of_nothing_is_none_and_one_that_json_cannot_say_is_told():
    tuner = Credit()
    hosted = host_of(tuner)
    hosted.post(AskFirst([0], ["a"]), answers=1)
    tuner.callback(0, None)
    with pytest.raises(mpx.errors.TunerError, match=r"st_callback was given <object .*JSON cannot"):
        tuner.callback(0, object())
    tuner.callback(0, "x")
    assert hosted.settle() == [Launched(0, '"x"')]


PROMISED = Recorded(AskFirst([0, 1], ["a", "b"]), {0: None, 1: None})
END = Recorded(TrialEnd(9, True, "x"), {})


def test_a_launch_on_record_is_told_once_and_one_that_is_not_becomes_an_offer():
    record = Record(PROMISED, END, tell(0, trial="c"), END, parameters={0: '{"launched":0}'})
    tuner = Credit()
    hosted = host_of(tuner, history=record)
    assert (hosted.early, hosted.loaded) == ([launched(1)], Loaded(None))
    assert ("receive_trial_result", 0, {"launched": 0}, 0.5, "c") in calls_of(tuner)
    assert hosted.settle(Tell(1, 1.0, "c")) == []
    assert ("receive_trial_result", 1, {"launched": 1}, 1.0, "c") in calls_of(tuner)


def test_what_is_promised_still_is_told_when_the_calls_were_made_again():
    asks = [Recorded(AskFirst([number], ["a"]), {number: None}) for number in range(3)]
    record = Record(*asks, END, Recorded(PhaseEnd(1, "b"), {}), parameters={0: '{"launched":0}'})
    hosted = host_of(Credit(), history=record)
    assert hosted.early == [Parameters(2, None, is_promised=True)]


def test_what_a_trial_asked_for_that_is_gone_is_not_launched():
    hosted = host_of(Credit())
    hosted.post(AskFirst([0], ["a"]), answers=1)
    parameters, warned = hosted.settle(
        Ask(1, "b"), PhaseEnd(1, "b"), *[TrialEnd(0, True, "a")] * 2
    )[::2]
    assert parameters == Parameters(1, None, reason="later")
    assert isinstance(warned, Warned)


def test_a_launch_on_record_wins_and_the_difference_is_told_once():
    record = Record(PROMISED, END, END, tell(0), tell(1), parameters={0: '"old"', 1: '"older"'})
    tuner = Credit()
    hosted = host_of(tuner, history=record)
    assert hosted.early == [Warned(WARNING.format(0, '{"launched":0}', '"old"'))]
    assert ("receive_trial_result", 0, "old", 0.5, "a") in calls_of(tuner)
    assert ("receive_trial_result", 1, "older", 0.5, "a") in calls_of(tuner)


def test_a_launch_on_record_that_comes_later_this_time_is_not_made_twice():
    record = Record(PROMISED, tell(0), END, parameters={0: '{"launched":0}'})
    tuner = Credit()
    hosted = host_of(tuner, history=record)
    warned, promised = hosted.early
    assert isinstance(warned, Warned)
    assert promised == Parameters(1, None, is_promised=True)
    assert ("receive_trial_result", 0, {"launched": 0}, 0.5, "a") in calls_of(tuner)


def test_what_was_promised_before_a_checkpoint_can_be_launched_behind_it(kept):
    class Saves(Saving, Credit):
        def load_checkpoint(self):
            self.owed = [0, 1]

        def save_checkpoint(self):
            self.file.write_text("saved")

        def __init__(self, file):
            Credit.__init__(self)
            self.file = file

    kept.host(Saves).post(AskFirst([0, 1], ["a", "b"]), SaveCheckpoint(1), answers=3)
    record = Record(PROMISED)
    hosted = kept.host(Saves, history=record, checkpoint=1)
    found = hosted.settle(AskFirst([2], ["c"]), TrialEnd(9, True, "x"))
    assert found == [Parameters(2, None, True), launched(0)]


# -- what the user sends --------------------------------------------------------------------------


class Importer(Recorder):
    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id=None, customized=False
    ):
        self.note("receive_trial_result", parameter_id, parameters, value, customized)

    def import_data(self, data):
        self.note("import_data", data)
        data.clear()


def test_imported_results_are_a_private_copy_and_made_again():
    data = [{"parameter": {"x": 1}, "value": 0.5}]
    tuner = Importer()
    hosted = host_of(
        tuner, history=Record(Recorded(Import(encode(data)), {}), tell(4), parameters={4: "1"})
    )
    assert hosted.settle(Import(encode(data))) == []
    assert data
    assert [call for call in calls_of(tuner) if call[0] == "import_data"] == [
        ("import_data", [])
    ] * 2
    assert [call[0] for call in calls_of(tuner)][2] == "import_data"


def test_a_tuner_that_takes_in_no_results_is_said_to():
    (warned,) = host_of(Recorder()).settle(Import('[{"parameter":1,"value":2}]'))
    assert "no `import_data` method" in warned.message


def test_results_that_a_tuner_chokes_on_end_nothing():
    class Chokes(Importer):
        def import_data(self, data):
            raise KeyError("x")

    hosted = host_of(Chokes())
    deep = "[" * 901 + "]" * 901
    (warned,) = hosted.settle(Import(f'[{{"parameter":{deep},"value":2}}]'))
    assert warned == Warned("import_data failed: KeyError: 'x'")
    assert hosted.settle(Ask(1, "a")) == [Parameters(1, '{"id":1}')]


def test_parameters_that_the_user_chose_come_with_their_result():
    tuner = Importer()
    host_of(tuner).settle(Enqueued(5, '{"x":1}'), Tell(5, 1.0, "a", customized=True))
    assert calls_of(tuner)[2] == ("receive_trial_result", 5, {"x": 1}, 1.0, True)


# -- batches, and phases that go on from others ---------------------------------------------------


def batch(*parameter_ids, answers=(), trial="a"):
    """Return an ask for a batch on record, and those answers that are there."""
    return Recorded(AskBatch([*parameter_ids], trial), dict(answers))


@pytest.mark.parametrize("multi_thread", [False, True])
def test_each_phase_of_a_batch_is_answered_in_order(multi_thread):
    tuner = Recorder()
    hosted = host_of(tuner, multi_thread=multi_thread)
    assert hosted.settle(
        AskBatch([3, 4, 5], "a"), Tell(4, 1, "a"), PhaseEnd(3, "a"), AskBatch([6, 99, 7], "a")
    ) == [
        *[Parameters(number, f'{{"id":{number}}}') for number in (3, 4, 5, 6)],
        *[Parameters(99, None), Parameters(7, None)],
    ]
    assert [call[:2] for call in of_trial(tuner, "a")] == [
        *[("generate_parameters", number) for number in (3, 4, 5)],
        *[("receive_trial_result", 4), ("phase_end", 4), ("phase_end", 3)],
        *[("generate_parameters", number) for number in (6, 99)],
    ]


def test_a_batch_on_record_is_asked_for_again_as_one():
    class Together(Recorder):
        def generate_multiple_parameters(self, parameter_id_list, trial_job_id=None):
            self.note("several", parameter_id_list, trial_job_id)
            return [{"id": number} for number in parameter_id_list if number < 6]

    tuner = Together()
    record = Record(
        batch(1, 2, answers={1: '{"id":1}', 2: '{"id":-2}'}),
        tell(2),
        batch(3, 4, 5, 6, answers={3: '{"id":3}'}),
    )
    assert host_of(tuner, history=record).early == [
        Warned(WARNING.format(2, '{"id":2}', '{"id":-2}')),
        *[Parameters(4, '{"id":4}'), Parameters(5, '{"id":5}'), Parameters(6, None)],
    ]
    assert of_trial(tuner, "a") == [
        ("several", [1, 2], "a"),
        ("receive_trial_result", 2, {"id": -2}, 0.5, "a"),
        ("phase_end", 2, True, "a"),
        ("several", [3, 4, 5, 6], "a"),
    ]


class Continues(Recorder):
    """Goes on from whatever it is told to; a phase for which it is told nothing begins anew."""

    def __init__(self, **parents):
        super().__init__()
        self.parents = {int(name[1:]): parent for name, parent in parents.items()}

    def generate_parameters(self, parameter_id, trial_job_id=None):
        parameters = super().generate_parameters(parameter_id, trial_job_id)
        if parameter_id not in self.parents:
            return parameters
        self.given = mpx.Continued(parameters, self.parents[parameter_id])
        return self.given

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        super().receive_trial_result(parameter_id, parameters, value, trial_job_id)
        self.is_same = parameters is self.given.parameters


def test_what_a_phase_goes_on_from_is_told_and_the_tuner_gets_back_the_parameters():
    of_numpy = type("Integer", (), {"__index__": lambda self: 5})()
    tuner = Continues(_1=0, _2=0, _4=of_numpy)
    hosted = host_of(tuner)
    first, second = AskFirst([0, 1], ["a", "b"]), AskBatch([2], "a")
    found = hosted.post(first, second, Enqueued(5, "7"), Ask(4, "a"), answers=4)
    assert [answer.parent for answer in found] == [None, 0, 0, 5]
    assert found[1].text == '{"id":1}'
    assert hosted.settle(Tell(4, 1.0, "a")) == []
    assert tuner.is_same


def test_what_a_phase_goes_on_from_is_told_again_where_that_is_not_on_record():
    record = Record(ask(0, '{"id":0}'), ask(1, '{"id":1}'), batch(2, 3, answers={2: '{"id":2}'}))
    hosted = host_of(Continues(_1=0, _2=0, _3=1), history=record)
    assert hosted.early == [Parameters(3, '{"id":3}', parent=1)]


@pytest.mark.parametrize("parent", [-1, 2, 7, 10**30, 0.0, "0", None])
def test_what_a_phase_goes_on_from_is_another_that_there_is(parent):
    hosted = host_of(Continues(_2=parent))
    *_, failed = hosted.settle(Ask(0, "a"), Ask(1, "b"), Ask(2, "a"))
    assert failed.error.type == "TunerError"
    assert f"Continued({{'id': 2}}, parent={parent}) for parameter_id 2;" in failed.error.message
    assert "the parent is the parameter_id of another phase" in failed.error.message


# -- calls for different trials at the same time --------------------------------------------------


class Sharing(Recorder):
    """Chooses a trial's next phase when both trials' results are there, as NNI's test of threads."""

    def __init__(self):
        super().__init__()
        self.arrived = threading.Condition()
        self.results = {"a": 0, "b": 0}

    def generate_parameters(self, parameter_id, trial_job_id=None):
        with self.arrived:
            self.note("generate_parameters", parameter_id, trial_job_id)
            awaited = self.results[trial_job_id]
            both = self.arrived.wait_for(lambda: min(self.results.values()) >= awaited, 30)
            assert both
        return {"round": awaited}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        with self.arrived:
            super().receive_trial_result(parameter_id, parameters, value, trial_job_id)
            self.results[trial_job_id] += 1
            self.arrived.notify_all()


def of_trial(tuner, trial_id):
    return [call for call in calls_of(tuner) if call[-1] == trial_id]


def test_a_tuner_may_wait_in_one_trials_call_for_anothers():
    tuner = Sharing()
    hosted = host_of(tuner, multi_thread=True)
    hosted.post(AskFirst([0, 1], ["a", "b"]), answers=2)
    for number in range(2, 20, 2):
        hosted.post(Tell(number - 2, 0.1, "a"), Ask(number, "a"), answers=0)
        hosted.host.post([Tell(number - 1, 0.2, "b"), Ask(number + 1, "b")])
        found = hosted.collect(lambda found: len(found) == 2)
        assert {answer.text for answer in found} == {f'{{"round":{number // 2}}}'}
    hosted.settle()
    assert len({call[-1] for call in tuner.calls}) > 2
    for trial_id in "ab":
        calls = [call for call in of_trial(tuner, trial_id) if call[0] != "phase_end"]
        asked, told = "generate_parameters", "receive_trial_result"
        assert [call[0] for call in calls] == [asked, *[told, asked] * 9]


def shared(rounds, last=()):
    """Return the record of so many rounds of two trials, in an order in which calls waited."""
    recorded = [Recorded(AskFirst([0, 1], ["a", "b"]), {0: '{"round":0}', 1: '{"round":0}'})]
    for number in range(2, 2 * rounds, 2):
        answer = f'{{"round":{number // 2}}}'
        recorded += [tell(number - 2, trial="a"), ask(number, answer, trial="a")]
        recorded += [tell(number - 1, trial="b"), ask(number + 1, answer, trial="b")]
    return Record(*recorded, *last)


def test_calls_that_waited_for_each_other_are_made_again():
    tuner = Sharing()
    hosted = host_of(tuner, history=shared(10), multi_thread=True)
    assert (hosted.early, hosted.loaded) == ([], Loaded(None))
    assert tuner.results == {"a": 9, "b": 9}


@pytest.mark.parametrize(("last", "numbers"), [(ask(10), [10]), (batch(10, 11), [10, 11])])
def test_a_call_that_still_waits_does_not_keep_the_others_from_going_on(last, numbers):
    tuner = Sharing()
    hosted = host_of(tuner, history=shared(5, [tell(8), last]), multi_thread=True)
    assert (hosted.early, hosted.loaded) == ([], Loaded(None))
    assert hosted.post(Tell(9, 0.5, "b"), answers=len(numbers)) == [
        Parameters(number, '{"round":5}') for number in numbers
    ]
    assert hosted.settle() == []


@pytest.mark.parametrize("asked", [ask(1, "1"), batch(2, 1, answers={2: "2", 1: "1"})])
def test_what_another_trial_tried_again_is_told_behind_its_ask(asked):
    told = threading.Event()

    class Strict(Recorder):
        def __init__(self):
            super().__init__()
            self.running = set()

        def generate_parameters(self, parameter_id, trial_job_id=None):
            if parameter_id == 1:
                told.wait(0.1)  # it would be told by then, were it not for this call
            self.running.add(parameter_id)
            return parameter_id

        def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
            if parameter_id == 1:
                told.set()
            self.running.remove(parameter_id)

    record = Record(ask(0, "0"), tell(0), asked, tell(1, trial="b"), parameters={1: "1"})
    hosted = host_of(Strict(), history=record, multi_thread=True)
    assert (hosted.early, hosted.loaded) == ([], Loaded(None))


def test_a_call_that_fails_in_its_lane_when_it_is_made_again_is_told_and_nothing_is_loaded():
    class Fails(Sharing):
        def phase_end(self, parameter_id, success, trial_job_id=None):
            raise ValueError("the tuner's own")

    hosted = host_of(Fails(), history=Record(shared(1)._recorded[0], tell(0)), multi_thread=True)
    assert hosted.loaded.error.message == "the tuner's own"
    assert hosted.settle(Ask(8, "a")) == []


def test_a_call_that_fails_in_its_lane_is_told_at_once():
    class Fails(Sharing):
        def phase_end(self, parameter_id, success, trial_job_id=None):
            raise ValueError("the tuner's own")

    hosted = host_of(Fails(), multi_thread=True)
    hosted.post(AskFirst([0, 1], ["a", "b"]), answers=2)
    (failed,) = hosted.post(Tell(0, 1.0, "a"), answers=1)
    assert failed.error.message == "the tuner's own"


def test_a_call_that_waits_for_ever_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(tuner_host, "_LAST_CALLS", 0.01)
    may_go_on = threading.Event()

    class Stuck(Recorder):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            may_go_on.wait(30)

    tuner = Stuck()
    assert host_of(tuner, multi_thread=True).settle(Ask(0, "a"), TrialEnd(0, True, "a")) == []
    assert calls_of(tuner)[-1] == ("_on_exit",)
    may_go_on.set()


def test_a_tuner_of_many_threads_saves_no_checkpoint(kept):
    assert kept.host(multi_thread=True).loaded == Loaded(None, saves=False)
