"""Whether an experiment that was killed again and again is as if it had not been.

Each check compares what the trials and the tuner wrote down with what mpx says, and yields a sentence
for each promise that is broken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from tests.chaos.evidence import Life, Row, TrialEvidence


@dataclass
class Case:
    """One experiment at its end.

    Attributes:
        trials: what each process of a trial wrote down.
        lives: the tuner's calls in each manager, in the order of the managers.
        rows: what `mpx export` says.
        status: what `mpx status --json` says.
        killed: pids of trial processes that were killed on purpose, or by `mpx stop`.
        lonely: pids of those that gave up waiting for a manager, as they were to.
        max_phases: `maxPhaseNum`.
    """

    trials: list[TrialEvidence]
    lives: list[Life]
    rows: list[Row]
    status: dict
    killed: set[int]
    lonely: set[int]
    max_phases: int

    def succeeded(self):
        return [row for row in self.rows if row.status == "SUCCEEDED"]


def judge(case):
    """Return what is wrong, sentence by sentence."""
    return [sentence for check in _CHECKS for sentence in check(case)]


# -- what trials were promised ----------------------------------------------------------------------


def acknowledged_once(case):
    """A result whose report returned is there, once, with its value and in its trial."""
    rows = Counter((row.trial_id, row.parameter_id, row.value) for row in case.succeeded())
    owners = {}
    for trial in case.trials:
        for number, name in trial.acked:
            found = rows[trial.trial_id, number, name]
            if found != 1:
                yield f"phase {number} of {trial.trial_id} was acknowledged and is there {found} times"
            if number in owners:
                yield f"phase {number} was acknowledged to {owners[number]} and to {trial.trial_id}"
            owners[number] = trial.trial_id


def failures_once(case):
    """A failure whose report returned is there, once."""
    rows = Counter((r.trial_id, r.parameter_id) for r in case.rows if r.status == "FAILED")
    for trial in case.trials:
        for number in trial.failed:
            found = rows[trial.trial_id, number]
            if found != 1:
                yield f"phase {number} of {trial.trial_id} failed and is FAILED {found} times"


def nothing_invented(case):
    """A result that is there was reported, by that trial."""
    said = {(trial.trial_id, *named) for trial in case.trials for named in trial.said}
    for row in case.succeeded():
        if (row.trial_id, row.parameter_id, row.value) not in said:
            yield f"phase {row.parameter_id} of {row.trial_id} SUCCEEDED and no trial reported that"


def parameters_as_recorded(case):
    """A trial got the parameters that are on record, and those are its phase's own."""
    rows = {(row.trial_id, row.parameter_id): row for row in case.rows}
    for trial in case.trials:
        for number, name in trial.began:
            row = rows.get((trial.trial_id, number))
            if row is None or row.parameters != name:
                yield f"phase {number} of {trial.trial_id} got parameters that are not on record"
        if len({number for number, _ in trial.began}) < len(trial.began):
            yield f"{trial.trial_id} got one phase several times: {trial.began}"
    for row in case.rows:
        if row.n not in (row.parameter_id, -1):
            yield f"phase {row.parameter_id} of {row.trial_id} has the parameters of {row.n}"


def intermediates_once(case):
    """The intermediate results of a phase with a result are there in order, once."""
    told = {
        (trial.trial_id, number): tuple(names)
        for trial in case.trials
        for number, names in trial.intermediates.items()
    }
    for row in case.succeeded():
        expected = told.get((row.trial_id, row.parameter_id), ())
        if row.intermediates != expected:
            yield (
                f"phase {row.parameter_id} of {row.trial_id} has {len(row.intermediates)}"
                f" intermediate results; reported were {len(expected)}, or in another order"
            )


def trials_lived_on(case):
    """A trial that nobody killed came to its own end."""
    for trial in case.trials:
        excused = trial.mute or trial.pid in case.killed | case.lonely
        if trial.began and not excused and trial.end != "done":
            yield f"trial {trial.trial_id} (pid {trial.pid}) was lost: {trial.end or 'no last word'}"


def left_words_count(case):
    """What a trial had reported when it gave up waiting for a manager is there, once."""
    rows = Counter((row.trial_id, row.parameter_id, row.value) for row in case.succeeded())
    for trial in case.trials:
        if trial.pid in case.lonely and not trial.mute:
            for number, name in trial.said:
                found = rows[trial.trial_id, number, name]
                if found != 1:
                    yield f"phase {number} of {trial.trial_id} was left behind, and is there {found} times"


# -- what mpx keeps ---------------------------------------------------------------------------------


def rows_are_sound(case):
    """Phases are numbered from 0 in each trial, have ended, and one parameter_id succeeds once."""
    indexes = defaultdict(list)
    for row in case.rows:
        indexes[row.trial_id].append(row.phase_index)
        if row.status in ("RUNNING", "WAITING"):
            yield f"phase {row.parameter_id} of {row.trial_id} is still {row.status}"
    for trial_id, found in indexes.items():
        if sorted(found) != list(range(len(found))):
            yield f"the phases of {trial_id} are numbered {sorted(found)}"
    for number, count in Counter(row.parameter_id for row in case.succeeded()).items():
        if count > 1:
            yield f"phase {number} SUCCEEDED {count} times"


def status_is_true(case):
    """The experiment is DONE, its counts are those of its rows, its best is the best."""
    if case.status["status"] != "DONE":
        yield f"the experiment is {case.status['status']}: {case.status['reason']}"
    counted = dict(Counter(row.status for row in case.rows))
    stated = {name: count for name, count in case.status["phases"].items() if count}
    if stated != counted:
        yield f"status counts {stated}; the phases are {counted}"
    running = {name: case.status["trials"].get(name) for name in ("RUNNING", "WAITING")}
    if any(running.values()):
        yield f"status counts trials that have not ended: {running}"
    best = max((row.score for row in case.succeeded()), default=None)
    stated_best = case.status["best"] and case.status["best"]["value"]["default"]
    if best != stated_best:
        yield f"the best result is {best}; status says {stated_best}"


def limit_is_kept(case):
    """As many phases began as `maxPhaseNum` says; those that are offered again count once."""
    begun = len({row.parameter_id for row in case.rows})
    if begun != case.max_phases:
        yield f"{begun} different phases began; maxPhaseNum is {case.max_phases}"


# -- what the tuner was promised --------------------------------------------------------------------


def asked_once(case):
    """No tuner is asked for one parameter_id twice."""
    for number, life in enumerate(case.lives):
        for parameter_id, count in Counter(call[1] for call in _calls(life, "ask")).items():
            if count > 1:
                yield f"manager {number} asked the tuner for phase {parameter_id} {count} times"


def told_once(case):
    """In each manager the tuner is told each result once, and only what is on record."""
    values = {row.parameter_id: (row.trial_id, row.value) for row in case.succeeded()}
    for number, life in enumerate(case.lives):
        tells = _calls(life, "tell")
        for call, count in Counter(call[1] for call in tells).items():
            if count > 1:
                yield f"manager {number} told the tuner of phase {call} {count} times"
        for _, parameter_id, trial_id, name, right in tells:
            if values.get(int(parameter_id)) != (trial_id, name):
                yield f"manager {number} told of phase {parameter_id} what is not on record"
            if right != "right":
                yield f"manager {number} told of phase {parameter_id} with other parameters"


def told_all(case):
    """The last manager told the tuner of all results that there are."""
    told = {int(call[1]) for call in _calls(case.lives[-1], "tell")} if case.lives else set()
    for row in case.succeeded():
        if row.parameter_id not in told:
            yield f"the last manager did not tell the tuner of phase {row.parameter_id}"


def told_in_order(case):
    """A trial's results come in their order, and before it is asked for that trial again."""
    for number, life in enumerate(case.lives):
        at = {call[:3]: place for place, call in reversed(list(enumerate(life.calls)))}
        for trial in case.trials:
            yield from _out_of_order(number, trial, at)


def _out_of_order(number, trial, at):
    succeeded = {phase for phase, _ in trial.said}
    latest, told = -1, None
    for phase, _ in trial.began:
        asked = at.get(("ask", str(phase), trial.trial_id))
        if asked is not None and asked < latest:
            yield (
                f"manager {number} asked for phase {phase} of {trial.trial_id} before it told"
                f" of phase {told}"
            )
        place = at.get(("tell", str(phase), trial.trial_id))
        if phase in succeeded and place is not None:
            if place < latest:
                yield f"manager {number} told of phase {phase} before phase {told}"
            latest, told = place, phase


def replays_are_alike(case):
    """Each manager makes the calls of the one before in the same order, and loses no result."""
    for number, (before, after) in enumerate(zip(case.lives, case.lives[1:], strict=False)):
        yield from _unlike(number, before.calls, after.calls)


def _unlike(number, before, after):
    """Compare two managers; the second may have died before it was through."""
    before, after = _bare(before), _bare(after)
    common = set(before) & set(after)
    first = [call for call in before if call in common]
    second = [call for call in after if call in common]
    for one, other in zip(first, second, strict=True):
        if one != other:
            yield (
                f"manager {number + 1} called {' '.join(other)} where manager {number} called"
                f" {' '.join(one)}"
            )
            return
    if len(after) > len(second):  # it came to new calls, so all that was told was told again
        for call in before:
            if call[0] in ("tell", "end", "gone") and call not in common:
                yield f"manager {number + 1} did not make the call {' '.join(call)} again"


def _bare(calls):
    """Return the calls alone, each once."""
    kinds = ("ask", "tell", "end", "gone")
    return list(dict.fromkeys(call for call in calls if call[0] in kinds))


def answers_as_recorded(case):
    """A replayed tuner chooses again what it chose: it saw the same calls, and the same chance.

    Only the last manager's is asked: what the tuner chose in one that died need not be on record.
    """
    recorded = {row.parameter_id: row.parameters for row in case.rows if row.parameters}
    answers = _calls(case.lives[-1], "answer") if case.lives else []
    for parameter_id, name in {parameter_id: name for _, parameter_id, name in answers}.items():
        if recorded.get(int(parameter_id), name) != name:
            yield f"the last manager's tuner chose otherwise for phase {parameter_id}"
    for number, life in enumerate(case.lives):
        for _, count, right in _calls(life, "loaded"):
            if right != "right":
                yield f"manager {number} loaded a checkpoint of {count} calls that is not whole"


def _calls(life, kind):
    return [call for call in life.calls if call[0] == kind]


_CHECKS = (
    acknowledged_once,
    failures_once,
    nothing_invented,
    parameters_as_recorded,
    intermediates_once,
    trials_lived_on,
    left_words_count,
    rows_are_sound,
    status_is_true,
    limit_is_kept,
    asked_once,
    told_once,
    told_all,
    told_in_order,
    replays_are_alike,
    answers_as_recorded,
)
