"""What CogVideoX is asked in training: the velocity of noisy latents (specs: CogVideoX 6.1, 6.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from reelwright.diffusion.process import V_PREDICTION, add_noise
from reelwright.diffusion.schedules import level_at
from reelwright.families.cogvideox.conditions import OFS, Conditions, pad_front, position_conditions
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig, RopeGrid, TransformerConfig
from reelwright.families.cogvideox.noising import ItemDraws, at_levels, draw_items, loss_weight
from reelwright.families.cogvideox.training_channels import TrainingChannels
from reelwright.protocols.training import Batch, Example


@dataclass(frozen=True, kw_only=True)
class CogVideoXObjective:
    """Noise and everything else that is drawn follow from an item's seed, whatever it is batched with."""

    settings: CogVideoXNoiseConfig
    transformer: TransformerConfig
    rope_grid: RopeGrid
    alphas: Tensor
    """Squared signal shares of all timesteps, float64."""
    no_caption_LD: Tensor | None
    """What stands for a caption that is left out; None is zeros."""
    channels: TrainingChannels | None
    """Of the condition; None for models that read text alone."""
    device: torch.device
    dtype: torch.dtype
    """Of the denoiser's inputs."""

    def example(self, batch: Batch, levels_B: Tensor | None = None) -> Example:
        """Levels are shares of the last timestep. Raises FileError where the caches lack what is needed.

        Latents that do not fill whole temporal patches get their first frame once more in front, as in
        generation; it is noised and predicted like the others (specs: CogVideoX 5.1).
        """
        clips = batch.tensors["latents"].float()
        clips = pad_front(clips, -clips.shape[2] % (self.transformer.patch_size_t or 1))
        count = len(self.alphas)
        draws = draw_items(self.settings, batch, clips.shape[1:], count)
        weights = [loss_weight(self.settings, self.alphas[each.timestep].item()) for each in draws]
        if levels_B is not None:
            draws, weights = at_levels(draws, levels_B, count), [1.0] * len(draws)
        items = [
            (clip, each.noise_CTHW, level_at(self.alphas, each.timestep))
            for clip, each in zip(clips, draws, strict=True)
        ]
        timesteps = torch.tensor([each.timestep for each in draws])
        return Example(
            noisy_BCTHW=torch.stack([add_noise(*item) for item in items]).to(self.device, self.dtype),
            timestep_B=timesteps.to(self.device),
            conditions=self._conditions(batch, draws, clips),
            target_BCTHW=torch.stack([V_PREDICTION.target(*item) for item in items]).to(self.device),
            weight_B=torch.tensor(weights, dtype=torch.float32, device=self.device),
            level_B=(timesteps.float() / (count - 1)).to(self.device),
        )

    def _conditions(self, batch: Batch, draws: Sequence[ItemDraws], clips_BCTHW: Tensor) -> Conditions:
        frames, height, width = clips_BCTHW.shape[2:]
        positions = _positions(self.transformer, (frames, height, width), self.rope_grid)
        conditions = Conditions(
            text_BLD=self._texts(batch.tensors["prompt_embeds"], draws),
            image_BCTHW=None if self.channels is None else self.channels.read(batch, draws, frames),
            ofs_B=torch.full((len(draws),), OFS) if self.transformer.ofs_embed_dim else None,
            **positions,
        )
        return conditions.to(self.device, self.dtype)

    def _texts(self, captions_BLD: Tensor, draws: Sequence[ItemDraws]) -> Tensor:
        missing = self.no_caption_LD
        absent = torch.zeros_like(captions_BLD[0]) if missing is None else missing.to(captions_BLD)
        return torch.stack(
            [
                absent if each.leaves_out_caption else caption
                for each, caption in zip(draws, captions_BLD, strict=True)
            ]
        )


@lru_cache(maxsize=8)
def _positions(
    transformer: TransformerConfig, grid_THW: tuple[int, int, int], rope_grid: RopeGrid
) -> dict[str, Tensor]:
    """Batches of one size share them."""
    return position_conditions(transformer, grid_THW, rope_grid)
