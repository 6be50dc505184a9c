"""A network with one hidden layer, in numpy: 64 pixels → hidden units → 10 digits."""

import numpy as np

HIDDEN = 128
MOMENTUM = 0.9
SHIFTS = [(row, column) for row in range(3) for column in range(3)]  # by a pixel at most


class Network:
    """Weights, how to train them, and how good they are.

    Args:
        weights: of the hidden units and of the outputs, each followed by its biases.
    """

    def __init__(self, weights):
        self.weights = weights
        self._steps = [np.zeros_like(layer) for layer in weights]  # the momentum

    @classmethod
    def draw(cls, rng):
        """Return a network that knows nothing yet."""
        shapes = (64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)
        return cls([rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32) for shape in shapes])

    def copy(self):
        """Return a network that starts from these weights and leaves them as they are."""
        return Network([layer.copy() for layer in self.weights])

    def save(self, path):
        """Write the weights to a file that `np.load` reads."""
        np.savez(path, *self.weights)

    def train(self, part, rng, learning_rate, weight_decay, batch_size):
        """Train for one epoch, by stochastic gradient descent with momentum."""
        order = rng.permutation(len(part.labels))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            pixels = _shift(part.images[batch], *rng.choice(SHIFTS))
            gradients = self._gradients(pixels, part.labels[batch])
            for layer, step, gradient in zip(self.weights, self._steps, gradients, strict=True):
                step *= MOMENTUM
                step -= learning_rate * (gradient + weight_decay * layer)
                layer += step

    def accuracy(self, part):
        """Return the share of images that are recognised, after a vote over all shifts."""
        votes = sum(self._forward(_shift(part.images, *shift))[1] for shift in SHIFTS)
        return float((votes.argmax(axis=1) == part.labels).mean())

    def _forward(self, pixels):
        """Return the hidden units, and the probability of each digit."""
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(pixels @ first + first_bias, 0)
        scores = hidden @ second + second_bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, odds / odds.sum(axis=1, keepdims=True)

    def _gradients(self, pixels, labels):
        """Return the gradient of the mean cross-entropy by each of the weights."""
        hidden, error = self._forward(pixels)
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        back = (error @ self.weights[2].T) * (hidden > 0)
        return pixels.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)


def _shift(images, row, column):
    """Cut 8 by 8 pixels out of each image with its margin, and lay them in a row."""
    return images[:, row : row + 8, column : column + 8].reshape(len(images), 64)
