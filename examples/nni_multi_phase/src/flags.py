"""A trial's flags, read from the command line when this module is imported."""

import argparse

_parser = argparse.ArgumentParser()
_parser.add_argument("--num_epochs", type=int, required=True, help="phases")
_parser.add_argument("--batch_size", type=int, required=True)
_parser.add_argument("--child_lr", type=float, required=True)

FLAGS = _parser.parse_args()
