"""One trial as the controller follows it."""

from __future__ import annotations

from dataclasses import dataclass

from mpx.protocol import ManagerConnection
from mpx.records import ExitStatus, TrialStatus
from mpx.rows import PhaseRow, TrialRow


@dataclass(slots=True, eq=False)
class TrialRun:
    """A trial that waits to start or runs.

    Attributes:
        row: its row in the store.
        connection: the conversation with it.
        first_parameter_id: of its first phase.
        phases: how many it has begun.
        results: how many of them have a final result.
        refusals: how often in a row it was told that there are no more.
        asking: the phase for which the tuner has not answered.
        prepared: the phase for which the tuner answered, and the trial has not asked (again).
        open: the phase that has its parameters, and no result yet.
        canceled: the status it is to end with, and why.
        cut_short: it was refused phases that no limit forbids, or is ended, by `mpx stop` or a failure.
        found_dead: it had ended when this manager came.
    """

    row: TrialRow
    connection: ManagerConnection
    first_parameter_id: int = -1
    phases: int = 0
    results: int = 0
    refusals: int = 0
    asking: PhaseRow | None = None
    prepared: PhaseRow | None = None
    open: PhaseRow | None = None
    canceled: tuple[TrialStatus, str] | None = None
    cut_short: bool = False
    found_dead: bool = False

    @property
    def unended(self) -> list[PhaseRow]:
        """Its phases that have not ended."""
        return [phase for phase in (self.open, self.prepared, self.asking) if phase is not None]

    @property
    def chosen(self) -> PhaseRow | None:
        """Its phase that has parameters and has not ended."""
        return self.open or self.prepared

    def outcome(self, exit_status: ExitStatus) -> tuple[TrialStatus, str]:
        """Return the status that the trial ends with, and the reason for it."""
        status, reason = self._status(exit_status)
        if exit_status.survivors:
            pids = ", ".join(map(str, exit_status.survivors))
            reason = f"{reason}; these processes of it could not be ended: {pids}"
        return status, reason

    def _status(self, exit_status: ExitStatus) -> tuple[TrialStatus, str]:
        if self.canceled is not None:
            return self.canceled
        if self.row.status is TrialStatus.WAITING:
            return TrialStatus.SYS_CANCELED, "the experiment ended before it started"
        if exit_status.code == 0:
            return TrialStatus.SUCCEEDED, self.row.reason or "exit status 0"
        if self.found_dead and exit_status.code is None:
            return TrialStatus.SYS_CANCELED, "it ended while no manager ran"
        return TrialStatus.FAILED, exit_status.describe()


def as_text(value: object) -> str:
    """Return a user's text without what no database takes (lone surrogates)."""
    return str(value).encode("utf-8", "backslashreplace").decode()
