"""Makes a manager, from within, pass fault points at its own functions.

Each point is passed `before` and `after` the function; a manager's death between the two is a death
in the functions that it calls, which have points of their own.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import mpx.experiment
import mpx.store
from mpx.adapted_tuner import AdaptedTuner
from mpx.assessor_host import AssessorHost
from mpx.checkpoints import Checkpoints
from mpx.experiment import Experiment
from mpx.phases import Phases
from mpx.processes import find_by_environment, send_signal
from mpx.records import EXPERIMENT_MARK
from mpx.store import Store
from mpx.training_service import local
from mpx.trials import Trials
from mpx.tuner_host import TunerHost

# The point, and the method that passes it.
_METHODS = (
    ("turn", Experiment, "end_turn"),  # before: taken in, nothing of it on disk
    ("answers", Experiment, "on_answers"),  # before: the tuner answered, nothing of it on disk
    ("exit", Trials, "on_exit"),
    ("stop", Experiment, "on_stop"),
    ("commit", Store, "commit"),
    ("inside", Store, "_write_counts"),  # in the middle of a transaction
    ("close", Store, "close"),
    ("post", TunerHost, "post"),  # before: on disk, but the tuner will not be called
    ("call", TunerHost, "_run"),
    ("batch", AdaptedTuner, "generate_batch"),
    ("submit", AssessorHost, "post"),  # before: the assessor will not be called
    ("assessing", AssessorHost, "_run"),
    ("judged", Phases, "on_verdict"),  # before: the assessor answered, nothing of it on disk
    ("start", local.LocalService, "start"),
    ("pipes", local._LocalTrial, "_open_pipes"),
    ("kept", Checkpoints, "keep"),
    ("adopt", local.LocalService, "adopt"),
    ("dropped", local.LocalService, "remove_checkpoint"),  # before: on record as removed, and there
)
_FUNCTIONS = (
    ("sync", os, "fdatasync"),
    ("leave-wal", mpx.store, "_leave_wal_mode"),
)
# How the messages to a trial begin, and what their points are called.
_MESSAGES = {
    b'{"type":"ack"': "ack",
    b'{"type":"parameters"': "parameters",
    b'{"type":"no_more"': "no_more",
    b'{"type":"verdict"': "verdict",
    b'\n{"type":"welcome"': "welcome",
}
_PIECE = b"\n@mpx:"
# Often enough that managers which live for a second only save and load.
_RESULTS_PER_CHECKPOINT = 7


def install(points):
    """Put all points into this process's mpx."""
    for point, owner, name in (*_METHODS, *_FUNCTIONS):
        _surround(points, point, owner, name)
    _surround_sending(points)
    _surround_hearing(points)
    _surround_messages(points)
    _save_often(points)
    points.on_due = stop_trials


def _save_often(points):
    if hasattr(mpx.experiment, "_RESULTS_PER_CHECKPOINT"):
        mpx.experiment._RESULTS_PER_CHECKPOINT = _RESULTS_PER_CHECKPOINT
    else:
        points.missing("mpx.experiment._RESULTS_PER_CHECKPOINT")


def stop_trials():
    """Stop all trials' processes, so that they see neither the end of this manager nor its last word."""
    experiment = Path.cwd().name
    send_signal(find_by_environment(EXPERIMENT_MARK, experiment), signal.SIGSTOP)


def _surround(points, point, owner, name):
    original = getattr(owner, name, None)
    if original is None:
        points.missing(f"{owner.__name__}.{name}")
        return

    @functools.wraps(original)
    def surrounded(*args, **kwargs):
        points.passing(f"{point}:before")
        result = original(*args, **kwargs)
        points.passing(f"{point}:after")
        return result

    setattr(owner, name, surrounded)


def _surround_sending(points):
    """`ack`, `parameters`, …: before, within and after each message to a trial."""
    original = local._LocalTrial.send

    def send(trial, data):
        name = next((name for start, name in _MESSAGES.items() if data.startswith(start)), "error")
        points.passing(f"{name}:before")
        if points.is_due(f"within:{name}"):
            os.write(trial._stdin, data[: len(data) // 2])
            points.die(f"within:{name}")
        original(trial, data)
        points.passing(f"{name}:after")

    local._LocalTrial.send = send


def _surround_hearing(points):
    """`heard`: what a trial wrote is read and not taken in; `within:message`: half a message is."""
    original = Trials.on_output

    def on_output(trials, trial_id, data):
        points.passing("heard:before")
        original(trials, trial_id, data)
        if _ends_within(data):
            points.passing("within:message")

    Trials.on_output = on_output


def _ends_within(data):
    """Say whether the last line is a piece that others follow, or half a line."""
    _, piece, rest = data.rpartition(_PIECE)
    if not piece:
        return not data.endswith(b"\n")
    number, _, total = rest.partition(b" ")[0].partition(b"/")
    return number != total or not rest.endswith(b"\n")


def _surround_messages(points):
    """`partly`: one phase of a batch ends and others are open; `saved`: what a phase saved is recorded."""
    original = Phases.on_message

    def on_message(phases, trial, message):
        name = "message"
        if message["type"] == "checkpoint":
            name = "saved"
        elif message["type"] in ("final", "failed") and len(trial.open) > 1:
            name = "partly"
        points.passing(f"{name}:before")
        original(phases, trial, message)
        points.passing(f"{name}:after")

    Phases.on_message = on_message
