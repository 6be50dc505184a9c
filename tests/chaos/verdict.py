"""Whether an experiment that was killed again and again is as if it had not been.

Each check compares what the trials and the tuner wrote down with what mpx says, and yields a sentence
for each promise that is broken.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

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
        fallen: pids of trials that were killed while a manager saw it.
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
    fallen: set[int] = field(default_factory=set)

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
        excused = trial.is_excused(case.killed | case.lonely, case.curves)
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


def left_phases_are_abandoned(case):
    """What a trial had not ended when it was given other phases is ABANDONED, unless it was stopped."""
    rows = {(row.trial_id, row.parameter_id): row for row in case.rows}
    for trial in case.trials:
        last = {number for number, _ in trial.batches[-1]} if trial.batches else set()
        ended = {number for number, _ in trial.said}.union(trial.stopped, trial.deaf, last)
        for number in trial.left:
            row = rows.get((trial.trial_id, number))
            if number not in ended and (row is None or row.status != "ABANDONED"):
                yield f"phase {number} of {trial.trial_id} was left open, and is {row and row.status}"


def lost_phases_are_tried_again(case):
    """A phase is LOST for good only if its trial died or was stopped before its manager, or left it."""
    rows = {row.parameter_id: row for row in case.rows if row.parameters}
    given_up = defaultdict(set)
    for trial in case.trials:
        given_up[trial.trial_id].update(trial.left)
    fallen = {
        trial.trial_id
        for trial in case.trials
        if trial.pid in case.fallen or (case.curves == "trial" and trial.deaf)
    }
    for number, row in rows.items():
        excused = row.trial_id in fallen or number in given_up[row.trial_id]
        if row.status == "LOST" and not excused:
            yield f"phase {number} was LOST with {row.trial_id}, and not tried again"


# -- what phases save, and go on from ----------------------------------------------------------------


def copies_are_whole(case):
    """What a phase saved the tuner is shown with its result, in each manager, and finds whole."""
    saving = {
        (n, trial.trial_id): name for trial in case.trials for n, name in trial.saving.items()
    }
    for number, life in enumerate(case.lives):
        copies = {(int(n), trial): name for _, n, trial, name in _calls(life, "copy")}
        told = {(int(call[1]), call[2]) for call in _calls(life, "tell")}
        for key, name in copies.items():
            if saving.get(key) != name:
                yield f"manager {number} was shown {name} for phase {key[0]}, not {saving.get(key)}"
        for trial in case.trials:
            for phase in trial.saved:
                key = (phase, trial.trial_id)
                if key in told and key not in copies:
                    yield f"manager {number} was not shown what phase {phase} has saved"


def what_is_kept_is_there(case):
    """What is on record as saved, and not as removed, is on disk."""
    for row in case.rows:
        if row.checkpoint is not None and not Path(row.checkpoint).exists():
            yield f"what phase {row.parameter_id} of {row.trial_id} saved is gone: {row.checkpoint}"


def parents_are_as_recorded(case):
    """A phase goes on from what is on record as its parent's, or from what its process holds."""
    rows = {(row.trial_id, row.parameter_id): row for row in case.rows}
    saved = {(trial.trial_id, *named) for trial in case.trials for named in trial.saving.items()}
    results = {row.parameter_id: row.trial_id for row in case.results()}
    for trial in case.trials:
        alone = [batch[0][0] if len(batch) == 1 else None for batch in trial.batches]
        before = dict(zip(alone[1:], alone, strict=False))
        for number, _ in trial.began:
            row = rows.get((trial.trial_id, number))
            parent, name = trial.loads.get(number, (None, None))
            if row is not None and row.parent != parent:
                yield f"phase {number} of {trial.trial_id} goes on from {parent}; on record is {row.parent}"
            if name == "-":
                if before.get(number) != parent:
                    yield f"phase {number} of {trial.trial_id} got no weights of {parent}"
            elif name is not None and (results.get(parent), parent, name) not in saved:
                yield f"phase {number} of {trial.trial_id} loaded {name}, not what {parent} has saved"


def parents_are_the_tuners(case):
    """A phase goes on from the parent that the tuner chose, if that saved anything; else from none."""
    chosen, kept = {}, {}
    for life in case.lives:
        kin = {number: int(parent) for _, number, parent in _calls(life, "kin")}
        for _, number, name in _calls(life, "answer"):  # others were asked anew, for another trial
            chosen[int(number), name] = kin.get(number)
        kept.update((int(number), name) for _, number, _, name in _calls(life, "copy"))
    for row in case.rows:
        parent = chosen.get((row.parameter_id, row.parameters))
        if row.parent not in (parent, None):
            yield f"phase {row.parameter_id} goes on from {row.parent}; the tuner chose {parent}"
        if row.status == "SUCCEEDED" and row.parent is None and parent in kept:
            yield f"phase {row.parameter_id} starts afresh; the tuner chose {parent}, which is kept"


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
    begun_again = {row.parameter_id: row for row in case.rows}
    for row in case.rows:
        if row is not begun_again[row.parameter_id] and row.status != "LOST":
            yield f"phase {row.parameter_id} of {row.trial_id} is {row.status}, and began again"
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
    """The ends of a trial's phases come in their order, and before it is asked for that trial again."""
    for number, life in enumerate(case.lives):
        at = {call[:3]: place for place, call in reversed(list(enumerate(life.calls)))}
        for trial in case.trials:
            yield from _out_of_order(number, trial, at)


def _out_of_order(number, trial, at):
    latest, told = -1, None
    for batch in trial.batches:
        ids = [str(phase) for phase, _ in batch]
        asked = [
            (at[key], key[1]) for phase in ids if (key := ("ask", phase, trial.trial_id)) in at
        ]
        if asked and min(asked)[0] < latest:
            yield (
                f"manager {number} asked for phase {min(asked)[1]} of {trial.trial_id} before it told"
                f" of phase {told}"
            )
        ends = [
            (at[key], phase)
            for phase in ids
            for kind in ("tell", "end")
            if (key := (kind, phase, trial.trial_id)) in at
        ]
        if ends and min(ends)[0] < latest:
            yield f"manager {number} told of phase {min(ends)[1]} before phase {told}"
        yield from _out_of_turn(number, trial, at, batch)
        latest, told = max([*ends, (latest, told)])


def _out_of_turn(number, trial, at, batch):
    """Results of one batch come in the order in which a single thread reported them."""
    if trial.manner == "threads":
        return
    ids = {phase for phase, _ in batch}
    told = [at.get(("tell", str(phase), trial.trial_id)) for phase, _ in trial.said if phase in ids]
    places = [place for place in told if place is not None]
    if places != sorted(places):
        yield f"manager {number} told of the batch {sorted(ids)} of {trial.trial_id} in another order"


def replays_are_alike(case):
    """Each manager makes the calls of the one before in the same order, and loses no result."""
    left = {(trial.trial_id, number) for trial in case.trials for number in trial.left}
    lives = [_bare(life.calls, left) for life in case.lives]
    for number, (before, after) in enumerate(itertools.pairwise(lives)):
        yield from _unlike(number, before, after)


def _unlike(number, before, after):
    """Compare two managers; the second may have died before it was through."""
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
            if call[0] in ("tell", "copy", "end", "gone") and call not in common:
                yield f"manager {number + 1} did not make the call {' '.join(call)} again"


def _bare(calls, left):
    """Return the calls alone, each once, but for the ends of phases that were left.

    These are told with the next request, and are made again when that is sent again.
    """
    kinds = ("batch", "ask", "tell", "copy", "end", "gone")
    wanted = [call for call in calls if call[0] in kinds]
    return list(dict.fromkeys(c for c in wanted if c[0] != "end" or (c[2], int(c[1])) not in left))


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
    late = {  # a trial's curve that was bad in a phase which did not listen, and may be over by then
        row.trial_id
        for row in case.rows
        if (row.trial_id, row.parameter_id) in deaf
        and "bad" in {verdicts.get((row.trial_id, value)) for value in row.intermediates}
    }
    for row in case.succeeded() + case.stopped():
        name = _curve(case, row)
        found = [verdicts.get((name, value)) for value in row.intermediates]
        is_late = case.curves == "trial" and row.trial_id in late
        if row.status == "EARLY_STOPPED" and "bad" not in found and not is_late:
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
    batched = {trial.trial_id for trial in case.trials if trial.manner is not None}
    ends = Counter(call[1] for call in _calls(case.judged[-1], "over"))
    for name in rows.keys() | shown.keys():
        recorded = [value for row in rows[name] for value in _assessed(row, shown[name])]
        shown_now = [*shown[name]]
        if name in batched:  # a trial's curve, to which several phases added at a time
            phases = {value: row.phase_index for row in rows[name] for value in row.intermediates}
            shown_now.sort(key=lambda value: phases.get(value, -1))
        if shown_now != recorded:
            yield f"the assessor was shown {shown_now} of {name}; on record are {recorded}"
        if ends[name] != bool(recorded):
            yield f"the last manager told {ends[name]} times of the end of {name}"


def _assessed(row, shown):
    """Return the results of a phase that are judged; behind the verdict that stopped it none need be."""
    judged = row.intermediates[: len(shown.keys() & set(row.intermediates))]
    is_stopped = row.status == "EARLY_STOPPED" or "bad" in {shown.get(value) for value in judged}
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
    left_phases_are_abandoned,
    lost_phases_are_tried_again,
    copies_are_whole,
    what_is_kept_is_there,
    parents_are_as_recorded,
    parents_are_the_tuners,
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
