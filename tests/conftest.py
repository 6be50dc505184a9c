"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A home of its own; what a failed test left running is ended."""
    lab = Lab(tmp_path)
    yield lab
    lab.close()
