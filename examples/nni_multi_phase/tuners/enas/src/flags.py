"""The controller's flags, read from the command line when this module is imported."""

import argparse
import sys

_parser = argparse.ArgumentParser()
_parser.add_argument("--architectures", type=int, default=300, help="in one phase")
_parser.add_argument("--nodes", type=int, default=6, help="of an architecture")
_parser.add_argument("--inputs", type=int, default=2, help="that a node chooses from")
_parser.add_argument("--operations", type=int, default=4, help="that a node chooses from")
_parser.add_argument("--controller_lr", type=float, default=20.0)
_parser.add_argument("--controller_seed", type=int, default=1)

FLAGS, _unknown = _parser.parse_known_args(sys.argv[1:])
if _unknown:
    raise ValueError(f"unknown flags: {' '.join(_unknown)}")
