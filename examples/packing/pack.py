"""Networks of one shape that are trained together."""

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from network import minibatches


class Pack:
    """Networks of one shape: the weights of all are one tensor for each layer, with a row for each network.

    So a step of training is as many calls of torch as for a single network.

    Args:
        networks: modules of one shape, on one device.
    """

    def __init__(self, networks):
        self._module = networks[0]  # of which `functional_call` takes all but the weights
        self._weights, _ = stack_module_state(networks)
        self._forward = vmap(self._scores, in_dims=(0, None))
        self._losses = vmap(self._loss, in_dims=(0, 0, None, None))

    def train(self, part, epochs, learning_rate, momentum, weight_decay, label_smoothing):
        """Train by stochastic gradient descent as `torch.optim.SGD` does it.

        Args:
            part: the digits to learn from.
            epochs: how often.
            learning_rate: and the others: tensors with a value for each network, (n,).
        """
        layers = list(self._weights.values())
        steps = [torch.zeros_like(layer) for layer in layers]
        for pixels, labels in minibatches(part, epochs):
            losses = self._losses(self._weights, label_smoothing, pixels, labels)
            # Networks share no weights: the gradient of the sum has each one's own.
            gradients = torch.autograd.grad(losses.sum(), layers)
            with torch.no_grad():
                for layer, step, gradient in zip(layers, steps, gradients, strict=True):
                    gradient += _like(layer, weight_decay) * layer
                    step.mul_(_like(layer, momentum)).add_(gradient)
                    layer -= _like(layer, learning_rate) * step

    @torch.no_grad()
    def evaluate(self, part):
        """Return the accuracy and the cross-entropy of each network, as two lists."""
        scores = self._forward(self._weights, part.pixels)  # (n, digits, 10)
        right = scores.argmax(dim=-1) == part.labels
        losses = vmap(cross_entropy, in_dims=(0, None))(scores, part.labels)
        return right.float().mean(dim=-1).tolist(), losses.tolist()

    def _scores(self, weights, pixels):
        return functional_call(self._module, weights, pixels)

    def _loss(self, weights, label_smoothing, pixels, labels):
        """`cross_entropy` takes a number for `label_smoothing`; here it is a tensor."""
        odds = log_softmax(self._scores(weights, pixels), dim=-1)
        return torch.lerp(nll_loss(odds, labels), -odds.mean(), label_smoothing)


def _like(layer, values):
    """Return one value for each network in a shape that multiplies its row of a layer."""
    return values.reshape(-1, *[1] * (layer.ndim - 1))
