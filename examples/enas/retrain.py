"""Architectures from scratch: each phase trains one that has its weights for itself.

    python3 retrain.py SOURCE [--epochs 3] …    SOURCE: see data.py

Accuracies on validation images are reported after each epoch, and that on the test images at the end.
"""

import argparse
import time

import torch

import mpx
from data import load
from network import Network, accuracy, given, learn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main(arguments):
    """Train network after network."""
    torch.set_num_threads(1)  # the networks are too small for more
    train, validation, test = (part.to(arguments.device) for part in load(arguments.source))
    for phase in mpx.phases():
        with phase:
            began = time.monotonic()
            torch.manual_seed(arguments.seed)
            architecture = given(phase.parameters)
            network = Network.alone(architecture, train.images.shape[-1], arguments.channels)
            network.to(arguments.device)
            for _ in fit(network, train, architecture, arguments):
                found = accuracy(network, validation, architecture)
                phase.report_intermediate(found)
            phase.report_final(
                {
                    "default": found,
                    "test": accuracy(network, test, architecture),
                    "seconds": time.monotonic() - began,
                }
            )


def fit(network, train, architecture, arguments):
    """Train the network, and stop by after each epoch."""
    steps = arguments.epochs * -(-len(train.labels) // arguments.minibatch)
    optimiser = torch.optim.SGD(
        network.parameters(), arguments.rate, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(arguments.epochs):
        for minibatch in train.shuffled().chunks(arguments.minibatch):
            learn(network, optimiser, minibatch, architecture)
            schedule.step()
        yield epoch


def parse():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the folder of Fashion-MNIST's files, or the word digits")
    parser.add_argument("--epochs", type=int, default=3, help="of training, for each network")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and minibatches")
    parser.add_argument("--device", default=DEVICE, help="%(default)s here, if not given")
    parser.add_argument("--channels", type=int, default=16, help="of every layer")
    parser.add_argument("--rate", type=float, default=0.1, help="at which weights learn, at first")
    parser.add_argument("--minibatch", type=int, default=64, help="images to train on in a step")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse())
