"""That a model is worth its while: on published problems, tuners beat random search by a clear margin.

Seeds are fixed, so nothing here is left to chance; `benchmarks/tuners.py` measures with more of them.
"""

from __future__ import annotations

import statistics

import pytest

from benchmarks.tuners import branin, problems, read_accuracies, run_here


@pytest.fixture(scope="module")
def known():
    return problems()


def test_the_problems_are_the_published_ones(known):
    assert branin({"x": 9.42478, "y": 2.475}) == pytest.approx(0.397887, abs=1e-6)
    best = {"cifar10": 91.607, "cifar100": 73.493, "imagenet": 46.733}
    for data_set, accuracy in best.items():
        accuracies = read_accuracies(data_set)
        assert len(accuracies) == 5**6
        assert max(accuracies.values()) == pytest.approx(accuracy, abs=1e-3)
    cell = {f"op{i}": "none" for i in range(5)} | {"op5": "skip_connect"}
    assert known["nas-bench-201"].function(cell) == read_accuracies("cifar10")["000001"]


@pytest.mark.parametrize(
    ("problem", "name", "phases", "seeds"),
    [
        ("branin", "TPE", 100, 6),
        ("nas-bench-201", "TPE", 100, 6),
        ("branin", "Anneal", 100, 12),
        ("branin", "RegularizedEvolution", 100, 12),
        ("nas-bench-201", "RegularizedEvolution", 100, 12),
    ],
)
def test_tuners_beat_random_search(known, problem, name, phases, seeds):
    best = [run_here(name, known[problem], seed, phases) for seed in range(seeds)]
    by_chance = [run_here("Random", known[problem], seed, phases) for seed in range(20)]
    beaten = known[problem].best([statistics.fmean(best), statistics.fmean(by_chance)])
    assert beaten == statistics.fmean(best)
    # Each pair counts: this is the statistic of Mann and Whitney, as a share; 1/2 would be chance.
    pairs = [known[problem].best([x, y]) == x for x in best for y in by_chance]
    assert statistics.fmean(pairs) > 0.75
