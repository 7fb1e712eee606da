"""Random numbers of one video, so that a section can be made again without those before it."""

import hashlib

import torch
from torch import Tensor

from reelwright.diffusion.samplers import DrawNoise


class SectionNoise:
    """Noise of sections in the order they are made, from one CPU generator as released (FramePack 2.4).

    A section with a seed of its own has noise of its own; all others keep theirs.
    """

    def __init__(self, seed: int, shape_BCTHW: tuple[int, ...]) -> None:
        self.generator = torch.Generator("cpu").manual_seed(seed)
        self._seed = seed
        self._shape = shape_BCTHW
        self._num_drawn = 0

    def draw(self, own_seed: int | None) -> tuple[Tensor, DrawNoise]:
        """The noise that the next section starts from, and what draws more of it for its steps."""
        noise = torch.randn(self._shape, generator=self.generator)
        self._num_drawn += 1
        if own_seed is not None:
            noise = torch.randn(self._shape, generator=torch.Generator("cpu").manual_seed(own_seed))
        return noise, self._for_steps(f"{self._num_drawn} {self._seed if own_seed is None else own_seed}")

    def _for_steps(self, name: str) -> DrawNoise:
        """From another generator: however many are drawn, the noise of later sections stays."""
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        generator = torch.Generator("cpu").manual_seed(seed)
        return lambda: torch.randn(self._shape, generator=generator)
