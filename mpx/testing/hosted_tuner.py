"""A tuner in the host that a manager runs it in, and its calls on record."""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpx.checkpoints import Checkpoints
from mpx.errors import TunerError
from mpx.host import Finish, prints_errors
from mpx.records import ErrorRecord, ExperimentPaths
from mpx.testing.promise import BrokenPromiseError
from mpx.testing.subject import Subject
from mpx.tuner_calls import (
    Ask,
    AskBatch,
    AskFirst,
    Call,
    Enqueued,
    Failed,
    Import,
    InUse,
    Launched,
    Load,
    Loaded,
    Parameters,
    PhaseEnd,
    Recorded,
    SaveCheckpoint,
    Saved,
    Tell,
    TrialEnd,
    Warned,
)
from mpx.tuner_host import TunerHost
from mpx.wire import decode, encode

NO_MORE = (
    "return parameters whenever it is asked. If it has handed out all that there is, or has nothing for"
    " more trials: set `exhausts = True` in the test; if it may have none until open phases end: set"
    " `waits = True`"
)

# What is raised where a list, or an iterator, has come to its end.
_AT_THE_END = (IndexError.__name__, StopIteration.__name__)

RecordedCall = AskFirst | Ask | AskBatch | Tell | PhaseEnd | TrialEnd | Import


@dataclass(frozen=True, slots=True)
class Record:
    """The calls that a tuner took, numbered from 1, as a resume makes them again.

    Attributes:
        made: the calls and their answers, in order.
        unasked: parameters, as JSON, that were chosen in none of these calls: by the user, or by a
            tuner that launches phases.
        parents: parameter_id → that of the phase whose weights it goes on from.
    """

    made: list[Recorded]
    unasked: dict[int, str] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)

    def until(self, number: int) -> Record:
        """Return the record of an experiment that was interrupted behind the call of this number."""
        return Record(self.made[:number], self.unasked, self.parents)

    def calls(self, after: int) -> Sequence[Recorded]:
        """Return the calls behind the one of this number."""
        return self.made[after:]

    def parameters(self, after: int) -> dict[int, str]:
        """Return the parameters of phases that have not ended by that call."""
        before = self.made[:after]
        ended = {
            recorded.call.parameter_id
            for recorded in before
            if isinstance(recorded.call, Tell | PhaseEnd)
        }
        chosen = {**self.unasked, **_answers(before)}
        return {number: text for number, text in chosen.items() if number not in ended}

    def unanswered(self, until: int) -> list[int]:
        """Return the parameter_ids for which the tuner had nothing, in the calls up to that one."""
        return [
            number
            for recorded in self.made[:until]
            for number, text in recorded.answers.items()
            if text is None
        ]


def _answers(made: Sequence[Recorded]) -> dict[int, str]:
    return {
        number: text
        for recorded in made
        for number, text in recorded.answers.items()
        if text is not None
    }


class HostedTuner:
    """A tuner that is called as a manager calls it, one call after the other.

    Attributes:
        constructed: the tuner itself.
        record: the calls it took.
        parameters: parameter_id → parameters, as a trial is given them.
        launched: parameter_ids for which it had nothing when it was asked, and now has.
        warnings: what its user would be warned of.
        in_use: parameter_ids of the phases that it may name as parents; None: it cannot say.
        forgotten: a phase and the parent that it named for it, which it had said it would not.
        optimize_mode: its own, if it has one that mpx knows.
        saves: it can save its state, and load it again.
    """

    def __init__(self, paths: ExperimentPaths, patience: float) -> None:
        self._host = _Host(Checkpoints(paths.checkpoint, paths.kept_checkpoints))
        self._ready = select.poll()
        self._ready.register(self._host, select.POLLIN)
        self._patience = patience
        self._has_ended = False
        self.constructed: Any = None
        self.record = Record([])
        self.parameters: dict[int, Any] = {}
        self.launched: list[int] = []
        self.warnings: list[str] = []
        self.in_use: frozenset[int] | None = None
        self.forgotten: tuple[int, int] | None = None
        self.optimize_mode: str | None = None
        self.saves = False

    def load(
        self, subject: Subject, seed: int, past: Record | None, checkpoint: int | None
    ) -> None:
        """Have it constructed, given its search space, and rebuilt from what is on record.

        Raises:
            BrokenPromiseError: it failed.
        """
        self._host.start()
        load = Load(
            load_class=subject.load_class,
            construct=lambda loaded: self._keep(subject.construct(loaded)),
            search_space=subject.search_space,
            seed=seed,
            history=past,
            checkpoint=checkpoint,
        )
        answers = self._post(load)
        if past is not None:
            self.record = Record(list(past.made), dict(past.unasked), dict(past.parents))
            texts = {**past.unasked, **_answers(past.made)}
            self.parameters = {number: decode(text) for number, text in texts.items()}
        (loaded,) = (each for each in answers if isinstance(each, Loaded))
        self.optimize_mode, self.saves = loaded.optimize_mode, loaded.saves
        self.in_use = loaded.in_use

    def ask_first(self, parameter_ids: Sequence[int], trial_ids: Sequence[str]) -> list[int]:
        """Ask for the first phases of new trials; return the parameter_ids that have parameters."""
        return self._found(self.make(AskFirst(list(parameter_ids), list(trial_ids))))

    def ask(self, parameter_ids: Sequence[int], trial_id: str) -> list[int]:
        """Ask for the next phases of a running trial; return the parameter_ids that have parameters."""
        if len(parameter_ids) == 1:
            return self._found(self.make(Ask(parameter_ids[0], trial_id)))
        return self._found(self.make(AskBatch(list(parameter_ids), trial_id)))

    def tell(self, parameter_id: int, value: Any, trial_id: str, customized: bool = False) -> None:
        """Tell of a final result, which is what its JSON says, of a phase that saved a checkpoint."""
        checkpoint = f"checkpoint-of-{parameter_id}"
        self.make(Tell(parameter_id, decode(encode(value)), trial_id, customized, checkpoint))

    def end_phase(self, parameter_id: int, trial_id: str, customized: bool = False) -> None:
        """Tell of a phase that ended without a result."""
        self.make(PhaseEnd(parameter_id, trial_id, customized))

    def end_trial(self, parameter_id: int, success: bool, trial_id: str) -> None:
        """Tell of the end of a trial."""
        self.make(TrialEnd(parameter_id, success, trial_id))

    def enqueue(self, parameter_id: int, parameters: Any) -> None:
        """Take in parameters that the user chose for a phase."""
        text = self.record.unasked[parameter_id] = encode(parameters)
        self.parameters[parameter_id] = parameters
        self._post(Enqueued(parameter_id, text))

    def import_data(self, rows: list[dict[str, Any]]) -> None:
        """Tell of results from elsewhere."""
        self.make(Import(encode(rows)))

    def save_checkpoint(self) -> int | None:
        """Have it save its state; return the number of the last call in it, None if it left no file."""
        number = len(self.record.made)
        return number if Saved(number) in self._post(SaveCheckpoint(number)) else None

    def make(self, call: RecordedCall) -> dict[int, str | None]:
        """Make a call; return the answers to it, parameters as JSON by parameter_id.

        Raises:
            BrokenPromiseError: the tuner failed.
        """
        if isinstance(call, Tell) and call.checkpoint:
            Path(call.checkpoint).touch()
        given = [each for each in self._post(call) if isinstance(each, Parameters)]
        answers = {each.parameter_id: each.text for each in given}
        self.record.made.append(Recorded(call, answers))
        for each in given:
            self.record.parents.pop(each.parameter_id, None)
            if each.parent is not None:
                self.record.parents[each.parameter_id] = each.parent
                if self.in_use is not None and each.parent not in self.in_use:
                    self.forgotten = self.forgotten or (each.parameter_id, each.parent)
        return answers

    def finish(self, well: bool) -> None:
        """End the experiment.

        Raises:
            BrokenPromiseError: the tuner's last call failed.
        """
        self._has_ended = True
        self._post(Finish(well))
        self._host.close()

    def close(self) -> None:
        """End the experiment, if it has not ended, whatever the tuner does about it."""
        if not self._has_ended:
            try:
                self.finish(well=True)
            except BrokenPromiseError:
                pass

    def _keep(self, constructed: Any) -> Any:
        self.constructed = constructed
        return constructed

    def _found(self, answers: Mapping[int, str | None]) -> list[int]:
        found = {number: text for number, text in answers.items() if text is not None}
        self.parameters.update((number, decode(text)) for number, text in found.items())
        return list(found)

    def _post(self, call: Call) -> list[Any]:
        """Make a call and wait until it has returned; return the answers."""
        answers: list[Any] = []
        self._host.post([call])
        while _RETURNED not in answers:
            if not self._ready.poll(self._patience * 1000):
                self._has_ended = True  # its thread hangs, and is left alone
                raise BrokenPromiseError(
                    f"{described(call)}: it has not returned for {self._patience:g} s",
                    "let it return soon: no other call is made until then (`patience`, in seconds, is"
                    " how long this test waits)",
                )
            answers += self._host.collect()
        self._take_notes(call, answers)
        return answers

    def _take_notes(self, call: Call, answers: list[Any]) -> None:
        for answer in answers:
            if isinstance(answer, Failed):
                seen = f"{described(call)}: {_failure(answer.error)}"
                raise BrokenPromiseError(seen, _to_do(call, answer.error))
            if isinstance(answer, InUse):
                self.in_use = answer.parameter_ids
            elif isinstance(answer, Warned):
                self.warnings.append(answer.message)
            elif isinstance(answer, Launched):
                self.record.unasked[answer.parameter_id] = answer.text
                self.parameters[answer.parameter_id] = decode(answer.text)
                self.launched.append(answer.parameter_id)


_RETURNED = "returned"


class _Host(TunerHost):
    """The manager's host, which says as well when a call has returned."""

    def _run(self, call: Call) -> None:
        # What ends an experiment the test shows, traceback and all; of what ends nothing it has one line.
        prints_errors.set(isinstance(call, Import | SaveCheckpoint))
        super()._run(call)
        self._answers.append(_RETURNED)


def described(call: Call) -> str:
    """Say in words what a call is."""
    match call:
        case Load():
            return "constructed and given its search space"
        case AskFirst(parameter_ids, trial_ids):
            pairs = zip(parameter_ids, trial_ids, strict=True)
            listed = ", ".join(f"{number} (trial {trial})" for number, trial in pairs)
            return f"asked for the first phases {listed}"
        case Ask(parameter_id, trial_id):
            return f"asked for phase {parameter_id} (trial {trial_id})"
        case AskBatch(parameter_ids, trial_id):
            listed = ", ".join(map(str, parameter_ids))
            return f"asked for the phases {listed} (trial {trial_id})"
        case Tell(parameter_id, value, trial_id):
            return f"told the result {value!r:.80} of phase {parameter_id} (trial {trial_id})"
        case PhaseEnd(parameter_id, trial_id):
            return f"told that phase {parameter_id} (trial {trial_id}) ended without a result"
        case TrialEnd(_, success, trial_id):
            return f"told that trial {trial_id} {'ended well' if success else 'died'}"
        case Import():
            return "told of results from elsewhere"
        case Finish(well):
            return f"told that the experiment ended {'well' if well else 'by an error'}"
    return type(call).__name__


def _to_do(call: Call, error: ErrorRecord) -> str | None:
    """Return what to do about an exception, where that does not depend on the test."""
    if isinstance(call, Load):
        return (
            "name the class in `tuner`, its arguments in `class_args`, and in `search_space` one that it"
            " takes; let neither its constructor nor `update_search_space` raise"
        )
    if not isinstance(call, AskFirst | Ask | AskBatch):
        return None
    if error.type == TunerError.__name__ and "generate_multiple_parameters" in error.message:
        return (
            "let `generate_multiple_parameters` return a list with the parameters of as many phases as"
            " there are ids, or of fewer, the first of them, if it has no more (None, if it has none)"
        )
    if error.type in _AT_THE_END:
        return (
            "let no exception but NoMoreTrialError out: another one ends the experiment. If it has handed"
            " out all that there is, return None or raise NoMoreTrialError, and set `exhausts = True` in"
            " the test"
        )
    return None


def _failure(error: ErrorRecord) -> str:
    return f"it raised {error.type}: {error.message}\n{error.traceback}"
