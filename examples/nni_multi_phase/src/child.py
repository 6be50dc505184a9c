"""One network that all architectures are parts of, so that they share its weights."""

import numpy as np

from src.task import INPUTS, NODES, OPERATIONS, load

NUMBER_OF_NODE = np.arange(NODES)


class Child:
    """The network: a weight for each node, input and operation."""

    def __init__(self, learning_rate, batch_size, seed):
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weights = np.zeros((NODES, INPUTS, len(OPERATIONS)))
        self.train_features, self.train_targets = load(points=2048, seed=seed)
        self.valid_features, self.valid_targets = load(points=256, seed=seed + 1000)
        self.batches = np.random.RandomState(seed)

    def train(self, architecture):
        """Make one step of gradient descent, with the weights that this architecture uses."""
        used = (NUMBER_OF_NODE, architecture[0::2], architecture[1::2])
        start = self.batches.randint(len(self.train_targets) - self.batch_size)
        batch = slice(start, start + self.batch_size)
        features = self.train_features[(*used, batch)]
        errors = self.weights[used] @ features - self.train_targets[batch]
        self.weights[used] -= self.learning_rate * (features @ errors) / self.batch_size

    def reward(self, architecture):
        """Return the part of the validation targets' variance that this architecture explains."""
        used = (NUMBER_OF_NODE, architecture[0::2], architecture[1::2])
        errors = self.weights[used] @ self.valid_features[used] - self.valid_targets
        return np.float32(1 - np.mean(errors**2))
