"""One trial: in each phase it trains a new network, and leaves it as soon as it is told to.

Its argument: for how many epochs a network is trained that is not stopped.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import mpx


def load_parts():
    """Return the images and labels to train with, to validate with and to test with: a third each."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return [(images[part] / 16, labels[part]) for part in np.split(order, 3)]


def main(epochs):
    """Train network after network, each for so many epochs if it is not stopped."""
    train, validation, test = load_parts()
    for phase in mpx.phases(on_error="continue"):  # if its weights diverge, only the phase FAILED
        with phase:
            first_weights = phase.parameter_id
            network = MLPClassifier(solver="sgd", random_state=first_weights, **phase.parameters)
            for _ in range(epochs):
                network.partial_fit(*train, classes=range(10))
                accuracy = network.score(*validation)
                if phase.report_intermediate(accuracy):
                    break  # the assessor has stopped this phase; the next one begins
            else:
                phase.report_final({"default": accuracy, "test": network.score(*test)})


if __name__ == "__main__":
    main(int(sys.argv[1]))
