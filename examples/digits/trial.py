"""One trial: in each phase a network trains on from the best weights so far.

What no phase has to do again: start Python, import, load the data, learn what the last ones learned.
"""

import json
import os
from pathlib import Path

import numpy as np

import mpx
from data import load_parts
from network import Network

EPOCHS = 20  # of a phase


def main():
    """Train phase after phase; at the end put the best weights to the test."""
    output = Path(os.environ.get("MPX_OUTPUT_DIR", "."))
    train, validation, test = load_parts()
    rng = np.random.default_rng(mpx.get_sequence_id())  # each trial sets out from other weights
    best, best_accuracy = Network.draw(rng), 0.0

    for phase in mpx.phases():
        with phase:
            network = best.copy()
            for _ in range(EPOCHS):
                network.train(train, rng, **phase.parameters)
                accuracy = network.accuracy(validation)
                phase.report_intermediate(accuracy)
            if accuracy > best_accuracy:
                best, best_accuracy = network, accuracy
                best.save(output / "weights.npz")
            phase.report_final(accuracy)

    # Only now, when no result can depend on it any more, the test part.
    result = {"validation_accuracy": best_accuracy, "test_accuracy": best.accuracy(test)}
    (output / "accuracy.json").write_text(json.dumps(result))
    print("best weights: validation accuracy {:.4f}, test accuracy {:.4f}".format(*result.values()))


if __name__ == "__main__":
    main()
