"""GPUs and who has them: which of them a trial is given, and what stands in the way of each.

A GPU has the number that `nvidia-smi` gives it, which is its place on the PCI bus. CUDA by default
numbers them by speed, so whoever is told numbers is told `CUDA_DEVICE_ORDER=PCI_BUS_ID` as well.

Nothing here looks at a device: that does `nvml`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from mpx.errors import MpxError

# What a trial was given, in the environment of all its processes: other managers see there which GPUs
# are taken by trials that do nothing with them yet.
GPUS_MARK = "MPX_GPUS"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_GIB = 2**30


class GpuError(MpxError):
    """There are not the GPUs that trials are to be given, or they cannot be looked at."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A process that has a GPU.

    Attributes:
        pid: its number, as the driver knows it.
        name: of its program; None if this machine shows no such process: it runs in another container.
        user: whose it is.
        memory: bytes that it has on the GPU, where that is known.
        trial_id: of the trial that it is part of, of whatever experiment.
        experiment_id: and of that experiment.
        group: its process group.
    """

    pid: int
    name: str | None = None
    user: str | None = None
    memory: int | None = None
    trial_id: str | None = None
    experiment_id: str | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment.

    Attributes:
        index: its number.
        occupants: the processes that compute on it, and the trials that were given it; but for this
            manager's own.
        uuid: its name for all time.
        is_hidden: the user's CUDA_VISIBLE_DEVICES leaves it out.
        trouble: why it cannot be looked at.
    """

    index: int
    occupants: tuple[Occupant, ...] = ()
    uuid: str = ""
    is_hidden: bool = False
    trouble: str | None = None


# What a look at the GPUs finds, or why it finds nothing.
Look = tuple[Gpu, ...] | GpuError


class Devices(Protocol):
    """The GPUs of this machine, looked at when it is asked for.

    From a look on no other manager looks, until `release`: two would give the same GPU away.
    """

    def look(self, then: Callable[[Look], None]) -> None:
        """Look, and call `then` with what was found, on the loop and in a later turn."""

    def release(self) -> None:
        """What was found free and given away is taken by now, for all to see."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """What trials need, and how they share: `trial.gpuNum` and `localConfig`.

    Attributes:
        count: how many GPUs a trial needs.
        indices: those that trials may be given; None: all.
        most_trials: how many trials may have the same GPU at a time.
        use_active: whether a GPU may be given on which others' processes run.
    """

    count: int
    indices: tuple[int, ...] | None = None
    most_trials: int = 1
    use_active: bool = False

    def allowed(self, gpus: Sequence[Gpu]) -> list[Gpu]:
        """Return the GPUs that trials may ever be given.

        Raises:
            GpuError: they are too few, or one is named that is not there.
        """
        there = {gpu.index for gpu in gpus}
        missing = sorted(set(self.indices or ()) - there)
        if missing:
            raise GpuError(
                f"localConfig.gpuIndices names {_named(missing)}; allowed: {_listed(there)}, which"
                " this machine has"
            )
        allowed = [
            gpu
            for gpu in gpus
            if not gpu.is_hidden and (self.indices is None or gpu.index in self.indices)
        ]
        if len(allowed) < self.count:
            raise GpuError(self._too_few(gpus, [gpu.index for gpu in allowed]))
        return allowed

    def _too_few(self, gpus: Sequence[Gpu], allowed: list[int]) -> str:
        hidden = [gpu.index for gpu in gpus if gpu.is_hidden]
        why = [f"this machine has {_count(len(gpus))}"]
        if self.indices is not None:
            why.append(f"localConfig.gpuIndices is {_listed(self.indices)}")
        if hidden:
            why.append(f"{_VISIBLE} hides {_named(hidden)}")
        return (
            f"trial.gpuNum is {self.count}, and trials may be given {_count(len(allowed))}"
            f"{f' ({_listed(allowed)})' if allowed else ''}: {', '.join(why)}. Lower trial.gpuNum, or"
            " allow more"
        )


class Allotment:
    """Who has the GPUs at one moment, and which of them the next trial is given.

    Args:
        sharing: the rules.
        gpus: as they were found.
        holders: the experiment's trials that have not ended, each with the GPUs it was given.
        experiment_id: the experiment.
        groups: process groups of those trials.

    Raises:
        GpuError: no trial can ever be given what it needs.
    """

    def __init__(
        self,
        sharing: Sharing,
        gpus: Sequence[Gpu],
        holders: Mapping[str, Sequence[int]],
        experiment_id: str,
        groups: Set[int] = frozenset(),
    ) -> None:
        self._sharing = sharing
        self._experiment_id = experiment_id
        self._gpus = sharing.allowed(gpus)
        self._living = holders.keys()
        self._groups = groups
        self._holders: dict[int, list[str]] = {gpu.index: [] for gpu in gpus}
        for trial_id, indices in holders.items():
            self._note(trial_id, indices)
        self._others = {gpu.index: self._others_on(gpu) for gpu in self._gpus}

    def _note(self, trial_id: str, indices: Sequence[int]) -> None:
        for index in indices:  # one that is there no more is nobody's
            self._holders.setdefault(index, []).append(trial_id)

    def _others_on(self, gpu: Gpu) -> list[Occupant]:
        return [
            occupant
            for occupant in gpu.occupants
            if occupant.trial_id not in self._living
            and occupant.group not in self._groups
            # In a container the driver tells the numbers that processes have outside of it. Where a
            # trial of ours is, it may be that.
            and not (occupant.name is None and self._holders[gpu.index])
        ]

    def give(self, trial_id: str) -> tuple[int, ...] | None:
        """Give a trial the GPUs that are least in use; None if there are too few that are free."""
        free = [gpu for gpu in self._gpus if not self._is_full(gpu) and not self._is_barred(gpu)]
        if len(free) < self._sharing.count:
            return None
        free.sort(
            key=lambda gpu: (
                len(self._holders[gpu.index]),
                len(self._others[gpu.index]),
                sum(occupant.memory or 0 for occupant in self._others[gpu.index]),
            )
        )
        given = tuple(sorted(gpu.index for gpu in free[: self._sharing.count]))
        self._note(trial_id, given)
        return given

    @property
    def waits_for_others(self) -> bool:
        """Whether a trial could be given its GPUs if others were not in the way: only time will tell."""
        free = [gpu for gpu in self._gpus if not self._is_full(gpu)]
        return len(free) >= self._sharing.count

    def why_not(self) -> str:
        """Return what a trial waits for, and by whom each GPU is taken."""
        needs = f"needs {_count(self._sharing.count)}"
        return "; ".join([needs, *map(self._obstacle, self._gpus)])

    def _obstacle(self, gpu: Gpu) -> str:
        if gpu.trouble is not None:
            takers = [gpu.trouble]
        elif self._is_full(gpu):
            holders = self._holders[gpu.index]
            takers = [f"trial{'s' if len(holders) > 1 else ''} {_all_of(holders)}"]
        elif self._is_barred(gpu):
            takers = [*dict.fromkeys(map(self._describe, self._others[gpu.index]))]
        else:
            takers = ["free"]
        return f"GPU {gpu.index}: {', '.join(takers)}"

    def _is_full(self, gpu: Gpu) -> bool:
        return len(self._holders[gpu.index]) >= self._sharing.most_trials

    def _is_barred(self, gpu: Gpu) -> bool:
        barred = bool(self._others[gpu.index]) and not self._sharing.use_active
        return barred or gpu.trouble is not None

    def _describe(self, occupant: Occupant) -> str:
        if occupant.experiment_id not in (None, self._experiment_id):
            return f"trial {occupant.trial_id} of experiment {occupant.experiment_id}"
        memory = f"{occupant.memory / _GIB:.1f} GiB" if occupant.memory else None
        user = f"user {occupant.user}" if occupant.user else None
        about = ", ".join(filter(None, [occupant.name, memory, user]))
        process = f"process {occupant.pid}{f' ({about})' if about else ''}"
        if occupant.trial_id is not None:
            return f"{process} of trial {occupant.trial_id}, which has ended"
        if occupant.name is None:
            return f"{process}, which cannot be seen from here: it runs in another container"
        return f"{process} of another program"


def given_variables(indices: Sequence[int]) -> dict[str, str]:
    """Return the variables by which a trial sees the GPUs it was given, and no others."""
    return {**visible_variables(indices), GPUS_MARK: ",".join(map(str, indices))}


def visible_variables(indices: Sequence[int]) -> dict[str, str]:
    """Return the variables by which a process sees these GPUs, and no others."""
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if indices else {}
    return {**order, _VISIBLE: ",".join(map(str, indices))}


def visible_indices(value: str | None, uuids: Mapping[int, str]) -> set[int]:
    """Return the GPUs that a value of CUDA_VISIBLE_DEVICES leaves visible.

    As CUDA reads it: numbers, or beginnings of UUIDs, up to the first that names no GPU.

    Args:
        value: the variable's; None: it is not set.
        uuids: of all GPUs, by number.

    Raises:
        GpuError: it names a part of a GPU (MIG).
    """
    if value is None:
        return set(uuids)
    visible: set[int] = set()
    for name in map(str.strip, value.split(",")):
        if name.startswith("MIG-"):
            raise GpuError(
                f"{_VISIBLE} names the MIG instance {name}, and trial.gpuNum gives whole GPUs: remove"
                f" trial.gpuNum, and every trial sees what {_VISIBLE} says; or unset {_VISIBLE}"
            )
        fits = [
            index
            for index, uuid in uuids.items()
            if name == str(index) or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if len(fits) != 1:
            break
        visible.update(fits)
    return visible


def _count(number: int) -> str:
    return "no GPU" if number == 0 else "1 GPU" if number == 1 else f"{number} GPUs"


def _named(indices: Sequence[int]) -> str:
    return f"GPU{'s' if len(indices) > 1 else ''} {_listed(indices)}"


def _listed(indices: Sequence[int] | Set[int]) -> str:
    return ", ".join(map(str, sorted(indices))) or "none"


def _all_of(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
