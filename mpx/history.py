"""What earlier managers of an experiment left on record, read when another one takes over.

The tuner's calls are numbered from 1 in the order they were made. A phase has the number of the call
that chose its parameters (`asked`) and of the one that told of its end (`told`), a trial that of its end;
asks for which there were no parameters have a table, and so has what was imported. Merged by number they
are the tuner's whole life. The assessor's calls are numbered by themselves (`assessed`).

An ask whose answer is not on record is made again, and answered, only if its phase is still waited for:
a phase whose trial is gone as well never was.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from mpx.assessor_calls import Assess, PhaseOver, TrialOver
from mpx.errors import StoreError
from mpx.lifecycle import objective
from mpx.protocol import ASKED, IDLE, OPEN
from mpx.records import PhaseStatus
from mpx.rows import (
    LAST_SIGN_OF_LIFE,
    ExperimentRow,
    Offer,
    PhaseRow,
    SavedCheckpoint,
    TrialRow,
    experiment_row,
    phase_row,
    trial_row,
)
from mpx.tuner_calls import Ask, AskBatch, AskFirst, Import, PhaseEnd, Recorded, Tell, TrialEnd
from mpx.wire import decode

_ASKS = """SELECT p.asked AS number, p.parameter_id, t.trial_id, p.phase_index = 0 AS first,
    p.parameters, 1 AS answered FROM phases p JOIN trials t USING (sequence_id) WHERE p.asked > ?1
    UNION ALL SELECT asked, parameter_id, trial_id, first, NULL, 0 FROM unanswered WHERE asked > ?1
    ORDER BY number, parameter_id"""
_PHASE_ENDS = """SELECT p.told AS number, p.parameter_id, t.trial_id, p.value, p.customized, p.checkpoint
    FROM phases p JOIN trials t USING (sequence_id) WHERE p.told > ? ORDER BY number"""
_TRIAL_ENDS = """SELECT t.told AS number, t.trial_id, p.parameter_id, t.exit_status = 0
    AND t.status != 'EARLY_STOPPED' AND t.counts AS success FROM trials t
    JOIN phases p ON p.sequence_id = t.sequence_id AND p.phase_index = 0 WHERE t.told > ? ORDER BY number"""
_IMPORTS = "SELECT told AS number, data FROM inbox WHERE told > ? ORDER BY number"
_PARAMETERS = """SELECT parameter_id, parameters FROM phases WHERE parameters IS NOT NULL
    AND (asked IS NULL OR asked <= ?1) AND (told IS NULL OR told > ?1)
    UNION ALL SELECT parameter_id, parameters FROM offered"""
_ASSESSED = """SELECT i.assessed AS number, t.trial_id, p.phase_index, i.value, i.number + 1 AS nth,
    i.seq, i.is_awaited
    FROM intermediates i JOIN phases p ON p.id = i.phase JOIN trials t USING (sequence_id)
    WHERE i.assessed IS NOT NULL ORDER BY number"""
_PHASES_ASSESSED = """SELECT p.assessed AS number, t.trial_id, p.phase_index, p.status
    FROM phases p JOIN trials t USING (sequence_id) WHERE p.assessed IS NOT NULL ORDER BY number"""
_TRIALS_ASSESSED = """SELECT assessed AS number, trial_id, exit_status = 0
    AND status != 'EARLY_STOPPED' AND counts AS success FROM trials
    WHERE assessed IS NOT NULL ORDER BY number"""
_UNTOLD_PHASES = """SELECT p.*, t.trial_id FROM phases p JOIN trials t USING (sequence_id)
    WHERE p.told IS NULL AND p.counts AND p.parameters IS NOT NULL
    AND p.status NOT IN ('WAITING', 'RUNNING') ORDER BY p.id"""
_UNTOLD_TRIALS = """SELECT * FROM trials WHERE told IS NULL AND status NOT IN ('WAITING', 'RUNNING')
    ORDER BY sequence_id"""
_OFFERS = """SELECT p.parameter_id, max(p.parameters) AS parameters,
    max(t.attempt) AS attempt, max(p.customized) AS customized, max(p.parent) AS parent
    FROM phases p JOIN trials t USING (sequence_id)
    WHERE p.parameter_id IN (SELECT parameter_id FROM phases WHERE NOT counts)
    GROUP BY p.parameter_id HAVING sum(p.counts) = 0 AND max(p.parameters) IS NOT NULL
    UNION ALL SELECT parameter_id, parameters, 0, customized, NULL FROM offered
    ORDER BY 1"""
_LATE = """SELECT p.*, t.trial_id FROM phases p JOIN trials t USING (sequence_id)
    WHERE p.status = 'LOST' AND NOT p.counts AND p.parameters IS NULL AND p.asked IS NOT NULL"""
_CHECKPOINTS = """SELECT p.id AS phase, p.parameter_id, t.trial_id, p.checkpoint AS path,
    CASE p.status WHEN 'SUCCEEDED' THEN p.score END AS score, p.value IS NOT NULL AS has_result
    FROM phases p JOIN trials t USING (sequence_id) WHERE p.checkpoint IS NOT NULL
    AND p.checkpoint_removed = ? AND p.status NOT IN ('WAITING', 'RUNNING') ORDER BY p.id"""
_NEXT = """SELECT
    (SELECT coalesce(max(id), 0) + 1 FROM phases) AS phase_id,
    max((SELECT coalesce(max(parameter_id), -1) + 1 FROM phases),
        (SELECT coalesce(max(parameter_id), -1) + 1 FROM unanswered),
        (SELECT coalesce(max(parameter_id), -1) + 1 FROM offered)) AS parameter_id,
    (SELECT coalesce(max(parameter_id), -1) FROM unanswered) AS last_unanswered,
    (SELECT coalesce(max(sequence_id), -1) + 1 FROM trials) AS sequence_id,
    max((SELECT coalesce(max(asked), 0) FROM phases), (SELECT coalesce(max(told), 0) FROM phases),
        (SELECT coalesce(max(told), 0) FROM trials),
        (SELECT coalesce(max(asked), 0) FROM unanswered),
        (SELECT coalesce(max(told), 0) FROM inbox),
        (SELECT coalesce(max(checkpoint), 0) FROM experiment)) AS last_call,
    max((SELECT coalesce(max(assessed), 0) FROM phases),
        (SELECT coalesce(max(assessed), 0) FROM trials),
        (SELECT coalesce(max(assessed), 0) FROM intermediates)) AS last_assessor_call,
    (SELECT coalesce(sum(counts), 0) FROM phases) AS phases_begun,
    (SELECT coalesce(sum(counts), 0) FROM trials) AS trials_begun"""


@dataclass(frozen=True, slots=True)
class LeftTrial:
    """A trial that had not ended, as far as its manager knew.

    Attributes:
        row: the trial.
        phases: how many phases it has begun.
        results: how many of them have a final result.
        first_parameter_id: of its first phase.
        unended: its phases that have not ended, in their order.
        state: where the conversation stands.
        last_seq: number of its last message on record.
        has_spoken: whether any message is on record.
        error: why its last message, a request, could not be met.
        newest: parameter_id of the phase that its process was given last; None if those were several.
        before: and of what it was given before that.
    """

    row: TrialRow
    phases: int
    results: int
    first_parameter_id: int
    unended: list[PhaseRow]
    state: str
    last_seq: int
    has_spoken: bool
    error: str | None = None
    newest: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """An experiment as it was left.

    Attributes:
        experiment: its row; `duration` includes the run that was interrupted.
        next_phase_id: id of the next phase's row.
        next_parameter_id: and its parameter_id.
        last_unanswered: the highest parameter_id for which the tuner had no parameters; -1 for none.
        next_sequence_id: of the next trial.
        last_call: number of the last call of the tuner.
        last_assessor_call: and of the assessor.
        phases_begun: phases that count.
        trials_begun: trials that count.
        best_score: of the best phase.
        trials: those that had not ended.
        offers: what is to be tried again.
        late: what the tuner was asked for by trials that died before it answered, each with its trial's id.
        untold_phases: ended phases of which the tuner was not told, each with its trial's id.
        untold_trials: ended trials of which the tuner was not told, each with its first parameter_id.
        letters: names of those that are on record.
        checkpoints: what ended phases have saved, in the order in which those began.
        removed_checkpoints: what was to be removed, and may be there yet.
    """

    experiment: ExperimentRow
    next_phase_id: int
    next_parameter_id: int
    last_unanswered: int
    next_sequence_id: int
    last_call: int
    last_assessor_call: int
    phases_begun: int
    trials_begun: int
    best_score: float | None
    trials: list[LeftTrial]
    offers: list[Offer]
    untold_phases: list[tuple[PhaseRow, str]]
    untold_trials: list[tuple[TrialRow, int]]
    letters: frozenset[str] = frozenset()
    checkpoints: Sequence[SavedCheckpoint] = ()
    removed_checkpoints: Sequence[SavedCheckpoint] = ()
    late: Sequence[tuple[PhaseRow, str]] = ()


class StoredHistory:
    """Reads one experiment's store. Each method opens it anew, so any thread may call it.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def calls(self, after: int) -> Iterator[Recorded]:
        """Yield, in order, the tuner's calls behind the one of this number."""
        with closing(self._connect()) as connection:
            asks = _asks(connection.execute(_ASKS, [after]))
            phase_ends = map(_phase_end, connection.execute(_PHASE_ENDS, [after]))
            trial_ends = map(_trial_end, connection.execute(_TRIAL_ENDS, [after]))
            imports = map(_import, connection.execute(_IMPORTS, [after]))
            calls = heapq.merge(asks, phase_ends, trial_ends, imports, key=itemgetter(0))
            for _, recorded in calls:
                yield recorded

    def assessor_calls(self) -> Iterator[Assess | PhaseOver | TrialOver]:
        """Yield, in order, the assessor's calls."""
        with closing(self._connect()) as connection:
            results: _AssessorCalls = map(_assess, connection.execute(_ASSESSED))
            phases: _AssessorCalls = map(_phase_over, connection.execute(_PHASES_ASSESSED))
            trials: _AssessorCalls = map(_trial_over, connection.execute(_TRIALS_ASSESSED))
            for _, call in heapq.merge(results, phases, trials, key=itemgetter(0)):
                yield call

    def parameters(self, after: int) -> dict[int, str]:
        """Return the parameters, by parameter_id, that were chosen no later than that call, or in no
        call at all, and whose end the tuner is told of later.
        """
        with closing(self._connect()) as connection:
            return {
                row["parameter_id"]: row["parameters"]
                for row in connection.execute(_PARAMETERS, [after])
            }

    def unanswered(self, until: int) -> list[int]:
        """Return the parameter_ids for which the tuner had nothing when it was asked, in the calls up
        to the one of this number.
        """
        query = "SELECT parameter_id FROM unanswered WHERE asked <= ?"
        with closing(self._connect()) as connection:
            return [parameter_id for (parameter_id,) in connection.execute(query, [until])]

    def read(self) -> Past | None:
        """Return the experiment as it was left; None if its manager wrote nothing.

        Raises:
            StoreError: the database is damaged.
        """
        try:
            with closing(self._connect()) as connection:
                _check(connection)
                found = connection.execute("SELECT * FROM experiment").fetchone()
                return _past(connection, found) if found else None
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the store {self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=rw", uri=True)
        connection.row_factory = sqlite3.Row
        return connection


_AssessorCalls = Iterator[tuple[int, Assess | PhaseOver | TrialOver]]


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {verdict}")


def _asks(rows: Iterator[sqlite3.Row]) -> Iterator[tuple[int, Recorded]]:
    for number, group in groupby(rows, key=itemgetter("number")):
        asks = list(group)
        answers = {
            ask["parameter_id"]: ask["parameters"]
            for ask in asks
            if ask["parameters"] is not None or not ask["answered"]
        }
        ids, trials = [ask["parameter_id"] for ask in asks], [ask["trial_id"] for ask in asks]
        call: AskFirst | Ask | AskBatch = AskFirst(ids, trials)
        if not asks[0]["first"]:
            call = Ask(ids[0], trials[0]) if len(ids) == 1 else AskBatch(ids, trials[0])
        yield number, Recorded(call, answers)


def _phase_end(row: sqlite3.Row) -> tuple[int, Recorded]:
    parameter_id, trial_id, customized = (
        row["parameter_id"],
        row["trial_id"],
        bool(row["customized"]),
    )
    call: Tell | PhaseEnd = PhaseEnd(parameter_id, trial_id, customized)
    if row["value"] is not None:
        call = Tell(parameter_id, decode(row["value"]), trial_id, customized, row["checkpoint"])
    return row["number"], Recorded(call, {})


def _trial_end(row: sqlite3.Row) -> tuple[int, Recorded]:
    call = TrialEnd(row["parameter_id"], bool(row["success"]), row["trial_id"])
    return row["number"], Recorded(call, {})


def _import(row: sqlite3.Row) -> tuple[int, Recorded]:
    return row["number"], Recorded(Import(row["data"]), {})


def _assess(row: sqlite3.Row) -> tuple[int, Assess]:
    return row["number"], Assess(
        row["trial_id"],
        row["phase_index"],
        decode(row["value"]),
        row["nth"],
        row["seq"],
        bool(row["is_awaited"]),
    )


def _phase_over(row: sqlite3.Row) -> tuple[int, PhaseOver]:
    success = row["status"] == PhaseStatus.SUCCEEDED
    return row["number"], PhaseOver(row["trial_id"], row["phase_index"], success)


def _trial_over(row: sqlite3.Row) -> tuple[int, TrialOver]:
    return row["number"], TrialOver(row["trial_id"], bool(row["success"]))


def _past(connection: sqlite3.Connection, found: sqlite3.Row) -> Past:
    experiment = experiment_row(dict(found))
    if experiment.running_since is not None:
        (last,) = connection.execute(LAST_SIGN_OF_LIFE).fetchone()
        experiment.duration += max(0.0, last - experiment.running_since)
        experiment.running_since = None
    following = connection.execute(_NEXT).fetchone()
    return Past(
        experiment=experiment,
        next_phase_id=following["phase_id"],
        next_parameter_id=following["parameter_id"],
        last_unanswered=following["last_unanswered"],
        next_sequence_id=following["sequence_id"],
        last_call=following["last_call"],
        last_assessor_call=following["last_assessor_call"],
        phases_begun=following["phases_begun"],
        trials_begun=following["trials_begun"],
        best_score=_best_score(connection, experiment.best_phase),
        trials=_left_trials(connection),
        offers=[_offer(row) for row in connection.execute(_OFFERS)],
        untold_phases=_with_trials(connection, _UNTOLD_PHASES),
        late=_with_trials(connection, _LATE),
        untold_trials=_untold_trials(connection),
        letters=frozenset(row["name"] for row in connection.execute("SELECT name FROM inbox")),
        checkpoints=_checkpoints(connection, is_removed=False),
        removed_checkpoints=_checkpoints(connection, is_removed=True),
    )


def _checkpoints(connection: sqlite3.Connection, is_removed: bool) -> list[SavedCheckpoint]:
    rows = connection.execute(_CHECKPOINTS, [is_removed])
    return [SavedCheckpoint(**{**dict(row), "has_result": bool(row["has_result"])}) for row in rows]


def _offer(row: sqlite3.Row) -> Offer:
    return Offer(
        row["parameter_id"],
        row["parameters"],
        row["attempt"],
        bool(row["customized"]),
        row["parent"],
    )


def _best_score(connection: sqlite3.Connection, phase: int | None) -> float | None:
    row = connection.execute("SELECT value FROM phases WHERE id = ?", [phase]).fetchone()
    return objective(decode(row["value"])) if row else None


def _left_trials(connection: sqlite3.Connection) -> list[LeftTrial]:
    rows = connection.execute(
        "SELECT * FROM trials WHERE status IN ('WAITING', 'RUNNING') ORDER BY sequence_id"
    ).fetchall()
    return [_left_trial(connection, trial_row(dict(row))) for row in rows]


def _left_trial(connection: sqlite3.Connection, trial: TrialRow) -> LeftTrial:
    phases = connection.execute(
        "SELECT * FROM phases WHERE sequence_id = ? ORDER BY phase_index", [trial.sequence_id]
    ).fetchall()
    session = [row for row in phases if row["phase_index"] >= trial.session_start]
    unended = [
        _with_intermediates(connection, dict(row))
        for row in phases
        if row["status"] in (PhaseStatus.WAITING, PhaseStatus.RUNNING)
    ]
    last = _last_request(session)
    last_seq = max(trial.seq or 0, _last_seq(connection, last))
    signs = [trial.session, trial.seq, *(row["request_seq"] for row in phases)]
    before, newest = _last_given(session)
    return LeftTrial(
        row=trial,
        phases=len(phases),
        results=sum(row["status"] == PhaseStatus.SUCCEEDED for row in phases),
        first_parameter_id=phases[0]["parameter_id"] if phases else -1,
        unended=unended,
        state=_state(unended),
        last_seq=last_seq,
        has_spoken=any(sign is not None for sign in signs),
        error=_error(last, last_seq),
        newest=newest,
        before=before,
    )


def _with_intermediates(connection: sqlite3.Connection, stored: dict[str, Any]) -> PhaseRow:
    newest = """SELECT number, value, seq FROM intermediates WHERE phase = ?
        ORDER BY number DESC LIMIT 1"""
    row = connection.execute(newest, [stored["id"]]).fetchone()
    if row is None:
        return phase_row(stored)
    return phase_row(stored, row["number"] + 1, row["value"], row["seq"])


def _last_request(session: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """Return the phases that were asked for last: all later messages are about them."""
    numbers = [row["request_seq"] for row in session if row["request_seq"] is not None]
    return [row for row in session if numbers and row["request_seq"] == max(numbers)]


def _last_given(session: list[sqlite3.Row]) -> tuple[int | None, int | None]:
    """Return the phases that the last two requests began; None for a request that began several."""
    began = [row for row in session if row["started_at"] is not None]
    requests = [[*rows] for _, rows in groupby(began, itemgetter("request_seq"))]
    alone = [rows[0]["parameter_id"] if len(rows) == 1 else None for rows in requests]
    before, newest = [None, None, *alone][-2:]
    return before, newest


def _error(last: list[sqlite3.Row], last_seq: int) -> str | None:
    """Return why all phases of the last request ended as they began, if it is the last message: their
    parameters were too long to be handed over.
    """
    never_began = [
        row["reason"]
        for row in last
        if row["status"] == PhaseStatus.FAILED
        and row["started_at"] is None
        and row["request_seq"] == last_seq
    ]
    return never_began[-1] if last and len(never_began) == len(last) else None


def _state(unended: list[PhaseRow]) -> str:
    if any(phase.status is PhaseStatus.RUNNING for phase in unended):
        return OPEN
    return ASKED if any(phase.request_seq is not None for phase in unended) else IDLE


def _last_seq(connection: sqlite3.Connection, last: list[sqlite3.Row]) -> int:
    """Return the number of the last message about the phases of the last request; 0 for none."""
    query = "SELECT coalesce(max(seq), 0) FROM intermediates WHERE phase = ?"
    found = [0]
    for row in last:
        (intermediate,) = connection.execute(query, [row["id"]]).fetchone()
        found += [row["request_seq"], row["final_seq"] or 0, intermediate]
    return max(found)


def _with_trials(connection: sqlite3.Connection, query: str) -> list[tuple[PhaseRow, str]]:
    """Return phases, each with its trial's id."""
    found = []
    for row in connection.execute(query):
        stored = dict(row)
        trial_id = stored.pop("trial_id")
        found.append((_with_intermediates(connection, stored), trial_id))
    return found


def _untold_trials(connection: sqlite3.Connection) -> list[tuple[TrialRow, int]]:
    first = "SELECT parameter_id FROM phases WHERE sequence_id = ? AND phase_index = 0"
    found = []
    for row in connection.execute(_UNTOLD_TRIALS).fetchall():
        phase = connection.execute(first, [row["sequence_id"]]).fetchone()
        if phase is not None:
            found.append((trial_row(dict(row)), phase["parameter_id"]))
    return found
