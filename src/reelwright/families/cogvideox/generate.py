"""Clips from prompts, images and clips: encode, denoise, decode."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from reelwright.adapters.merged_model import write_merged
from reelwright.core.errors import FileError
from reelwright.core.events import Event, Notice, StageStarted, StepDone
from reelwright.diffusion.process import add_noise
from reelwright.diffusion.samplers import SAMPLERS, DrawNoise
from reelwright.diffusion.schedules import Step
from reelwright.execution.devices import (
    choose_device,
    choose_dtype,
    dtype_of,
    peak_memory,
    stored_dtype,
)
from reelwright.execution.guidance_passes import fits_together, passes_are_together
from reelwright.execution.offload import Turns
from reelwright.execution.policy import PreparedDenoiser
from reelwright.execution.prepare import prepare_to_generate
from reelwright.execution.smaller_tiles import SmallerTiles
from reelwright.execution.weights import check_weights, in_memory, round_encoder, tensors_to_save
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import (
    CogVideoXModel,
    Layout,
    load_adapted,
    load_autoencoder,
)
from reelwright.families.cogvideox.conditions import (
    OFS,
    Conditions,
    chosen_rope_grid,
    pad_front,
    position_conditions,
)
from reelwright.families.cogvideox.config import CogVideoXGenerate
from reelwright.families.cogvideox.denoise import Look, look_of, predictor
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.image_conditions import image_conditions
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.latent_space import LatentSpace, sparing_tiles
from reelwright.families.cogvideox.requests import CogVideoXRequest
from reelwright.families.cogvideox.schedule import plan_steps
from reelwright.families.cogvideox.texts import Texts, encode_texts
from reelwright.media.latent_preview import fit_latent_colors, paint_latents
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.family import FindSection, Made, Preview, Segment


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What makes clips."""

    denoiser: PreparedDenoiser
    open_space: Callable[[], LatentSpace]
    """Its autoencoder is loaded when it is first needed, which may be after denoising."""
    tiles: SmallerTiles
    device: torch.device

    @property
    def space(self) -> LatentSpace:
        return self.open_space()

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    @cached_property
    def colors(self) -> Tensor:
        """The color of a latent cell, fitted when the first preview is painted."""
        return fit_latent_colors(lambda pixels: self.space.encode(pixels).mean * self.space.scale)


class CogVideoXSession:
    """A model in use: its networks are loaded for the first clip and stay."""

    def __init__(
        self, model: CogVideoXModel, execution: ExecutionConfig, transformer: nn.Module | None = None
    ) -> None:
        """`transformer` is used as it is, where it is and with what is in it, instead of the model's own."""
        self._model = model
        self._given = transformer
        check_weights(execution.weights)
        self._execution = execution
        self._device = choose_device(execution.device)
        self._dtype = choose_dtype(execution.dtype, self._device, model.released_dtype)
        self._turns = Turns(self._device, is_on=execution.offload)
        model.text.encoder.is_kept = execution.keep_encoders
        round_encoder(model.text.encoder, execution.text_weights, self._device)
        model.text.encoder.is_streamed = execution.stream_encoders

    @property
    def latent_scale(self) -> float:
        return self._model.autoencoder.scaling_factor

    def generate(self, requests: Sequence[CogVideoXRequest], _: FindSection) -> Iterator[Made]:
        """Make the clips in order; the text encoder is gone before the networks load."""
        model = self._model
        yield StageStarted("encode prompts")
        configs = [request.config for request in requests]
        texts = encode_texts(model, configs, self._device, self._dtype)
        yield StageStarted("load networks")
        denoiser, changes = self._denoiser
        yield from map(Notice, changes)
        for request in requests:
            networks = Networks(
                denoiser=denoiser,
                open_space=partial(self._space, request.config),
                tiles=self._tiles,
                device=self._device,
            )
            yield from make_clip(model, networks, texts, request)

    def write_merged(self, path: Path) -> Iterator[Event]:
        """Write the transformer with its LoRAs merged; in the released number format unless one is set."""
        model = self._model
        dtype = stored_dtype(self._execution.dtype, model.released_dtype)
        transformer, changes = load_adapted(model, in_memory(self._execution), dtype)
        yield from map(Notice, changes)
        settings = {"_class_name": "CogVideoXTransformer3DModel", **model.transformer.settings()}
        tensors = tensors_to_save(transformer)
        yield from write_merged(tensors, model.adapters, DIFFUSERS_TRANSFORMER, path, settings)

    def open_latents(self, latents_BCTHW: Tensor, config: CogVideoXGenerate) -> Segment:
        """See latents that were saved before. Raises FileError if they are not of this kind of model."""
        model = self._model
        channels, expected = latents_BCTHW.shape[1], model.autoencoder.latent_channels
        if channels != expected:
            raise FileError(
                f"from_latent: the latents have {channels} channels; {model.autoencoder_path} decodes"
                f" {expected}. Name the --model that made them."
            )
        return _segment(model, config, partial(self._space, config), self._tiles, latents_BCTHW)

    @cached_property
    def _denoiser(self) -> tuple[PreparedDenoiser, list[str]]:
        """And what LoRAs changed in it and how it runs, in words."""
        if self._given is not None:
            return PreparedDenoiser(self._given, dtype=dtype_of(self._given)), []
        self._turns.rest()
        transformer, changes = load_adapted(self._model, self._execution, self._dtype)
        denoiser, notices = prepare_to_generate(
            transformer,
            self._execution,
            device=self._device,
            dtype=self._dtype,
            facts=EXECUTION_FACTS,
            turns=self._turns,
        )
        return denoiser, [*changes, *notices]

    @cached_property
    def _autoencoder(self) -> CogVideoXAutoencoder:
        self._turns.rest()
        autoencoder = load_autoencoder(self._model, self._device, self._dtype)
        self._turns.note(autoencoder)
        return autoencoder

    def _space(self, config: CogVideoXGenerate) -> LatentSpace:
        autoencoder = self._autoencoder
        return LatentSpace(
            autoencoder=autoencoder,
            smaller=self._tiles,
            arrive=partial(self._turns.take, autoencoder),
            whole_clip=config.compatibility.vae_chunk == "whole",
        )

    @cached_property
    def _tiles(self) -> SmallerTiles:
        """For all clips: where one did not fit, the next would not either."""
        return sparing_tiles(self._model.autoencoder, self._execution)


def make_clip(
    model: CogVideoXModel, networks: Networks, texts: Texts, request: CogVideoXRequest
) -> Iterator[Made]:
    """Denoise one clip: a StepDone for every step, a Preview now and then, and the Segment at the end."""
    config = request.config
    noise = Noise(config, model, networks.dtype)
    # The released order of draws: posteriors of images and clips, the noise, then that of each step.
    conditions = _conditions(model, networks, texts, request, noise)
    steps = plan_steps(model.scheduler, config)
    latents = _start(request, networks, steps, noise).to(networks.device)
    yield from map(Notice, networks.tiles.take_notices())
    look = _look(model, networks, texts, config, conditions, latents)

    def made_of(latents_BCTHW: Tensor) -> Segment:
        final = latents_BCTHW[:, :, noise.num_padding :]
        return _segment(model, config, networks.open_space, networks.tiles, final)

    predict_x0 = predictor(networks.denoiser, config, look, steps)

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
            yield replace(made_of(latents), flaw=flaw)
            return
        if config.preview_every and index % config.preview_every == 0 and index < len(steps):
            yield Preview(image_HWC=paint_latents(state.x0[0], networks.colors), step=index)
    yield replace(made_of(latents), shortcuts=networks.denoiser.shortcuts)


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


def _conditions(
    model: CogVideoXModel, networks: Networks, texts: Texts, request: CogVideoXRequest, noise: Noise
) -> Conditions:
    _, _, frames, height, width = noise.shape_BCTHW
    reads_pictures = model.layout is not Layout.TEXT
    grid = chosen_rope_grid(request.config.compatibility.rope_grid, model.transformer)
    positions = position_conditions(model.transformer, (frames, height, width), grid)
    conditions = Conditions(
        text_BLD=texts.positive(request.config),
        image_BCTHW=image_conditions(model.layout, request, networks.space, noise.generator, frames)
        if reads_pictures
        else None,
        ofs_B=torch.tensor([OFS]) if model.transformer.ofs_embed_dim else None,
        **positions,
    )
    return conditions.to(networks.device, networks.dtype)


def _start(request: CogVideoXRequest, networks: Networks, steps: Sequence[Step], noise: Noise) -> Tensor:
    """Pure noise, or the clip to start from as noisy as the first step expects it."""
    if request.config.video is None or request.clip_BCFHW is None:
        return noise.draw()
    space = networks.space
    clip = space.encode(request.clip_BCFHW).sample(noise.generator).float().cpu() * space.scale
    clip = pad_front(clip, noise.num_padding)
    return add_noise(clip, noise.draw(), steps[0].level) if steps else clip


def _look(
    model: CogVideoXModel,
    networks: Networks,
    texts: Texts,
    config: CogVideoXGenerate,
    conditions: Conditions,
    latents_BCTHW: Tensor,
) -> Look:
    """With the negative prompt where guidance reads it, in the same passes where memory allows."""
    if config.guidance_scale <= 1.0:
        return look_of(conditions, None, together=False)
    transformer = model.transformer
    num_patches = latents_BCTHW[0, 0].numel() // (transformer.patch_size**2 * (transformer.patch_size_t or 1))
    num_tokens = conditions.text_BLD.shape[1] + num_patches
    fits = partial(fits_together, num_tokens, transformer.width, networks.dtype, networks.device)
    together = passes_are_together(config.execution, fits, usually=True)
    return look_of(conditions, texts.negative(config), together=together)


def _segment(
    model: CogVideoXModel,
    config: CogVideoXGenerate,
    open_space: Callable[[], LatentSpace],
    tiles: SmallerTiles,
    latents_BCTHW: Tensor,
) -> Segment:
    latents = latents_BCTHW.float().cpu().contiguous()
    num_frames = (latents.shape[2] - 1) * model.autoencoder.temporal_compression_ratio + 1
    return Segment(
        latents_BCTHW=latents,
        num_frames=num_frames,
        fps=config.fps or model.fps,
        decode=lambda: open_space().decode(latents),
        lessen=lambda: tiles.lessen(*latents.shape[3:]),
        unasked=tiles.unasked,
    )
