"""A member of the population: a network that trains on, phase by phase.

    python3 digits.py EPOCHS     how many epochs a phase has

After each epoch the network is tried on the validation part, and the best weights so far are kept. The
test part is touched once, when the last phase is over.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

import mpx
from network import Network, load_parts


def main(epochs):
    """Train phase after phase; at the end put the best weights to the test."""
    output = Path(os.environ.get("MPX_OUTPUT_DIR", "."))
    train, validation, test = load_parts()
    seed = int(os.environ.get("SEED", "0"))
    rng = np.random.default_rng([seed, mpx.get_sequence_id()])
    network, best, least = None, None, np.inf

    for phase in mpx.phases():
        with phase, np.errstate(over="ignore", invalid="ignore"):  # rates too high lead to NaN
            if phase.checkpoint:  # another member's weights
                network = Network.load(phase.checkpoint)
            elif phase.parent is None:
                network = Network.draw(rng)
            losses = []
            for _ in range(epochs):
                network.train(train, rng, **phase.parameters)
                losses.append(network.loss(validation))
                phase.report_intermediate(losses[-1])
                if losses[-1] < least:
                    best, least = network.copy(), losses[-1]
            network.save(output / "network.npz")
            phase.save_checkpoint(output / "network.npz")
            phase.report_final(min(losses))

    if best is not None:
        result = {
            "validation_loss": least,
            "loss": best.loss(test),
            "accuracy": best.accuracy(test),
        }
        (output / "test.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]))
