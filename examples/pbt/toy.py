"""The toy of the PBT paper: members climb by a gradient that their hyperparameters bend.

Wanted is the highest 1.2 - x² - y². What a member follows is the gradient of 1.2 - h0 x² - h1 y²: one
with h = (1, 0) moves along x alone, and gets no higher than 0.39.

    python3 toy.py STEPS     how many steps a phase has
"""

import json
import os
import sys
from pathlib import Path

import mpx

START = [0.9, 0.9]
RATE = 0.02


def height(place):
    """Return what is wanted."""
    return 1.2 - sum(x * x for x in place)


def climb(place, h0, h1, steps):
    """Return where so many steps along the bent gradient lead to."""
    x, y = place
    for _ in range(steps):
        x, y = x - RATE * 2 * h0 * x, y - RATE * 2 * h1 * y
    return [x, y]


def main(steps):
    """Climb on, phase after phase."""
    # Trials share their directory, but not this one.
    saved = Path(os.environ.get("MPX_OUTPUT_DIR", "."), "place.json")
    place = START
    for phase in mpx.phases():
        with phase:
            if phase.checkpoint:  # another member's place
                place = json.loads(Path(phase.checkpoint).read_text())
            elif phase.parent is None:
                place = START
            place = climb(place, **phase.parameters, steps=steps)
            saved.write_text(json.dumps(place))
            phase.save_checkpoint(saved)
            phase.report_final(height(place))


if __name__ == "__main__":
    main(int(sys.argv[1]))
