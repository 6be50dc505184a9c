"""Hosts the tuner: calls go into a mailbox, answers come out. Only this module knows where it runs.

Calls are made in the order they were posted, one at a time. That order is the promise that a phase's
result reaches the tuner before the trial's next phase is chosen: the controller posts the one before the
other. With `multiThread` calls for different trials run at the same time; those for one trial keep their
order, and with it the promise.

After the first exception that a tuner lets out, it is not called again, but for `_on_error`.

After a crash or a stop the tuner is rebuilt: its calls on record are made again, in order, from the
start or from a checkpoint. What it answered then wins over what it answers now.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

from mpx import generators
from mpx.adapted_tuner import AdaptedTuner
from mpx.checkpoints import Checkpoints
from mpx.errors import MessageError, NoMoreTrialError, TunerError
from mpx.host import Finish, Host, report_error
from mpx.lanes import Lanes
from mpx.promises import Promises
from mpx.tuner import Continued
from mpx.tuner_calls import (
    Ask,
    AskBatch,
    AskFirst,
    Call,
    Enqueued,
    Failed,
    ForgetCheckpoints,
    History,
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
from mpx.wire import decode, encode

# Seconds that calls which run at the same time are waited for before the last one.
_LAST_CALLS = 2.0


class TunerHost(Host[Call]):
    """Runs a tuner on its own thread.

    Args:
        checkpoints: where the tuner's state is kept.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__("tuner")
        self._checkpoints = checkpoints
        self._tuner: AdaptedTuner | None = None
        self._lanes: Lanes[Call] | None = None
        self._parameters: dict[int, Any] = {}
        self._promises = Promises()
        self._on_record: dict[int, str | None] = {}  # answers to the calls that are made again
        self._differs = False
        self._repeats = False
        self._says_what_it_uses = False

    def _run(self, call: Call) -> None:
        if self._lanes is None or isinstance(call, Finish):
            self._make(call)
        else:
            self._make_in_lane(self._lanes, call)

    def _make(self, call: Call) -> None:
        # The border around the user's tuner: whatever it raises, SystemExit included, is an answer.
        try:
            if isinstance(call, Finish):
                self._finish(call)
            elif not self._failed:
                self._ACTIONS[type(call)](self, call)
        except BaseException as error:  # noqa: BLE001
            self._failed = True
            self._answers.append(Failed(report_error(error)))

    def _make_in_lane(self, lanes: Lanes[Call], call: Call) -> None:
        """Make a call beside those for other trials, behind those for its own."""
        if isinstance(call, AskFirst):
            for parameter_id, trial_id in _asks(call):
                lanes.put(trial_id, AskFirst([parameter_id], [trial_id]))
        elif isinstance(call, Ask | AskBatch | Tell | PhaseEnd | TrialEnd):
            lanes.put(call.trial_id, call)
        else:
            self._make(call)

    def _make_and_wake(self, call: Call) -> None:
        self._make(call)
        self._wake_loop()

    def _load(self, call: Load) -> None:
        generators.seed(call.seed)
        tuner = call.construct(call.load_class())
        self._tuner = AdaptedTuner(tuner)
        restored = self._restore(call.checkpoint)
        self._tuner.call("update_search_space", copy.deepcopy(call.search_space))
        if restored:
            self._checkpoints.restore_random(restored)
        if call.multi_thread:
            self._lanes = Lanes("tuner", self._make_and_wake)
        if call.history is not None:
            self._replay(call.history, restored)
            if self._failed:  # in a lane
                return
            self._promise_again()
        mode = getattr(tuner, "optimize_mode", None)
        mode = str(getattr(mode, "value", mode)).lower()  # NNI's is an enumeration
        # Between calls that run at the same time there is no moment whose state could be saved.
        saves = self._tuner.saves and not call.multi_thread
        mode = mode if mode in ("maximize", "minimize") else None
        in_use = self._in_use()
        self._answers.append(Loaded(mode, saves, in_use))
        self._says_what_it_uses = in_use is not None

    def _restore(self, checkpoint: int | None) -> int:
        """Have the tuner load its checkpoint; return the number of the last call that is in it."""
        assert self._tuner is not None
        if checkpoint is None or not self._checkpoints.restore(checkpoint):
            return 0  # all calls are on record
        self._tuner.call("load_checkpoint")
        return checkpoint

    def _replay(self, history: History, after: int) -> None:
        for parameter_id, text in history.parameters(after).items():
            self._parameters[parameter_id] = decode(text)
        self._promises.restore(history.unanswered(after))
        calls = history.calls(after)
        if self._lanes is not None:
            self._replay_in_lanes(self._lanes, calls)
            return
        for recorded in calls:
            self._on_record.update(recorded.answers)
            self._ACTIONS[type(recorded.call)](self, recorded.call)

    def _replay_in_lanes(self, lanes: Lanes[Call], calls: Iterable[Recorded]) -> None:
        asked_by: dict[int, str] = {}
        open_asks: set[str] = set()
        for recorded in calls:
            call = recorded.call
            self._on_record.update(recorded.answers)
            open_asks.update(_asks_without_answer(recorded))
            if isinstance(call, AskFirst | Ask | AskBatch):
                asked_by.update(_askers(call, recorded.answers))
            elif isinstance(call, Tell | PhaseEnd):
                asker = asked_by.pop(call.parameter_id, call.trial_id)
                if asker != call.trial_id:  # what one trial was given, another has tried again
                    lanes.finish(asker)
            self._make_in_lane(lanes, call)
        lanes.drain(open_asks)

    def _promise_again(self) -> None:
        """Tell another manager for what the tuner has a callback."""
        with self._promises.lock:
            for parameter_id in self._promises.promised:
                self._answers.append(Parameters(parameter_id, None, is_promised=True))

    def _save(self, call: SaveCheckpoint) -> None:
        assert self._tuner is not None
        # What cannot be saved can be replayed, so this ends nothing.
        try:
            self._tuner.call("save_checkpoint")
            if self._checkpoints.keep(call.number):
                self._answers.append(Saved(call.number))
        except Exception as error:  # noqa: BLE001 (the user's code)
            record = report_error(error)
            self._answers.append(Warned(f"save_checkpoint failed: {record.type}: {record.message}"))

    def _forget(self, call: ForgetCheckpoints) -> None:
        self._checkpoints.forget_older(call.number)

    def _ask_first(self, call: AskFirst) -> None:
        assert self._tuner is not None
        self._promises.ask(call.parameter_ids)
        first = self._tuner.generate_first(call.parameter_ids, call.trial_ids, self._launch)
        found = dict(first.found)
        for parameter_id in call.parameter_ids:
            self._answer(parameter_id, found.get(parameter_id), parameter_id in first.promised)

    def _ask(self, call: Ask) -> None:
        assert self._tuner is not None
        self._promises.ask([call.parameter_id])
        try:
            found = self._tuner.generate_next(call.parameter_id, call.trial_id)
        except NoMoreTrialError as error:
            self._answer(call.parameter_id, None, reason=str(error))
        else:
            self._answer(call.parameter_id, found)

    def _ask_batch(self, call: AskBatch) -> None:
        assert self._tuner is not None
        self._promises.ask(call.parameter_ids)
        found, reason = [], ""
        try:
            found = self._tuner.generate_batch(call.parameter_ids, call.trial_id)
        except NoMoreTrialError as error:
            reason = str(error)
        for parameter_id, parameters in zip_longest(call.parameter_ids, found):
            self._answer(parameter_id, parameters, reason=reason)

    def _answer(
        self, parameter_id: int, returned: Any, is_promised: bool = False, reason: str = ""
    ) -> None:
        with self._promises.lock:  # what is launched from now on comes behind this answer
            parameters = self._promises.settle(parameter_id, returned, is_promised)
            parent = None
            if isinstance(parameters, Continued):
                parent = self._parent_of(parameters, parameter_id)
                parameters = parameters.parameters
            text = (
                None if parameters is None else _as_json(parameters, "generate_parameters returned")
            )
            if parameter_id in self._on_record:
                recorded = self._on_record.pop(parameter_id)
                if text != recorded:
                    self._warn_of_difference(parameter_id, recorded, text)
                    parameters = None if recorded is None else decode(recorded)
            else:
                is_owed = is_promised and text is None
                self._answers.append(Parameters(parameter_id, text, is_owed, parent, reason))
            if parameters is not None:
                # The tuner gets back the very object it returned.
                self._parameters[parameter_id] = parameters

    def _parent_of(self, continued: Continued, parameter_id: int) -> int:
        try:
            parent = operator.index(continued.parent)  # numpy's integers as well
        except TypeError:
            parent = -1
        if not 0 <= parent <= self._promises.last or parent == parameter_id:
            raise TunerError(
                f"generate_parameters returned {_shown(continued)} for parameter_id {parameter_id};"
                " the parent is the parameter_id of another phase, that has a result: a whole number"
                " from 0"
            )
        return parent

    def _launch(self, parameter_id: int, parameters: Any) -> None:
        """Take in parameters for which the tuner was asked earlier; from whatever thread it calls.

        Raises:
            TunerError: JSON cannot say them, or nobody asked for them.
        """
        if parameters is None:
            return  # as if it had not called
        text = _as_json(parameters, "st_callback was given")
        parameter_id = self._promises.check(parameter_id)
        with self._promises.lock:
            is_owed = self._promises.launch(parameter_id, parameters)
            if is_owed is None:
                return
            recorded = self._parameters.get(parameter_id)
            if not is_owed:
                self._warn_of_repetition(parameter_id)
            elif recorded is None:
                self._answers.append(Launched(parameter_id, text))
                self._parameters[parameter_id] = parameters
            elif encode(recorded) == text:
                self._parameters[parameter_id] = parameters
            else:
                self._warn_of_difference(parameter_id, encode(recorded), text)
        self._wake_loop()

    def _warn_of_repetition(self, parameter_id: int) -> None:
        if not self._repeats:
            self._repeats = True
            self._answers.append(
                Warned(
                    f"st_callback was called for parameter_id {parameter_id}, which has its parameters"
                    " already, or was asked for by a trial that is gone: such calls are ignored"
                )
            )

    def _warn_of_difference(self, parameter_id: int, recorded: str | None, now: str | None) -> None:
        if not self._differs:
            self._differs = True
            self._answers.append(
                Warned(
                    "when its calls were made again, the tuner answered otherwise than before, first"
                    f" for parameter_id {parameter_id}: {now or 'no parameters':.200} instead of"
                    f" {recorded or 'no parameters':.200}. What was recorded stays; what it chooses"
                    " from now on may differ from what it would have chosen"
                )
            )

    def _tell(self, call: Tell) -> None:
        assert self._tuner is not None
        parameters = self._parameters.pop(call.parameter_id)
        self._promises.forget(call.parameter_id)
        self._tuner.receive(
            call.parameter_id,
            parameters,
            call.value,
            call.trial_id,
            call.customized,
            call.checkpoint,
        )
        self._tuner.phase_end(call.parameter_id, True, call.trial_id, call.customized)
        if self._says_what_it_uses and call.checkpoint is not None:
            self._answers.append(InUse(call.parameter_id, self._in_use()))

    def _in_use(self) -> frozenset[int] | None:
        """Return the parameter_ids of the phases that the tuner may yet name as parents; None: any."""
        assert self._tuner is not None
        if self._lanes is not None:  # another call may be about to name one
            return None
        return self._tuner.checkpoints_in_use()

    def _phase_end(self, call: PhaseEnd) -> None:
        assert self._tuner is not None
        # A phase for which the tuner had no parameters never was.
        self._promises.forget(call.parameter_id)
        if self._parameters.pop(call.parameter_id, None) is not None:
            self._tuner.phase_end(call.parameter_id, False, call.trial_id, call.customized)

    def _trial_end(self, call: TrialEnd) -> None:
        assert self._tuner is not None
        self._tuner.trial_end(call.parameter_id, call.success, call.trial_id)

    def _enqueued(self, call: Enqueued) -> None:
        self._parameters[call.parameter_id] = decode(call.text)
        self._promises.note(call.parameter_id)

    def _import(self, call: Import) -> None:
        assert self._tuner is not None
        if not self._tuner.takes_data:
            self._warn(
                "results from elsewhere change nothing: the tuner has no `import_data` method"
            )
            return
        # What comes from elsewhere ends nothing: it could not be taken back, and would end every resume.
        try:
            self._tuner.call("import_data", decode(call.text))
        except Exception as error:  # noqa: BLE001 (the user's code)
            record = report_error(error)
            self._warn(f"import_data failed: {record.type}: {record.message}")

    def _warn(self, message: str) -> None:
        self._answers.append(Warned(message))

    def _finish(self, call: Finish) -> None:
        if self._lanes is not None:
            self._lanes.drain(timeout=_LAST_CALLS)
        self._take_leave(self._tuner and self._tuner.tuner, call.well)

    _ACTIONS: dict[type, Callable[[TunerHost, Any], None]] = {
        Load: _load,
        AskFirst: _ask_first,
        Ask: _ask,
        AskBatch: _ask_batch,
        Tell: _tell,
        PhaseEnd: _phase_end,
        TrialEnd: _trial_end,
        Enqueued: _enqueued,
        Import: _import,
        SaveCheckpoint: _save,
        ForgetCheckpoints: _forget,
    }


def _asks_without_answer(recorded: Recorded) -> set[str]:
    """Return the trials for which a call asked and nothing is on record: what it returns now counts."""
    call = recorded.call
    asks = _asks(call) if isinstance(call, AskFirst | Ask | AskBatch) else ()
    return {trial_id for number, trial_id in asks if number not in recorded.answers}


def _askers(call: AskFirst | Ask | AskBatch, answers: Mapping[int, str | None]) -> dict[int, str]:
    """Return the trials that were given parameters, by parameter_id."""
    return {number: trial_id for number, trial_id in _asks(call) if answers.get(number) is not None}


def _asks(call: AskFirst | Ask | AskBatch) -> Iterable[tuple[int, str]]:
    if isinstance(call, AskFirst):
        return zip(call.parameter_ids, call.trial_ids, strict=True)
    if isinstance(call, AskBatch):
        return [(parameter_id, call.trial_id) for parameter_id in call.parameter_ids]
    return [(call.parameter_id, call.trial_id)]


def _as_json(parameters: Any, where: str) -> str:
    try:
        return encode(parameters)
    except MessageError as error:
        raise TunerError(f"{where} {_shown(parameters)}: {error}") from None


def _shown(parameters: Any) -> str:
    try:
        return f"{parameters!r:.200}"
    except Exception:  # noqa: BLE001 (a user's __repr__, or one that goes too deep)
        return f"a {type(parameters).__name__}"
