"""A convolutional network on scikit-learn's handwritten digits, and what it learns from."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

MINIBATCH = 32


class Part(NamedTuple):
    """Some of the digits: their images, 0 to 1, and what they show."""

    images: torch.Tensor  # (n, 1, 8, 8)
    labels: torch.Tensor  # (n,)


def load_parts():
    """Return the parts for training (1/2), for validation and for the test (1/4 each).

    They are the same in every trial and every run.
    """
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    quarter = len(labels) // 4
    parts = order.split([len(labels) - 2 * quarter, quarter, quarter])
    return [Part(images[part], labels[part]) for part in parts]


def draw_network():
    """Return a network that knows nothing yet: six layers with weights, by their names."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 16, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 32, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(32, 32, 3, padding=1),
            relu4=nn.ReLU(),
            pool4=nn.MaxPool2d(2),
            flat=nn.Flatten(),
            linear1=nn.Linear(128, 64),
            relu5=nn.ReLU(),
            linear2=nn.Linear(64, 10),
        )
    )


def train(network, part, epochs, learning_rate):
    """Train a network, by Adam."""
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    for _ in range(epochs):
        for step in torch.randperm(len(part.labels)).split(MINIBATCH):
            optimizer.zero_grad()
            cross_entropy(network(part.images[step]), part.labels[step]).backward()
            optimizer.step()


@torch.no_grad()
def evaluate(network, part):
    """Return the accuracy of a network, and its cross-entropy."""
    scores = network(part.images)
    accuracy = (scores.argmax(dim=1) == part.labels).float().mean()
    return accuracy.item(), cross_entropy(scores, part.labels).item()
