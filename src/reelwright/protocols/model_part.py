"""A part of the models of a family as it lies in files by itself: how it is told from others and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reelwright.checkpoint.stored_network import StoredNetwork


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """One kind of part; networks can be recognized and converted, others only checked."""

    name: str
    """Its folder in a whole model."""
    check: Callable[[Mapping[str, Path]], None]
    """From the paths of parts that belong together: raises CheckpointError if this one's files are damaged
    or are not those of the others. Only its own must be there."""
    describe: Callable[[Path], StoredNetwork] | None = None
    """The network at a path; raises CheckpointError if there is none of this kind. None for other parts."""


def network_part(name: str, describe: Callable[[Path], StoredNetwork]) -> ModelPart:
    """A part that is a network."""
    return ModelPart(name=name, check=lambda paths: describe(paths[name]).check(), describe=describe)
