"""What was done, counted."""

from __future__ import annotations

import time
from collections import Counter, defaultdict


class Report:
    """Counts rounds by their heading, and everything else by its name."""

    TOTALS = (
        "experiments",
        "starts",
        "resumes",
        "managers killed",
        "trials killed",
        "adoptions",
        "trials ended before their first phase",
        "phases",
        "batches",
        "phases stopped early",
        "checkpoints saved",
        "checkpoints loaded",
        "checkpoints removed",
        "acknowledged results",
        "violations",
        "hangs",
    )

    def __init__(self):
        self.totals = Counter()
        self.rounds = defaultdict(Counter)
        self.violations = []
        self._began = time.monotonic()

    def count(self, what, number=1):
        self.totals[what] += number

    def round(self, heading, outcome):
        """Count a round: `reached`, `not reached`, `over` where the experiment ended, or `broken`."""
        self.rounds[heading][outcome] += 1

    def violation(self, where, sentences, more):
        """Take in what was wrong in one experiment, and what helps to understand it."""
        self.count("violations", len(sentences))
        lines = [f"  {sentence}" for sentence in sentences] + [f"      {line}" for line in more]
        self.violations.append("\n".join([where, *lines]))

    def lines(self):
        """Return the tables, and what was wrong."""
        yield f"{'killed …':34}{'rounds':>8}{'reached':>9}{'not reached':>13}{'over':>6}{'broken':>8}"
        for heading in sorted(self.rounds):
            yield self._row(heading, self.rounds[heading])
        yield self._row("all", sum(self.rounds.values(), Counter()))
        yield ""
        for name in self.TOTALS:
            yield f"{name:42}{self.totals[name]:>8}"
        yield f"{'seconds':42}{time.monotonic() - self._began:>8.0f}"
        yield from ("\nVIOLATION " + text for text in self.violations)

    def _row(self, heading, counts):
        reached, missed = counts["reached"], counts["not reached"]
        over, broken = counts["over"], counts["broken"]
        return f"{heading:34}{counts.total():>8}{reached:>9}{missed:>13}{over:>6}{broken:>8}"
