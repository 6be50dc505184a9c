"""The tuner: chooses what trials do, writes down every call, and brings its manager's fault points."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import hooks
import weights
from fault_points import FaultPoints
from witness import Witness, digest

import mpx

# A child that a tuner forks ends by itself, should nobody end it.
_CHILDS_LIFE = 120  # seconds
_SLOW = 0.05  # seconds that a choice takes while `slow` is there
# So many intermediate results are more than a trial holds before it waits for an acknowledgement.
_MANY = 1100
# How often a tuner that falls short does so, for a trial that runs.
_SHORT = 1 / 8
# And how many phases save something, where any do.
_SAVES = 1 / 8
# Of so many of those it goes on from any; what the others saved is in nobody's way.
_IN_USE = 4


class Chronicler(mpx.MultiPhaseTuner):
    """Chooses by chance and by all it was told before, so a replay in another order is seen.

    Args:
        directory: of the evidence.
        forks: whether to fork a child that outlives the manager.
        falls_short: at times there is nothing for a trial that runs, or less than it asks for.
        has_kin: at times a phase goes on from one that has a result, and phases save what they are for.
    """

    def __init__(self, directory, forks=False, falls_short=False, has_kin=False):
        self._directory = Path(directory)
        self._points = FaultPoints(directory, "manager")
        hooks.install(self._points)
        self._witness = Witness(self._directory / "calls.log")
        self._forks = forks
        self._falls_short = falls_short
        self._has_kin = has_kin
        self._history = []
        self._chain = ""
        self._trials = set()
        self._told, self._saved = [], []
        self._witness.say(os.getpid(), "life")

    def _note(self, *words):
        """Write down a call; `_chain` is a name for all calls so far, in their order."""
        line = " ".join(str(word) for word in words)
        self._history.append(line)
        self._chain = digest([self._chain, line])
        kind, number, *more = line.split(" ")
        if kind == "ask":
            self._trials.add(more[0])
        elif kind == "tell":
            self._told.append(int(number))
        elif kind == "copy":
            self._saved.append(int(number))
        self._witness.say(os.getpid(), line)

    def generate_parameters(self, parameter_id, trial_job_id=None):
        self._points.passing("ask:before")
        self._fork_once()
        self._take_time()
        is_running = trial_job_id in self._trials
        self._note("ask", parameter_id, trial_job_id)
        if is_running and self._is_short():
            return None
        found = self._choose(parameter_id)
        self._points.passing("ask:after")
        return found

    def _take_time(self):
        if (self._directory / "slow").exists():
            time.sleep(_SLOW)

    def _is_short(self):
        return self._falls_short and random.random() < _SHORT

    def _choose(self, parameter_id):
        self._points.passing("choose")
        saves = random.randint(1, 2) if self._has_kin and random.random() < _SAVES else 0
        parameters = {"n": parameter_id, "chain": self._chain, **_chosen(), "saves": saves}
        self._note("answer", parameter_id, digest(parameters))
        if self._has_kin and self._told and random.random() < 1 / 3:
            unsaved = [number for number in self._told if number not in self._saved]
            fresh = self.checkpoints_in_use()
            parent = random.choice(random.choice([fresh or unsaved, unsaved or fresh]))
            self._note("kin", parameter_id, parent)
            return mpx.Continued(parameters, parent)
        return parameters

    def receive_trial_result(
        self, parameter_id, parameters, value, trial_job_id=None, checkpoint=None
    ):
        self._points.passing("tell:before")
        right = "right" if parameters["n"] == parameter_id else "wrong"
        self._note("tell", parameter_id, trial_job_id, digest(value), right)
        if checkpoint is not None:
            self._note(
                "copy", parameter_id, trial_job_id, weights.name_once(checkpoint, parameter_id)
            )
        self._points.passing("tell:after")

    def checkpoints_in_use(self):
        return self._saved[-_IN_USE:]

    def phase_end(self, parameter_id, success, trial_job_id=None):
        self._points.passing("end")
        self._note("end", parameter_id, trial_job_id, success)

    def trial_end(self, parameter_id, success, trial_job_id=None):
        self._points.passing("gone")
        self._note("gone", parameter_id, trial_job_id, success)

    def _fork_once(self):
        if not self._forks:
            return
        self._forks = False
        child = os.fork()
        if child:
            self._witness.say(os.getpid(), "fork", child)
            return
        ends = time.monotonic() + _CHILDS_LIFE
        while self._directory.exists() and time.monotonic() < ends:
            time.sleep(0.2)
        os._exit(0)


class Keeper(Chronicler):
    """Keeps checkpoints, so that no replay begins at the beginning."""

    def save_checkpoint(self):
        self._points.passing("checkpoint:before")
        path = Path(self.get_checkpoint_path())
        (path / "chain").write_text(self._chain)
        self._points.passing("checkpoint:within")
        (path / "history").write_text("\n".join(self._history))
        self._points.passing("checkpoint:after")

    def load_checkpoint(self):
        path = Path(self.get_checkpoint_path())
        for line in (path / "history").read_text().splitlines():
            self._note(line)
        whole = (path / "chain").read_text() == self._chain
        self._witness.say(os.getpid(), "loaded", len(self._history), "right" if whole else "wrong")


class Together(Chronicler):
    """Chooses for several phases in one call."""

    def generate_multiple_parameters(self, parameter_id_list, trial_job_ids, trial_job_id=None):
        self._fork_once()
        self._take_time()
        self._note("batch", ",".join(map(str, parameter_id_list)), trial_job_id)
        for parameter_id, trial in zip(parameter_id_list, trial_job_ids, strict=True):
            self._note("ask", parameter_id, trial)
        count = len(parameter_id_list)
        if self._is_short():
            # None for a trial that is to begin would be the end, were it the only one.
            count = random.randint(int(trial_job_id is None), count)
        found = []
        for parameter_id in parameter_id_list[:count]:
            found.append(self._choose(parameter_id))
        if not found and random.random() < 1 / 2:
            raise mpx.NoMoreTrialError
        return found


class TogetherKeeper(Together, Keeper):
    """Does both."""


def _chosen():
    """Return what a trial is to do: mostly little, at times what is too long for one write."""
    steps = random.choice([0, 0, 0, 1, 2, 20]) if random.random() < 0.99 else _MANY
    return {
        "seconds": round(random.choice([0.01, 0.02, 0.05, 0.05, 0.3]) * random.random(), 4),
        "intermediates": steps,
        "step_size": _size() if steps < _MANY and random.random() < 0.1 else 0,
        "size": _size(),
        "fails": random.random() < 0.03,
        "padding": "p" * _size(),
    }


def _size():
    """Return the length of a text: in one case of eight 5 to 300 KB."""
    return int(5000 * 60 ** random.random()) if random.random() < 1 / 8 else random.randrange(60)
