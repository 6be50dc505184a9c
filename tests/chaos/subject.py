"""One experiment, and all that is done to it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from mpx.api.home import manager_of
from mpx.api.reading import show
from mpx.processes import find_by_environment, send_signal, start_of
from mpx.records import EXPERIMENT_MARK, ExperimentPaths
from tests.chaos.evidence import read_lives, read_trial, row_of, whole_lines
from tests.chaos.verdict import Case, judge
from tests.lab import Lab

_INSIDE = Path(__file__).resolve().parent / "inside"
_LOOK = 0.005  # seconds between two looks
_TRIAL, _MUTE = (f"'{sys.executable}' '{_INSIDE / name}'" for name in ("trial.py", "mute.py"))
# Their last argument is how many phases are open at a time.
_COMMANDS = {
    "plain": f"{_TRIAL} 0 {{open}}",
    "relay": f"{_TRIAL} 4 {{open}}; {_TRIAL} 0 {{open}}",
    "mute": (
        f"if [ $((MPX_SEQUENCE_ID % 3)) = 2 ]; then {_MUTE} {{open}}; else {_TRIAL} 0 {{open}}; fi"
    ),
}
# Whether it chooses for several phases in one call, whether it keeps checkpoints → the tuner.
_TUNERS = {
    (False, False): "Chronicler",
    (False, True): "Keeper",
    (True, False): "Together",
    (True, True): "TogetherKeeper",
}
# A manager that does not come to the point where it is to die is killed at rest, after these seconds.
REACH = 5.0
# What makes no progress for so long hangs, in seconds.
_HANG = 60.0
_LAST_LINES = 40


class BrokenError(Exception):
    """The experiment cannot go on: a promise is broken."""


class HungError(BrokenError):
    """Nothing moves any more."""


@dataclass(frozen=True)
class Flavour:
    """What kind of experiment it is.

    Attributes:
        assessor: what is judged as one, `phase` or `trial`; None: there is no assessor.
        speech: of its trials: `plain`; `relay`, one process after another; `mute`, some without hello.
        open: how many phases a trial has open at a time, at most.
        together: the tuner chooses for several phases in one call.
        falls_short: at times the tuner has less for a running trial than that asks for.
        has_kin: phases save what they trained, and others go on from it.
        more_phases: with how many more it is resumed when it is done.
    """

    concurrency: int
    retries: int
    durability: str
    checkpoints: bool
    forks: bool
    assessor: str | None
    speech: str
    open: int
    together: bool
    falls_short: bool
    has_kin: bool
    phases_per_trial: int
    max_phases: int
    more_phases: int

    @staticmethod
    def drawn(number, rng, n=None):
        """Return that of the experiment of this number; a few in a row have everything.

        Args:
            number: from 0.
            rng: for the rest.
            n: how many phases are open at a time, in all experiments.
        """
        n = n or (8, 1, 8, rng.randint(2, 7), 8, 1)[number % 6]
        size = min(n, 2)  # a batch is gone through sooner than as many single phases
        return Flavour(
            concurrency=rng.randint(2, 4),
            retries=rng.choice([0, 0, 2]),
            durability=rng.choice(["power", "process"]),
            checkpoints=number % 3 != 0,
            forks=number % 4 == 1,
            assessor=("phase", None, "trial", "phase", None)[number % 5],
            speech=("plain", "relay", "mute")[number // 2 % 3],
            open=n,
            together=rng.random() < 1 / 2,
            falls_short=rng.random() < 1 / 3,
            has_kin=rng.random() < 1 / 2,
            phases_per_trial=size * rng.randint(6, 25),
            max_phases=size * rng.randint(150, 350),
            more_phases=rng.choice([0, 0, 30]),
        )


class Subject:
    """An experiment in a directory of its own.

    Attributes:
        over: it has ended, and not by `mpx stop`.
        killed: pids of the trials' processes that were killed on purpose.
        fallen: pids of those of them that were killed while a manager saw it.
        lonely: pids of those that were left without a manager until they gave up.
        wrong: what is wrong so far.
    """

    def __init__(self, root, flavour, seed, report):
        self.flavour = flavour
        self.report = report
        self.lab = Lab(root)
        self.directory = root / "evidence"
        (self.directory / "trials").mkdir(parents=True)
        self.over = False
        self.killed = set()
        self.fallen = set()
        self.lonely = set()
        self.wrong = []
        self._id = None
        self._survivors = {}
        self._config = self._write_config(seed)

    def _write_config(self, seed):
        flavour = self.flavour
        keys = {
            "multiPhase": True,
            "seed": seed,
            "trialConcurrency": flavour.concurrency,
            "maxPhaseNum": flavour.max_phases,
            "maxPhasesPerTrial": flavour.phases_per_trial,
            "durability": flavour.durability,
            "tuner": {
                "codeDir": str(_INSIDE),
                "classFileName": "tuner.py",
                "className": _TUNERS[flavour.together, flavour.checkpoints],
                "classArgs": {
                    "directory": str(self.directory),
                    "forks": flavour.forks,
                    "falls_short": flavour.falls_short,
                    "has_kin": flavour.has_kin,
                },
            },
            "trial": {
                "codeDir": ".",
                "command": _COMMANDS[flavour.speech].format(open=flavour.open),
                "env": {"CHAOS_DIRECTORY": str(self.directory)},
                "gracePeriod": "2s",
                "retries": flavour.retries,
            },
        }
        if flavour.assessor is not None:
            keys["assessor"] = {
                "codeDir": str(_INSIDE),
                "classFileName": "assessor.py",
                "className": "Judge",
                "classArgs": {"directory": str(self.directory)},
                "history": flavour.assessor,
            }
        return self.lab.write("config.yml", json.dumps(keys, indent=1))

    # -- plans ------------------------------------------------------------------------------------

    def plan(self, point, passing, who="manager", linger=0.0, asleep=False):
        """Have who passes `point` for the `passing`th time from now die there.

        Args:
            point: as `hooks` calls it.
            passing: from 1.
            who: `manager` or `trial`.
            linger: seconds that it lives on, except for the thread that is there.
            asleep: whether all trials are stopped before, until there is another manager.
        """
        draft = self.directory / "plan.draft"
        plan = {"point": point, "passing": passing, "linger": linger, "asleep": asleep}
        draft.write_text(json.dumps(plan))
        draft.rename(self.directory / f"{who}.plan")

    def forget_plans(self):
        for who in ("manager", "trial"):
            (self.directory / f"{who}.plan").unlink(missing_ok=True)

    def hold(self):
        """Have trials compute until `release`."""
        (self.directory / "hold").touch()

    def release(self):
        (self.directory / "hold").unlink(missing_ok=True)

    def slow_down(self):
        """Have the tuner take its time for a choice, until `speed_up`."""
        (self.directory / "slow").touch()

    def speed_up(self):
        (self.directory / "slow").unlink(missing_ok=True)

    def deaths(self, who="manager"):
        """Return the pids of those who died by a plan."""
        path = self.directory / "deaths.log"
        lines = whole_lines(path.read_text()) if path.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(who)]

    # -- the manager ------------------------------------------------------------------------------

    @property
    def paths(self):
        if self._id is None:
            self._id = next(iter(self.lab.ids()), None)
        return (
            None if self._id is None else ExperimentPaths(self.lab.home / "experiments" / self._id)
        )

    def manager_lives(self):
        manager = self.paths and manager_of(self.paths)
        return bool(manager and manager.is_alive())

    def revive(self):
        """Have a manager run, if the experiment is not over: create it, or resume it.

        Returns:
            Whether a manager got ready; it may be dead by now.

        Raises:
            BrokenError: it did not, and nobody killed it.
        """
        if self.manager_lives() or self.sees_end():
            return not self.over
        self.note_survivors()
        self._check_checkpoint()
        deaths = len(self.deaths())
        done = self._run(*self.start_command())
        self.wake_trials()
        if done.returncode == 0:
            self.check_survivors()
            return True
        if len(self.deaths()) == deaths and not self.sees_end():
            raise BrokenError(f"{self.said(done)}")
        return False

    def _check_checkpoint(self):
        """See that the checkpoint on record is there; without it, all calls would be made again."""
        if self.paths is None or not self.paths.store.exists():
            return
        with closing(sqlite3.connect(f"file:{self.paths.store}?mode=ro", uri=True)) as connection:
            try:
                numbers = [
                    n for (n,) in connection.execute("SELECT checkpoint FROM experiment") if n
                ]
            except sqlite3.OperationalError:  # its manager died before it made the tables
                numbers = []
        for number in numbers:
            if not (self.paths.kept_checkpoints / str(number)).exists():
                self.wrong.append(f"checkpoint {number} is on record and is not kept")

    def start_command(self):
        """Return what brings a manager up, and count it."""
        self.report.count("resumes" if self.paths else "starts")
        return ("resume", self.paths.id, "-q") if self.paths else ("create", self._config, "-q")

    def _run(self, *arguments):
        try:
            return self.lab.run(*arguments, timeout=_HANG)
        except subprocess.TimeoutExpired:
            self._dump_stacks()
            raise HungError(f"mpx {arguments[0]} did not return in {_HANG:g} s") from None

    @staticmethod
    def said(done):
        return f"{' '.join(done.args[2:])}: exit {done.returncode}\n{done.stdout}{done.stderr}"

    def popen(self, *arguments):
        """Start a command whose end is not waited for."""
        return subprocess.Popen(
            self.lab.command(*arguments),
            cwd=self.lab.root,
            env=self.lab.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill_manager(self):
        """SIGKILL the manager, if one runs; return whether one did."""
        manager = self.paths and manager_of(self.paths)
        if not (manager and manager.is_alive()):
            return False
        send_signal([manager.pid], signal.SIGKILL)
        until(lambda: not manager.is_alive(), _HANG)
        self.report.count("managers killed")
        return True

    def await_planned_death(self):
        """Wait until the manager dies as planned.

        Returns:
            Whether it did; if it does not come to the point, it is killed where it is.

        Raises:
            BrokenError: it ended by itself.
        """
        until(lambda: not self.manager_lives(), REACH)
        planned = not (self.directory / "manager.plan").exists()
        self.forget_plans()
        if self.manager_lives() and not planned:
            self.kill_manager()
            return False
        until(lambda: not self.manager_lives(), REACH)  # it lingers
        if planned:
            self.report.count("managers killed")
        self.sees_end()
        return planned

    def sees_end(self):
        """Say whether the experiment is over; see that it is not so for a wrong reason.

        Raises:
            BrokenError: the manager ended for a reason of its own.
        """
        if self.paths is None or self.manager_lives():
            return False
        status = show(self.paths)
        begun = self.paths.manager_pid.exists()
        if status.status not in ("DONE", "STOPPED", "INTERRUPTED") and begun:
            raise BrokenError(f"the experiment is {status.status}: {status.reason}; {status.error}")
        self.over = status.status == "DONE"
        return self.over

    # -- trials -----------------------------------------------------------------------------------

    def trials(self):
        """Return what each process of a trial wrote down."""
        files = sorted((self.directory / "trials").glob("*.log"))
        found = (read_trial(file.read_text()) for file in files)
        return [trial for trial in found if trial is not None]

    def living_trials(self):
        """Return those whose process lives."""
        return [trial for trial in self.trials() if self._lives(trial)]

    def _lives(self, trial):
        if trial.end is not None or start_of(trial.pid) is None:
            return False
        return trial.pid in find_by_environment_of(trial.pid, trial.trial_id)

    def wake_trials(self):
        """Let those go on that a manager stopped before it died."""
        send_signal(self.marked(), signal.SIGCONT)

    def note_survivors(self):
        """Remember which trials live now, while no manager does; they are to live on."""
        for trial in self.living_trials():
            self._survivors[trial.pid] = trial.trial_id

    def check_survivors(self):
        """See that the new manager let those live that lived before it."""
        survivors, self._survivors = self._survivors, {}
        self.killed.update(self.deaths("trial"))
        trials = {trial.pid: trial for trial in self.trials()}
        for pid, trial_id in survivors.items():
            trial = trials[pid]
            if self._lives(trial):
                self.report.count("adoptions")
            elif not trial.began:
                self.report.count("trials ended before their first phase")
            elif trial.end != "done" and not trial.is_excused(
                self.killed | self.lonely, self.flavour.assessor
            ):
                self.wrong.append(f"the resume cost trial {trial_id} (pid {pid}): {trial.end}")

    def kill_trial(self, trial, how):
        """SIGKILL a trial: its `process`, its `group`, or its `keeper` alone."""
        self.killed.add(trial.pid)
        if self.manager_lives():
            self.fallen.add(trial.pid)
        self.report.count("trials killed")
        try:
            keeper = os.getpgid(trial.pid)
            if how == "group":
                os.killpg(keeper, signal.SIGKILL)
            else:
                os.kill(keeper if how == "keeper" else trial.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self):
        """Run `mpx stop`, behind which nothing lives."""
        self.killed.update(trial.pid for trial in self.living_trials())
        done = self._run("stop", self.paths.id)
        # Those that were just starting.
        self.killed.update(trial.pid for trial in self.trials() if trial.end != "done")
        if done.returncode:
            raise BrokenError(self.said(done))
        if left := self.marked():
            self.wrong.append(f"`mpx stop` left processes: {left}")
        if (status := show(self.paths).status) not in ("STOPPED", "DONE"):
            self.wrong.append(f"behind `mpx stop` the experiment is {status}")

    def marked(self):
        return find_by_environment(EXPERIMENT_MARK, self.paths.id) if self.paths else []

    def acknowledged(self):
        return sum(len(trial.acked) for trial in self.trials())

    # -- the end ----------------------------------------------------------------------------------

    def finish(self):
        """Let the experiment come to its end, and return what is wrong with it."""
        self.forget_plans()
        self.release()
        (self.directory / "hurry").touch()
        self._go_to_end()
        if self.flavour.more_phases:
            self._reopen()
        return self.wrong + self._left() + self._litter() + judge(self._case())

    def _go_to_end(self):
        self.wake_trials()
        while not self.sees_end():
            self.revive()
            self._await_manager()

    def _reopen(self):
        """Raise the limit of an experiment that is DONE, which is then not."""
        done = self._run("resume", self.paths.id, "-q", "--max-phases", str(self._most_phases()))
        if done.returncode:
            raise BrokenError(self.said(done))
        self._await_manager()
        self._go_to_end()

    def _most_phases(self):
        return self.flavour.max_phases + self.flavour.more_phases

    def _await_manager(self):
        """Wait until the manager ends; it may take its time as long as something moves."""
        moved, size = time.monotonic(), -1
        while self.manager_lives():
            if (now := self._size()) != size:
                moved, size = time.monotonic(), now
            if time.monotonic() > moved + _HANG:
                self._dump_stacks()
                raise HungError(f"nothing moves: {show(self.paths)}")
            time.sleep(10 * _LOOK)

    def _dump_stacks(self):
        """Have a manager that hangs write its threads' stacks into its log, and end."""
        manager = self.paths and manager_of(self.paths)
        if manager and manager.is_alive():
            send_signal([manager.pid], signal.SIGABRT)
            until(lambda: not manager.is_alive(), REACH)

    def _size(self):
        return sum(file.stat().st_size for file in self.directory.rglob("*.log"))

    def _case(self):
        self.killed.update(self.deaths("trial"))
        self.fallen.update(self.deaths("trial"))
        case = Case(
            self.trials(),
            read_lives((self.directory / "calls.log").read_text()),
            [row_of(phase) for phase in self.lab.phases(self.paths.id)],
            self.lab.status(self.paths.id),
            self.killed | {*self.deaths()},
            self.lonely,
            self._most_phases(),
            self.flavour.assessor,
            self._judged(),
            self.fallen,
        )
        self.report.count("phases", len(case.rows))
        self.report.count("batches", sum(len(b) > 1 for t in case.trials for b in t.batches))
        self.report.count("phases stopped early", len(case.stopped()))
        self.report.count("checkpoints saved", sum(len(trial.saved) for trial in case.trials))
        self.report.count("checkpoints loaded", sum(len(trial.loads) for trial in case.trials))
        self.report.count("checkpoints removed", case.status["checkpoints"]["removed"])
        self.report.count("acknowledged results", sum(len(trial.acked) for trial in case.trials))
        return case

    def _judged(self):
        log = self.directory / "judged.log"
        return read_lives(log.read_text()) if log.exists() else []

    def _left(self):
        """Return what is left behind that should not be."""
        left = [f"processes are left: {pids}"] if (pids := self.marked()) else []
        missing = self.directory / "missing.log"
        if missing.exists() and missing.read_text():
            left.append(f"mpx has these places no more: {set(whole_lines(missing.read_text()))}")
        return left

    def _litter(self):
        """Return what phases have saved that is not on record as kept, and is there."""
        query = "SELECT checkpoint FROM phases WHERE checkpoint NOTNULL AND NOT checkpoint_removed"
        with closing(sqlite3.connect(f"file:{self.paths.store}?mode=ro", uri=True)) as connection:
            kept = {path for (path,) in connection.execute(query)}
        found = map(str, self.paths.trials.glob("*/checkpoints/*"))
        return [f"{path} is not on record as kept" for path in found if path not in kept]

    def close(self):
        """End everything; what tuners forked ends with the directory, or by itself."""
        self.lab.close()

    def logs(self):
        """Return how the manager's log ends, for who looks into a violation."""
        log = self.paths and self.paths.manager_log
        if not log or not log.exists():
            return []
        return log.read_text(errors="replace").splitlines()[-_LAST_LINES:]


def find_by_environment_of(pid, trial_id):
    """Return [pid] if that process is one of the trial."""
    try:
        environment = psutil.Process(pid).environ()
    except psutil.Error:
        return []
    return [pid] if environment.get("MPX_TRIAL_ID") == trial_id else []


def until(condition, patience):
    """Wait until the condition holds; return whether it came to hold in time."""
    ends = time.monotonic() + patience
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(_LOOK)
    return True
