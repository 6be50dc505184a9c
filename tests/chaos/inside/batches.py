"""A trial's phases, several at a time, in one of the manners in which user code has them."""

from __future__ import annotations

import random
import threading
from itertools import count

import steps

import mpx

# One phase of so many is still open when the next batch is asked for.
_LEFT = 10


class Batches:
    """Asks for batches, and does them.

    Args:
        n: how many phases a batch has at most.
        manner: `turns`: one thread does a step of this phase and a step of that; `threads`: each phase has
            one of its own; `together`: in turns, and the results are reported at once.
        witness: of the process.
    """

    def __init__(self, n, manner, witness):
        self._n = n
        self._do = {
            "turns": self._in_turns,
            "threads": self._in_threads,
            "together": self._together,
        }[manner]
        self._witness = witness
        self._late = []
        witness.say("manner", manner)

    def run(self, most):
        """Do as many batches; 0: until there are no more parameters."""
        try:
            for number, batch in enumerate(self._batches(), 1):
                self._await_late()
                self._do_batch(batch, number)
                if number == most:
                    return
        finally:
            self._await_late()

    def _do_batch(self, batch, number):
        for phase in batch:
            steps.begin(phase, number)
        left = self._do(batch)
        for phase in left:
            self._witness.say("left", phase.parameter_id)
        if left and random.random() < 1 / 2:
            self._report_late(left[0])

    def _batches(self):
        """Yield batches: all as large as may be, or as the user code sees fit, some of one phase alone."""
        if random.random() < 1 / 2:
            yield from mpx.batches(self._n, on_error="continue")
            return
        singles = mpx.phases(on_error="continue")
        for _ in count():
            size = random.randint(0, self._n)
            batch = (
                mpx.get_next_parameters(size) if size else [*filter(None, [next(singles, None)])]
            )
            if not batch:
                return
            yield batch

    def _in_turns(self, batch):
        left, todo = _divide(batch)
        _take_turns([steps.work(phase) for phase in todo])
        return left

    def _in_threads(self, batch):
        left, todo = _divide(batch)
        _in_threads([lambda phase=phase: [*steps.work(phase)] for phase in todo])
        return left

    def _together(self, batch):
        if not isinstance(batch, mpx.Batch):
            return self._in_turns(batch)
        ready = []
        waiting = _take_turns([steps.work(phase, ready) for phase in batch], ready)
        steps.report_together(batch, ready)
        _take_turns(waiting)
        return []

    def _report_late(self, phase):
        """Report a phase while the next one is asked for: it counts, or is refused."""

        def report():
            try:
                steps.report(phase, steps.result(phase.parameter_id, 0))
            except mpx.ProtocolError as error:
                if "is over" not in str(error):
                    raise
                self._witness.say("refused", phase.parameter_id)

        self._late = _start([report])

    def _await_late(self):
        late, self._late = self._late, []
        _join(late)


def _divide(batch):
    """Return the phases of a batch that are left open, and those that are done, in a random order."""
    left = [phase for phase in batch if random.randrange(_LEFT) == 0]
    todo = [phase for phase in batch if phase not in left]
    random.shuffle(todo)
    return left, todo


def _take_turns(works, ready=()):
    """Let each go on for a step, in a random order, until it is done or its result is among the `ready`.

    Returns:
        Those that wait for their result to be reported.
    """
    waiting = []
    while works:
        work, before = random.choice(works), len(ready)
        if next(work, works) is works:
            works.remove(work)
        elif len(ready) > before:
            works.remove(work)
            waiting.append(work)
    return waiting


def _in_threads(calls):
    _join(_start(calls))


def _start(calls):
    """Start a thread for each call; return them, each with the errors that it will have met."""
    threads = []
    for call in calls:
        errors = []
        thread = threading.Thread(target=_note_error, args=(call, errors))
        thread.start()
        threads.append((thread, errors))
    return threads


def _note_error(call, errors):
    try:
        call()
    except BaseException as error:  # noqa: BLE001 (the thread that joins raises it)
        errors.append(error)


def _join(threads):
    for thread, _ in threads:
        thread.join()
    for _, errors in threads:
        for error in errors:
            raise error
