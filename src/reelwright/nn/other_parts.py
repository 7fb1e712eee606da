"""What layers ask of a clip's other parts, where all are worked on at the same time, in several places."""

from typing import Protocol

from torch import Tensor

from reelwright.nn.norms import GroupMoments


class OtherParts(Protocol):
    """The parts lie one after another, and each asks the same questions in the same order."""

    def frames_before(self, frames_BCFHW: Tensor, count: int) -> Tensor:
        """The `count` frames before these; before the clip's first frame, copies of it."""
        ...

    def all_before(self, frames: Tensor, dim: int) -> Tensor:
        """These, after those of all parts before; frames lie on the axis `dim`."""
        ...

    def moments(self, frames_BCFHW: Tensor, num_groups: int) -> GroupMoments:
        """What `group_moments` would say of the clip."""
        ...
