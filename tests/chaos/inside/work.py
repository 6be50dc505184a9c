"""What every trial does for its parameters, whatever way it speaks."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from witness import Witness

DIRECTORY = Path(os.environ["CHAOS_DIRECTORY"])
TRIAL = os.environ["MPX_TRIAL_ID"]
_HOLD, _HURRY = DIRECTORY / "hold", DIRECTORY / "hurry"
_LOOK = 0.005  # seconds


def witness_of_this_process():
    return Witness(DIRECTORY / "trials" / f"{TRIAL}-{os.getpid()}.log")


def compute(seconds):
    """Take time, as long as `hold` is there, and none when `hurry` is."""
    ends = time.monotonic() + seconds
    while _HOLD.exists() or (time.monotonic() < ends and not _HURRY.exists()):
        time.sleep(_LOOK)


def result(number, size):
    """Return a value that no other phase has, nor this one in another process."""
    return {
        "default": round(random.random(), 9),
        "n": number,
        "trial": TRIAL,
        "pid": os.getpid(),
        "text": "r" * size,
    }
