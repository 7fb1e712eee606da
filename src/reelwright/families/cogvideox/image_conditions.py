"""Latents of images and clips that a denoiser reads beside its noise."""

import torch
from torch import Tensor
from torch.nn import functional as F

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.conditions import image_scale, pad_front
from reelwright.families.cogvideox.latent_space import LatentSpace
from reelwright.families.cogvideox.requests import CogVideoXRequest


def image_conditions(
    layout: Layout, request: CogVideoXRequest, space: LatentSpace, generator: torch.Generator, num_frames: int
) -> Tensor | None:
    """The channels after the noise, [1, C, num_frames, H, W] (specs: CogVideoX 5.2, 5.4); None without.

    num_frames counts latent frames with those put in front. Image posteriors are sampled from the generator.
    """
    match layout:
        case Layout.TEXT:
            return None
        case Layout.IMAGE:
            return _first_frame(request, space, generator, num_frames)
        case Layout.CONTROL:
            channels = _control_clip(request, space)
        case Layout.INPAINT:
            channels = _masked_clip(request, space)
    return pad_front(channels, num_frames - channels.shape[2])


def _first_frame(
    request: CogVideoXRequest, space: LatentSpace, generator: torch.Generator, num_frames: int
) -> Tensor:
    """The image's latent in frame 0, another's in the last, zeros between.

    Where a frame is put in front, the image is in that one, which is dropped after sampling, and in no other.
    """
    assert request.config.image_latent_scale != "auto"
    scale = image_scale(request.config.image_latent_scale, space.scale)

    def encode(image_CHW: Tensor) -> Tensor:
        return space.encode(image_CHW[None, :, None]).sample(generator) * scale

    assert request.first_image_CHW is not None
    frames = in_first_frame(encode(request.first_image_CHW), num_frames)
    if request.last_image_CHW is not None:
        frames[:, :, -1:] = encode(request.last_image_CHW)
    return frames


def in_first_frame(image_BCTHW: Tensor, num_frames: int) -> Tensor:
    """The latent of an image, [B, C, 1, H, W], and zeros in the frames that follow."""
    return F.pad(image_BCTHW, (0, 0, 0, 0, 0, num_frames - 1))


def _control_clip(request: CogVideoXRequest, space: LatentSpace) -> Tensor:
    assert request.clip_BCFHW is not None
    return space.encode(request.clip_BCFHW).mean * space.scale


def _masked_clip(request: CogVideoXRequest, space: LatentSpace) -> Tensor:
    """A mask of what is known, then the clip with all else black; without an image both are zero.

    A known last frame is in the clip but not in the mask: the released mask is sampled between its frames.
    """
    config = request.config
    frames = (config.num_frames - 1) // space.autoencoder.temporal_stride + 1
    stride = space.autoencoder.spatial_stride
    height, width = config.height // stride, config.width // stride
    if request.first_image_CHW is None:
        return torch.zeros(1, 1 + space.autoencoder.config.latent_channels, frames, height, width)
    clip = torch.full((1, 3, config.num_frames, config.height, config.width), -1.0)
    clip[0, :, 0] = request.first_image_CHW
    if request.last_image_CHW is not None:
        clip[0, :, -1] = request.last_image_CHW
    return masked_latents(clip, space)


def masked_latents(clip_BCFHW: Tensor, space: LatentSpace) -> Tensor:
    """What an inpainting model reads of a clip whose first frame is known: [B, 1 + C, T, H, W]."""
    known = space.encode(clip_BCFHW).mean * space.scale
    mask = torch.zeros_like(known[:, :1])
    mask[:, :, 0] = space.scale
    return torch.cat([mask, known], dim=1)
