"""What a trial does for one phase, step by step, so that those of a batch can take turns."""

from __future__ import annotations

import weights
from witness import digest
from work import DIRECTORY, TRIAL, compute, result

import mpx
import mpx.trial

# In one phase of so many no verdict is waited for.
_DEAF = 12


class WantedError(ValueError):
    """A phase was to fail."""


def install(witness, points):
    """Have all steps written down by `witness`, and pass `points`."""
    global _witness, _points
    _witness, _points = witness, points


def begin(phase, batch=None):
    """Write down what a phase was given, and load what it goes on from."""
    number = phase.parameter_id
    _witness.say("began", number, digest(phase.parameters), *([] if batch is None else [batch]))
    if phase.parent is not None:
        name = "-" if phase.checkpoint is None else weights.name_of(phase.checkpoint)
        _witness.say("parent", number, phase.parent, name)
    print(f"text of phase {number}")
    _points.passing("begin")


def work(phase, ready=None):
    """Do one phase; a generator that stops where another phase may go on.

    Args:
        phase: it has begun.
        ready: takes the phase and its result, which somebody else reports before this goes on.
    """
    wanted, number = phase.parameters, phase.parameter_id
    try:
        with phase:
            for step in range(wanted["intermediates"]):
                if _mention(phase, step):
                    _witness.say("stopped", number)
                    if number % 2:
                        report(phase, result(number, wanted["size"]))
                    return
                yield
            for _ in range(wanted["saves"]):
                _save(phase)
                yield
            compute(wanted["seconds"])
            yield
            if wanted["fails"]:
                _witness.say("failing", number)
                raise WantedError("this phase is to fail")
            value = result(number, wanted["size"])
            if ready is None:
                report(phase, value)
            else:
                ready.append((phase, value))
                yield
    except WantedError:  # where no loop over phases goes on
        pass
    if wanted["fails"]:
        _witness.say("failed", number)


def _mention(phase, step):
    """Report an intermediate result; say whether the phase was stopped, in those that wait for that."""
    number = phase.parameter_id
    value = [number, step, TRIAL, "i" * phase.parameters["step_size"]]
    if number % _DEAF == _DEAF - 1:
        if step == 0:
            _witness.say("deaf", number)
        # As `mpx.report_intermediate_result` does, which knows one phase alone.
        stopped = mpx.trial._session().report_intermediate(value, phase, wait=False)
    else:
        stopped = phase.report_intermediate(value)
    _witness.say("intermediate", number, digest(value))
    return stopped


def _save(phase):
    """Save weights, and spoil what was saved as soon as the copy is said to be safe."""
    number = phase.parameter_id
    path, name = weights.write(DIRECTORY / "weights", number, in_parts=number % 2 == 1)
    _witness.say("saving", number, name)
    _points.passing("save:before")
    phase.save_checkpoint(path)
    _points.passing("save:after")
    _witness.say("saved", number, name)
    weights.spoil(path)


def report(phase, value):
    """Report the final result of one phase."""
    name = digest(value)
    _witness.say("reporting", phase.parameter_id, name)
    _points.passing("report:before")
    phase.report_final(value)
    _points.passing("report:after")
    _witness.say("acked", phase.parameter_id, name)


def report_together(batch, ready):
    """Report the results of all phases of a batch that are open."""
    ready = sorted(ready, key=lambda pair: pair[0].index)
    named = [(phase.parameter_id, digest(value)) for phase, value in ready]
    for number, name in named:
        _witness.say("reporting", number, name)
    _points.passing("report:before")
    batch.report_final([value for _, value in ready])
    _points.passing("report:after")
    for number, name in named:
        _witness.say("acked", number, name)
