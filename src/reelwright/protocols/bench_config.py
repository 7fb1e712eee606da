"""What `bench` may be told. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from reelwright.protocols.policy_configs import Preset


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measure what shortcuts save, and what they cost, beside the exact run."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    against: Literal["baseline"] = "baseline"
    """What to compare with: the same run with nothing left out or rounded."""
    presets: tuple[Preset, ...] = ()
    """Presets to measure; without, the execution options that are given, or else all presets."""
    prompts: Annotated[int, Ge(1), Le(1000)] = 2
    """How many captions of synthetic clips to make clips of, where neither --prompt nor --from-file is
    given."""
    repeat: Annotated[int, Ge(1), Le(100)] = 3
    """How often all are run, in alternation; of times, the median counts."""
    calibrate: Path | None = None
    """Measure magcache's ratios in an exact run first, and write them to this file."""
    own_process: bool = True
    """Run each in a process of its own, so that memory is its own too; else all in this one, which is faster
    for small models."""
