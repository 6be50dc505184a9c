"""Whether an experiment that was killed again and again is as if it had not been.

Each check compares what the trials and the tuner wrote down with what mpx says, and yields a sentence
for each promise that is broken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.chaos.evidence import Life, Row, TrialEvidence


@dataclass
class Case:
    """One experiment at its end.

    Attributes:
        trials: what each process of a trial wrote down.
        lives: the tuner's calls in each manager, in the order of the managers.
        rows: what `mpx export` says.
        status: what `mpx status --json` says.
        killed: pids of processes that were killed on purpose, or of trials by `mpx stop`.
        lonely: pids of those that gave up waiting for a manager, as they were to.
        max_phases: `maxPhaseNum`.
        curves: what the assessor judges as one, `phase` or `trial`; None where there is none.
        judged: the assessor's calls in each manager.
    """

    trials: list[TrialEvidence]
    lives: list[Life]
    rows: list[Row]
    status: dict
    killed: set[int]
    lonely: set[int]
    max_phases: int
    curves: str | None = None
    judged: list[Life] = field(default_factory=list)

    def succeeded(self):
        return [row for row in self.rows if row.status == "SUCCEEDED"]

    def stopped(self):
        return [row for row in self.rows if row.status == "EARLY_STOPPED"]

    def results(self):
        """Return the phases that have a result; one that was stopped may."""
        return self.succeeded() + [row for row in self.stopped() if row.value]


def judge(case):
    """Return what is wrong, sentence by sentence."""
    return [sentence for check in _CHECKS for sentence in check(case)]


# -- what trials were promised ----------------------------------------------------------------------


def acknowledged_once(case):
    """A result whose report returned is there, once, with its value and in its trial."""
    rows = Counter((row.trial_id, row.parameter_id, row.value) for row in case.results())
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
    """A result that is there was reported, by that trial; and no phase was stopped for nothing."""
    said = {(trial.trial_id, *named) for trial in case.trials for named in trial.said}
    for row in case.results():
        if (row.trial_id, row.parameter_id, row.value) not in said:
            yield f"phase {row.parameter_id} of {row.trial_id} has a result that no trial reported"


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
    for row in case.results():
        expected = told.get((row.trial_id, row.parameter_id), ())
        if row.intermediates != expected:
            yield (
                f"phase {row.parameter_id} of {row.trial_id} has {len(row.intermediates)}"
                f" intermediate results; reported were {len(expected)}, or in another order"
            )


def trials_lived_on(case):
    """A trial that nobody killed came to its own end."""
    for trial in case.trials:
        excused = trial.is_excused(case.killed | case.lonely)
        if trial.began and not excused and trial.end != "done":
            yield f"trial {trial.trial_id} (pid {trial.pid}) was lost: {trial.end or 'no last word'}"


def left_words_count(case):
    """What a trial had reported when it gave up waiting for a manager is there, once."""
    rows = Counter((row.trial_id, row.parameter_id, row.value) for row in case.results())
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
    for number, count in Counter(row.parameter_id for row in case.results()).items():
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
    values = {row.parameter_id: (row.trial_id, row.value) for row in case.results()}
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
    for row in case.results():
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


# -- what the assessor and those whom it judges were promised ----------------------------------------


def stops_hold(case):
    """A phase that its trial was told to stop ended so, and was not tried again."""
    rows = defaultdict(list)
    for row in case.rows:
        rows[row.parameter_id].append(row)
    for trial in case.trials:
        for number in trial.stopped:
            found = [row for row in rows[number] if row.trial_id == trial.trial_id]
            if [row.status for row in found] != ["EARLY_STOPPED"]:
                yield f"phase {number} of {trial.trial_id} was told to stop, and is {found}"
            if rows[number][-1:] != found:
                yield f"phase {number} of {trial.trial_id} was told to stop, and was tried again"


def stops_are_the_assessors(case):
    """What an assessor said of a result it said in all managers, and that became of its phase."""
    verdicts = {}
    for number, life in enumerate(case.judged):
        for _, name, value, verdict in _calls(life, "assess"):
            if verdicts.setdefault((name, value), verdict) != verdict:
                yield f"manager {number} had a result of {name} judged otherwise than before"
    deaf = {(trial.trial_id, number) for trial in case.trials for number in trial.deaf}
    for row in case.succeeded() + case.stopped():
        name = _curve(case, row)
        found = [verdicts.get((name, value)) for value in row.intermediates]
        if row.status == "EARLY_STOPPED" and "bad" not in found:
            yield f"phase {row.parameter_id} of {row.trial_id} was stopped for nothing: {found}"
        is_deaf = (row.trial_id, row.parameter_id) in deaf
        if row.status == "SUCCEEDED" and "bad" in found and not is_deaf:
            yield f"phase {row.parameter_id} of {row.trial_id} was not stopped: {found}"


def curves_are_whole(case):
    """The last manager showed the assessor each curve in its order, without a gap, and its end once."""
    if not case.judged or case.judged[-1].pid in case.killed:
        return  # that one died when the experiment was over, and before it had made its last calls
    rows, shown = defaultdict(list), defaultdict(dict)
    for row in sorted(case.rows, key=lambda row: row.phase_index):
        rows[_curve(case, row)].append(row)
    for _, name, value, verdict in _calls(case.judged[-1], "assess"):
        shown[name][value] = verdict
    ends = Counter(call[1] for call in _calls(case.judged[-1], "over"))
    for name in rows.keys() | shown.keys():
        recorded = [value for row in rows[name] for value in _assessed(row, shown[name])]
        if [*shown[name]] != recorded:
            yield f"the assessor was shown {[*shown[name]]} of {name}; on record are {recorded}"
        if ends[name] != bool(recorded):
            yield f"the last manager told {ends[name]} times of the end of {name}"


def _assessed(row, shown):
    """Return the results of a phase that are judged; behind the verdict that stopped it none need be."""
    judged = row.intermediates[: len(shown.keys() & set(row.intermediates))]
    is_stopped = "bad" in {shown.get(value) for value in judged}
    return judged if is_stopped and row.status != "SUCCEEDED" else row.intermediates


def _curve(case, row):
    return row.trial_id if case.curves == "trial" else f"{row.trial_id}.{row.phase_index}"


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
    stops_hold,
    stops_are_the_assessors,
    curves_are_whole,
)
