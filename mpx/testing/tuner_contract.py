"""The contract of tuners, as a suite of tests."""

from __future__ import annotations

import math
import unittest
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from zlib import crc32

from mpx import search_space as spaces
from mpx.lifecycle import objective
from mpx.records import ExperimentPaths
from mpx.testing.hosted_tuner import NO_MORE, HostedTuner, Record, described
from mpx.testing.membership import deviations
from mpx.testing.place import experiment_directory, generators_as_they_were
from mpx.testing.promise import BrokenPromiseError, promise
from mpx.testing.subject import Subject
from mpx.testing.workload import Ending, Outcome, Workload
from mpx.tuner_calls import Ask, Recorded, Tell
from mpx.wire import encode

_PLAIN = "test_a_plain_experiment"
_IN_SPACE = "test_parameters_are_of_the_search_space"
_REPEATS = "test_seeded_alike_it_chooses_alike"
_RESUMES = "test_a_resume_equals_no_interruption"
_IN_PARALLEL = "test_trials_in_parallel"
_TOGETHER = "test_first_phases_of_several_trials"
_FAILS = "test_phases_that_fail"
_DIES = "test_trials_that_die"
_MODES = ("maximize", "minimize")
_NOT_OF_ANY_SPACE = {"a name of no search space": None}
_MOST_UNTIL_EXHAUSTED = 50  # times `phases`
_FIRST_AND_LATER = (0, 3)

_TO_REPEAT = (
    "draw from `random` or `numpy.random`, which mpx seeds before it constructs the tuner, or from"
    " generators of your own that the constructor seeds from there; keep the time, process ids, id() and"
    " the order of sets out of the choices, and all state in the object: not in its class, its module or"
    " files"
)


class TunerContract:
    """What mpx expects of a tuner, as tests: derive from it, say which tuner, and run pytest or unittest.

    The tests call the tuner through the manager's own host: its thread, its replay, its order of calls.
    None starts a process, but for the last one. To leave one out set it to None::

        class TestMine(TunerContract):
            tuner = Mine
            test_a_real_experiment = None

    Attributes:
        tuner: a class, the name of a built-in tuner, or the dict of `codeDir`, `classFileName` and
            `className` that a configuration has; a relative `codeDir` is relative to the test's file.
        class_args: for the constructor.
        search_space: as in a configuration. Where it is in the language of `mpx.search_space`, the
            parameters are held to it; see `check_parameters`.
        optimize_mode: what the tuner is to say that it does, if it says so; a built-in one is told.
        extra_parameters: names that parameters have besides those of the search space.
        exhausts: the tuner comes to an end: on this search space, after more than `phases` parameters,
            let it be, and fewer than 50 times as many; or it has nothing for new trials while others
            run, as a population that is complete.
        waits: it may have no parameters for now while phases are open.
        phases: of one run; few where a choice is slow.
        seed: of the random generators.
        patience: seconds that one call may take.
    """

    tuner: Any = None
    class_args: dict[str, Any] = {}
    search_space: Any = ""
    optimize_mode: str | None = None
    extra_parameters: Collection[str] = ()
    exhausts: bool = False
    waits: bool = False
    phases: int = 20
    seed: int = 1
    patience: float = 60.0

    def result(self, parameters: Any) -> Any:
        """Return the final result of a phase, always the same for the same parameters.

        By default a number from 0 to 1, as good as drawn. A tuner that understands other results alone
        needs another one.
        """
        return crc32(encode(parameters).encode()) / 2**32

    def check_parameters(self, parameters: Any) -> None:
        """Raise AssertionError if parameters, as the trial gets them, are not what they should be.

        By default they are held to the search space. A tuner that means something else by it needs
        another rule.
        """
        if spaces.check(self.search_space):
            return  # the tuner's own language
        found = list(deviations(self.search_space, parameters, self.extra_parameters))
        if found:
            raise BrokenPromiseError(
                f"the parameters {encode(parameters):.300}\n" + "\n".join(found)
            )

    # -- construction and choices -----------------------------------------------------------------

    @promise(
        "let no exception out, for it ends the experiment, and return what JSON can say. Let the attribute"
        " `optimize_mode` be maximize or minimize, or leave it away. If `result` returns what the tuner"
        " cannot use, override it",
    )
    def test_a_plain_experiment(self) -> None:
        """mpx constructs a tuner from `class_args`, gives it the search space, reads from its
        `optimize_mode`, if it has one, which results are better, and asks it for the parameters of one
        phase after the other, which are JSON."""
        with self._hosted() as tuner:
            said = getattr(tuner.constructed, "optimize_mode", None)
            if said is not None and tuner.optimize_mode is None:
                raise BrokenPromiseError(
                    f"its optimize_mode is {said!r}; allowed: {', '.join(_MODES)}"
                )
            wanted = self.optimize_mode or tuner.optimize_mode
            if tuner.optimize_mode not in (None, wanted):
                raise BrokenPromiseError(
                    f"its optimize_mode is {said!r}, and that of the test {wanted!r}"
                )
            self._workload(tuner).run()

    @promise(
        "return a dict with one value for each name of the search space, within its bounds. For other"
        " names set `extra_parameters`; for parameters that are something else altogether override"
        " `check_parameters`",
        after=(_PLAIN,),
    )
    def test_parameters_are_of_the_search_space(self) -> None:
        """Where the search space is in mpx's language, parameters are of that space."""
        with self._hosted() as tuner:
            self._workload(tuner, phases=2 * self.phases).run()
            for parameters in tuner.parameters.values():
                self.check_parameters(parameters)

    @promise(_TO_REPEAT, after=(_PLAIN,))
    def test_seeded_alike_it_chooses_alike(self) -> None:
        """With the same seed, and the same results in the same order, a tuner makes the same choices."""
        record = self._record()
        with self._hosted() as tuner:
            self._go_on(tuner, record, "a second tuner, seeded alike")

    # -- resume -----------------------------------------------------------------------------------

    @promise(
        "let a new object, whose calls are made again from the first, get to where the old one was: "
        + _TO_REPEAT,
        after=(_REPEATS,),
    )
    def test_a_resume_equals_no_interruption(self) -> None:
        """`mpx resume` constructs the tuner again and makes its calls on record again; from there on it
        chooses as if it had never been interrupted."""
        record = self._record()
        for number in _cuts(record):
            self._interrupt(record, number)

    @promise(
        "let `save_checkpoint` write all that choices depend on to `get_checkpoint_path()`, open phases"
        " included, and `load_checkpoint` read it; the states of `random` and `numpy.random` are kept for"
        " you, those of generators of your own are not. Parameters that were chosen before a checkpoint"
        " come back equal, but are not the very object. Or leave both methods away: then all calls are"
        " made again",
        after=(_IN_PARALLEL,),
    )
    def test_a_resume_from_a_checkpoint_equals_no_interruption(self) -> None:
        """A tuner with `save_checkpoint` and `load_checkpoint` goes on from what it saved as if it had
        never been interrupted; saving changes nothing."""
        with self._hosted() as tuner:
            if not tuner.saves:
                raise unittest.SkipTest("it has no save_checkpoint, or no load_checkpoint")
            self._workload(tuner, trials=3).run()
        for number in _cuts(tuner.record)[1:]:
            with experiment_directory() as paths:
                self._save(paths, tuner.record, number)
                self._resume(paths, tuner.record, number + 7, number)

    @promise(
        "take the parameters that come with a result for what was tried, whatever was returned for that"
        " parameter_id; look nothing up by the parameters",
        after=(_REPEATS,),
    )
    def test_answers_on_record_win(self) -> None:
        """Where a rebuilt tuner, for its code has changed, answers otherwise than is on record, the
        answers on record stay; the tuner is told of their results, and goes on."""
        record = self._record()
        with self._hosted(past=_with_other_answers(record)) as tuner:
            for number in range(1000, 1003):
                trial_id = f"new{number}"
                if tuner.ask_first([number], [trial_id]):
                    self._tell(tuner, number, trial_id)
                    tuner.end_trial(number, True, trial_id)
                elif not self._may_have_none(others_are_open=False):
                    raise BrokenPromiseError(
                        f"asked for phase {number} after the resume, with no other phase open, it had no"
                        " parameters",
                        NO_MORE,
                    )

    @promise(
        "do not rely on a result coming from the trial that asked: where both matter, remember the one by"
        " parameter_id, and take the other from the call",
        after=(_DIES,),
    )
    def test_a_lost_phase_is_tried_again_by_another_trial(self) -> None:
        """When the manager and a trial die, the trial's open phase is tried again, as it is and by the
        same parameter_id, in another trial: the result comes from there, after the first trial's end."""
        with experiment_directory() as paths:
            with self._hosted(paths) as tuner:
                if not tuner.ask_first([0], ["t0"]):
                    return
                self._tell(tuner, 0, "t0")
                if not tuner.ask([1], "t0"):
                    return
            with self._hosted(paths, past=tuner.record) as tuner:
                tuner.end_trial(0, False, "t0")
                self._tell(tuner, 1, "t1")
                tuner.ask([2], "t1")
                tuner.end_trial(1, True, "t1")

    # -- several at a time ------------------------------------------------------------------------

    @promise(
        "return a list with the parameters of as many as you have, in the order of the ids and no longer"
        " than these, or leave `generate_multiple_parameters` away: then `generate_parameters` is called"
        " for each. If it may have fewer: set `exhausts = True` or `waits = True` in the test",
        after=(_IN_PARALLEL,),
    )
    def test_first_phases_of_several_trials(self) -> None:
        """The first phases of trials that start together are asked for together, by
        `generate_multiple_parameters`; each gets parameters of its own, of one at least."""
        with self._hosted() as tuner:
            numbers = iter(range(100))
            for count in (3, 1, 2):
                asked = [next(numbers) for _ in range(count)]
                found = tuner.ask_first(asked, [f"t{number}" for number in asked])
                if len(found) < count and not self._may_have_none(
                    bool(found) or asked != [0, 1, 2]
                ):
                    raise BrokenPromiseError(
                        f"asked for {count}, it had parameters for {len(found)}"
                    )
            for number in reversed(list(tuner.parameters)):
                self._tell(tuner, number, f"t{number}")
                tuner.end_trial(number, True, f"t{number}")

    @promise(
        "keep what belongs to a phase by its parameter_id, and what belongs to a trial by its"
        " trial_job_id; let neither depend on which call came last",
        after=(_RESUMES,),
    )
    def test_trials_in_parallel(self) -> None:
        """Several trials run at a time, and their results come in any order. Calls come one at a time,
        for each trial in this order: generate_parameters, receive_trial_result, phase_end, the next
        generate_parameters; trial_end comes last."""
        with self._hosted() as tuner:
            self._workload(tuner, trials=4).run()
        self._interrupt(tuner.record, len(tuner.record.made) // 2)

    @promise(
        "name in `Continued` the parameter_id of a phase whose result has been told; where the trial is"
        " another one, of a phase that came with a `checkpoint`. Let `checkpoints_in_use` return all that"
        " it may name, or leave it out",
        after=(_IN_PARALLEL, _DIES, _FAILS),
    )
    def test_weights_to_go_on_from(self) -> None:
        """A phase may go on from the weights of an earlier one, in any trial: `Continued` names it, and
        it has ended with a result, however many others failed and whatever trials died. If the tuner
        says which checkpoints are in use, the others may be gone."""
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: {3: Ending.FAILED, 5: Ending.TRIAL_DIED}.get(
                    number % 6, self._value(parameters)
                ),
                trials=3,
            ).run()
        told: set[int] = set()
        for recorded in tuner.record.made:
            if isinstance(recorded.call, Tell):
                told.add(recorded.call.parameter_id)
            for number in recorded.answers:
                parent = tuner.record.parents.get(number)
                if parent is not None and parent not in told:
                    raise BrokenPromiseError(
                        f"phase {number} is to go on from phase {parent}; of these there were results:"
                        f" {sorted(told)}"
                    )
        if tuner.forgotten is not None:
            number, parent = tuner.forgotten
            raise BrokenPromiseError(
                f"phase {number} is to go on from phase {parent}, which was not in what"
                " checkpoints_in_use had returned: its checkpoint may be gone"
            )

    @promise(
        "keep what belongs to a phase by its parameter_id: a trial may have several. Let"
        " `generate_multiple_parameters` name `trial_job_id` to be asked for all of them in one call;"
        " otherwise `generate_parameters` is called for each",
        after=(_IN_PARALLEL, _TOGETHER),
    )
    def test_several_phases_of_a_trial_at_a_time(self) -> None:
        """A running trial may ask for several phases at a time; their results come in any order, and it
        may ask for more while some are open."""
        with self._hosted() as tuner:
            self._workload(tuner, trials=2, open_phases=3).run()
        self._interrupt(tuner.record, len(tuner.record.made) // 2)

    # -- the end ----------------------------------------------------------------------------------

    @promise(
        "do not wait in `_on_exit` and `_on_error` for results, and let them raise nothing",
        after=(_PLAIN,),
    )
    def test_it_may_end_at_any_time(self) -> None:
        """An experiment may be stopped, reach its limits or fail at any time, with phases open whose
        results never come; the last call is `_on_exit`, or `_on_error`."""
        for asks, well in ((0, True), (3, True), (3, False)):
            with self._hosted() as tuner:
                for number in range(asks):
                    tuner.ask_first([number], [f"t{number}"])
                tuner.finish(well)

    @promise(
        "return None, a shorter list, or raise NoMoreTrialError, each time it is asked and has no more;"
        " an exception of another kind (StopIteration, IndexError) ends the experiment as failed",
        after=(_PLAIN,),
    )
    def test_it_says_that_it_has_no_more(self) -> None:
        """A tuner that has handed out all that there is says so as often as it is asked: by running
        trials, by several new ones, and after further results."""
        if not self.exhausts:
            raise unittest.SkipTest("`exhausts` is not set: it always has parameters")
        with self._hosted() as tuner:
            last, asked = self._exhaust(tuner)
            first = asked + 1
            for number in (first, first + 2):
                tuner.ask_first([number, number + 1], [f"new{number}", f"new{number + 1}"])
            if last is not None:
                self._tell(tuner, last, "t")
            for number in (first + 4, first + 5):
                tuner.ask([number], "t")
            tuner.end_trial(0, True, "t")
            tuner.ask_first([first + 6], [f"new{first + 6}"])

    # -- results ----------------------------------------------------------------------------------

    @promise(
        "take NaN for a failed phase, and an infinite result for the best or the worst; neither may get"
        " into means, models or comparisons, where it outlives all results to come",
        after=(_IN_SPACE,),
    )
    def test_results_that_are_nan_or_infinite(self) -> None:
        """A result may be NaN or infinite, the first one included. It ends nothing, and does not get
        into the parameters of later phases; behind a NaN the tuner learns as it does without."""
        odd = (math.nan, math.inf, -math.inf)
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: (
                    odd[number % 4] if number % 4 < 3 else self._value(parameters)
                ),
            ).run()
            for number, parameters in tuner.parameters.items():
                if not _is_finite(parameters):
                    raise BrokenPromiseError(
                        f"the parameters of phase {number}: {encode(parameters):.300}"
                    )
        if self._learns(self.phases) and not self._learns(
            2 * self.phases, failures=_FIRST_AND_LATER
        ):
            raise BrokenPromiseError(
                f"after results that are NaN, of the phases {_FIRST_AND_LATER} to end, its choices were the"
                " same whatever the results were that followed; without these it learns from results"
            )

    @promise(
        "take the number from `value['default']` where `value` is a dict, and ignore other keys; without"
        " a `default` that is a number, the phase counts as failed",
        after=(_REPEATS,),
    )
    def test_results_that_are_dicts(self) -> None:
        """A result may be a dict whose `default` is the number to optimise: a tuner learns from it what
        it learns from that number."""
        record = self._record()
        if not any(_is_number_told(recorded) for recorded in record.made):
            raise unittest.SkipTest("`result` returns no numbers, or there are none")
        with self._hosted() as tuner:
            others = replace(record, made=[_with_dict(recorded) for recorded in record.made])
            self._go_on(tuner, others, "told {'default': number} instead of the number")
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: (
                    {"note": "no default"} if number % 3 == 2 else self._value(parameters)
                ),
            ).run()

    @promise(
        "take a result of another kind for that of a failed phase, and log it; raising an exception ends"
        " the experiment (as it may for the very first result, which tells the user early)",
        after=(_PLAIN,),
    )
    def test_results_that_are_no_numbers(self) -> None:
        """A trial may report anything that is JSON. After a proper result, one that is not ends
        nothing."""
        odd = ("n/a", None, [0.5], True, "0.5")
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: (
                    odd[number // 2 % len(odd)] if number % 2 else self._value(parameters)
                ),
            ).run()

    @promise(
        "let `phase_end` with success=False free what the phase holds, and count it as an ended one"
        " wherever the tuner waits for results; receive_trial_result is not called for it",
        after=(_PLAIN,),
    )
    def test_phases_that_fail(self) -> None:
        """A phase may end without a result, the first one and many in a row included: phase_end comes
        with success=False, and the trial asks for the next."""
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: (
                    Ending.FAILED
                    if number % 2 == 0 or number > self.phases // 2
                    else self._value(parameters)
                ),
            ).run()

    @promise(
        "let `phase_end` with success=False, and then `trial_end`, free what the phase and the trial hold;"
        " a tuner that keeps something for each trial begins anew with each new trial_job_id",
        after=(_FAILS,),
    )
    def test_trials_that_die(self) -> None:
        """A trial may die in the middle of a phase, before its first result included: phase_end and
        trial_end come with success=False, and other trials go on."""
        with self._hosted() as tuner:
            self._workload(
                tuner,
                lambda number, parameters: (
                    Ending.TRIAL_DIED if number % 3 == 0 else self._value(parameters)
                ),
            ).run()

    # -- what the user brings ---------------------------------------------------------------------

    @promise(
        "name an argument `customized` of `receive_trial_result` only if it can do with parameters that it"
        " did not choose: for a parameter_id it was never asked for, and not of the search space",
        after=(_PLAIN,),
    )
    def test_parameters_that_the_user_chose(self) -> None:
        """Users can have a phase try parameters of their own (`mpx enqueue`), before the tuner has chosen
        any and whatever these are. A tuner whose receive_trial_result names `customized` is told."""
        with self._hosted() as tuner:
            self._try(tuner, 0, _NOT_OF_ANY_SPACE, self._value(_NOT_OF_ANY_SPACE))
            if not tuner.ask_first([1], ["t1"]):
                return
            chosen = tuner.parameters[1]
            self._tell(tuner, 1, "t1")
            self._try(tuner, 2, chosen, self._value(chosen))
            self._try(tuner, 3, chosen, Ending.FAILED)
            tuner.ask([4], "t1")

    @promise(
        "take from `import_data` the rows that are of use: `parameter` may be of no search space of yours,"
        " `value` NaN, or no number",
        after=(_PLAIN,),
    )
    def test_results_from_elsewhere(self) -> None:
        """A tuner with `import_data` is told of results from elsewhere (`mpx import`), before its first
        choice or later, and copes with rows that mean nothing to it."""
        with self._hosted() as tuner:
            tuner.import_data([{"parameter": _NOT_OF_ANY_SPACE, "value": 0.5}])
            self._workload(tuner, phases=self.phases // 2).run()
            known = list(tuner.parameters.values())
            values = [self._value(parameters) for parameters in known]
            rows = [*zip(known, values, strict=True), *((each, math.nan) for each in known[:1])]
            rows += [(each, odd) for each in known[:1] for odd in ({"loss": 1}, [0.5])]
            tuner.import_data([{"parameter": each, "value": value} for each, value in rows])
            tuner.ask_first([1000], ["new"])
            failed = [text for text in tuner.warnings if text.startswith("import_data failed")]
            if failed:
                raise BrokenPromiseError(failed[0])

    # -- all of it --------------------------------------------------------------------------------

    @promise(
        "what the tests above do to the tuner in this process, the manager does in one of its own, where"
        " nothing is imported but the tuner's file and what that imports, and where PYTHONHASHSEED is 0:"
        " keep whatever else is in this process, and the order of sets, out of the choices",
        after=(_IN_SPACE, _RESUMES, _FAILS),
    )
    def test_a_real_experiment(self) -> None:
        """In an experiment with a manager, the tuner serves two trials, some of whose phases fail, and
        goes on after `mpx resume`; it chooses what it chooses without a resume, and in any process."""
        # The only one to need more than the standard library.
        from mpx.testing.real_experiment import run_and_resume

        subject = self._subject()
        if subject.configuration is None:
            raise unittest.SkipTest("its class does not stand at the top of a file")
        may_end_early = self.exhausts or self.waits
        phases, record = run_and_resume(
            subject, self.phases, self.optimize_mode, self.seed, may_end_early
        )
        for phase in phases:
            self.check_parameters(phase.parameters)
        with self._hosted(past=record) as tuner:
            if tuner.warnings:
                raise BrokenPromiseError(
                    f"its calls in the experiment, made again in this process: {tuner.warnings[0]}"
                )

    # -- how --------------------------------------------------------------------------------------

    def _subject(self) -> Subject:
        return Subject.named(
            self.tuner, self.class_args, self.search_space, self.optimize_mode, type(self)
        )

    @contextmanager
    def _hosted(
        self,
        paths: ExperimentPaths | None = None,
        past: Record | None = None,
        checkpoint: int | None = None,
    ) -> Iterator[HostedTuner]:
        """Start a manager's tuner, of a new experiment or of that in `paths`."""
        if paths is None:
            with experiment_directory() as own, self._hosted(own, past, checkpoint) as it:
                yield it
            return
        subject, tuner = self._subject(), HostedTuner(paths, self.patience)
        try:
            tuner.load(subject, self.seed, past, checkpoint)
            yield tuner
        finally:
            tuner.close()

    def _workload(
        self, tuner: HostedTuner, outcome: Outcome | None = None, **more: int
    ) -> Workload:
        return Workload(
            tuner,
            outcome or (lambda _, parameters: self._value(parameters)),
            self._may_have_none,
            **{"phases": self.phases, **more},
        )

    def _may_have_none(self, others_are_open: bool) -> bool:
        return self.exhausts or (self.waits and others_are_open)

    def _value(self, parameters: Any) -> Any:
        with generators_as_they_were():  # a trial has a process of its own
            return self.result(parameters)

    def _tell(self, tuner: HostedTuner, number: int, trial_id: str) -> None:
        tuner.tell(number, self._value(tuner.parameters[number]), trial_id)

    def _try(self, tuner: HostedTuner, number: int, parameters: Any, outcome: Any) -> None:
        """Have a trial try parameters that the user chose."""
        trial_id = f"t{number}"
        tuner.enqueue(number, parameters)
        if outcome is Ending.FAILED:
            tuner.end_phase(number, trial_id, customized=True)
        else:
            tuner.tell(number, outcome, trial_id, customized=True)
        tuner.end_trial(number, True, trial_id)

    def _record(self) -> Record:
        """Return the calls of a plain run: one trial at a time, one phase after the other."""
        with self._hosted() as tuner:
            self._workload(tuner).run()
        return tuner.record

    def _interrupt(self, record: Record, number: int) -> None:
        """Make the calls on record up to this number, interrupt that, resume it, and compare."""
        with experiment_directory() as paths:
            with self._hosted(paths) as tuner:
                self._go_on(tuner, record.until(number), "a second tuner, seeded alike")
            self._resume(paths, record, number)

    def _resume(
        self, paths: ExperimentPaths, record: Record, number: int, checkpoint: int | None = None
    ) -> None:
        """Rebuild the tuner of an experiment that ended behind this call, and compare how it goes on."""
        calls = f"calls 1 to {number}" if checkpoint is None else f"the calls behind {checkpoint}"
        how = f"after a resume that made {calls} again"
        with self._hosted(paths, record.until(number), checkpoint) as tuner:
            if tuner.warnings:
                raise BrokenPromiseError(f"{how}: {tuner.warnings[0]}")
            self._go_on(tuner, record, how)

    def _save(self, paths: ExperimentPaths, record: Record, number: int) -> None:
        """Have a tuner save its state behind a call, and compare how it goes on."""
        with self._hosted(paths) as tuner:
            for recorded in record.made[:number]:
                tuner.make(recorded.call)
            if tuner.save_checkpoint() is None:
                raise BrokenPromiseError(*(tuner.warnings or ["save_checkpoint left no file"])[:1])
            self._go_on(tuner, record, f"after save_checkpoint behind call {number}")

    def _go_on(self, tuner: HostedTuner, record: Record, how: str) -> None:
        """Make the calls on record that the tuner has not taken yet, and compare its answers.

        Raises:
            BrokenPromiseError: they differ.
        """
        for recorded in record.made[len(tuner.record.made) :]:
            answers = tuner.make(recorded.call)
            now, then = _shown(answers, tuner.record), _shown(recorded.answers, record)
            if now != then:
                raise BrokenPromiseError(
                    f"{how}: {described(recorded.call)} (call {len(tuner.record.made)}), it answered\n"
                    f"{now}\nand the first time\n{then}"
                )

    def _learns(self, phases: int, failures: Collection[int] = ()) -> bool:
        """Say whether choices depend on results.

        Args:
            phases: of which there are results.
            failures: which of them, in the order of their ends, have NaN for a result instead.
        """
        values: list[Any] = []

        def its_own(number: int, parameters: Any) -> Any:
            values.append(self._value(parameters))
            return math.nan if number in failures else values[-1]

        def that_of_the_next(number: int, _: Any) -> Any:
            return math.nan if number in failures else values[(number + 1) % len(values)]

        choices = []
        for outcome in (its_own, that_of_the_next):
            with self._hosted() as tuner:
                self._workload(tuner, outcome, phases=phases).run()
                choices.append(tuner.parameters)
        return choices[0] != choices[1]

    def _exhaust(self, tuner: HostedTuner) -> tuple[int | None, int]:
        """Ask in one trial until there is no more for it, or else for others.

        Returns:
            The phase that this trial, `t`, has open, and the first for which there was nothing.
        """
        if not tuner.ask_first([0], ["t"]):
            return None, 0
        most = _MOST_UNTIL_EXHAUSTED * self.phases
        for number in range(1, most):
            if not tuner.ask([number], "t"):
                return number - 1, number
            self._tell(tuner, number - 1, "t")
        for number in range(most, 2 * most):
            if not tuner.ask_first([number], [f"other{number}"]):
                return most - 1, number
        raise BrokenPromiseError(
            f"`exhausts` is set, and it had parameters for {most} phases of a trial, and for as many other"
            " trials",
            "give the test a smaller search space, or leave `exhausts` away",
        )


def _cuts(record: Record) -> list[int]:
    """Return behind which calls to interrupt: early and half way, each with a phase open; at the end."""
    asks = [number for number, each in enumerate(record.made, 1) if isinstance(each.call, Ask)]
    return sorted({*asks[:1], *asks[len(asks) // 2 :][:1], len(record.made)})


def _with_other_answers(record: Record) -> Record:
    """Return the record of a tuner that gave each phase the parameters of the one before."""
    numbers = [number for each in record.made for number, text in each.answers.items() if text]
    texts = [text for each in record.made for text in each.answers.values() if text]
    others = dict(zip(numbers, texts[-1:] + texts[:-1], strict=True))
    made = [
        Recorded(each.call, {number: others.get(number) for number in each.answers})
        for each in record.made
    ]
    return replace(record, made=made)


def _is_number_told(recorded: Recorded) -> bool:
    call = recorded.call
    return (
        isinstance(call, Tell)
        and not isinstance(call.value, dict)
        and objective(call.value) is not None
    )


def _with_dict(recorded: Recorded) -> Recorded:
    call = recorded.call
    if not isinstance(call, Tell) or not _is_number_told(recorded):
        return recorded
    value = {"default": call.value, "note": "of TunerContract"}
    return Recorded(replace(call, value=value), recorded.answers)


def _is_finite(parameters: Any) -> bool:
    if isinstance(parameters, dict):
        return all(map(_is_finite, parameters.values()))
    if isinstance(parameters, list):
        return all(map(_is_finite, parameters))
    return not isinstance(parameters, float) or math.isfinite(parameters)


def _shown(answers: Mapping[int, str | None], record: Record) -> str:
    """Return what a tuner answered."""
    return "\n".join(
        f"{text or 'no parameters'} for {number}"
        + (f", which goes on from {record.parents[number]}" if number in record.parents else "")
        for number, text in answers.items()
    )
