"""One trial: what trial.c says, in Python."""

import sys

import mpx

# Of the flame, in quarters of the plate.
PLACES = [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (2, 1)]
R = 50
TOLERANCE = 1e-8
MOST_SWEEPS = 2000


class Plate:
    """A square plate with cold edges.

    Args:
        size: cells in a row, one less than a multiple of 4.
    """

    def __init__(self, size):
        self.size = size
        self.width = size + 2
        self.u = [0.0] * self.width**2

    def step(self, place, omega, order):
        """Compute a time step; return the sweeps it took.

        Raises:
            ValueError: there were too many.
        """
        heat = self.u.copy()
        row, column = (quarters * (self.size + 1) // 4 for quarters in place)
        heat[row * self.width + column] += 1
        for sweeps in range(1, MOST_SWEEPS + 1):
            if self._sweep(heat, omega, 2 if order == "red_black" else 1) <= TOLERANCE:
                return sweeps
        raise ValueError("too many sweeps")

    def centre(self):
        """Return the temperature in the middle."""
        return self.u[(self.size + 1) // 2 * (self.width + 1)]

    def _sweep(self, heat, omega, colours):
        u, width, worst = self.u, self.width, 0.0
        for colour in range(colours):
            for row in range(1, self.size + 1):
                first = 1 + (row + colour) % colours
                for at in range(row * width + first, row * width + self.size + 1, colours):
                    neighbours = u[at - width] + u[at - 1] + u[at + 1] + u[at + width]
                    off = (heat[at] + R * neighbours) / (1 + 4 * R) - u[at]
                    u[at] += omega * off
                    if abs(off) > worst:
                        worst = abs(off)
        return worst


def turn(plate, phase):
    """Compute a turn of the flame and report it; return whether it came to its end."""
    omega, order = phase.parameters["omega"], phase.parameters["order"]
    if not 0 < omega < 2 or order not in ("lexicographic", "red_black"):
        raise ValueError("omega must be between 0 and 2, and order lexicographic or red_black")
    total = 0
    for place in PLACES:
        sweeps = plate.step(place, omega, order)
        total += sweeps
        if phase.report_intermediate(sweeps):
            return False
    phase.report_final({"default": total / len(PLACES), "centre": plate.centre()})
    return True


def main(size):
    """Heat the plate, turn after turn; one without a result leaves it as it was."""
    plate = Plate(size)
    for phase in mpx.phases(on_error="continue"):
        before, ended = plate.u.copy(), False
        with phase:
            ended = turn(plate, phase)
        if not ended:
            plate.u = before


if __name__ == "__main__":
    main(int(sys.argv[1]))
