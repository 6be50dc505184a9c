"""Counting again what the store has counted."""

from __future__ import annotations

from pathlib import Path

from mpx.store_reader import StoreReader


def assert_counts(store: Path) -> None:
    """The counters say what counting the rows says, of each trial and of the experiment."""
    trials: dict[int, dict[str, int]] = {}
    whole: dict[str, int] = {}
    with StoreReader(store) as reader:
        for phase in reader.phases():
            own = trials.setdefault(phase.sequence_id, {})
            own[phase.status] = own.get(phase.status, 0) + 1
            whole[phase.status] = whole.get(phase.status, 0) + 1
        experiment = reader.experiment(0.0)
        assert experiment is not None
        assert {t.sequence_id: t.phases for t in reader.trials() if t.phases} == trials
        assert experiment.phases == whole
