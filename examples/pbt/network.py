"""A small network on scikit-learn's handwritten digits, in numpy: 64 pixels → hidden units → 10 digits."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

HIDDEN = 64
BATCH = 32
MOMENTUM = 0.9


class Part(NamedTuple):
    """Some of the digits: their pixels, 0 to 1, and what they show."""

    pixels: np.ndarray  # (n, 64)
    labels: np.ndarray  # (n,)


def load_parts():
    """Return the parts for training (3/5), for validation and for the test (1/5 each).

    They are the same in every trial and every run.
    """
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(labels))
    fifth = len(labels) // 5
    test, validation, train = order[:fifth], order[fifth : 2 * fifth], order[2 * fifth :]
    return [Part(pixels[part], labels[part]) for part in (train, validation, test)]


class Network:
    """Weights, and how far they went in the last step: all that training goes on from.

    Args:
        arrays: the four layers of weights, and as many of steps.
    """

    def __init__(self, arrays):
        self.weights, self.steps = arrays[:4], arrays[4:]

    @classmethod
    def draw(cls, rng):
        """Return a network that knows nothing yet."""
        shapes = (64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)
        weights = [rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32) for shape in shapes]
        return cls(weights + [np.zeros_like(layer) for layer in weights])

    @classmethod
    def load(cls, path):
        """Return a network as `save` wrote it."""
        with np.load(path) as arrays:
            return cls([arrays[name] for name in arrays.files])

    def copy(self):
        """Return a network that goes on from here, and leaves this one as it is."""
        return Network([array.copy() for array in self.weights + self.steps])

    def save(self, path):
        """Write weights and steps to a file."""
        np.savez(path, *self.weights, *self.steps)

    def train(self, part, rng, learning_rate, weight_decay, dropout):
        """Train for one epoch, by stochastic gradient descent with momentum."""
        order = rng.permutation(len(part.labels))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            mask = (rng.random((len(batch), HIDDEN)) >= dropout) / (1 - dropout)
            gradients = self._gradients(part.pixels[batch], part.labels[batch], mask)
            for layer, step, gradient in zip(self.weights, self.steps, gradients, strict=True):
                step *= MOMENTUM
                step -= learning_rate * (gradient + weight_decay * layer)
                layer += step

    def loss(self, part):
        """Return the mean cross-entropy."""
        _, odds = self._forward(part.pixels)
        right = odds[np.arange(len(part.labels)), part.labels]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    def accuracy(self, part):
        """Return the share of digits that are recognised."""
        _, odds = self._forward(part.pixels)
        return float((odds.argmax(axis=1) == part.labels).mean())

    def _forward(self, pixels, mask=1):
        """Return the hidden units, and the probability of each digit."""
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(pixels @ first + first_bias, 0) * mask
        scores = hidden @ second + second_bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, odds / odds.sum(axis=1, keepdims=True)

    def _gradients(self, pixels, labels, mask):
        """Return the gradient of the mean cross-entropy by each of the weights."""
        hidden, error = self._forward(pixels, mask)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        back = (error @ self.weights[2].T) * (hidden > 0) * mask
        return pixels.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)
