"""A policy over architectures, trained by REINFORCE.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
learning", Machine Learning 8 (1992); its use for architectures: Pham et al., "Efficient Neural
Architecture Search via Parameter Sharing", ICML 2018.
"""

import numpy as np


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


class Controller:
    """Draws architectures, and makes those likelier that earned more than the baseline.

    An architecture is an int32 array: of each node its input, then its operation. Each node's input
    is drawn first, and its operation given that input; nodes are independent of each other.
    """

    def __init__(self, flags):
        self.flags = flags
        self.random = np.random.RandomState(flags.controller_seed)
        self.input_logits = np.zeros((flags.nodes, flags.inputs))
        self.operation_logits = np.zeros((flags.nodes, flags.inputs, flags.operations))

    def sample(self, count):
        """Return so many architectures."""
        nodes = np.arange(self.flags.nodes)
        architectures = np.empty((count, 2 * len(nodes)), np.int32)
        inputs = self._draw(np.broadcast_to(self.input_logits, (count, *self.input_logits.shape)))
        architectures[:, 0::2] = inputs
        architectures[:, 1::2] = self._draw(self.operation_logits[nodes, inputs])
        return list(architectures)

    def train(self, architectures, rewards):
        """Make one step up the gradient of the expected reward; return the mean reward."""
        architectures, rewards = np.array(architectures), np.array(rewards)
        # The baseline is this phase's alone: a new trial's untrained weights earn less on everything.
        baseline = rewards.mean()
        step = self.flags.controller_lr * (rewards - baseline)[:, None, None] / len(rewards)

        nodes = np.arange(self.flags.nodes)
        inputs, operations = architectures[:, 0::2], architectures[:, 1::2]
        to_inputs = np.eye(self.flags.inputs)[inputs] - softmax(self.input_logits)
        to_operations = np.eye(self.flags.operations)[operations]
        to_operations -= softmax(self.operation_logits)[nodes, inputs]
        self.input_logits += (step * to_inputs).sum(axis=0)
        np.add.at(self.operation_logits, (nodes, inputs), step * to_operations)
        return baseline

    def _draw(self, logits):
        """Draw one choice of the last axis for all the others."""
        bounds = softmax(logits).cumsum(axis=-1)
        thrown = self.random.random_sample((*bounds.shape[:-1], 1))
        return (thrown > bounds[..., :-1]).sum(axis=-1)
