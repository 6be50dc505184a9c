"""One trial: it looks for the lowest point of a valley, and keeps its place between phases."""

import random

import mpx


def height(point):
    """Rosenbrock's valley: long, bent, nearly flat. Its lowest point is (1, 1), at height 0."""
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


def explore(place, step):
    """Try twenty steps of about this length, and take those that lead down."""
    for _ in range(20):
        there = [coordinate + random.gauss(0, step) for coordinate in place]
        place = min(place, there, key=height)
    return place


random.seed(mpx.get_sequence_id())  # each trial sets out from elsewhere
place = [random.uniform(-2, 2), random.uniform(-2, 2)]

for phase in mpx.phases():  # until there are no more parameters
    with phase:  # an exception in here would mark the phase FAILED
        for _ in range(5):
            place = explore(place, phase.parameters["step"])
            phase.report_intermediate(height(place))
        phase.report_final(height(place))
