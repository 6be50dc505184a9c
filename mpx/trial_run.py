"""One trial as the controller follows it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        asking: the phases for which the tuner has not answered, by parameter_id.
        prepared: those that have parameters, which the trial has not been given.
        open: those that have been given their parameters and have no result yet, by phase_index.
        newest: parameter_id of the phase that its process was given last; None if those were several.
        before: and of what it was given before that.
        canceled: the status it is to end with, and why.
        cut_short: it was refused phases that no limit forbids, or is ended, by `mpx stop` or a failure.
        found_dead: it had ended when this manager came.
        unheard: nothing that it said was on record when this manager came.
    """

    row: TrialRow
    connection: ManagerConnection
    first_parameter_id: int = -1
    phases: int = 0
    results: int = 0
    refusals: int = 0
    asking: dict[int, PhaseRow] = field(default_factory=dict)
    prepared: list[PhaseRow] = field(default_factory=list)
    open: dict[int, PhaseRow] = field(default_factory=dict)
    newest: int | None = None
    before: int | None = None
    canceled: tuple[TrialStatus, str] | None = None
    cut_short: bool = False
    found_dead: bool = False
    unheard: bool = False

    @property
    def unended(self) -> list[PhaseRow]:
        """Its phases that have not ended."""
        return [*self.open.values(), *self.prepared, *self.asking.values()]

    @property
    def has_parameters(self) -> bool:
        """Whether a phase of it that has parameters has not ended."""
        return bool(self.open or self.prepared)

    @property
    def missed_its_manager(self) -> bool:
        """Whether its end may be that of an earlier manager: it saw that, and waits for no other one."""
        is_deaf = self.unheard and not self.connection.greeted and not self.results
        return self.found_dead or (is_deaf and self.canceled is None)

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
