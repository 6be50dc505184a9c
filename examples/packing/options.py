"""The arguments of both trials."""

import argparse

import torch


def read_options(description):
    """Return the arguments that a trial was started with."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--together", type=int, default=64, help="networks to train at a time")
    parser.add_argument("--epochs", type=int, default=40, help="for how many each is trained")
    parser.add_argument("--width", type=int, default=32, help="units in a hidden layer")
    parser.add_argument("--nudge", type=float, default=0, help="added to a bias before training")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=best, help=f"here: {best}")
    return parser.parse_args()
