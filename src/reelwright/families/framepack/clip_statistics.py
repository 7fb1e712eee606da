"""Group norms that span a clip which is encoded in parts: statistics from several passes over its frames."""

from torch import Tensor, nn

from reelwright.nn.norms import GroupMoments, affine_of_moments, combine_moments, group_moments


class ClipStatistics:
    """What each norm saw of the parts of a clip, in this pass and in the one before: a few numbers for each.

    A norm counts what it saw of all parts: in this pass up to the part at hand, in the one before of those
    that are to come. So the first norm is exact in the second pass, the second in the third, and so on. Norms
    that always include what they are applied to keep the others near: where they took only what was seen
    before, values of clips that change much grew a thousandfold from one norm to the next.
    """

    def __init__(self) -> None:
        self._now: dict[nn.GroupNorm, list[GroupMoments]] = {}
        self._before: dict[nn.GroupNorm, list[GroupMoments]] = {}

    def start_pass(self) -> None:
        """The clip is encoded once more, in the same parts."""
        self._before, self._now = self._now, {}

    def affine(self, frames_BCFHW: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Scale and shift of a norm for its frames of the next part, as `affine_of_moments` gives them."""
        seen = self._now.setdefault(norm, [])
        seen.append(group_moments(frames_BCFHW, norm.num_groups))
        to_come = self._before.get(norm, [])[len(seen) :]
        return affine_of_moments(combine_moments([*seen, *to_come]), norm)
