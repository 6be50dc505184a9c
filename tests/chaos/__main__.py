"""`python -m tests.chaos --rounds 500 --seed 1`: kill, resume, and see whether anything is lost."""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.kinds import KINDS, deck, sweep
from tests.chaos.report import Report
from tests.chaos.subject import BrokenError, Flavour, HungError, Subject

# Rounds that one experiment goes through.
_EACH = 13
# After so many experiments with violations more of them tell nothing new.
_ENOUGH = 10
# How many passings a sweep goes through, and the sides of a commit.
_SWEEP = 40
_COMMIT = ("commit:before", "inside:before", "commit:after")


def main(arguments=None):
    """Run the rounds, print what came of it, and return the exit code."""
    options = _read(arguments)
    report = Report()
    root = Path(tempfile.mkdtemp(prefix="mpx-chaos-"))
    try:
        for number, kinds in _experiments(options):
            if len(report.violations) >= _ENOUGH:
                print(f"given up after {_ENOUGH} experiments with violations")
                break
            _run(root, options, number, kinds, report)
    finally:
        print("\n".join(report.lines()), flush=True)
        _tidy(root)
    return 1 if report.violations else 0


def _read(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how often something is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", type=int, metavar="N", help="the Nth experiment of this seed alone"
    )
    parser.add_argument("--kind", help="play this kind alone, by a part of its name")
    parser.add_argument(
        "--sweep",
        nargs="*",
        metavar="POINT",
        help="let one manager after another die at the 1st, 2nd, … passing of each point (of `hooks`);"
        " without a POINT: of all sides of a commit",
    )
    parser.add_argument(
        "--open", type=int, metavar="N", help="let all trials have up to N phases open at a time"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each round")
    return parser.parse_args(arguments)


def _experiments(options):
    """Yield each experiment's number and the kinds that it goes through."""
    if options.sweep is not None:
        yield from enumerate(sweep(point, _SWEEP) for point in options.sweep or _COMMIT)
        return
    if options.kind:
        chosen = [k for k in KINDS if options.kind in f"{k.heading}: {k.name}"]
        cards = itertools.cycle(chosen)
    else:
        cards = deck(options.seed)
    for number, first in enumerate(range(0, options.rounds, _EACH)):
        kinds = list(itertools.islice(cards, min(_EACH, options.rounds - first)))
        if options.only in (None, number):
            yield number, kinds


def _run(root, options, number, kinds, report):
    """Play these kinds; an experiment that ends before them is followed by another one."""
    for part in itertools.count():
        if not kinds or len(report.violations) >= _ENOUGH:
            return
        rng = random.Random(f"{options.seed}/{number}/{part}")
        flavour = Flavour.drawn(number + part, rng, options.open)
        subject = Subject(root / f"{number}-{part}", flavour, rng.randrange(2**32), report)
        report.count("experiments")
        where = f"seed {options.seed}, experiment {number}"
        kinds = _play(subject, kinds, rng, where, options.verbose)


def _play(subject, kinds, rng, where, verbose):
    """Play kinds on one experiment until it is over; return those that are left."""
    left = list(kinds)
    played = []
    try:
        while left and not subject.over:
            kind = left.pop(0)
            played.append(f"{kind.heading}: {kind.name}")
            _round(subject, kind, rng, verbose)
        wrong = subject.finish()
    except BrokenError as broken:
        subject.report.count("hangs", isinstance(broken, HungError))
        wrong = [*subject.wrong, str(broken)]
    except Exception:  # noqa: BLE001 (what a promise broken in an unforeseen way looks like)
        wrong = [*subject.wrong, traceback.format_exc()]
    finally:
        subject.close()
    if wrong:
        at = f"{where}: {subject.lab.root}, {subject.flavour}"
        subject.report.violation(at, wrong, [f"rounds: {played}", *subject.logs()])
    else:
        shutil.rmtree(subject.lab.root)
    return left


def _round(subject, kind, rng, verbose):
    outcome = "broken"
    try:
        reached = kind.play(subject, rng)
        outcome = "reached" if reached else "over" if subject.over else "not reached"
    finally:
        subject.forget_plans()
        subject.release()
        subject.report.round(kind.heading, outcome)
        if verbose:
            print(f"{kind.heading}: {kind.name}: {outcome}", flush=True)


def _tidy(root):
    """Remove what no violation is kept in."""
    if not any(root.iterdir()):
        root.rmdir()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends what was begun
    sys.exit(main())
