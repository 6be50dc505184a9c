"""Parameters that wait for a phase: the tuner need not be asked for them.

They are tried again, as their phase was LOST through no fault of theirs (on record with that phase), or a
tuner launched them later than it was asked, or the user chose them (on record by themselves).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from operator import attrgetter

from mpx.rows import Offer, PhaseRow
from mpx.store import Store
from mpx.tuner_calls import Enqueued, Launched, Parameters
from mpx.turn import Outbox


class Offers:
    """The offers of one experiment, in the order of their parameter_ids.

    Args:
        store: where they are recorded.
        outbox: takes notes.

    Attributes:
        promised: parameter_ids for which the tuner may launch a phase later.
        late: parameter_id → the phase and its trial's id, where the tuner has not answered and the trial
            is dead.
    """

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox
        self._waiting: list[Offer] = []
        self.late: dict[int, tuple[PhaseRow, str]] = {}
        self.promised: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def restore(self, offers: Iterable[Offer], late: Iterable[tuple[PhaseRow, str]]) -> None:
        """Go on with those of an earlier manager."""
        self._waiting = list(offers)
        self.late = {row.parameter_id: (row, trial_id) for row, trial_id in late}

    def parents(self) -> Iterator[int]:
        """Yield the parameter_ids of the phases that they go on from."""
        return (offer.parent for offer in self._waiting if offer.parent is not None)

    def try_again(self, offer: Offer) -> None:
        """Take in parameters whose phase is LOST."""
        insort(self._waiting, offer, key=attrgetter("parameter_id"))

    def await_answer(self, row: PhaseRow, trial_id: str) -> None:
        """Wait for parameters that a trial has asked for which is dead."""
        self.late[row.parameter_id] = (row, trial_id)

    def on_late(self, row: PhaseRow, answer: Parameters) -> None:
        """Take in what the tuner has for such a trial."""
        assert answer.text is not None
        row.parameters, row.parent = answer.text, answer.parent
        self._store.put_phase(row)
        self.try_again(Offer(row.parameter_id, answer.text, parent=answer.parent))

    def launch(self, launched: Launched) -> None:
        """Take in parameters for which the tuner was asked earlier, when it had none."""
        self.promised.discard(launched.parameter_id)
        self._add(Offer(launched.parameter_id, launched.text))

    def enqueue(self, parameter_id: int, parameters: str) -> None:
        """Take in parameters, as JSON, that the user chose."""
        self._add(Offer(parameter_id, parameters, customized=True))
        self._outbox.post_unnumbered(Enqueued(parameter_id, parameters))

    def _add(self, offer: Offer) -> None:
        self.try_again(offer)
        self._store.add_offer(offer)
        self._outbox.commit()

    def take(self) -> Offer:
        """Return the first, which has a phase from now on."""
        offer = self._waiting.pop(0)
        self._store.remove_offer(offer.parameter_id)
        return offer
