"""ENAS: what its controller draws and learns, and what it does with results from anywhere."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import Counter

import pytest

from mpx.architectures import ARCHITECTURES
from mpx.errors import TunerError
from mpx.search_space import grid, sample
from mpx.tuners.enas import ENAS

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

MACRO = {"_type": "macro", "_value": {"layers": 5, "operations": ["conv3", "conv5", "max", "avg"]}}
CELL = {"_type": "cell", "_value": {"nodes": 4, "operations": ["conv3", "conv5", "identity"]}}
RECURRENT = {
    "_type": "cell",
    "_value": {
        "nodes": 5,
        "operations": ["tanh", "relu", "sigmoid"],
        "inputs": 1,
        "inputs_per_node": 1,
    },
}
SMALL = {
    "network": {"_type": "macro", "_value": {"layers": 3, "operations": ["conv", "pool"]}},
    "cell": {
        "_type": "cell",
        "_value": {"nodes": 2, "operations": ["conv", "pool"], "inputs": 1, "inputs_per_node": 1},
    },
    "width": {"_type": "choice", "_value": [16, 32]},
}


def construct(space, seed=1, **arguments):
    random.seed(seed)
    tuner = ENAS(**arguments)
    tuner.update_search_space(space)
    return tuner


class Target:
    """Results that say how many decisions are those of one architecture, and noise."""

    def __init__(self, spec, seed, noise):
        self._architecture = ARCHITECTURES[spec["_type"]](**spec["_value"])
        self._rng = random.Random(seed)
        self._right = self._options(sample({"x": spec}, self._rng))
        self._noise = noise

    def _options(self, parameters):
        return self._architecture.options(parameters["x"])

    def share(self, parameters):
        """Return the share of decisions that are right: 1 is the optimum."""
        options = self._options(parameters)
        return statistics.fmean(a == b for a, b in zip(options, self._right, strict=True))

    def result(self, parameters):
        return self.share(parameters) + self._rng.gauss(0, self._noise)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("spec", "mode"), [(MACRO, "maximize"), (CELL, "minimize")])
def test_it_learns_to_draw_what_has_better_results_despite_noise(spec, mode, seed):
    tuner = construct({"x": spec}, seed, optimize_mode=mode)
    # As much noise as the results of random architectures differ.
    target, sign = Target(spec, seed, noise=0.12), 1 if mode == "maximize" else -1
    for number in range(0, 300, 4):
        batch = list(range(number, number + 4))
        drawn = tuner.generate_multiple_parameters(batch)
        for each, parameters in zip(batch, drawn, strict=True):
            tuner.receive_trial_result(each, parameters, sign * target.result(parameters))
    rng = random.Random(seed)
    by_chance = [target.share(sample({"x": spec}, rng)) for _ in range(200)]
    learned = [target.share(each) for each in tuner.generate_multiple_parameters(list(range(200)))]
    assert statistics.fmean(by_chance) < 0.5
    assert statistics.fmean(learned) > 0.75
    assert statistics.quantiles(learned, n=10)[0] > statistics.quantiles(by_chance, n=10)[-1]


def test_what_is_drawn_has_the_probability_that_it_is_scored_with():
    tuner = construct(SMALL, learning_rate=0.01)
    for number in range(80):  # so that probabilities are no longer alike
        parameters = tuner.generate_parameters(number)
        skips = parameters["network"][2]["skips"]
        inner = parameters["cell"][1]
        result = len(skips) + (inner["inputs"] == [1]) + (inner["operations"] == ["pool"])
        tuner.receive_trial_result(number, parameters, result)
    every = list(grid(SMALL))
    options = [list(tuner._encoding.encode(each).values()) for each in every]
    with torch.no_grad():
        score = tuner._learner.controller.score(options, skip_target=0.4)
    probability = dict(zip(map(json.dumps, every), score.log_prob.exp().tolist(), strict=True))
    assert math.fsum(probability.values()) == pytest.approx(1, abs=1e-4)
    assert max(probability.values()) > 5 / len(every)
    count = 5000
    drawn = Counter(map(json.dumps, tuner.generate_multiple_parameters(list(range(count)))))
    assert drawn.keys() <= probability.keys()
    for text, share in probability.items():
        tolerance = (5 * math.sqrt(share * count) + 3) / count
        assert drawn[text] / count == pytest.approx(share, abs=tolerance), text


def test_a_batch_is_drawn_in_one_pass_and_ends_in_any_order():
    tuner = construct({"x": MACRO, "y": RECURRENT, "z": SMALL["width"]})
    passes = []
    draw = tuner._learner.controller.draw
    tuner._learner.controller.draw = lambda count: passes.append(count) or draw(count)
    drawn = tuner.generate_multiple_parameters(list(range(16)), trial_job_id="t")
    assert passes == [16]
    assert len({json.dumps(each) for each in drawn}) > 1
    assert all(tuner._encoding.encode(each) for each in drawn)
    learned = []
    tuner._learner.learn = lambda chosen, reward: learned.append((chosen, reward))
    for number in random.Random(0).sample(range(16), 16):
        if number % 4 == 0:
            tuner.phase_end(number, False, "t")
        else:
            value = math.nan if number % 4 == 1 else number / 16
            tuner.receive_trial_result(number, drawn[number], value, trial_job_id="t")
            tuner.phase_end(number, True, "t")
    options = {number: list(tuner._encoding.encode(drawn[number]).values()) for number in range(16)}
    expected = [(options[n], n / 16) for n in range(16) if n % 4 > 1]
    assert sorted(learned) == sorted(expected)


def probability(tuner, parameters):
    options = list(tuner._encoding.encode(parameters).values())
    with torch.no_grad():
        return tuner._learner.controller.score([options], skip_target=0.4).log_prob.exp().item()


@pytest.mark.parametrize("how", ["imported", "customized", "other than handed out"])
@pytest.mark.parametrize(("result", "teaches"), [(2.0, True), (0.5, False)])
def test_parameters_that_it_did_not_draw_teach_it_if_they_are_better(how, result, teaches):
    tuner = construct({"x": MACRO}, results_per_update=1)
    theirs = sample({"x": MACRO}, random.Random(3))
    for number in range(4):
        drawn = tuner.generate_parameters(number)
        tuner.receive_trial_result(number, drawn, 0.9 + 0.1 * number)
    before = probability(tuner, theirs)
    if how == "imported":
        tuner.import_data([{"parameter": theirs, "value": result}])
    else:
        if how == "other than handed out":
            tuner.generate_parameters(9)
        tuner.receive_trial_result(9, theirs, result, customized=how == "customized")
    after = probability(tuner, theirs)
    assert after > 1.5 * before if teaches else after == before


def test_results_from_before_the_first_one_are_compared_with_each_other():
    tuner = construct({"x": MACRO}, results_per_update=1)
    rng = random.Random(3)
    data = [{"parameter": sample({"x": MACRO}, rng), "value": value} for value in (1, 3, 8, 4)]
    before = [probability(tuner, row["parameter"]) for row in data]
    tuner.import_data([*data, {"parameter": {"x": []}, "value": 5}])
    change = [
        probability(tuner, row["parameter"]) / old for row, old in zip(data, before, strict=True)
    ]
    assert max(change) == change[2] > 1.5


@pytest.mark.parametrize(("scale", "shift"), [(64, 0), (2**-10, 2.0), (-1, 0)])
def test_results_on_another_scale_teach_the_same(scale, shift):
    mode = "maximize" if scale > 0 else "minimize"
    tuners = [construct(SMALL), construct(SMALL, optimize_mode=mode)]
    rng = random.Random(0)
    for number in range(60):
        first, second = (tuner.generate_parameters(number) for tuner in tuners)
        assert first == second
        result = rng.randrange(32) / 32
        tuners[0].receive_trial_result(number, first, result)
        tuners[1].receive_trial_result(number, second, shift + scale * result)


@pytest.mark.parametrize("target", [0.1, 0.9])
def test_the_penalty_draws_skips_to_their_target(target):
    tuner = construct({"x": MACRO}, skip_weight=50, skip_target=target, entropy_weight=0)
    for number in range(200):
        tuner.receive_trial_result(number, tuner.generate_parameters(number), 1.0)
    drawn = tuner.generate_multiple_parameters(list(range(300)))
    skips = [len(layer["skips"]) for each in drawn for layer in each["x"]]
    assert sum(skips) / (300 * 6) == pytest.approx(target, abs=0.06)


@pytest.mark.parametrize("best", [math.inf, 1e300])
def test_infinite_results_count_as_the_best_and_the_worst(best):
    tuner = construct(SMALL, results_per_update=1)
    liked = sample(SMALL, random.Random(5))["network"]
    for number in range(150):
        parameters = tuner.generate_parameters(number)
        is_liked = parameters["network"][0] == liked[0]
        tuner.receive_trial_result(number, parameters, best if is_liked else random.random())
    drawn = tuner.generate_multiple_parameters(list(range(200)))
    assert sum(each["network"][0] == liked[0] for each in drawn) > 150


def test_a_new_search_space_begins_anew_and_open_phases_teach_what_fits_it():
    tuner = construct({"x": MACRO}, results_per_update=1)
    for number in range(20):
        parameters = tuner.generate_parameters(number)
        tuner.receive_trial_result(number, parameters, random.random())
    waiting = tuner.generate_multiple_parameters([100, 101])
    both = {"x": MACRO, "y": SMALL["width"]}
    tuner.update_search_space(both)
    assert probability(tuner, sample(both, random.Random(0))) < 1e-3
    tuner.receive_trial_result(100, waiting[0], 0.5)
    tuner.phase_end(101, False)
    assert tuner.generate_parameters(102).keys() == {"x", "y"}
    tuner.update_search_space({"x": MACRO})
    assert tuner.generate_parameters(103).keys() == {"x"}


@pytest.mark.parametrize(
    ("space", "path", "message"),
    [
        ({}, (), "found no parameters; allowed: at least one"),
        (
            {"a": {"_type": "choice", "_value": [1, {"_name": "n"}]}},
            ("a", "_value", 1),
            "found {'_name': 'n'}, a sub-space; allowed: a plain value",
        ),
    ],
)
def test_spaces_without_a_decision_or_with_one_that_depends_are_refused(space, path, message):
    (problem,) = ENAS.check_search_space(space)
    assert (problem.path, problem.message) == (path, message)


def test_what_others_do_with_torch_does_not_change_it_nor_does_it_change_them():
    def play():
        tuner = construct(SMALL)
        drawn = []
        for number in range(20):
            drawn.append(tuner.generate_parameters(number))
            tuner.receive_trial_result(number, drawn[-1], len(drawn[-1]["network"][2]["skips"]))
        return drawn

    expected = play()
    state = torch.random.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    assert play() == expected
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == state[1:]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.device("meta"):
            torch.rand(3)
            assert play() == expected
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path))
    tuner = construct({"x": MACRO})
    for number in range(6):
        tuner.receive_trial_result(number, tuner.generate_parameters(number), number)
    tuner.save_checkpoint()
    return tmp_path / "enas.pt"


def test_a_checkpoint_has_the_open_phases_the_step_half_made_and_the_optimiser(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path))
    rates = {
        "bias_learning_rate": 0.5,
        "learning_rate": 0.01,
    }  # whatever is lost makes a difference
    tuner = construct(SMALL, **rates)
    results = random.Random(0)
    for number in range(15):
        parameters = tuner.generate_parameters(number)
        tuner.receive_trial_result(number, parameters, results.random())
    waiting = tuner.generate_multiple_parameters([20, 21])
    tuner.save_checkpoint()
    resumed = construct(SMALL, seed=2, **rates)
    resumed.load_checkpoint()
    resumed.update_search_space(SMALL)
    played = []
    for each in (tuner, resumed):
        results.seed(1)
        for number, parameters in zip((20, 21), waiting, strict=True):
            each.receive_trial_result(number, parameters, 0.9)
        for number in range(30, 60):
            played.append(each.generate_parameters(number))
            each.receive_trial_result(number, played[-1], results.random())
    assert played[:30] == played[30:]
    assert len({json.dumps(parameters) for parameters in played}) > 5


def shortened(file):
    file.write_bytes(file.read_bytes()[:1000])


def of_other_things(file):
    torch.save({"a": 1}, file)


def gone(file):
    file.unlink()


def kept(_file):
    pass


@pytest.mark.parametrize(
    ("damage", "space", "arguments", "reason"),
    [
        (shortened, MACRO, {}, "it is damaged"),
        (gone, MACRO, {}, "cannot be read"),
        (of_other_things, MACRO, {}, "does not fit"),
        (kept, CELL, {}, "of another search space"),
        (kept, MACRO, {"hidden_units": 8}, "its network has other weights"),
    ],
)
def test_a_checkpoint_of_no_use_says_why_and_what_to_do(
    checkpoint, damage, space, arguments, reason
):
    damage(checkpoint)
    tuner = ENAS(**arguments)

    def resume():
        tuner.load_checkpoint()
        tuner.update_search_space({"x": space})

    with pytest.raises(
        TunerError, match=rf"enas\.pt is of no use: .*{reason}.*Remove the folder checkpoints"
    ):
        resume()
