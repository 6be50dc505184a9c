"""NNI's `nni.common`: loggers, and how a dispatcher is to run."""

from __future__ import annotations

import logging
import sys

_FORMAT = "[%(asctime)s] %(levelname)s (%(name)s) %(message)s"
log_level_map = {
    "fatal": logging.FATAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": 0,
}

_multi_thread = False
_multi_phase = False


def init_logger(logger_file_path: str, log_level_name: str = "info") -> None:
    """Have everything that is logged written to a file as well. Prints stay where they are.

    Args:
        logger_file_path: the file; it is appended to.
        log_level_name: one of the keys of `log_level_map`; any other is taken for `info`.
    """
    handler = logging.FileHandler(logger_file_path)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(log_level_map.get(log_level_name, logging.INFO))


def init_standalone_logger() -> None:
    """Have what the logger `nni` is told printed on stdout."""
    logger = logging.getLogger("nni")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def enable_multi_thread() -> None:
    """Have a dispatcher that is constructed later handle each command in a thread of its own."""
    global _multi_thread
    _multi_thread = True


def multi_thread_enabled() -> bool:
    """Say whether `enable_multi_thread` was called."""
    return _multi_thread


def enable_multi_phase() -> None:
    """Have `multi_phase_enabled` say so."""
    global _multi_phase
    _multi_phase = True


def multi_phase_enabled() -> bool:
    """Say whether `enable_multi_phase` was called."""
    return _multi_phase
