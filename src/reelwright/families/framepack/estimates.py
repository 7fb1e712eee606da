"""Sizes of FramePack's models for plans: from names alone, so that nothing need be downloaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes as with_real_tensors

from reelwright.checkpoint.settings_files import read_settings, settings_beside
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.siglip import SiglipImage, count_patches
from reelwright.encoders.sizes import clip_size, llama_size, siglip_size
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.checkpoints import describe_autoencoder, resolution_of
from reelwright.families.framepack.conditions import (
    CleanLatents,
    Conditions,
    guidance_of,
    rotary_positions,
)
from reelwright.families.framepack.config import (
    VARIANTS,
    AutoencoderConfig,
    FramePackGenerate,
    TransformerConfig,
)
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS
from reelwright.families.framepack.latent_space import open_space
from reelwright.families.framepack.lora_layouts import adapter_targets
from reelwright.families.framepack.sections import (
    CONTEXT,
    count_frames,
    count_sections_of_clip,
    decode_windows,
    fade_frames,
)
from reelwright.families.framepack.sizes import STEP
from reelwright.families.framepack.story_schema import count_sections
from reelwright.families.framepack.transformer import FramePackTransformer, keeps_float32
from reelwright.media.geometry import nearest_multiple
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import AutoencodingConfig
from reelwright.protocols.estimates import ClipShape, EncoderSize, Estimating, GenerationWork
from reelwright.protocols.model_folder import find_root, find_variant

_PROMPT_TOKENS = 128
"""A long paragraph; how long prompts are changes little."""
_UNREAD_LAYERS = 2
_WINDOWS_LOOKED_AT = 3
"""The first is the longest; the last two are faded into each other."""
_DIRECTION: Literal["backward"] = "backward"
"""Both directions see as much."""


@dataclass(frozen=True, kw_only=True)
class SizedFramePack:
    """A model by its sizes."""

    transformer: TransformerConfig
    pixels: AutoencoderConfig
    llama: "transformers.LlamaConfig"
    clip: "transformers.CLIPTextConfig"
    siglip: "transformers.SiglipVisionConfig"
    released_dtype: Literal["float32", "bfloat16", "float16"]
    resolution: int
    window: int

    @property
    def encoding_dtype(self) -> Literal["float16"]:
        return "float16"

    @property
    def depths(self) -> tuple[int, ...]:
        return (self.transformer.num_layers, self.transformer.num_single_layers)

    @property
    def sees_pictures(self) -> bool:
        return True

    @property
    def encoders(self) -> Sequence[EncoderSize]:
        text = llama_size(self.llama, _PROMPT_TOKENS + 95, _UNREAD_LAYERS)
        return (text, clip_size(self.clip), siglip_size(self.siglip))

    def denoiser(self, depths: tuple[int, ...]) -> nn.Module:
        return FramePackTransformer(self._of_depths(depths))

    def keeps_float32(self, name: str) -> bool:
        return keeps_float32(name)

    def is_quantized(self, name: str) -> bool:
        return EXECUTION_FACTS.is_quantized(name)

    def targets(self, depths: tuple[int, ...]) -> AdapterTargets:
        return adapter_targets(self._of_depths(depths), "this model")

    def ask(self, denoiser: nn.Module, shape: ClipShape, device: torch.device, dtype: torch.dtype) -> Tensor:
        config = self.transformer
        height, width = self._cells(shape)
        batch = shape.batch_size
        conditions = Conditions(
            text_BLD=torch.empty(batch, _PROMPT_TOKENS, config.text_embed_dim),
            text_lengths=(_PROMPT_TOKENS,) * batch,
            pooled_BD=torch.empty(batch, config.pooled_projection_dim),
            image_BLD=torch.empty(batch, self._image_tokens, config.image_proj_dim),
            guidance_B=guidance_of([10.0] * batch, dtype),
            indices_BT=_real_indices(self.window, batch),
            clean_1x=self._clean(1 + CONTEXT.x1, batch, height, width),
            clean_2x=self._clean(CONTEXT.x2, batch, height, width),
            clean_4x=self._clean(CONTEXT.x4, batch, height, width),
        ).to(device, dtype)
        with with_real_tensors():
            # Kept for the call that follows, which must not leave a table without values behind.
            rotary_positions(config, conditions, (height // 2, width // 2), device)
        frames = torch.empty(
            batch, config.in_channels, self.window, height, width, device=device, dtype=dtype
        )
        answer: Tensor = denoiser(frames, torch.empty(batch, device=device), conditions)
        return answer

    def autoencoder(self) -> nn.Module:
        return FramePackAutoencoder(self.pixels)

    def decode(
        self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig
    ) -> Iterator[Tensor]:
        assert isinstance(autoencoder, FramePackAutoencoder)
        windows = decode_windows(self._num_latents(shape), _DIRECTION, window=self.window)
        windows = windows[:_WINDOWS_LOOKED_AT]
        latents = torch.empty(1, self.pixels.latent_channels, windows[-1][1], *self._cells(shape))
        return open_space(autoencoder, execution).decode_windows(latents, windows, fade_frames(self.window))

    def encode(self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig) -> None:
        assert isinstance(autoencoder, FramePackAutoencoder)
        pixels = torch.empty(shape.batch_size, 3, shape.num_frames, shape.height, shape.width)
        open_space(autoencoder, execution).encode(pixels)

    def share_decoded(self, shape: ClipShape) -> float:
        windows = decode_windows(self._num_latents(shape), _DIRECTION, window=self.window)
        lengths = [stop - start for start, stop in windows]
        return sum(lengths[:_WINDOWS_LOOKED_AT]) / sum(lengths)

    def num_latent_values(self, shape: ClipShape) -> int:
        return self.pixels.latent_channels * self._num_latents(shape) * prod(self._cells(shape))

    def shape_of(self, shape: ClipShape) -> ClipShape:
        return replace(
            shape,
            height=nearest_multiple(shape.height or self.resolution, STEP, STEP),
            width=nearest_multiple(shape.width or self.resolution, STEP, STEP),
            num_frames=shape.num_frames or count_frames(1, self.window),
        )

    @property
    def _image_tokens(self) -> int:
        return count_patches(self.siglip)

    def _of_depths(self, depths: tuple[int, ...]) -> TransformerConfig:
        return replace(self.transformer, num_layers=depths[0], num_single_layers=depths[1])

    def _clean(self, count: int, batch: int, height: int, width: int) -> CleanLatents:
        latents = torch.empty(batch, self.transformer.in_channels, count, height, width)
        return CleanLatents(latents_BCTHW=latents, indices_BT=_real_indices(count, batch))

    def _cells(self, shape: ClipShape) -> tuple[int, int]:
        return shape.height // self.pixels.spatial_stride, shape.width // self.pixels.spatial_stride

    def _num_latents(self, shape: ClipShape) -> int:
        return (shape.num_frames - 1) // self.pixels.temporal_stride + 1


def sized(config: Any) -> SizedFramePack:  # noqa: ANN401 - of any command
    """From what is said of a model; released ones are known by name. Raises UserError for others not here."""
    variant = find_variant(config.model, VARIANTS)
    is_released = variant is not None and bool(variant.repositories)
    root = None if is_released else find_root(config.model, variant, ("*/config.json",), offline=True)

    def part(field: str, folder: str) -> Path | None:
        return getattr(config, field, None) or (None if root is None else root / folder)

    transformer_path, pixels_path = part("dit", "transformer"), part("vae", "vae")
    text, text_2 = part("text_encoder", "text_encoder"), part("text_encoder_2", "text_encoder_2")
    image = part("image_encoder", "image_encoder")
    return SizedFramePack(
        transformer=_transformer(transformer_path),
        pixels=AutoencoderConfig() if pixels_path is None else describe_autoencoder(pixels_path),
        llama=_released_llama() if text is None else LlamaText(text, text).encoder.config,
        clip=_released_clip() if text_2 is None else ClipText(text_2, text_2).encoder.config,
        siglip=_released_siglip() if image is None else SiglipImage(image).encoder.config,
        released_dtype=variant.dtype if variant else "bfloat16",
        resolution=resolution_of(config, transformer_path, root),
        window=getattr(config, "latent_window_size", 9),
    )


def work(config: FramePackGenerate, model: SizedFramePack) -> GenerationWork:
    """What one video, or a set of single frames, asks of the networks."""
    sections = config.video_sections or (
        count_sections_of_clip(config.num_frames, model.window)
        if config.num_frames
        else count_sections(config.video_seconds, model.window)
    )
    sections = 1 if config.one_frame else max(sections, 1)
    frames = 1 if config.one_frame else count_frames(sections, model.window)
    shape = model.shape_of(ClipShape(height=config.height, width=config.width, num_frames=frames))
    branches = 2 if config.guidance_scale != 1 else 1
    return GenerationWork(
        shape=shape,
        num_calls=config.steps * branches * sections,
        num_steps=config.steps,
        branches=branches,
        is_one_batch=False,
        encoded_frames=shape.num_frames if config.video is not None else 1,
    )


def _transformer(path: Path | None) -> TransformerConfig:
    described = None if path is None else settings_beside(path)
    return TransformerConfig() if described is None else read_settings(TransformerConfig, described)


def _released_llama() -> "transformers.LlamaConfig":
    """Of both released models, as the other encoders are (specs: FramePack 3)."""
    return transformers.LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128_320,
    )


def _released_clip() -> "transformers.CLIPTextConfig":
    return transformers.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )


def _released_siglip() -> "transformers.SiglipVisionConfig":
    return transformers.SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )


def _real_indices(count: int, batch: int) -> Tensor:
    """Python reads their numbers, so they must have some."""
    with with_real_tensors():
        return torch.arange(count).repeat(batch, 1)


ESTIMATING = Estimating(sized=sized, work=work)
