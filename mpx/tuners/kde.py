"""A density of points, estimated by kernels."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, pstdev

from mpx.tuners.encoding import Dimension, Point

_NORMAL = NormalDist()
_TAIL = 1e-12


class KernelDensity:
    """A product kernel at each of some points, and the uniform density as one more kernel.

    Along a share the kernel is a normal density, cut to 0 ... 1; its bandwidth follows the normal
    reference rule, 1.06 s n^(-1/(4 + d)) for n points in d dimensions with standard deviation s. For a
    choice of c options it is Aitchison and Aitken's, with (c - 1)/(n + c) for the other options.

    Source: Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at
    Scale", ICML 2018, section 4.1. The bandwidth of choices and the uniform density are those of
    Watanabe, "Tree-Structured Parzen Estimator", arXiv 2304.11127, section 3.3: without them, a choice
    of many options learns nothing, and the ratio of two densities is greatest far from all points.

    Args:
        dimensions: at least these each point has.
        points: one at least.
        least_bandwidth: no share has a smaller one.
    """

    def __init__(
        self, dimensions: Sequence[Dimension], points: Sequence[Point], least_bandwidth: float
    ) -> None:
        self._dimensions = dimensions
        self._points = [self._row(point) for point in points]
        scale = 1.06 * len(points) ** (-1 / (4 + len(dimensions)))
        columns = zip(*self._points, strict=True)
        self._bandwidths = [
            max(least_bandwidth, scale * pstdev(column))
            if dimension.size is None or dimension.ordered
            else (dimension.size - 1) / (len(points) + dimension.size)
            for dimension, column in zip(dimensions, columns, strict=True)
        ]
        self._shares = [
            (index, 1 / self._bandwidths[index])
            for index, dimension in enumerate(dimensions)
            if dimension.ordered
        ]
        self._options = [
            (
                index,
                1 - self._bandwidths[index],
                self._bandwidths[index] / max(1, dimension.size - 1),
            )
            for index, dimension in enumerate(dimensions)
            if dimension.size is not None and not dimension.ordered
        ]
        self._heights = [self._height(row) for row in self._points]
        self._uniform: float = math.prod(
            1 / dimension.size
            for dimension in dimensions
            if dimension.size is not None and not dimension.ordered
        )

    def density(self, point: Point) -> float:
        """Return the density at a point: of shares, times the probability of options."""
        row = self._row(point)
        total = self._uniform
        for known, height in zip(self._points, self._heights, strict=True):
            squares, weight = 0.0, height
            for index, steepness in self._shares:
                distance = (row[index] - known[index]) * steepness
                squares += distance * distance
            for index, same, other in self._options:
                weight *= same if row[index] == known[index] else other
            total += weight * math.exp(-squares / 2)
        return total / (len(self._points) + 1)

    def draw(self, rng: random.Random, factor: float) -> Point:
        """Draw near one of the points.

        Args:
            rng: where chance comes from.
            factor: by so much the bandwidths of shares are wider.
        """
        centre = rng.choice(self._points)
        return {
            dimension.name: _draw_near(
                centre[index], dimension, self._bandwidths[index], factor, rng
            )
            for index, dimension in enumerate(self._dimensions)
        }

    def _row(self, point: Point) -> list[float]:
        """Return what the kernels take: shares, and indices of options."""
        return [
            dimension.share(point[dimension.name]) if dimension.ordered else point[dimension.name]
            for dimension in self._dimensions
        ]

    def _height(self, row: list[float]) -> float:
        """Return the density of a point's own kernel at that point, options aside."""
        height = 1.0
        for index, steepness in self._shares:
            low, high = _edges(row[index], 1 / steepness)
            height *= steepness / (math.sqrt(2 * math.pi) * (high - low))
        return height


def _edges(centre: float, width: float) -> tuple[float, float]:
    """Return the quantiles of a normal distribution at which shares end."""
    return _NORMAL.cdf(-centre / width), _NORMAL.cdf((1 - centre) / width)


def _draw_near(
    centre: float, dimension: Dimension, bandwidth: float, factor: float, rng: random.Random
) -> float:
    if not dimension.ordered:
        return dimension.draw(rng) if rng.random() < bandwidth else centre
    width = bandwidth * factor
    quantile = min(max(rng.uniform(*_edges(centre, width)), _TAIL), 1 - _TAIL)
    return dimension.coordinate(min(max(centre + width * _NORMAL.inv_cdf(quantile), 0.0), 1.0))
