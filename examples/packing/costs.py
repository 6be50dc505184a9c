"""What a trial costs, for the tables of `measure.py`; a trial of your own needs none of it."""

import json
import os
import resource
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import torch


class Costs:
    """Seconds and memory of one trial, for `measure.py`.

    Args:
        device: where the networks are.
    """

    def __init__(self, device):
        self._device = device
        self._seconds = defaultdict(list)

    @contextmanager
    def of(self, work):
        """Note the time of a block."""
        began = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._seconds[work].append(time.perf_counter() - began)

    def write(self):
        """Write `costs.json`: the seconds of each block, of the CPU in all, and memory in MB.

        `memory` is the most that this process ever had, `device_memory` what all processes have on the
        device now, with what torch keeps there for later. By hand, with no `MPX_OUTPUT_DIR`, nothing is
        written.
        """
        directory = os.environ.get("MPX_OUTPUT_DIR")
        if directory is None:
            return
        usage = resource.getrusage(resource.RUSAGE_SELF)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss
        free, total = torch.cuda.mem_get_info() if self._device.type == "cuda" else (0, 0)
        costs = {
            **self._seconds,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": usage.ru_maxrss * unit / 1e6,
            "device_memory": (total - free) / 1e6,
        }
        Path(directory, "costs.json").write_text(json.dumps(costs))
