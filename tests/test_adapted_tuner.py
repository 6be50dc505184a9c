"""Tuners of any age behind one calling convention."""

from __future__ import annotations

import functools

import pytest

import mpx
from mpx.adapted_tuner import AdaptedTuner, adapt
from mpx.compat.nni.multi_phase.multi_phase_tuner import MultiPhaseTuner as OldNniTuner
from mpx.compat.nni.tuner import Tuner as NniTuner
from mpx.errors import ClassLoadError, NoMoreTrialError

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
AND_MORE = {"trial_job_id": "T", "customized": False}


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
        (lambda parameter_id, parameters, value, **kwargs: (value, kwargs), (0.5, AND_MORE)),
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
    assert adapt(method, 3, customized=False)(7, {"lr": 1}, 0.5, "T") == found


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


def first(tuner, parameter_ids, trial_ids, launch=lambda parameter_id, parameters: None):
    """Return what a tuner has for the first phases of trials."""
    return tuner.generate_first(parameter_ids, trial_ids, launch).found


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
    assert first(tuner, [0, 1], ["a", "b"]) == [(0, {"n": 0}), (1, {"n": 1})]
    assert tuner.generate_next(2, "a") == {"n": 2}
    tuner.receive(0, {"n": 0}, 1.0, "a", customized=False)
    tuner.phase_end(0, True, "a", customized=False)
    tuner.trial_end(0, True, "a")


def test_first_phases_are_asked_for_one_by_one_with_their_trials():
    class Plain(mpx.Tuner):
        def generate_parameters(self, parameter_id, trial_job_id=None):
            return [parameter_id, trial_job_id]

    assert first(AdaptedTuner(Plain()), [5, 6], ["a", "b"]) == [
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

    assert first(AdaptedTuner(Two()), [0, 1, 2, 3], list("abcd")) == [(0, 0), (1, 1)]
    if end == "raise":  # what it says is for whoever asked
        with pytest.raises(NoMoreTrialError, match="no more"):
            AdaptedTuner(Two()).generate_next(2, "a")
    else:
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
    assert first(AdaptedTuner(tuner), [0, 1], ["a", "b"]) == pairs
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
        first(AdaptedTuner(Several(found)), [0, 1], ["a", "b"])
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

    found = first(AdaptedTuner(OfNni()), [0, 1], ["a", "b"])
    assert [(number, [*more]) for number, (_, more) in found] == [
        (0, ["st_callback"]),
        (1, ["st_callback"]),
    ]


# -- several phases of a running trial ------------------------------------------------------------


class TogetherByIds:
    def generate_multiple_parameters(self, parameter_id_list):
        return [parameter_id_list] * len(parameter_id_list)


class TogetherByTrial:
    def generate_multiple_parameters(self, parameter_id_list, trial_job_id=None, trial_job_ids=()):
        return [(trial_job_id, trial_job_ids)] * len(parameter_id_list)


class TogetherByKeywords(NniTuner):
    def generate_multiple_parameters(self, parameter_id_list, **kwargs):
        return [kwargs] * len(parameter_id_list)


class TogetherByBase(mpx.Tuner):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return parameter_id, trial_job_id

    def generate_multiple_parameters(self, parameter_id_list, **kwargs):
        return super().generate_multiple_parameters(parameter_id_list, **kwargs)


class EachOfOld(OldNniTuner):
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return parameter_id, trial_job_id


@pytest.mark.parametrize(
    ("tuner_class", "batch", "single"),
    [
        (TogetherByIds, [[5, 6], [5, 6]], [7]),
        (TogetherByTrial, [("T", ["T", "T"])] * 2, ("T", ["T"])),
        (TogetherByKeywords, [BY_NAME] * 2, BY_NAME),
        (TogetherByBase, [(5, "T"), (6, "T")], (7, "T")),
        (EachOfOld, [(5, "T"), (6, "T")], (7, "T")),
    ],
)
def test_a_batch_is_asked_for_as_the_tuner_allows(tuner_class, batch, single):
    tuner = AdaptedTuner(tuner_class())
    assert tuner.generate_batch([5, 6], "T") == batch
    assert tuner.generate_next(7, "T") == single


def one_by_one(found):
    """Return a tuner that finds these one after another."""
    left = [*found] if isinstance(found, (list, tuple)) else [found]

    def generate_parameters(parameter_id):
        given = left.pop(0) if left else None
        if isinstance(given, Exception):
            raise given
        return given

    return generate_parameters


@pytest.mark.parametrize("finds", ["together", "one by one"])
@pytest.mark.parametrize(
    ("found", "batch"),
    [
        (["x", "y"], ["x", "y"]),
        (("x",), ["x"]),
        (["x", None], ["x"]),
        ([None, None], []),
        ([], []),
        (None, []),
        (NoMoreTrialError("no more"), None),
    ],
)
def test_a_batch_may_be_smaller(finds, found, batch):
    tuner = Several(found)
    if finds == "one by one":
        tuner = type("Each", (), {"generate_parameters": staticmethod(one_by_one(found))})()
    if batch is None:  # what it says is for whoever asked
        with pytest.raises(NoMoreTrialError, match="no more"):
            AdaptedTuner(tuner).generate_batch([0, 1], "T")
    else:
        assert AdaptedTuner(tuner).generate_batch([0, 1], "T") == batch


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([None, "y"], r"None at position 0 of 2 .*\(T\).*return a shorter list"),
        (["x", None, "z"], "None at position 1 of 3 and parameters behind it"),
        (["x"] * 4, "was asked for 3 and returned a list of 4"),
        ({"x": 1}, "was asked for 3 and returned a dict"),
    ],
)
def test_a_batch_has_its_parameters_in_order_and_no_more(found, said):
    with pytest.raises(mpx.errors.TunerError, match=said):
        AdaptedTuner(Several(found)).generate_batch([0, 1, 2], "T")


# -- tuners of NNI --------------------------------------------------------------------------------


def noting(base):
    """Return a tuner with this base class that notes how each phase is asked for."""

    class Notes(base):
        def __init__(self):
            self.asked = []

        def generate_parameters(self, parameter_id, trial_job_id=None, **kwargs):
            self.asked.append((parameter_id, trial_job_id, sorted(kwargs)))
            return parameter_id

    return Notes()


@pytest.mark.parametrize(
    ("base", "first_trial"),
    [(mpx.Tuner, "a"), (object, "a"), (NniTuner, None), (OldNniTuner, None)],
)
def test_a_first_phase_names_its_trial_but_to_tuners_of_nni(base, first_trial):
    tuner = noting(base)
    adapted = AdaptedTuner(tuner)
    assert first(adapted, [5], ["a"]) == [(5, 5)]
    assert adapted.generate_next(6, "a") == 6
    assert tuner.asked == [(5, first_trial, ["st_callback"]), (6, "a", [])]


def test_a_tuner_of_nni_that_insists_on_the_trial_is_told_it():
    class Insists(OldNniTuner):
        def generate_parameters(self, parameter_id, trial_job_id):
            return trial_job_id

    assert first(AdaptedTuner(Insists()), [5], ["a"]) == [(5, "a")]


def test_a_tuner_of_v08_is_called_by_position_and_with_nothing_more():
    class Old(OldNniTuner):
        def __init__(self):
            self.calls = []

        def generate_parameters(self, parameter_id, trial_job_id=None):
            self.calls.append((parameter_id, trial_job_id))
            return parameter_id

        def receive_trial_result(self, parameter_id, parameters, reward, trial_job_id):
            self.calls.append((parameter_id, parameters, reward, trial_job_id))

        def trial_end(self, parameter_id, success, trial_job_id):
            self.calls.append((parameter_id, success, trial_job_id))

    tuner = Old()
    adapted = AdaptedTuner(tuner)
    assert first(adapted, [0, 1], ["a", "b"]) == [(0, 0), (1, 1)]
    assert adapted.generate_next(2, "a") == 2
    adapted.receive(2, 2, [0.5], "a", customized=False)
    adapted.receive(3, 3, 0.5, "a", customized=True)
    adapted.trial_end(0, True, "a")
    assert tuner.calls == [(0, None), (1, None), (2, "a"), (2, 2, [0.5], "a"), (0, True, "a")]


# -- st_callback ----------------------------------------------------------------------------------


class Keeps(NniTuner):
    """Keeps the callback, and has nothing."""

    def generate_parameters(self, parameter_id, **kwargs):
        self.callback = kwargs["st_callback"]
        raise NoMoreTrialError("later")


class KeepsAll(Keeps):
    """Keeps all that it is given."""

    def generate_multiple_parameters(self, parameter_id_list, **kwargs):
        self.given = kwargs
        return []


class KeepsByBase(Keeps):
    """Has the base class ask it."""

    def generate_multiple_parameters(self, parameter_id_list, st_callback):
        return super().generate_multiple_parameters(parameter_id_list, st_callback=st_callback)


class KeepsByThread(Keeps):
    """Keeps it in a function that something else is to call."""

    def generate_parameters(self, parameter_id, **kwargs):
        self.later = lambda: kwargs["st_callback"](parameter_id, "x")


class Looks(NniTuner):
    """Looks at the callback, passes it on, and keeps it not."""

    def generate_multiple_parameters(self, parameter_id_list, **kwargs):
        assert callable(kwargs["st_callback"])
        return super().generate_multiple_parameters(parameter_id_list, **kwargs)

    def generate_parameters(self, parameter_id, **kwargs):
        raise NoMoreTrialError("no more")


class TakesNone(NniTuner):
    """Has no argument for it."""

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return None


@pytest.mark.parametrize(
    ("tuner_class", "keeps"),
    [
        (Keeps, {0}),  # the loop ended there: it does not know of the other
        (KeepsAll, {0, 1}),
        (KeepsByBase, {0, 1}),
        (KeepsByThread, {0}),
        (Looks, set()),
        (TakesNone, set()),
    ],
)
def test_whether_a_tuner_keeps_its_callback_is_seen(tuner_class, keeps):
    tuner = tuner_class()
    found = AdaptedTuner(tuner).generate_first([0, 1], ["a", "b"], lambda *_: None)
    assert found.found == []
    assert found.promised == keeps


def test_what_a_tuner_launches_arrives():
    launched = []
    tuner = Keeps()
    AdaptedTuner(tuner).generate_first([7], ["a"], lambda *call: launched.append(call))
    tuner.callback(7, {"x": 1})
    assert launched == [(7, {"x": 1})]


# -- results of parameters that the user chose ----------------------------------------------------


class Listens(NniTuner):
    """Notes its results, as tuners of v1.9 are written."""

    def __init__(self):
        self.told = []

    def generate_parameters(self, parameter_id, **kwargs):
        return parameter_id

    def receive_trial_result(self, parameter_id, parameters, value, **kwargs):
        self.told.append((parameter_id, value, kwargs))

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self.told.append((parameter_id, success))


class AcceptsInV12(Listens):
    def __init__(self):
        super().__init__()
        self._accept_customized_trials()


class AcceptsInV11(Listens):
    def __init__(self):
        super().__init__()
        self.accept_customized_trials(True)


class AcceptsInV10(Listens):
    def receive_customized_trial_result(self, parameter_id, parameters, value, trial_job_id):
        self.told.append((parameter_id, value, trial_job_id))


class AcceptsByName(Listens):
    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id, customized=False):
        self.told.append((parameter_id, value, customized))


class AcceptsSaved(AcceptsByName):
    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id, customized=False, checkpoint="none"
    ):
        self.told.append((parameter_id, value, customized, checkpoint))


BY_NAME_TOO = {"trial_job_id": "a", "customized": True}


@pytest.mark.parametrize(
    ("tuner_class", "told"),
    [
        (Listens, []),
        (AcceptsInV12, [(0, 0.5, BY_NAME_TOO), (0, True)]),
        (AcceptsInV11, [(0, 0.5, BY_NAME_TOO), (0, True)]),
        (AcceptsInV10, [(0, 0.5, "a"), (0, True)]),
        (AcceptsByName, [(0, 0.5, True), (0, True)]),
    ],
)
def test_results_of_the_users_parameters_are_for_tuners_that_accept_them(tuner_class, told):
    tuner = tuner_class()
    adapted = AdaptedTuner(tuner)
    adapted.receive(0, "p", 0.5, "a", customized=True)
    adapted.phase_end(0, True, "a", customized=True)
    assert tuner.told == told
    adapted.receive(1, "p", 0.5, "a", customized=False)
    adapted.phase_end(1, True, "a", customized=False)
    assert [call[0] for call in tuner.told[len(told) :]] == [1, 1]


@pytest.mark.parametrize(
    ("tuner_class", "own", "users"),
    [
        (Listens, (0.5, {**AND_MORE, "trial_job_id": "a", "checkpoint": "/w"}), None),
        (
            AcceptsInV11,
            (0.5, {**AND_MORE, "trial_job_id": "a", "checkpoint": "/w"}),
            (0.5, {**BY_NAME_TOO, "checkpoint": "/w"}),
        ),
        (AcceptsInV10, (0.5, {**AND_MORE, "trial_job_id": "a", "checkpoint": "/w"}), (0.5, "a")),
        (AcceptsByName, (0.5, False), (0.5, True)),
        (AcceptsSaved, (0.5, False, "/w"), (0.5, True, "/w")),
    ],
)
def test_what_a_phase_saved_is_for_tuners_that_take_it(tuner_class, own, users):
    tuner = tuner_class()
    adapted = AdaptedTuner(tuner)
    for customized, told in ((False, own), (True, users)):
        tuner.told.clear()
        adapted.receive(1, "p", 0.5, "a", customized, "/w")
        assert [call[1:] for call in tuner.told] == [told] * (told is not None)
    tuner.told.clear()
    adapted.receive(1, "p", 0.5, "a", customized=False)
    assert "/w" not in str(tuner.told)
