"""One trial as the controller follows it."""

from __future__ import annotations

from dataclasses import dataclass

from mpx.protocol import ManagerConnection
from mpx.records import ExitStatus, TrialStatus
from mpx.rows import PhaseRow, TrialRow


@dataclass(slots=True, eq=False)
class TrialRun:
    """A trial that waits to start or runs."""

    row: TrialRow
    connection: ManagerConnection
    first_parameter_id: int
    phases: int = 0
    refusals: int = 0
    asking: PhaseRow | None = None  # the tuner has not answered
    prepared: PhaseRow | None = None  # the tuner answered, the trial has not asked (again)
    open: PhaseRow | None = None
    canceled: tuple[TrialStatus, str] | None = None

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
        return TrialStatus.FAILED, exit_status.describe()


def as_text(value: object) -> str:
    """Return a user's text without what no database takes (lone surrogates)."""
    return str(value).encode("utf-8", "backslashreplace").decode()
