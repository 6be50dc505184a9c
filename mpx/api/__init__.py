"""The library behind the command line: start, look at, end and export experiments.

Nothing here prints or exits. What a function cannot do it says by an exception of `mpx.errors`.
"""

from __future__ import annotations

from mpx.api.delivering import Delivery, Taken
from mpx.api.enqueuing import doubts, enqueue, read_parameters
from mpx.api.exporting import FORMATS, export, export_to_file, format_of, write_array
from mpx.api.home import delete, describe, find, home
from mpx.api.importing import Results, import_results, read_results
from mpx.api.json_forms import dumps, experiment_json, phase_json, trial_json
from mpx.api.logs import Log, follow, read, tail
from mpx.api.reading import (
    Detail,
    RunningTrial,
    detail,
    find_trial,
    has_lineage,
    lineage,
    list_experiments,
    phases,
    show,
    trial_logs,
    trials,
)
from mpx.api.resuming import resume
from mpx.api.starting import Launch, create, launch
from mpx.api.stopping import (
    Stopped,
    kill,
    running_experiments,
    stop,
    the_running_experiment,
    wait,
)

__all__ = [
    "FORMATS",
    "Delivery",
    "Detail",
    "Launch",
    "Log",
    "Results",
    "RunningTrial",
    "Stopped",
    "Taken",
    "create",
    "delete",
    "describe",
    "detail",
    "doubts",
    "dumps",
    "enqueue",
    "experiment_json",
    "export",
    "export_to_file",
    "find",
    "find_trial",
    "follow",
    "format_of",
    "has_lineage",
    "home",
    "import_results",
    "kill",
    "launch",
    "lineage",
    "list_experiments",
    "phase_json",
    "phases",
    "read",
    "read_parameters",
    "read_results",
    "resume",
    "running_experiments",
    "show",
    "stop",
    "tail",
    "the_running_experiment",
    "trial_json",
    "trial_logs",
    "trials",
    "wait",
    "write_array",
]
