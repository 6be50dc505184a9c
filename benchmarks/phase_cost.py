"""What one phase costs: mpx through its real path against the floor (`floor.py`), in one run.

    python benchmarks/phase_cost.py [--repeat 5] [--trials 1 2 8 32] [--durability power process]
                                    [--slower 5] [--open 1 8]

For each number of trials, floor and mpx take turns; the table shows medians over the repeats. A phase
is one final result, its acknowledgement, one request and its parameters, as the trial sees it; bodies
are empty and the tuner is trivial. Then: start-up, memory, and CPU at rest. With `--slower 5` each fsync
takes 5 ms more on both sides, as on a disk that is not this machine's.

With `--open 1 8` one trial has so many phases open at a time instead, and the table shows what a phase
costs beside one that is open alone: each reported by itself, and all of a batch by `Batch.report_final`.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR = HERE / "floor.py"

TRIAL = """
import json, sys, time
import mpx
phases, out = int(sys.argv[1]), sys.argv[2]
mpx.get_next_parameter()
times = [time.monotonic()]
for i in range(phases):
    mpx.report_final_result(0.5)
    mpx.get_next_parameter()
    times.append(time.monotonic())
with open(f"{out}/{mpx.get_sequence_id()}.json", "w") as file:
    json.dump(times, file)
"""

BATCH_TRIAL = """
import json, sys, time
import mpx
batches, out, n, together = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "together"
batch = mpx.get_next_parameters(n)
times = [time.monotonic()]
for i in range(batches):
    if together:
        batch.report_final([0.5] * n)
    else:
        for phase in batch:
            phase.report_final(0.5)
    batch = mpx.get_next_parameters(n)
    times.append(time.monotonic())
with open(f"{out}/{mpx.get_sequence_id()}.json", "w") as file:
    json.dump(times, file)
"""

TUNER = """
class Constant:
    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"x": 0.5}
    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        pass
"""

SLOW_DISK = """
import os, time
_fdatasync = os.fdatasync
def _slow(fd):
    time.sleep({seconds})
    _fdatasync(fd)
os.fdatasync = _slow  # in the manager, which imports this file
"""

CONFIG = """
trialConcurrency: {trials}
maxTrialNum: {trials}
multiPhase: true
durability: {durability}
tuner: {{codeDir: ., classFileName: constant.py, className: Constant}}
trial: {{codeDir: ., command: '"{python}" trial.py {phases} "{out}" {more}'}}
"""


# How many phases are open at a time, and how they are reported.
_WAY_ALONE = (1, "alone")
_TOGETHER = ("each", "together")


@dataclass
class Run:
    """One run of one side: phases per second over all trials, and each phase's time in µs."""

    rate: float
    p50: float
    p99: float


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores, {arguments.repeat} repeats")
    for durability in arguments.durability:
        print(f"\ndurability: {durability}")
        if arguments.open:
            _print_open(durability, arguments)
        else:
            _print_trials(durability, arguments)
    if not arguments.slower and not arguments.open:
        print()
        _print_rest(arguments.repeat)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--phases", type=int, default=4000, help="phases of a run, over all trials")
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--durability", nargs="+", default=["power", "process"])
    parser.add_argument("--slower", type=float, default=0.0, help="ms that each fsync takes more")
    parser.add_argument(
        "--open", type=int, nargs="+", help="phases that a trial has open at a time"
    )
    return parser.parse_args()


def _print_trials(durability: str, arguments: argparse.Namespace) -> None:
    print(
        f"{'trials':>6} {'floor/s':>8} {'mpx/s':>8} {'ratio':>6}"
        f" {'p50 µs':>8} {'p99 µs':>8} {'floor p50':>9} {'floor p99':>9}"
    )
    for trials in arguments.trials:
        _print_row(trials, _pairs(trials, durability, arguments))


def _pairs(trials: int, durability: str, arguments: argparse.Namespace) -> list[tuple[Run, Run]]:
    phases = max(100, arguments.phases // trials)
    return [
        (
            _run_floor(trials, phases, durability, arguments.slower / 1e3),
            _run_mpx(trials, phases, durability, arguments.slower / 1e3),
        )
        for _ in range(arguments.repeat)
    ]


def _print_row(trials: int, pairs: list[tuple[Run, Run]]) -> None:
    def median(side: int, field: str) -> float:
        return statistics.median(getattr(pair[side], field) for pair in pairs)

    ratio = statistics.median(mpx.rate / floor.rate for floor, mpx in pairs)
    print(
        f"{trials:>6} {median(0, 'rate'):>8.0f} {median(1, 'rate'):>8.0f} {ratio:>6.2f}"
        f" {median(1, 'p50'):>8.0f} {median(1, 'p99'):>8.0f}"
        f" {median(0, 'p50'):>9.0f} {median(0, 'p99'):>9.0f}",
        flush=True,
    )


# -- several phases open at a time ----------------------------------------------------------------


def _print_open(durability: str, arguments: argparse.Namespace) -> None:
    """Print what a phase costs in each way that it can be open, beside one that is open alone."""
    ways = [(n, how) for n in arguments.open for how in (("alone",) if n == 1 else _TOGETHER)]
    alone = [_WAY_ALONE] if _WAY_ALONE not in ways else []
    rounds = [
        {way: _cost_of_phase(*way, durability, arguments) for way in [*alone, *ways]}
        for _ in range(arguments.repeat)
    ]
    print(f"{'open':>6} {'reported':>10} {'µs/phase':>9} {'of one':>7} {'from':>6} {'to':>6}")
    for n, how in ways:
        costs = [costs[n, how] for costs in rounds]
        ratios = [costs[n, how] / costs[_WAY_ALONE] for costs in rounds]
        print(
            f"{n:>6} {how:>10} {statistics.median(costs):>9.0f} {statistics.median(ratios):>7.2f}"
            f" {min(ratios):>6.2f} {max(ratios):>6.2f}",
            flush=True,
        )


def _cost_of_phase(n: int, how: str, durability: str, arguments: argparse.Namespace) -> float:
    asks = max(100, arguments.phases // n)
    more = "" if n == 1 else f"{n} {how}"
    return 1e6 / (n * _run_mpx(1, asks, durability, arguments.slower / 1e3, more).rate)


# -- one run of one side --------------------------------------------------------------------------


def _run_floor(trials: int, phases: int, durability: str, slower: float) -> Run:
    with tempfile.TemporaryDirectory() as directory:
        arguments = [directory, str(trials), str(phases), durability, str(slower)]
        command = [sys.executable, FLOOR, *arguments]
        subprocess.run(command, check=True)
        return _measured(Path(directory))


def _run_mpx(trials: int, phases: int, durability: str, slower: float, more: str = "") -> Run:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        out = directory / "out"
        out.mkdir()
        config = _write_experiment(directory, trials, phases, durability, out, more)
        if slower:
            (directory / "constant.py").write_text(SLOW_DISK.format(seconds=slower) + TUNER)
        mpx(directory, "create", str(config), "--foreground", "--quiet")
        return _measured(out)


def _write_experiment(
    directory: Path, trials: int, phases: int, durability: str, out: Path, more: str = ""
) -> Path:
    (directory / "trial.py").write_text(BATCH_TRIAL if more else TRIAL)
    (directory / "constant.py").write_text(TUNER)
    config = directory / "config.yml"
    config.write_text(
        CONFIG.format(
            trials=trials,
            durability=durability,
            python=sys.executable,
            phases=phases,
            out=out,
            more=more,
        )
    )
    return config


def mpx(directory: Path, *arguments: str) -> str:
    """Run a command of mpx, with its home in a directory; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mpx", *arguments],
        env={**os.environ, "MPX_HOME": str(directory / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def _measured(directory: Path) -> Run:
    clocks = [json.loads(file.read_text()) for file in directory.glob("*.json")]
    phases = sorted(b - a for times in clocks for a, b in itertools.pairwise(times))
    seconds = max(times[-1] for times in clocks) - min(times[0] for times in clocks)
    return Run(
        rate=len(phases) / seconds,
        p50=phases[len(phases) // 2] * 1e6,
        p99=phases[int(len(phases) * 0.99)] * 1e6,
    )


# -- beside the phases ----------------------------------------------------------------------------

_FIRST_ASK = "import mpx; mpx.get_next_parameter()"
_IDLE_TRIAL = "import mpx, time; mpx.get_next_parameter(); time.sleep(3600)"


def _print_rest(repeat: int) -> None:
    bare = _median_ms(repeat, [sys.executable, "-c", "pass"])
    help_ms = _median_ms(repeat, [sys.executable, "-m", "mpx", "--help"])
    ask_ms = _median_ms(repeat, [sys.executable, "-c", _FIRST_ASK])
    print(f"bare python                        {bare:6.0f} ms")
    print(f"mpx --help, beyond that            {help_ms - bare:6.0f} ms")
    print(f"import mpx up to the first ask     {ask_ms - bare:6.0f} ms")
    create, rss, ticks = _idle_manager()
    print(f"create until the first trial runs  {create:6.0f} ms")
    print(f"manager, resident                  {rss:6.1f} MB")
    print(f"manager at rest, CPU ticks in 10 s {ticks:6d}")


def _median_ms(repeat: int, command: list[str]) -> float:
    def once() -> float:
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (time.monotonic() - began) * 1e3

    return statistics.median(once() for _ in range(max(repeat, 5)))


def _idle_manager() -> tuple[float, float, int]:
    """Return milliseconds to create, and the MB and CPU ticks of a manager whose trial computes."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = _write_experiment(directory, 1, 0, "power", directory)
        (directory / "trial.py").write_text(_IDLE_TRIAL)
        began = time.monotonic()
        experiment = mpx(directory, "create", str(config), "--quiet").strip()
        created = (time.monotonic() - began) * 1e3
        try:
            status = json.loads(mpx(directory, "status", experiment, "--json"))
            pid = status["manager"]["pid"]
            time.sleep(1)  # let the last lazy commit pass
            before = _ticks(pid)
            time.sleep(10)
            return created, _resident_mb(pid), _ticks(pid) - before
        finally:
            mpx(directory, "stop", experiment)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
