"""What a tuner was asked for and had nothing for: it may launch that later."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable
from typing import Any

from mpx.errors import TunerError


class Promises:
    """Which parameter_ids a tuner may launch by NNI's `st_callback`, and which it may not.

    The tuner may call it from any thread, inside the very call that it got it from as well: that is as
    good as returning the parameters. Whoever does more than one step holds `lock`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._last = -1
        self._asked: dict[int, Any] = {}  # in calls that have not returned → launched meanwhile
        self._owed: set[int] = set()
        self._promised: set[int] = set()  # some of them

    def restore(self, parameter_ids: Iterable[int]) -> None:
        """Go on with what the tuner had nothing for before its checkpoint."""
        self._owed.update(parameter_ids)
        self._last = max(self._owed, default=self._last)

    @property
    def last(self) -> int:
        """The highest parameter_id that there is, as far as the tuner knows; -1 for none."""
        return self._last

    def note(self, parameter_id: int) -> None:
        """There are parameters of this number for which the tuner was not asked."""
        self._last = max(self._last, parameter_id)

    @property
    def promised(self) -> list[int]:
        """What it owes and can launch, for it kept the callback."""
        return sorted(self._promised)

    def ask(self, parameter_ids: Iterable[int]) -> None:
        """The tuner is about to be asked for these."""
        with self.lock:
            self._asked.update(dict.fromkeys(parameter_ids))
            self._last = max(self._last, *self._asked)

    def settle(self, parameter_id: int, returned: Any, keeps_callback: bool) -> Any:
        """The tuner's call has returned.

        Args:
            parameter_id: one that it was asked for.
            returned: its parameters, or None.
            keeps_callback: it kept the callback that came with the call.

        Returns:
            What it returned, or launched meanwhile; None if it owes that now.
        """
        launched = self._asked.pop(parameter_id)
        found = launched if returned is None else returned
        if found is None:
            self._owed.add(parameter_id)
            if keeps_callback:
                self._promised.add(parameter_id)
        return found

    def check(self, parameter_id: Any) -> int:
        """Return the parameter_id that a tuner named.

        Raises:
            TunerError: nobody asked it for that.
        """
        try:
            number = operator.index(parameter_id)  # numpy's integers as well
        except TypeError:
            number = -1
        if not 0 <= number <= self._last:
            raise TunerError(
                f"st_callback was called for parameter_id {parameter_id!r:.100}, which the tuner was"
                f" never asked for; the last one was {self._last}"
            )
        return number

    def launch(self, parameter_id: int, parameters: Any) -> bool | None:
        """The tuner has parameters.

        Returns:
            Whether it owed them; None if it is just being asked for them.
        """
        if parameter_id in self._asked:
            self._asked[parameter_id] = parameters
            return None
        if parameter_id in self._owed:
            self.forget(parameter_id)
            return True
        return False

    def forget(self, parameter_id: int) -> None:
        """It has its parameters, or needs none any more."""
        with self.lock:
            self._owed.discard(parameter_id)
            self._promised.discard(parameter_id)
