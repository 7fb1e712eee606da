"""An autoencoder with what judges it, as one network whose answer is its loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from reelwright.execution.time_parallel import OverTime, TimeShare, agree_on_gradient
from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder import Autoencoder
from reelwright.protocols.autoencoder_training import LearningAutoencoder
from reelwright.protocols.training import Batch, Losses
from reelwright.workflows.autoencoder_training.clip_batches import PIXELS
from reelwright.workflows.autoencoder_training.losses import AutoencoderLosses


class AutoencoderNetwork(nn.Module):
    """Reconstructs clips, and tells how well it did; processes that share the work call it as one."""

    def __init__(
        self,
        autoencoder: nn.Module,
        discriminator: nn.Module | None,
        losses: AutoencoderLosses,
        last_layer: nn.Parameter,
        share: TimeShare | None = None,
    ) -> None:
        """`share`: of this process, where several work on each clip."""
        super().__init__()
        self.autoencoder = autoencoder
        self.discriminator = discriminator
        self._losses = losses
        self._last_layer = last_layer
        self._over_time: OverTime | None = None
        if share is not None:
            self._over_time = OverTime(autoencoder=cast("Autoencoder", autoencoder), share=share)
            agree_on_gradient(last_layer, share)

    def forward(
        self, pixels_BCFHW: Tensor, seeds: Sequence[int], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss as a mean over the clips, and its parts; each clip's latents are drawn by its seed."""
        coder = self._over_time or cast("LearningAutoencoder", self.autoencoder)
        posterior = coder.encode(pixels_BCFHW)
        copies_BCFHW = coder.decode(sample(posterior, seeds))
        loss, parts = self._losses.generator(pixels_BCFHW, copies_BCFHW, posterior, step, self._last_layer)
        if self.discriminator is not None:
            own_loss, own_parts = self._losses.discriminator_loss(pixels_BCFHW, copies_BCFHW.detach(), step)
            loss, parts = loss + own_loss, {**parts, **own_parts}
        return loss, parts


@dataclass(frozen=True, kw_only=True)
class AutoencoderTask:
    """To give back what it sees."""

    device: torch.device

    def losses(self, network: nn.Module, batch: Batch, number: int, /) -> Losses:
        pixels_BCFHW = as_values(batch.tensors[PIXELS].to(self.device))
        loss, parts = network(pixels_BCFHW, batch.seeds, number)
        count = len(batch.names)
        return Losses(
            total=loss * count,
            parts={name: torch.tensor(part, dtype=torch.float64) * count for name, part in parts.items()},
        )


def as_values(pixels_BFHWC: Tensor) -> Tensor:
    """Bytes [B, F, H, W, 3] as float32 [B, 3, F, H, W] in [-1, 1]."""
    return pixels_BFHWC.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1.0)


def sample(posterior: Posterior, seeds: Sequence[int]) -> Tensor:
    """Latents of each clip by its seed: the same in any batch, on any device."""
    shape = posterior.mean.shape[1:]
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return posterior.at(torch.stack(noise))
