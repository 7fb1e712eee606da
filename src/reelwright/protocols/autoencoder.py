"""What an autoencoder is to the rest of the program."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import Tensor

from reelwright.nn.other_parts import OtherParts


class Autoencoder(Protocol):
    """A causal video autoencoder: pixels in [-1, 1] to latents and back, whole or as a stream over time."""

    spatial_stride: int
    temporal_stride: int

    def encode_stream(
        self, pixels_BCFHW: Iterable[Tensor], *, first_frame: bool = True, others: OtherParts | None = None
    ) -> Iterator[Tensor]:
        """Yield the posterior's parameters for each chunk of frames.

        others: the rest of the clip, where the one chunk is a part of it and others are worked on meanwhile.
        """
        ...

    def decode_stream(
        self, latents_BCTHW: Iterable[Tensor], *, first_frame: bool = True, others: OtherParts | None = None
    ) -> Iterator[Tensor]:
        """Yield pixels for each chunk of latent frames; `others` as in `encode_stream`."""
        ...
