"""A tuner that lowers the bit widths of a network, one layer at a time."""

from itertools import chain, combinations
from operator import itemgetter
from typing import NamedTuple

import mpx

LEAST = 2  # bits of a weight
NOISE = 4  # times the power of the rounding errors, for each bit less


class Result(NamedTuple):
    """What a phase found of the widths of all layers."""

    widths: dict
    value: float  # the more the better
    cross_entropy: float
    size: float  # bytes


class OneLayerAtATime(mpx.MultiPhaseTuner):
    """Starts from the greatest widths and lowers, each time, the layer that is likely to bear it best.

    What a layer bears, the last phases tell: by how much the cross-entropy rose when it was lowered, and
    how many bytes that saved. Each phase starts from the best one so far. Where no layer can be lowered
    without a worse result, one is raised by a step so that one or two others can be lowered.

    The trial reports `default` (what to maximise), `cross_entropy` and `size`.
    """

    def __init__(self):
        self._options = {}  # of each layer: its widths, the greatest first
        self._best = None
        self._tried = set()
        self._starts = {}  # parameter_id of an open phase → the best result when it was chosen
        self._rises = {}  # (layer, width) → by how much the step to it raised the cross-entropy
        self._bytes_per_bit = {}  # of each layer

    def update_search_space(self, search_space):
        """Take the widths that each layer may have.

        Raises:
            ValueError: a layer has something else than a choice of bits.
        """
        for layer, choice in search_space.items():
            widths = choice.get("_value")
            bits = isinstance(widths, list) and all(isinstance(width, int) for width in widths)
            if choice.get("_type") != "choice" or not bits or min(widths, default=0) < LEAST:
                raise ValueError(
                    f"searchSpace.{layer}: found {choice}; OneLayerAtATime takes a choice of bits,"
                    f" whole numbers from {LEAST} on: {{_type: choice, _value: [2, 3, 4, 6, 8]}}"
                )
        self._options = {
            layer: sorted(choice["_value"], reverse=True) for layer, choice in search_space.items()
        }

    def generate_parameters(self, parameter_id, trial_job_id=None):
        """Return the next widths; there are no more where none is left that promises anything."""
        for widths in self._candidates():
            key = tuple(widths.values())
            if key not in self._tried:
                self._tried.add(key)
                self._starts[parameter_id] = self._best
                return widths
        raise mpx.NoMoreTrialError

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        """Learn what the step to these widths did, and go on from them if they are the best."""
        result = Result(parameters, value["default"], value["cross_entropy"], value["size"])
        start = self._starts.pop(parameter_id, None)
        if start is not None:
            self._learn(start, result)
        if self._best is None or result.value > self._best.value:
            self._best = result

    def _learn(self, start, end):
        changed = [layer for layer, width in end.widths.items() if width != start.widths[layer]]
        if len(changed) == 1:  # of several nobody knows which one it was
            (layer,) = changed
            width = end.widths[layer]
            self._rises[layer, width] = end.cross_entropy - start.cross_entropy
            self._bytes_per_bit[layer] = (start.size - end.size) / (start.widths[layer] - width)

    def _candidates(self):
        """Yield widths to try, the most promising first."""
        greatest = {layer: options[0] for layer, options in self._options.items()}
        yield greatest
        now = self._best.widths if self._best else greatest
        lower = {layer: self._beside(layer, width, +1) for layer, width in now.items()}
        higher = {layer: self._beside(layer, width, -1) for layer, width in now.items()}
        lower, higher = (
            {layer: width for layer, width in widths.items() if width is not None}
            for widths in (lower, higher)
        )

        def strain(layer):
            saved = self._bytes(layer, now[layer], lower[layer])
            return self._rise(layer, lower[layer]) / saved if saved else float("-inf")

        for layer in sorted(lower, key=strain):
            yield now | {layer: lower[layer]}
        yield from self._exchanges(now, lower, higher)

    def _exchanges(self, now, lower, higher):
        """Return widths that save bytes, with one layer raised and one or two lowered."""
        found = []
        for up in higher:
            others = [layer for layer in lower if layer != up]
            for down in chain(combinations(others, 1), combinations(others, 2)):
                rise = sum(self._rise(layer, lower[layer]) for layer in down)
                saved = sum(self._bytes(layer, now[layer], lower[layer]) for layer in down)
                if saved > self._bytes(up, higher[up], now[up]):
                    widths = now | {up: higher[up]} | {layer: lower[layer] for layer in down}
                    found.append((rise - self._rise(up, now[up]), widths))
        return [widths for _, widths in sorted(found, key=itemgetter(0))]

    def _rise(self, layer, width):
        """Return by how much the step down to a width raises the cross-entropy, as far as is known."""
        if (layer, width) in self._rises:
            return self._rises[layer, width]
        above = self._beside(layer, width, -1)
        return NOISE * max(self._rises.get((layer, above), 0), 0)

    def _bytes(self, layer, width, lower):
        """Return how many bytes the step from a width to a lower one saves, 0 if that is not known."""
        return self._bytes_per_bit.get(layer, 0) * (width - lower)

    def _beside(self, layer, width, steps):
        """Return the width so many steps below another one, None if there is none."""
        at = self._options[layer].index(width) + steps
        return self._options[layer][at] if 0 <= at < len(self._options[layer]) else None
