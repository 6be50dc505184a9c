"""A small network on scikit-learn's handwritten digits, and what it learns from: 64 pixels → 10 digits."""

from itertools import pairwise
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import nn

MINIBATCH = 32


class Part(NamedTuple):
    """Some of the digits: their pixels, 0 to 1, and what they show."""

    pixels: torch.Tensor  # (n, 64)
    labels: torch.Tensor  # (n,)


def load_parts(device):
    """Return the part for training (4/5) and the one for validation (1/5), on the device.

    They are loaded once, and the same in every trial.
    """
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    validation, train = order.split([len(order) // 5, len(order) - len(order) // 5])
    return [Part(pixels[part].to(device), labels[part].to(device)) for part in (train, validation)]


def minibatches(part, epochs):
    """Yield what is learned from, step by step: the same for every network, in the same order."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(part.labels), generator=generator).to(part.labels.device)
        yield from zip(*(tensor[order].split(MINIBATCH) for tensor in part), strict=True)


def draw_network(seed, gain, width):
    """Return a network that knows nothing yet, with two hidden layers.

    Args:
        seed: of its weights.
        gain: how large they are; 1 is what He et al. (arXiv 1502.01852, section 2.2) recommend.
        width: hidden units in a layer.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = 64, width, width, 10
    layers = [nn.Linear(*ends) for ends in pairwise(sizes)]
    for layer in layers:
        nn.init.zeros_(layer.bias)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        layer.weight.data *= gain
    first, second, last = layers
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
