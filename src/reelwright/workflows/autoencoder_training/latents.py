"""How far latents spread, and weights whose latents all spread alike."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from reelwright.protocols.autoencoder_training import LearningAutoencoder


@dataclass(frozen=True, kw_only=True)
class LatentSpread:
    """Of the means of posteriors, over clips, frames and places; float64."""

    mean_C: Tensor
    deviation_C: Tensor

    @property
    def scale(self) -> float:
        """1 / the standard deviation of all channels together; 1 where all latents are equal."""
        variance = float(self.deviation_C.square().mean() + self.mean_C.var(correction=0))
        # Seven digits are more than a few clips can tell.
        return float(f"{variance**-0.5:.7g}") if variance > 0 else 1.0


def measure_latents(autoencoder: nn.Module, clips: Iterable[Tensor]) -> LatentSpread:
    """The spread over clips [1, 3, F, H, W]; the same clips and weights give the same numbers."""
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    was_training = autoencoder.training
    autoencoder.eval()
    with torch.no_grad():
        for clip_BCFHW in clips:
            latents = cast("LearningAutoencoder", autoencoder).encode(clip_BCFHW).mean
            latents_LC = latents.transpose(0, 1).flatten(1).T.cpu().double()
            count += len(latents_LC)
            total = total + latents_LC.sum(0)
            squares = squares + latents_LC.square().sum(0)
    autoencoder.train(was_training)
    mean = total / max(count, 1)
    return LatentSpread(
        mean_C=mean, deviation_C=(squares / max(count, 1) - mean.square()).clamp_min(0).sqrt()
    )


def balanced_weights(
    state: Mapping[str, Tensor], writer: str, readers: str, spread: LatentSpread
) -> dict[str, Tensor]:
    """The weights that change where each channel of latents is to have mean 0 and deviation 1.

    `writer` is the convolution that writes latents, `readers` a regular expression of those that read them.
    Reconstructions stay as they are but for what a reader of more than one cell sees beyond the border, where
    it takes zeros for latents. Channels that never change are only moved.
    """
    deviation = torch.where(spread.deviation_C > 0, spread.deviation_C, 1.0)
    factor, mean = deviation.float(), spread.mean_C.float()
    changed = _written(state, writer, mean, factor)
    for name in state:
        module, _, kind = name.rpartition(".")
        if kind != "weight" or not re.fullmatch(readers, module):
            continue
        weight = state[name].float()
        by_channel = (1, -1, *[1] * (weight.ndim - 2))
        changed[f"{module}.bias"] = state[f"{module}.bias"].float() + (
            weight * mean.view(by_channel)
        ).flatten(1).sum(1)
        changed[name] = weight * factor.view(by_channel)
    return changed


def _written(state: Mapping[str, Tensor], writer: str, mean_C: Tensor, factor_C: Tensor) -> dict[str, Tensor]:
    """Means that are moved and divided, and log-variances that follow."""
    weight, bias = state[f"{writer}.weight"].float().clone(), state[f"{writer}.bias"].float().clone()
    count = len(mean_C)
    weight[:count] /= factor_C.view(-1, *[1] * (weight.ndim - 1))
    bias[:count] = (bias[:count] - mean_C) / factor_C
    bias[count:] -= 2.0 * factor_C.log()
    return {f"{writer}.weight": weight, f"{writer}.bias": bias}
