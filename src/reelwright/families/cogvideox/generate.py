"""Clips from prompts, images and clips: encode, denoise, decode."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.core.events import Event, StageStarted, StepDone
from reelwright.diffusion.guidance import guidance_scales, guide
from reelwright.diffusion.process import V_PREDICTION, add_noise
from reelwright.diffusion.samplers import SAMPLERS, DrawNoise, PredictX0
from reelwright.diffusion.schedules import Step
from reelwright.execution.devices import choose_device, choose_dtype, peak_memory
from reelwright.families.cogvideox.checkpoints import (
    CogVideoXModel,
    load_autoencoder,
    load_transformer,
)
from reelwright.families.cogvideox.conditions import OFS, Conditions, pad_front, position_conditions
from reelwright.families.cogvideox.config import CogVideoXGenerate
from reelwright.families.cogvideox.image_conditions import image_conditions
from reelwright.families.cogvideox.latent_space import LatentSpace, released_tiling
from reelwright.families.cogvideox.requests import CogVideoXRequest
from reelwright.families.cogvideox.schedule import plan_steps
from reelwright.families.cogvideox.texts import Texts, encode_texts
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.media.latent_preview import fit_latent_colors, paint_latents
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.family import Preview, Segment


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What is loaded while clips are made."""

    transformer: CogVideoXTransformer
    space: LatentSpace
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def colors(self) -> Tensor:
        """The color of a latent cell, fitted when the first preview is painted."""
        return fit_latent_colors(lambda pixels: self.space.encode(pixels).mean * self.space.scale)


def generate(
    model: CogVideoXModel, requests: Sequence[CogVideoXRequest]
) -> Iterator[Event | Preview | Segment]:
    """Make the clips in order with networks loaded once; the text encoder is gone before they load."""
    config = requests[0].config
    device, dtype = _choose(model, config.execution)
    yield StageStarted("encode prompts")
    texts = encode_texts(model, [request.config for request in requests], device, dtype)
    yield StageStarted("load networks")
    networks = Networks(
        transformer=load_transformer(model, device, dtype),
        space=_open_space(model, config.execution, config.compatibility.vae_chunk == "whole"),
        device=device,
        dtype=dtype,
    )
    for request in requests:
        yield from make_clip(model, networks, texts, request)


def make_clip(
    model: CogVideoXModel, networks: Networks, texts: Texts, request: CogVideoXRequest
) -> Iterator[Event | Preview | Segment]:
    """Denoise one clip: a StepDone for every step, a Preview now and then, and the Segment at the end."""
    config, space = request.config, networks.space
    noise = Noise(config, model, networks.dtype)
    # The released order of draws: posteriors of images and clips, the noise, then that of each step.
    conditions = _conditions(model, networks, texts, request, noise)
    steps = plan_steps(model.scheduler, config)
    latents = _start(request, space, steps, noise).to(networks.device)
    predict_x0 = _predictor(networks, config, conditions, texts, steps)

    yield StageStarted("denoise", len(steps))
    sampler = SAMPLERS[config.sampler]
    started = time.perf_counter()
    for index, state in enumerate(
        sampler(predict_x0, latents, steps, noise.for_steps(steps, networks.device)), 1
    ):
        latents = state.latents
        seconds, started = time.perf_counter() - started, time.perf_counter()
        yield StepDone("denoise", index, len(steps), seconds, peak_memory(networks.device))
        if not torch.isfinite(latents).all():
            flaw = f"denoise: the latents hold NaN or infinity after step {index} of {len(steps)}."
            yield _segment(model, config, space, latents[:, :, noise.num_padding :], flaw)
            return
        if config.preview_every and index % config.preview_every == 0 and index < len(steps):
            yield Preview(image_HWC=paint_latents(state.x0[0], networks.colors), step=index)
    yield _segment(model, config, space, latents[:, :, noise.num_padding :])


def open_latents(model: CogVideoXModel, latents_BCTHW: Tensor, config: CogVideoXGenerate) -> Segment:
    """See latents that were saved before. Raises FileError if they are not of this kind of model."""
    channels, expected = latents_BCTHW.shape[1], model.autoencoder.latent_channels
    if channels != expected:
        raise FileError(
            f"from_latent: the latents have {channels} channels; {model.autoencoder_path} decodes {expected}."
            " Name the --model that made them."
        )
    space = _open_space(model, config.execution, config.compatibility.vae_chunk == "whole")
    return _segment(model, config, space, latents_BCTHW)


class Noise:
    """Random numbers of one clip, from one CPU generator in the released order, shape and number format."""

    def __init__(self, config: CogVideoXGenerate, model: CogVideoXModel, dtype: torch.dtype) -> None:
        autoencoder, transformer = model.autoencoder, model.transformer
        frames = (config.num_frames - 1) // autoencoder.temporal_compression_ratio + 1
        self.num_padding = -frames % (transformer.patch_size_t or 1)
        self.shape_BCTHW = (
            1,
            transformer.out_channels,
            frames + self.num_padding,
            config.height // autoencoder.spatial_stride,
            config.width // autoencoder.spatial_stride,
        )
        self.generator = torch.Generator("cpu").manual_seed(config.seed)
        self._dtype = dtype
        self._released_draws = config.compatibility.noise_draws == "released"

    def draw(self) -> Tensor:
        """float32 [B, C, T, H, W], drawn with time before channels."""
        batch, channels, frames, height, width = self.shape_BCTHW
        shape = (batch, frames, channels, height, width)
        return torch.randn(shape, generator=self.generator, dtype=self._dtype).float().transpose(1, 2)

    def for_steps(self, steps: Sequence[Step], device: torch.device) -> DrawNoise:
        """Noise of a stochastic sampler: the released one draws twice where it steps in second order."""
        redraws = iter([index > 0 and step.next_level.sigma > 0 for index, step in enumerate(steps)])

        def draw_noise() -> Tensor:
            if next(redraws) and self._released_draws:
                self.draw()
            return self.draw().to(device)

        return draw_noise


def _choose(model: CogVideoXModel, execution: ExecutionConfig) -> tuple[torch.device, torch.dtype]:
    device = choose_device(execution.device)
    return device, choose_dtype(execution.dtype, device, model.released_dtype)


def _open_space(model: CogVideoXModel, execution: ExecutionConfig, whole_clip: bool) -> LatentSpace:
    device, dtype = _choose(model, execution)
    autoencoder = load_autoencoder(model, device, dtype)
    tiling = released_tiling(model.autoencoder) if execution.tiling else None
    return LatentSpace(autoencoder=autoencoder, tiling=tiling, whole_clip=whole_clip)


def _conditions(
    model: CogVideoXModel, networks: Networks, texts: Texts, request: CogVideoXRequest, noise: Noise
) -> Conditions:
    _, _, frames, height, width = noise.shape_BCTHW
    positions = position_conditions(
        model.transformer, (frames, height, width), request.config.compatibility.rope_grid
    )
    conditions = Conditions(
        text_BLD=texts.positive(request.config),
        image_BCTHW=image_conditions(model.layout, request, networks.space, noise.generator, frames),
        ofs_B=torch.tensor([OFS]) if model.transformer.ofs_embed_dim else None,
        **positions,
    )
    return conditions.to(networks.device, networks.dtype)


def _start(request: CogVideoXRequest, space: LatentSpace, steps: Sequence[Step], noise: Noise) -> Tensor:
    """Pure noise, or the clip to start from as noisy as the first step expects it."""
    if request.config.video is None or request.clip_BCFHW is None:
        return noise.draw()
    clip = space.encode(request.clip_BCFHW).sample(noise.generator).float().cpu() * space.scale
    clip = pad_front(clip, noise.num_padding)
    return add_noise(clip, noise.draw(), steps[0].level) if steps else clip


def _predictor(
    networks: Networks,
    config: CogVideoXGenerate,
    conditions: Conditions,
    texts: Texts,
    steps: Sequence[Step],
) -> PredictX0:
    """Clean latents by guided velocity; where guidance is 1 or less, the negative pass is left out."""
    timesteps = [step.timestep for step in steps]
    scales = guidance_scales(config.guidance_schedule, config.guidance_scale, timesteps, len(steps))
    scale_of = dict(zip(timesteps, scales, strict=True))
    guided = conditions
    if config.guidance_scale > 1.0:
        guided = conditions.with_negative(texts.negative(config).to(networks.device, networks.dtype))

    @torch.no_grad()
    def predict_x0(latents: Tensor, step: Step) -> Tensor:
        scale = scale_of[step.timestep]
        noisy = latents.to(networks.dtype)
        timestep_B = torch.tensor([step.timestep], device=networks.device)
        if scale <= 1.0:
            velocity = networks.transformer(noisy, timestep_B, conditions).float()
        else:
            both = networks.transformer(noisy.repeat(2, 1, 1, 1, 1), timestep_B.repeat(2), guided).float()
            negative, positive = both.chunk(2)
            velocity = guide(negative, positive, scale)
        return V_PREDICTION.predict_x0(latents, velocity, step.level)

    return predict_x0


def _segment(
    model: CogVideoXModel,
    config: CogVideoXGenerate,
    space: LatentSpace,
    latents_BCTHW: Tensor,
    flaw: str = "",
) -> Segment:
    latents = latents_BCTHW.float().cpu().contiguous()
    num_frames = (latents.shape[2] - 1) * space.autoencoder.temporal_stride + 1
    return Segment(
        latents_BCTHW=latents,
        num_frames=num_frames,
        fps=config.fps or model.fps,
        decode=lambda: space.decode(latents),
        flaw=flaw,
    )
