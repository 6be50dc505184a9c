"""The resolved configuration: every default filled in, every path absolute."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TunerConfig:
    """Either `builtin_name`, or the three custom keys: `code_dir`, `class_file_name`, `class_name`."""

    builtin_name: str | None = None
    code_dir: str | None = None
    class_file_name: str | None = None
    class_name: str | None = None
    class_args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """How to start a trial. Durations are seconds; `gpu_num` 0 hides all GPUs, None leaves them."""

    command: str
    code_dir: str
    gpu_num: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    grace_period: float = 10.0
    retries: int = 0
    orphan_timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class ExperimentConfig:
    """One experiment. A limit of None is no limit; durations are seconds, sizes bytes."""

    name: str
    tuner: TunerConfig
    trial: TrialConfig
    author: str | None = None
    description: str | None = None
    multi_phase: bool = False
    trial_concurrency: int = 1
    max_trial_num: int | None = None
    max_phase_num: int | None = None
    max_phases_per_trial: int | None = None
    max_exec_duration: float | None = None
    phase_timeout: float | None = None
    trial_timeout: float | None = None
    search_space: dict[str, Any] | None = None
    optimize_mode: str | None = None
    seed: int | None = None
    durability: str = "power"
    max_line_length: int = 64 * 1024 * 1024

    def to_json(self) -> dict[str, Any]:
        """Return a value for `json.dumps`; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ExperimentConfig:
        """Build from what `to_json` returned, be it before there were all of today's fields."""
        return cls(
            **{
                **data,
                "tuner": TunerConfig(**data["tuner"]),
                "trial": TrialConfig(**data["trial"]),
            }
        )
