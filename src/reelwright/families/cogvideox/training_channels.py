"""What a denoiser reads beside the noise of a training clip (specs: CogVideoX 5.2, 5.4, 6.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.conditions import pad_front
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig
from reelwright.families.cogvideox.image_conditions import in_first_frame, masked_latents
from reelwright.families.cogvideox.latent_space import LatentSpace
from reelwright.families.cogvideox.noising import ItemDraws
from reelwright.nn.posterior import Posterior
from reelwright.protocols.training import Batch

_MISSING = {
    "control_latents": "no control clip. Give the data set a control_directory, or its lines a control_path,",
    "image_latents": "no first frame. Add --first-frame both",
    "first_frame": "no pixels of the first frame. Add --first-frame both",
}


@dataclass(frozen=True, kw_only=True)
class TrainingChannels:
    """Where the channels of a condition come from."""

    layout: Layout
    settings: CogVideoXNoiseConfig
    is_noised: bool
    """Whether the pixels of first frames are noised."""
    space: LatentSpace | None
    """Encodes first frames; None where their latents are read from caches."""
    image_scale: float
    """What the latents of an image are multiplied by."""
    clip_scale: float
    """What those of clips are multiplied by, and of images in caches."""

    def read(self, batch: Batch, draws: Sequence[ItemDraws], num_frames: int) -> Tensor:
        """[B, C, num_frames, H, W], zeros for items whose condition is left out. Raises FileError.

        `num_frames` counts latent frames with those that were put in front.
        """
        match self.layout:
            case Layout.CONTROL:
                channels = _tensor(batch, "control_latents").float()
            case Layout.INPAINT:
                channels = self._known_first_frame(batch, draws)
            case _:
                channels = in_first_frame(self._images(batch, draws), num_frames)
        channels = pad_front(channels, num_frames - channels.shape[2])
        kept = torch.tensor([not each.leaves_out_condition for each in draws], device=channels.device)
        return channels * kept[:, None, None, None, None]

    def _images(self, batch: Batch, draws: Sequence[ItemDraws]) -> Tensor:
        """Latents of the first frames, [B, C, 1, H, W]."""
        if self.space is None:
            return _tensor(batch, "image_latents").float() * (self.image_scale / self.clip_scale)
        pixels = self._first_frames(batch, draws)
        (moments,) = self.space.encode_stream([pixels[:, :, None]])
        posteriors = map(Posterior, moments.float().split(1))
        drawn = [own.sample(each.generator) for own, each in zip(posteriors, draws, strict=True)]
        return torch.cat(drawn) * self.image_scale

    def _known_first_frame(self, batch: Batch, draws: Sequence[ItemDraws]) -> Tensor:
        assert self.space is not None
        pixels = self._first_frames(batch, draws)
        length = (batch.tensors["latents"].shape[2] - 1) * self.space.autoencoder.temporal_stride + 1
        clip = pixels.new_full((len(draws), 3, length, *pixels.shape[2:]), -1.0)
        clip[:, :, 0] = pixels
        return masked_latents(clip, self.space).float()

    def _first_frames(self, batch: Batch, draws: Sequence[ItemDraws]) -> Tensor:
        """Pixels [B, 3, H, W] in [-1, 1], with noise of each item's own strength (specs: CogVideoX 6.2)."""
        pixels = _tensor(batch, "first_frame").float() / 255.0 * 2.0 - 1.0
        if not self.is_noised:
            return pixels
        return torch.stack([self._noised(own, each) for own, each in zip(pixels, draws, strict=True)])

    def _noised(self, image_CHW: Tensor, draws: ItemDraws) -> Tensor:
        exponent = torch.randn((), generator=draws.generator)
        strength = torch.exp(self.settings.image_noise_mean + self.settings.image_noise_std * exponent)
        return image_CHW + strength * torch.randn(image_CHW.shape, generator=draws.generator)


def _tensor(batch: Batch, name: str) -> Tensor:
    found = batch.tensors.get(name)
    if found is None:
        raise FileError(f"{batch.names[0]}: holds {_MISSING[name]} and run `reelwright cache latents` again.")
    return found
