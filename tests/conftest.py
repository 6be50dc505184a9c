"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.stage import Stage


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A home of its own; what a failed test left running is ended."""
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def new_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make stages, each with what `Stage` takes behind the directory, and close them."""
    stages: list[Stage] = []

    def new_stage(*arguments: object, **config: object) -> Stage:
        stages.append(Stage(tmp_path, *arguments, **config))
        return stages[-1]

    yield new_stage
    for stage in stages:
        stage.close()
