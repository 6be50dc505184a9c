"""The resolved configuration: every default filled in, every path absolute."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ClassConfig:
    """Either `builtin_name`, or the three custom keys: `code_dir`, `class_file_name`, `class_name`."""

    builtin_name: str | None = None
    code_dir: str | None = None
    class_file_name: str | None = None
    class_name: str | None = None
    class_args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TunerConfig(ClassConfig):
    """What chooses parameters.

    Attributes:
        include_intermediate_results: a phase that was stopped early has its last intermediate result
            for its final one.
        gpu_indices: the GPUs that the tuner sees; none by default.
    """

    include_intermediate_results: bool = False
    gpu_indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AssessorConfig(ClassConfig):
    """What stops hopeless phases early.

    Attributes:
        history: `phase` or `trial`, what the assessor judges as one; None: what its class is made for.
    """

    history: str | None = None


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """How trials share the GPUs of this machine.

    Attributes:
        gpu_indices: those that trials may use; None: all.
        max_trials_per_gpu: how many trials may have the same GPU at a time.
        use_active_gpu: whether a GPU may be used on which others' processes run.
    """

    gpu_indices: tuple[int, ...] | None = None
    max_trials_per_gpu: int = 1
    use_active_gpu: bool = False


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """How to start a trial. Durations are seconds.

    `gpu_num` is how many GPUs a trial is given: 0 hides all, None leaves them as they are.
    """

    command: str
    code_dir: str
    gpu_num: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    grace_period: float = 10.0
    retries: int = 0
    orphan_timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """One experiment. A limit of None is no limit; durations are seconds, sizes bytes.

    `phase_spaces` are the search spaces by phase index, where `search_space` is not that of all.
    `keep_checkpoints` is a number of phases, or `KEEP_ALL`; None leaves it to the tuner.
    """

    name: str
    tuner: TunerConfig
    trial: TrialConfig
    assessor: AssessorConfig | None = None
    local: LocalConfig = LocalConfig()
    author: str | None = None
    description: str | None = None
    multi_phase: bool = False
    multi_thread: bool = False
    trial_concurrency: int = 1
    max_trial_num: int | None = None
    max_phase_num: int | None = None
    max_phases_per_trial: int | None = None
    max_exec_duration: float | None = None
    phase_timeout: float | None = None
    trial_timeout: float | None = None
    search_space: dict[str, Any] | None = None
    phase_spaces: list[dict[str, Any]] | None = None
    optimize_mode: str | None = None
    seed: int | None = None
    durability: str = "power"
    keep_checkpoints: int | str | None = None
    max_line_length: int = 64 * 1024 * 1024
    log_level: str = "info"
    log_dir: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a value for `json.dumps`; `from_json` is its inverse."""
        return asdict(self, dict_factory=_with_lists)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ExperimentConfig:
        """Build from what `to_json` returned, be it before there were all of today's fields."""
        assessor, local = data.get("assessor"), data.get("local", {})
        return cls(
            **{
                **data,
                "tuner": TunerConfig(**_with_tuples(data["tuner"])),
                "trial": TrialConfig(**data["trial"]),
                "assessor": assessor and AssessorConfig(**assessor),
                "local": LocalConfig(**_with_tuples(local)),
            }
        )


def _with_lists(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields}


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    """Return values as they were before JSON made lists of their tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
