"""The images: Fashion-MNIST from the files of a Debian package, or scikit-learn's digits.

Sources: Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv 1708.07747; Alpaydin and Kaynak, "Optical
Recognition of Handwritten Digits", as scikit-learn ships them.
"""

import gzip
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

DIGITS = "digits"  # the word that stands for scikit-learn's, where a folder is asked for
CLASSES = 10


class Part(NamedTuple):
    """Images, and what they show."""

    images: torch.Tensor  # (n, 1, height, width), float32, normalised
    labels: torch.Tensor  # (n,), int64

    def draw(self, n):
        """Return a minibatch of `n`, at random with replacement."""
        rows = torch.randint(len(self.labels), (n,), device=self.labels.device)
        return Part(self.images[rows], self.labels[rows])

    def chunks(self, n):
        """Return all of it, `n` at a time."""
        return map(Part, self.images.split(n), self.labels.split(n))

    def shuffled(self):
        """Return it in another order."""
        rows = torch.randperm(len(self.labels), device=self.labels.device)
        return Part(self.images[rows], self.labels[rows])

    def to(self, device):
        """Return it on another device."""
        return Part(self.images.to(device), self.labels.to(device))


class Data(NamedTuple):
    """What weights are trained on, what architectures are chosen by, and what neither has seen."""

    train: Part
    validation: Part
    test: Part


def load(source):
    """Return the same parts in every trial and every run.

    Args:
        source: the folder with Fashion-MNIST's four files (50,000 images to train with, 10,000 to
            validate, and the test set's 10,000), or "digits" (1,000, 397 and 400).

    Raises:
        SystemExit: a file is missing.
    """
    if source == DIGITS:
        images, labels = _digits()
        parts = images.split((1000, 397, 400)), labels.split((1000, 397, 400))
    else:
        (images, labels), test = (_fashion_mnist(Path(source), name) for name in ("train", "t10k"))
        parts = (*images.split((50000, 10000)), test[0]), (*labels.split((50000, 10000)), test[1])
    (train, *_), _ = parts
    mean, deviation = train.mean(), train.std()
    return Data(
        *(Part((each - mean) / deviation, shown) for each, shown in zip(*parts, strict=True))
    )


def located(source):
    """Return the same source, a folder by its whole path."""
    return source if source == DIGITS else str(Path(source).resolve())


def _digits():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = torch.tensor(pixels[order], dtype=torch.float32).reshape(-1, 1, 8, 8)
    return images, torch.tensor(labels[order])


def _fashion_mnist(folder, name):
    images = _read(folder / f"{name}-images-idx3-ubyte.gz", header=16).reshape(-1, 1, 28, 28)
    labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", header=8)
    return torch.tensor(images, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)


def _read(file, header):
    if not file.exists():
        raise SystemExit(
            f"{file}: there is no such file. Fashion-MNIST comes with Debian's and Ubuntu's package "
            "dataset-fashion-mnist (apt-get install dataset-fashion-mnist), in "
            "/usr/share/datasets/fashion-mnist. If the files are elsewhere, put their folder into the "
            "configuration's trial.command; the word digits there means scikit-learn's digits, which "
            "need no files"
        )
    with gzip.open(file) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)
