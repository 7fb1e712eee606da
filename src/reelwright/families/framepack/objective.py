"""What FramePack is asked in training: noisy frames beside clean ones, for the velocity that separates them.

specs: FramePack 4.3, 6.3, 6.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.diffusion.level_distributions import LatentGrid
from reelwright.diffusion.loss_weights import loss_weight
from reelwright.diffusion.process import Level, add_noise
from reelwright.diffusion.timestep_sampling import (
    DrawnLevel,
    draw_level,
    item_chances,
    strata_of_places,
    told_timestep,
)
from reelwright.families.framepack.conditions import CleanLatents, Conditions, guidance_of
from reelwright.families.framepack.config import FramePackNoiseConfig
from reelwright.families.framepack.history_noise import with_history_noise
from reelwright.protocols.training import Batch, Example


@dataclass(frozen=True, kw_only=True)
class FramePackObjective:
    """Noise and levels of an item follow from its seed and its place alone, whatever it is batched with."""

    noise: FramePackNoiseConfig
    device: torch.device
    dtype: torch.dtype
    """Of the denoiser's inputs."""

    def example(self, batch: Batch, levels_B: Tensor | None = None) -> Example:
        """Raises FileError for a caption without tokens, or with gaps between them."""
        clean_BCTHW = batch.tensors["latents"].float()
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        drawn, noise_BCTHW = self._draw(batch, clean_BCTHW, generators)
        weights = [loss_weight(self.noise.weighting, each.level) for each in drawn]
        if levels_B is not None:
            drawn = [DrawnLevel(level, told_timestep(self.noise, level)) for level in levels_B.tolist()]
            weights = [1.0] * len(drawn)
        most = self.noise.history_noise if levels_B is None else 0.0
        tensors = with_history_noise(batch.tensors, most, generators)
        items = zip(clean_BCTHW, noise_BCTHW, drawn, strict=True)
        noisy = [add_noise(clean, noise, Level(1.0 - each.level, each.level)) for clean, noise, each in items]
        return Example(
            noisy_BCTHW=torch.stack(noisy).to(self.device, self.dtype),
            timestep_B=self._row([each.timestep for each in drawn]),
            conditions=self._conditions(batch, tensors).to(self.device, self.dtype),
            target_BCTHW=(noise_BCTHW - clean_BCTHW).to(self.device),
            weight_B=self._row(weights),
            level_B=self._row([each.level for each in drawn]),
        )

    def _draw(
        self, batch: Batch, clean_BCTHW: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[list[DrawnLevel], Tensor]:
        """Of each item its level, then its noise, which does not depend on how levels are drawn."""
        grid = LatentGrid(*clean_BCTHW.shape[2:])
        strata = strata_of_places(
            self.noise, batch.places, batch.num_places, epoch=batch.epoch, seed=batch.seed
        )
        drawn: list[DrawnLevel] = []
        noises: list[Tensor] = []
        for generator, stratum in zip(generators, strata, strict=True):
            drawn.append(draw_level(self.noise, grid, item_chances(generator, stratum)))
            noises.append(torch.randn(clean_BCTHW.shape[1:], generator=generator))
        return drawn, torch.stack(noises)

    def _conditions(self, batch: Batch, tensors: Mapping[str, Tensor]) -> Conditions:
        # Without compat rounded as generation does; the other trainer never rounds.
        rounded = torch.float32 if self.noise.compat else self.dtype
        return Conditions(
            text_BLD=tensors["llama_vec"],
            text_lengths=_text_lengths(batch),
            pooled_BD=tensors["clip_l_pooler"],
            image_BLD=tensors["image_embeddings"],
            guidance_B=guidance_of([self.noise.distilled_guidance] * len(batch.names), rounded),
            indices_BT=tensors["latent_indices"],
            clean_1x=_clean(tensors, "latents_clean", "clean_latent_indices"),
            clean_2x=_clean(tensors, "latents_clean_2x", "clean_latent_2x_indices"),
            clean_4x=_clean(tensors, "latents_clean_4x", "clean_latent_4x_indices"),
        )

    def _row(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def _text_lengths(batch: Batch) -> tuple[int, ...]:
    """Tokens of each caption, which come before the padding."""
    mask_BL = batch.tensors["llama_attention_mask"].bool()
    lengths = mask_BL.sum(1)
    expected_BL = torch.arange(mask_BL.shape[1]) < lengths[:, None]
    for name, length, is_sound in zip(batch.names, lengths, (mask_BL == expected_BL).all(1), strict=True):
        if not length or not is_sound:
            raise FileError(
                f"{name}: its caption has no tokens, or padding between them. Run the cache command of text"
                " again with --force for this data set."
            )
    return tuple(lengths.tolist())


def _clean(tensors: Mapping[str, Tensor], latents: str, indices: str) -> CleanLatents | None:
    if indices not in tensors:
        return None
    return CleanLatents(latents_BCTHW=tensors[latents], indices_BT=tensors[indices])
