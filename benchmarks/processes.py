"""What a process costs: phases of one trial against a process for each, with torch, in one run.

    python benchmarks/processes.py [--phases 100] [--repeats 3] [--quick]

Three ways of training the same small network so many times take turns; the table shows medians over the
repeats. `phases`: one trial with all of them. `trials`: a trial with one phase each, one after the other,
as with a tool that starts a process for each configuration. `bare`: `python bare.py` so often, without
mpx. Seconds are those from the start of `mpx create` (of the first `python`) to the end of all. As the
other two take minutes, in which a machine's mood changes, `phases` is run before, between and behind them,
and its median counts. What is trained is real and little: a network of 64-32-10 for 10 mini-batches on
scikit-learn's digits, which are put into a file of tensors beforehand, so that the processes import torch
and nothing else that is large.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from phase_cost import mpx

NETWORK = """
import time
_began = time.monotonic()
import torch
IMPORT = time.monotonic() - _began

torch.set_num_threads(1)  # quicker for so small a network, and no fight over the cores
DATA = torch.load("digits.pt")

def accuracy(lr):
    (images, labels), (test_images, test_labels) = DATA
    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    for batch in torch.randperm(len(images))[:640].split(64):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return (network(test_images).argmax(1) == test_labels).float().mean().item()
"""

TRIAL = """
import json, sys, time
import mpx
import network

seconds, began = [], time.monotonic()
for phase in mpx.phases():
    with phase:
        phase.report_final(network.accuracy(phase.parameters["lr"]))
    seconds.append(time.monotonic() - began)
    began = time.monotonic()
with open(f"{sys.argv[1]}/{mpx.get_sequence_id()}.json", "w") as file:
    json.dump({"import": network.IMPORT, "phases": seconds}, file)
"""

BARE = """
import network
print(network.accuracy(0.1))
"""

CONFIG = """
trialConcurrency: 1
multiPhase: {multi_phase}
maxTrialNum: {trials}
maxPhasesPerTrial: {phases}
tuner: {{builtinTunerName: Random}}
searchSpace: {{lr: {{_type: loguniform, _value: [0.01, 1]}}}}
trial: {{codeDir: ., command: '"{python}" trial.py "{out}"'}}
"""


@dataclass
class Run:
    """One way, once: seconds in all, and what each process says of its import and its phases."""

    seconds: float
    imports: list[float]
    phases: list[float]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    count, repeats = (3, 1) if arguments.quick else (arguments.phases, arguments.repeats)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _write_code(directory)
        print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores, {repeats} repeats")
        rounds = []
        for _ in range(repeats):
            phases = [_run_mpx(directory, 1, count)]
            trials = _run_mpx(directory, count, 1)
            phases.append(_run_mpx(directory, 1, count))
            bare = _run_bare(directory, count)
            phases.append(_run_mpx(directory, 1, count))
            rounds.append((sorted(phases, key=lambda run: run.seconds)[1], trials, bare))
            print("  " + _said(*rounds[-1]), flush=True)
    _print_table(count, rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phases", type=int, default=100, help="how often the network is trained")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="3 phases, once: see that it works")
    return parser.parse_args()


def _write_code(directory: Path) -> None:
    """Write what the processes run; on the way everything they import gets into the disk's cache."""
    import torch
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32)
    labels = torch.tensor(labels)
    parts = ((images[:1297], labels[:1297]), (images[1297:], labels[1297:]))
    torch.save(parts, directory / "digits.pt")
    (directory / "network.py").write_text(NETWORK)
    (directory / "trial.py").write_text(TRIAL)
    (directory / "bare.py").write_text(BARE)
    _run_bare(directory, 1)


def _run_mpx(directory: Path, trials: int, phases: int) -> Run:
    with tempfile.TemporaryDirectory(dir=directory) as out:
        config = directory / "config.yml"
        config.write_text(
            CONFIG.format(
                multi_phase=str(phases > 1).lower(),
                trials=trials,
                phases=phases,
                python=sys.executable,
                out=out,
            )
        )
        began = time.monotonic()
        ended = mpx(directory, "create", str(config), "--foreground", "--json")
        seconds = time.monotonic() - began
        status = json.loads(ended)
        if status["phases"] != {"SUCCEEDED": trials * phases}:
            raise SystemExit(f"not all phases succeeded: {status}")
        said = [json.loads(file.read_text()) for file in Path(out).glob("*.json")]
    return Run(
        seconds,
        [each["import"] for each in said],
        [phase for each in said for phase in each["phases"]],
    )


def _run_bare(directory: Path, count: int) -> float:
    """Return the seconds of so many processes, one after the other."""
    began = time.monotonic()
    for _ in range(count):
        command = [sys.executable, "bare.py"]
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def _said(phases: Run, trials: Run, bare: float) -> str:
    return (
        f"phases {phases.seconds:.2f} s, trials {trials.seconds:.1f} s, bare {bare:.1f} s,"
        f" trials/phases {trials.seconds / phases.seconds:.1f}"
    )


def _print_table(count: int, rounds: list[tuple[Run, Run, float]]) -> None:
    phases, trials, bare = zip(*rounds, strict=True)
    ours = [run.seconds for run in phases]
    print(f"\n{count} networks{'':>12} seconds  ratio to `phases`")
    for name, seconds in (
        (f"phases: 1 trial of {count}", ours),
        (f"trials: {count} of 1 phase", [run.seconds for run in trials]),
        (f"bare: {count} processes", bare),
    ):
        ratio = statistics.median(a / b for a, b in zip(seconds, ours, strict=True))
        print(f"{name:<23}{statistics.median(seconds):>8.2f} {ratio:>8.1f}")
    print("\nof `phases`           seconds")
    for name, each in (
        ("import torch", [run.imports[0] for run in phases]),
        ("the first phase", [run.phases[0] for run in phases]),
        ("all others", [sum(run.phases[1:]) for run in phases]),
        ("the median of these", [statistics.median(run.phases[1:]) for run in phases]),
    ):
        print(f"{name:<20}{statistics.median(each):>10.4f}")


if __name__ == "__main__":
    main()
