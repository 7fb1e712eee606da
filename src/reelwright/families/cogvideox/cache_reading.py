"""From files of a cache to what training is given."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.families.cogvideox.cache_layout import FIRST_FRAME_PIXELS, TensorKind, find_tensor
from reelwright.families.cogvideox.cache_parts import find_latent_parts
from reelwright.families.cogvideox.config import CogVideoXCacheLatents
from reelwright.nn.posterior import Posterior
from reelwright.protocols.datasets import DatasetConfig


def item_reader(config: CogVideoXCacheLatents, _: DatasetConfig) -> "CogVideoXItemReader":
    return CogVideoXItemReader(config)


class CogVideoXItemReader:
    """Reads what is in a file, whichever options it was written with."""

    def __init__(self, config: CogVideoXCacheLatents) -> None:
        self._config = config

    def read(self, tensors: Mapping[str, Tensor], item: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`latents` [C, T, H, W]; of the first frame what there is: `image_latents` [C, 1, H, W],
        `first_frame` uint8 [3, H, W]; and `control_latents`, as those of the clip, if it has a control.

        All latents are scaled as those of clips are. From moments they are drawn, in float32.
        """
        if item:
            raise ValueError(f"item {item}: a file of this family holds one.")
        latents = self._latents(tensors, "latents", "moments", generator)
        if latents is None:
            raise FileError("There are no latents in it. Encode the clip again.")
        found = {
            "latents": latents,
            "image_latents": self._latents(tensors, "image_latents", "image_moments", generator),
            "first_frame": tensors.get(FIRST_FRAME_PIXELS),
            "control_latents": find_tensor(tensors, "control_latents"),
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def read_text(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`prompt_embeds` [L, D]."""
        features = find_tensor(tensors, "prompt_embeds")
        if features is None:
            raise FileError("There are no features of a caption in it. Encode the caption again.")
        return {"prompt_embeds": features}

    def _latents(
        self,
        tensors: Mapping[str, Tensor],
        kind: TensorKind,
        moments_kind: TensorKind,
        generator: torch.Generator,
    ) -> Tensor | None:
        latents = find_tensor(tensors, kind)
        moments = find_tensor(tensors, moments_kind)
        if latents is not None or moments is None:
            return latents
        return Posterior(moments[None].float()).sample(generator)[0] * self._scale

    @cached_property
    def _scale(self) -> float:
        return find_latent_parts(self._config).autoencoder.scaling_factor
