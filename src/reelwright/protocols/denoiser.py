"""What a denoiser is to the rest of the program.

Legend of shape suffixes, used everywhere: B batch, C channels, T latent frames, F pixel frames, H height,
W width, L tokens, D width of a token, N heads, K channels of a head.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Denoiser(Protocol):
    """A network that predicts, from noisy latents and a timestep, what its noise process calls the target."""

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        """The lists of blocks that make up most of the network, in the order they run."""
        ...

    def __call__(self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Any) -> Tensor:  # noqa: ANN401
        """Return the prediction, shaped like the latents. `conditions` is the family's own dataclass."""
        ...
