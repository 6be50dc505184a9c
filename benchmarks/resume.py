"""How long `mpx resume` takes, by the number of phases on record.

    python benchmarks/resume.py [--phases 100 10000 100000] [--repeat 3]

A real experiment runs that many phases with a trivial tuner and ends; then its limit is raised. What is
measured is the time from the call of `mpx resume` until the first new phase has its parameters: a new
interpreter, the tuner imported, its calls made again, a new trial started. The floor is `mpx create` of
an experiment of one phase, which does all that but for the past.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from phase_cost import TUNER, mpx

TRIAL = """
import mpx
while mpx.get_next_parameter() is not None:
    mpx.report_final_result(0.5)
"""

CONFIG = """
maxPhaseNum: {phases}
multiPhase: true
durability: process
tuner: {{codeDir: ., classFileName: constant.py, className: Constant}}
trial: {{codeDir: ., command: '"{python}" trial.py'}}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phases", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'phases':>8} {'create s':>9} {'resume s':>9} {'ratio':>6}")
    for phases in arguments.phases:
        pairs = [_pair(phases) for _ in range(arguments.repeat)]
        create, resume = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{phases:>8} {create:>9.2f} {resume:>9.2f} {resume / create:>6.1f}", flush=True)


def _pair(phases: int) -> tuple[float, float]:
    """Return the seconds until the first phase of a new experiment, and of one with a past."""
    with tempfile.TemporaryDirectory() as name:
        lab = Path(name)
        (lab / "trial.py").write_text(TRIAL)
        (lab / "constant.py").write_text(TUNER)
        create = _timed(lab, 0, "create", _config(lab, 1))
        known = {path.name for path in (lab / "home" / "experiments").iterdir()}
        mpx(lab, "create", _config(lab, phases), "-f", "-q")
        (new,) = {path.name for path in (lab / "home" / "experiments").iterdir()} - known
        resume = _timed(lab, phases, "resume", new, "--max-phases", str(phases + 1))
        return create, resume


def _config(lab: Path, phases: int) -> str:
    path = lab / f"{phases}.yml"
    path.write_text(CONFIG.format(phases=phases, python=sys.executable))
    return str(path)


def _timed(lab: Path, phase: int, *command: str) -> float:
    """Run a command to the experiment's end; return the seconds until the phase of this number began."""
    began = time.time()
    experiment = mpx(lab, *command, "-f", "-q").strip()
    rows = mpx(lab, "export", experiment, "--format", "jsonl").splitlines()
    started = datetime.fromisoformat(json.loads(rows[phase])["started_at"])
    return started.timestamp() - began


if __name__ == "__main__":
    main()
