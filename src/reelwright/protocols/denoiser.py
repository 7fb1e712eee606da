"""What a denoiser is to the rest of the program.

Legend of shape suffixes, used everywhere: B batch, C channels, T latent frames, F pixel frames, H height,
W width, L tokens, D width of a token, N heads, K channels of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Denoiser(Protocol):
    """A network that predicts, from noisy latents and a timestep, what its noise process calls the target.

    Its forward pass embeds, runs the trunk, and projects. How it runs is decided from outside: blocks are
    wrapped in place, and `trunk` may be replaced.
    """

    trunk: Callable[..., Tensor]
    """(video_BLD, text_BLD, signal_BD, ...) -> video_BLD: all blocks. The first block is called with the same
    arguments and returns (video_BLD, text_BLD)."""

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        """The lists of blocks that make up most of the network, in the order they run."""
        ...

    @property
    def modulations(self) -> Sequence[nn.Module]:
        """The linear layers that read nothing but SiLU of `signal`: their results belong to a timestep."""
        ...

    def signal(self, timestep_B: Tensor, conditions: Any, /) -> Tensor:  # noqa: ANN401
        """What blocks know of the timestep, and of conditions that are no tokens: [B, D]."""
        ...

    def __call__(self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Any) -> Tensor:  # noqa: ANN401
        """Return the prediction, shaped like the latents. `conditions` is the family's own dataclass."""
        ...
