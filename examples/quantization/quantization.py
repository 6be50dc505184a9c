"""Weights of few bits, simulated: rounded as they would be, and kept as the floats that they stand for."""

import copy

from torch import nn
from torch.nn.utils.parametrize import register_parametrization

FLOAT = 32  # bits of what is not quantised
LEAST = 2  # bits: with 1 there would be no step beside 0


class Rounded(nn.Module):
    """Weights on a grid that is symmetric about 0, with a step of its own for each channel of the output.

    Gradients pass as if nothing had been rounded. *Source:* Krishnamoorthi, arXiv 1806.08342, section 2.

    Args:
        bits: of a weight; 2 leave -1, 0 and 1 steps.
    """

    def __init__(self, bits):
        super().__init__()
        self._most = 2 ** (bits - 1) - 1  # steps

    def forward(self, weights):
        """Return the weights that are left, (channels, ...) as they came."""
        greatest = weights.detach().abs().flatten(1).amax(dim=1).clamp(min=1e-12)
        step = (greatest / self._most).reshape(-1, *[1] * (weights.ndim - 1))
        return weights + ((weights / step).round() * step - weights).detach()


def check_widths(network, widths):
    """Check that a network can be quantised so.

    Args:
        network: as below.
        widths: as below.

    Raises:
        ValueError: there is no such layer with weights, or its weights cannot have so many bits.
    """
    layers = [name for name, layer in network.named_children() if hasattr(layer, "weight")]
    for name, bits in widths.items():
        if name not in layers:
            raise ValueError(f"no layer {name!r} with weights; the network has {', '.join(layers)}")
        if not isinstance(bits, int) or bits < LEAST:
            raise ValueError(f"{name}: {bits!r} bits; allowed are whole numbers, at least {LEAST}")


def quantized(network, widths):
    """Return a copy of a network with rounded weights.

    Args:
        network: an `nn.Sequential` of named layers.
        widths: the bits of a weight, by the layer's name.
    """
    network = copy.deepcopy(network)
    for name, bits in widths.items():
        register_parametrization(network.get_submodule(name), "weight", Rounded(bits))
    return network


def size(network, widths):
    """Return the bytes that the weights, their steps and the biases would take.

    Args:
        network: as it is before it is quantised.
        widths: as above; layers that are not in it are not quantised.
    """
    bits = FLOAT * sum(parameter.numel() for parameter in network.parameters())
    for name, width in widths.items():
        weights = network.get_submodule(name).weight
        bits += (width - FLOAT) * weights.numel() + FLOAT * len(weights)
    return bits / 8
