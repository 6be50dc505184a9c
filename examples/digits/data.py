"""scikit-learn's handwritten digits, in three parts."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits


class Part(NamedTuple):
    """Some of the digits: images of 8 by 8 pixels with a margin of one pixel, and what they show."""

    images: np.ndarray  # (n, 10, 10), 0 to 1
    labels: np.ndarray  # (n,), 0 to 9


def load_parts():
    """Return the parts for training (3/5), for validation and for the test (1/5 each).

    They are the same in every trial and every run: only so are phases comparable, and only so has no
    phase of any trial seen the test part.
    """
    digits = load_digits()
    images = np.pad(digits.images.astype(np.float32) / 16, ((0, 0), (1, 1), (1, 1)))
    order = np.random.default_rng(0).permutation(len(images))
    fifth = len(images) // 5
    test, validation, train = order[:fifth], order[fifth : 2 * fifth], order[2 * fifth :]
    return [Part(images[part], digits.target[part]) for part in (train, validation, test)]
