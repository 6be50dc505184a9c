"""Hosts the assessor, on a thread of its own: a verdict never waits for a slow tuner.

The assessor is shown curves. What makes one curve, a phase or a whole trial, its class says or the
configuration; here the curves are kept.

After the first exception that an assessor lets out it is not called again, but for `_on_error`; every
curve is good then, so that no trial waits for a verdict that never comes.

After a crash or a stop the assessor is rebuilt: its calls on record are made again, in order. The last
verdict on each phase is answered anew, for it may have died with the manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mpx.assessor import AssessResult
from mpx.assessor_calls import (
    Assess,
    AssessorCall,
    AssessorFailed,
    AssessorLoaded,
    LoadAssessor,
    PhaseOver,
    TrialOver,
    Verdict,
)
from mpx.errors import AssessorError, ClassLoadError
from mpx.host import Finish, Host, call_if_there, report_error


class AssessorHost(Host[AssessorCall]):
    """Runs an assessor on its own thread."""

    def __init__(self) -> None:
        super().__init__("assessor")
        self._assessor: Any = None
        self._judges_trials = False
        self._curves: dict[str, list[Any]] = {}
        self._is_ending = False

    def _run(self, call: AssessorCall) -> None:
        # The border around the user's assessor: whatever it raises, SystemExit included, is an answer.
        try:
            if isinstance(call, Finish):
                self._finish(call)
            elif isinstance(call, Assess):
                self._judge(call)
            elif not self._failed:
                self._ACTIONS[type(call)](self, call)
        except BaseException as error:  # noqa: BLE001
            self._failed = True
            self._answers.append(AssessorFailed(report_error(error)))
            if isinstance(call, Assess):
                self._answers.append(Verdict(call, True))

    def post(self, calls: list[AssessorCall]) -> None:
        """Have these calls made; the last one ends what verdicts are still wanted."""
        if any(type(call) is Finish for call in calls):
            self._is_ending = True
        super().post(calls)

    def _judge(self, call: Assess) -> None:
        if not self._is_ending:  # else no trial is left that could be stopped
            is_good = self._failed or self._is_good(call)
            self._answers.append(Verdict(call, is_good, self._judges_trials))

    def _load(self, call: LoadAssessor) -> None:
        assessor = call.construct(call.load_class())
        if not callable(getattr(assessor, "assess_trial", None)):
            raise ClassLoadError(
                f"{type(assessor).__name__} is no assessor: it has no `assess_trial` method"
            )
        self._assessor = assessor
        history = call.history or getattr(assessor, "history", "phase")
        self._judges_trials = history == "trial"
        self._replay(call.calls)
        self._answers.append(AssessorLoaded())

    def _replay(self, calls: Iterable[Assess | PhaseOver | TrialOver]) -> None:
        last: dict[tuple[str, int], Verdict] = {}
        for call in calls:
            if isinstance(call, Assess):
                verdict = Verdict(call, self._is_good(call), self._judges_trials)
                last[call.trial_id, call.phase_index] = verdict
            else:
                self._forget_verdicts(last, call)
                self._ACTIONS[type(call)](self, call)
        self._answers.extend(last.values())

    def _forget_verdicts(
        self, last: dict[tuple[str, int], Verdict], call: PhaseOver | TrialOver
    ) -> None:
        """Nobody waits for a verdict on what has ended."""
        if isinstance(call, PhaseOver):
            last.pop((call.trial_id, call.phase_index), None)
        else:
            for key in [key for key in last if key[0] == call.trial_id]:
                del last[key]

    def _is_good(self, call: Assess) -> bool:
        name = self._name(call.trial_id, call.phase_index)
        curve = self._curves.setdefault(name, [])
        curve.append(call.value)
        verdict = self._assessor.assess_trial(name, [*curve])
        # NNI's own `AssessResult` is ours; another of that name says the same by its value.
        good = getattr(verdict, "value", verdict)
        if not isinstance(good, bool):
            raise AssessorError(
                f"assess_trial returned {verdict!r:.200}; allowed: AssessResult.Good,"
                " AssessResult.Bad, True or False"
            )
        return good is AssessResult.Good.value

    def _name(self, trial_id: str, phase_index: int) -> str:
        return trial_id if self._judges_trials else f"{trial_id}.{phase_index}"

    def _phase_over(self, call: PhaseOver) -> None:
        if not self._judges_trials:
            self._end(self._name(call.trial_id, call.phase_index), call.success)

    def _trial_over(self, call: TrialOver) -> None:
        if self._judges_trials:
            self._end(call.trial_id, call.success)
            return
        # Where `mpx stop` ended what a dead manager left, no call told of the phase's end.
        for name in [name for name in self._curves if name.startswith(f"{call.trial_id}.")]:
            self._end(name, False)

    def _end(self, name: str, success: bool) -> None:
        if self._curves.pop(name, None) is not None:
            call_if_there(self._assessor, "trial_end", name, success)

    def _finish(self, call: Finish) -> None:
        self._take_leave(self._assessor, call.well)

    _ACTIONS: dict[type, Callable[[AssessorHost, Any], None]] = {
        LoadAssessor: _load,
        PhaseOver: _phase_over,
        TrialOver: _trial_over,
    }
