"""The generators a tuner shares with its process, in processes that import numpy at different times."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NUMBERS = "[random.random(), float(numpy.random.random())]"


def run(*lines: str) -> Any:
    """Run statements in a fresh interpreter; return what the last one prints, as JSON."""
    pytest.importorskip("numpy")
    code = "\n".join(["import json, random, sys", "from mpx import generators", *lines])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def show(value: str) -> str:
    return f"print(json.dumps({value}))"


def test_numpy_is_seeded_whenever_it_is_imported() -> None:
    before = run("import numpy", "generators.seed(7)", show(NUMBERS))
    behind = run("generators.seed(7)", "import numpy", show(NUMBERS))
    inside = run("generators.seed(7)", "import numpy.linalg, numpy", show(NUMBERS))
    other = run("generators.seed(8)", "import numpy", show(NUMBERS))
    assert before == behind == inside != other


def test_what_is_seeded_does_not_begin_again_with_the_next_import() -> None:
    first, second = run(
        "generators.seed(7)",
        "import numpy",
        "first = numpy.random.random()",
        "import numpy",
        show("[first, numpy.random.random()]"),
    )
    assert first != second


def test_state_goes_on_in_another_process_whenever_numpy_is_imported_there() -> None:
    state, numbers = run(
        "import numpy", "generators.seed(7)", "random.gauss(0, 1), numpy.random.standard_normal()",
        "state = generators.get_state()", show(f"[state, {NUMBERS}]"),
    )  # fmt: skip
    put = f"generators.set_state(json.loads('{json.dumps(state)}'))"
    assert run("import numpy", put, show(NUMBERS)) == numbers
    assert run("generators.seed(1)", put, "import numpy", show(NUMBERS)) == numbers


def test_state_without_numpy_leaves_the_seed_for_it() -> None:
    state = run("generators.seed(7)", show("generators.get_state()"))
    assert "numpy" not in state
    put = f"generators.set_state(json.loads('{json.dumps(state)}'))"
    again = run("generators.seed(7)", put, "import numpy", show(NUMBERS))
    assert again == run("generators.seed(7)", "import numpy", show(NUMBERS))


def test_where_there_is_no_numpy_its_import_fails_as_ever() -> None:
    code = """
        import random, sys
        from mpx import generators
        generators.seed(7)
        drawn = random.random()
        for _ in range(2):  # it may be installed yet
            try:
                import numpy
            except ModuleNotFoundError as error:
                print(error.name, drawn)
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],  # -S: no site-packages
        env={"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert done.stdout == f"numpy {random.Random(7).random()}\n" * 2
