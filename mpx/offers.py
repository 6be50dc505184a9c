"""Parameters that wait for a phase: the tuner need not be asked for them.

They are tried again, as their phase was LOST through no fault of theirs (on record with that phase), or a
tuner launched them later than it was asked, or the user chose them (on record by themselves).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from operator import attrgetter

from mpx.rows import Offer
from mpx.store import Store
from mpx.tuner_calls import Enqueued, Launched
from mpx.turn import Outbox


class Offers:
    """The offers of one experiment, in the order of their parameter_ids.

    Args:
        store: where they are recorded.
        outbox: takes notes.

    Attributes:
        promised: parameter_ids for which the tuner may launch a phase later.
    """

    def __init__(self, store: Store, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox
        self._waiting: list[Offer] = []
        self._ended: set[int] = set()
        self.promised: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def restore(self, offers: Iterable[Offer]) -> None:
        """Go on with those of an earlier manager."""
        self._waiting = list(offers)

    def try_again(self, offer: Offer) -> None:
        """Take in parameters whose phase is LOST."""
        insort(self._waiting, offer, key=attrgetter("parameter_id"))

    def end_ask(self, parameter_id: int) -> None:
        """A trial died while it asked: nothing that the tuner has for it is of use."""
        self._ended.add(parameter_id)

    def launch(self, launched: Launched) -> None:
        """Take in parameters for which the tuner was asked earlier, when it had none."""
        if launched.parameter_id not in self._ended:
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
