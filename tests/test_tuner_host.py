"""The tuner's host: tuners of any age are called rightly and in order, and their failures told."""

from __future__ import annotations

import enum
import functools
import operator
import random
import select
import sys
import threading
import time

import pytest

import mpx
from mpx import tuner_host
from mpx.adapted_tuner import AdaptedTuner, adapt
from mpx.errors import ClassLoadError, NoMoreTrialError
from mpx.tuner_host import (
    Ask,
    AskFirst,
    Failed,
    Finish,
    Finished,
    Load,
    Loaded,
    Parameters,
    PhaseEnd,
    Tell,
    TrialEnd,
    TunerHost,
)
from mpx.wake_up import WakeUp

# -- one calling convention -----------------------------------------------------------------------


def passes_on(method):
    """Decorate as users do."""

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapper


class Signatures:
    @classmethod
    def of_class(cls, parameter_id, trial_job_id=None):
        return parameter_id, trial_job_id

    @staticmethod
    def static(parameter_id, **kwargs):
        return parameter_id, kwargs

    @passes_on
    def decorated(self, parameter_id):
        return (parameter_id,)

    def __call__(self, parameter_id, job):
        return parameter_id, job


BY_NAME = {"trial_job_id": "T"}


@pytest.mark.parametrize(
    ("method", "found"),
    [
        (lambda parameter_id: (parameter_id,), (7,)),
        (lambda parameter_id, trial_job_id: (parameter_id, trial_job_id), (7, "T")),
        (lambda parameter_id, trial_job_id=None: (parameter_id, trial_job_id), (7, "T")),
        (lambda parameter_id, job=None: (parameter_id, job), (7, "T")),
        (lambda parameter_id, job, /: (parameter_id, job), (7, "T")),
        (lambda parameter_id, *, trial_job_id: (parameter_id, trial_job_id), (7, "T")),
        (lambda parameter_id, *, other=1: (parameter_id, other), (7, 1)),
        (lambda parameter_id, **kwargs: (parameter_id, kwargs), (7, BY_NAME)),
        (lambda parameter_id, job=None, **kwargs: (parameter_id, job, kwargs), (7, None, BY_NAME)),
        (lambda *args: args, (7, "T")),
        (lambda *args, **kwargs: (args, kwargs), ((7,), BY_NAME)),
        (Signatures.of_class, (7, "T")),
        (Signatures.static, (7, BY_NAME)),
        (Signatures().decorated, (7,)),
        (Signatures(), (7, "T")),
        (functools.partial(lambda base, parameter_id: (base, parameter_id), 1), (1, 7)),
        (functools.partial(lambda parameter_id, trial_job_id, x: x, x=3), 3),
    ],
)
def test_a_request_is_made_as_the_signature_allows(method, found):
    assert adapt(method, 1)(7, "T") == found


@pytest.mark.parametrize(
    ("method", "found"),
    [
        # NNI v0.3-v0.8 with multiPhase, as ENAS has it
        (lambda parameter_id, parameters, reward, trial_job_id: trial_job_id, "T"),
        (lambda parameter_id, parameters, reward, job: (reward, job), (0.5, "T")),
        # NNI v0.3-v0.8 without
        (lambda parameter_id, parameters, value: value, 0.5),
        # NNI v0.9-v1.9
        (lambda parameter_id, parameters, value, **kwargs: (value, kwargs), (0.5, BY_NAME)),
        (lambda i, p, v, customized=None, **kwargs: (v, customized, kwargs), (0.5, False, BY_NAME)),
        (lambda i, p, v, customized: (v, customized), (0.5, False)),
        (lambda i, p, v, trial_job_id, customized=1: (trial_job_id, customized), ("T", False)),
        (lambda i, p, v, customized, trial_job_id: (trial_job_id, customized), ("T", False)),
        (lambda i, p, v, job, *, customized: (job, customized), ("T", False)),
        (lambda i, p, v, *, customized: (v, customized), (0.5, False)),
        (lambda *args: args, (7, {"lr": 1}, 0.5, "T")),
        (mpx.Tuner().receive_trial_result, None),
        (mpx.MultiPhaseTuner().receive_trial_result, None),
    ],
)
def test_a_result_is_given_as_the_signature_allows(method, found):
    assert adapt(method, 3)(7, {"lr": 1}, 0.5, "T") == found


@pytest.mark.parametrize(
    ("method", "found"),
    [
        (lambda parameter_id, success: (parameter_id, success), (7, True)),
        (lambda parameter_id, success, trial_job_id: trial_job_id, "T"),
        (lambda parameter_id, success, **kwargs: kwargs, BY_NAME),
        (mpx.Tuner().trial_end, None),
        (mpx.Tuner().phase_end, None),
    ],
)
def test_an_end_is_told_as_the_signature_allows(method, found):
    assert adapt(method, 2)(7, True, "T") == found


def test_a_method_without_a_signature_gets_everything():
    assert adapt(max, 1)(7, 8) == 8


def test_what_cannot_generate_is_no_tuner():
    with pytest.raises(ClassLoadError, match="Idle is no tuner: it has no `generate_parameters`"):
        AdaptedTuner(type("Idle", (mpx.Tuner,), {})())
    with pytest.raises(ClassLoadError, match="dict is no tuner"):
        AdaptedTuner({})


def test_a_tuner_need_not_derive_from_anything_nor_have_more_than_one_method():
    class Least:
        def generate_parameters(self, parameter_id):
            return {"n": parameter_id}

    tuner = AdaptedTuner(Least())
    assert tuner.generate_first([0, 1], ["a", "b"]) == [(0, {"n": 0}), (1, {"n": 1})]
    assert tuner.generate_next(2, "a") == {"n": 2}
    tuner.receive(0, {"n": 0}, 1.0, "a")
    tuner.phase_end(0, True, "a")
    tuner.trial_end(0, True, "a")


def test_first_phases_are_asked_for_one_by_one_with_their_trials():
    class Plain(mpx.Tuner):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            return [parameter_id, trial_job_id]

    assert AdaptedTuner(Plain()).generate_first([5, 6], ["a", "b"]) == [
        (5, [5, "a"]),
        (6, [6, "b"]),
    ]


@pytest.mark.parametrize("end", ["None", "raise"])
def test_first_phases_end_at_the_first_that_there_is_not(end):
    class Two(mpx.Tuner):
        def generate_parameters(self, parameter_id, **kwargs):
            if parameter_id == 2:
                if end == "raise":
                    raise NoMoreTrialError("no more")
                return None
            return parameter_id

    assert AdaptedTuner(Two()).generate_first([0, 1, 2, 3], list("abcd")) == [(0, 0), (1, 1)]
    assert AdaptedTuner(Two()).generate_next(2, "a") is None


class Several:
    """Generates first phases several at a time."""

    def __init__(self, found):
        self.found = found
        self.asked = []

    def generate_multiple_parameters(self, parameter_id_list, trial_job_ids=None):
        self.asked.append((parameter_id_list, trial_job_ids))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize(
    ("found", "pairs"),
    [
        (["x", "y"], [(0, "x"), (1, "y")]),
        (("x", "y"), [(0, "x"), (1, "y")]),
        (["x"], [(0, "x")]),
        ([None, "y"], [(1, "y")]),
        ([], []),
        (None, []),
        (NoMoreTrialError("no more"), []),
    ],
)
def test_several_first_phases_may_be_fewer(found, pairs):
    tuner = Several(found)
    assert AdaptedTuner(tuner).generate_first([0, 1], ["a", "b"]) == pairs
    assert tuner.asked == [([0, 1], ["a", "b"])]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["x", "y", "z"], "was asked for 2 and returned a list of 3; it may return"),
        (
            {"x": 1},
            "was asked for 2 and returned a dict; it may return a list of as many, or fewer",
        ),
        ((x for x in "xy"), "was asked for 2 and returned a generator; it may return"),
        ("xy", "was asked for 2 and returned a str; it may return"),
    ],
)
def test_several_first_phases_must_be_a_list_and_no_more(found, said):
    with pytest.raises(mpx.errors.TunerError) as refused:
        AdaptedTuner(Several(found)).generate_first([0, 1], ["a", "b"])
    assert said in str(refused.value)


def test_a_tuner_of_several_is_asked_for_later_phases_too():
    tuner = Several(["x"])
    adapted = AdaptedTuner(tuner)
    assert adapted.generate_next(9, "a") == "x"
    assert tuner.asked == [([9], ["a"])]
    tuner.found = []
    assert adapted.generate_next(10, "a") is None
    tuner.found = {"no": "list"}
    with pytest.raises(mpx.errors.TunerError, match="was asked for 1 and returned a dict"):
        adapted.generate_next(11, "a")


def test_several_phases_by_nnis_signature_and_by_the_base_class():
    class OfNni(mpx.Tuner):
        def generate_parameters(self, parameter_id, **kwargs):
            return [parameter_id, kwargs]

        def generate_multiple_parameters(self, parameter_id_list, **kwargs):
            return super().generate_multiple_parameters(parameter_id_list, **kwargs)

    assert AdaptedTuner(OfNni()).generate_first([0, 1], ["a", "b"]) == [(0, [0, {}]), (1, [1, {}])]


# -- the host -------------------------------------------------------------------------------------


class Hosted:
    """A host with a tuner loaded, and what came of each call."""

    def __init__(self, tuner_class, search_space="", seed=1, load_class=None):
        self.host = TunerHost()
        self.host.start()
        self.load = Load(
            load_class=load_class or (lambda: tuner_class),
            construct=operator.call,
            search_space=search_space,
            seed=seed,
        )
        self.loaded = self.post(self.load, answers=1)[0]

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


@pytest.mark.parametrize("when", ["import", "construct"])
def test_a_seed_repeats_what_numpy_draws_whenever_the_tuner_imported_it(monkeypatch, when):
    numpy = pytest.importorskip("numpy")

    def appears():
        sys.modules["numpy"] = numpy

    class DrawingArrays(Recorder):
        def __init__(self):
            super().__init__()
            appears()
            self.drawn = numpy.random.random()

        def generate_parameters(self, parameter_id, trial_job_id=None):
            found = numpy.random.random()
            # A generator that is seeded already is not sent back to its beginning.
            assert when == "construct" or found != self.drawn
            return found

    def load_class():
        if when == "import":
            appears()
        return DrawingArrays

    def drawn_by(seed):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "numpy")
            return drawn(None, seed, load_class)

    assert drawn_by(2**40) == drawn_by(2**40) != drawn_by(5)
