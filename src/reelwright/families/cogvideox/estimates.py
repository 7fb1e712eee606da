"""Sizes of CogVideoX's models for plans: from names alone, so that nothing need be downloaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from reelwright.encoders.sizes import t5_size
from reelwright.encoders.t5 import T5Text
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import (
    guess_dtype,
    read_autoencoder_config,
    read_transformer_config,
)
from reelwright.families.cogvideox.conditions import Conditions, position_conditions
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    VARIANTS,
    AutoencoderConfig,
    CogVideoXGenerate,
    TransformerConfig,
)
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.latent_space import LatentSpace, released_tiling
from reelwright.families.cogvideox.lora_layouts import adapter_targets
from reelwright.families.cogvideox.model_parts import ReleasedDtype
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.media.geometry import nearest_multiple
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import AutoencodingConfig
from reelwright.protocols.estimates import ClipShape, EncoderSize, Estimating, GenerationWork
from reelwright.protocols.model_folder import find_root, find_variant

_RELEASED_T5: dict[str, Any] = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu",
}
"""T5 v1.1 XXL, which all released models read (specs: CogVideoX 3)."""
_LATENTS_LOOKED_AT = 5
"""The first chunk is the longest, and the second finds all that is remembered."""
_PIXELS_LOOKED_AT = 17


@dataclass(frozen=True, kw_only=True)
class SizedCogVideoX:
    """A model by its sizes."""

    transformer: TransformerConfig
    pixels: AutoencoderConfig
    text: "transformers.T5Config"
    released_dtype: ReleasedDtype

    @property
    def encoding_dtype(self) -> ReleasedDtype:
        return self.released_dtype

    @property
    def depths(self) -> tuple[int, ...]:
        return (self.transformer.num_layers,)

    @property
    def sees_pictures(self) -> bool:
        return False

    @property
    def encoders(self) -> Sequence[EncoderSize]:
        return (t5_size(self.text, self.transformer.max_text_seq_length),)

    def denoiser(self, depths: tuple[int, ...]) -> nn.Module:
        return CogVideoXTransformer(replace(self.transformer, num_layers=depths[0]))

    def keeps_float32(self, _: str) -> bool:
        return False

    def is_quantized(self, name: str) -> bool:
        return EXECUTION_FACTS.is_quantized(name)

    def targets(self, depths: tuple[int, ...]) -> AdapterTargets:
        return adapter_targets(replace(self.transformer, num_layers=depths[0]), "this model")

    def ask(self, denoiser: nn.Module, shape: ClipShape, device: torch.device, dtype: torch.dtype) -> Tensor:
        config = self.transformer
        frames, height, width = self._latents(shape)
        batch = shape.batch_size
        extra = config.condition_channels
        conditions = Conditions(
            text_BLD=torch.empty(batch, config.max_text_seq_length, config.text_embed_dim),
            image_BCTHW=torch.empty(batch, extra, frames, height, width) if extra else None,
            ofs_B=torch.empty(batch) if config.ofs_embed_dim else None,
            **position_conditions(config, (frames, height, width)),
        ).to(device, dtype)
        noisy = torch.empty(batch, config.out_channels, frames, height, width, device=device, dtype=dtype)
        answer: Tensor = denoiser(noisy, torch.empty(batch, dtype=torch.long, device=device), conditions)
        return answer

    def autoencoder(self) -> nn.Module:
        return CogVideoXAutoencoder(self.pixels)

    def decode(
        self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig
    ) -> Iterator[Tensor]:
        frames, height, width = self._latents(shape)
        channels = self.pixels.latent_channels
        latents = torch.empty(1, channels, min(frames, _LATENTS_LOOKED_AT), height, width)
        return self._space(autoencoder, execution).decode(latents)

    def encode(self, autoencoder: nn.Module, shape: ClipShape, execution: AutoencodingConfig) -> None:
        frames = min(shape.num_frames, _PIXELS_LOOKED_AT)
        pixels = torch.empty(shape.batch_size, 3, frames, shape.height, shape.width)
        self._space(autoencoder, execution).encode(pixels)

    def share_decoded(self, shape: ClipShape) -> float:
        return min(self._latents(shape)[0], _LATENTS_LOOKED_AT) / self._latents(shape)[0]

    def num_latent_values(self, shape: ClipShape) -> int:
        return self.pixels.latent_channels * prod(self._latents(shape))

    def shape_of(self, shape: ClipShape) -> ClipShape:
        native = self.transformer.native_size(self.pixels.spatial_stride)
        step = self.pixels.spatial_stride * self.transformer.patch_size
        return replace(
            shape,
            height=nearest_multiple(shape.height or native[0], step, step),
            width=nearest_multiple(shape.width or native[1], step, step),
            num_frames=shape.num_frames or self.transformer.sample_frames,
        )

    def _latents(self, shape: ClipShape) -> tuple[int, int, int]:
        """Frames with those put in front, height and width."""
        frames = (shape.num_frames - 1) // self.pixels.temporal_compression_ratio + 1
        stride = self.pixels.spatial_stride
        frames += -frames % (self.transformer.patch_size_t or 1)
        return frames, shape.height // stride, shape.width // stride

    def _space(self, autoencoder: nn.Module, execution: AutoencodingConfig) -> LatentSpace:
        assert isinstance(autoencoder, CogVideoXAutoencoder)
        tiling = released_tiling(self.pixels, execution.tile_size) if execution.tiling else None
        return LatentSpace(autoencoder=autoencoder, tiling=tiling)


def sized(config: Any) -> SizedCogVideoX:  # noqa: ANN401 - of any command
    """From what is said of a model; released ones are known by name. Raises UserError for others not here."""
    variant = find_variant(config.model, VARIANTS)
    is_released = config.model in TRANSFORMERS
    root = Path() if is_released else find_root(config.model, variant, ("*/config.json",), offline=True)
    dit, vae, text = (getattr(config, name, None) for name in ("dit", "vae", "text_encoder"))
    named = dit or (None if is_released else root / "transformer")
    transformer = TRANSFORMERS[config.model] if named is None else read_transformer_config(named)
    pixels_path = vae or (Path() if is_released else root / "vae")
    text_path = text or (None if is_released else root / "text_encoder")
    settings = transformers.T5Config(**_RELEASED_T5)
    return SizedCogVideoX(
        transformer=transformer,
        pixels=read_autoencoder_config(pixels_path, transformer),
        text=settings if text_path is None else T5Text(text_path, text_path).encoder.config,
        released_dtype=variant.dtype if variant else guess_dtype(transformer),
    )


def work(config: CogVideoXGenerate, model: SizedCogVideoX) -> GenerationWork:
    """What one clip asks of the networks."""
    shape = model.shape_of(ClipShape(height=config.height, width=config.width, num_frames=config.num_frames))
    branches = 2 if config.guidance_scale > 1 else 1
    steps = config.steps if config.video is None else max(round(config.steps * config.strength), 1)
    whole = config.video is not None or config.control_video is not None
    has_mask = model.transformer.condition_channels == model.transformer.out_channels + 1
    pictures = 1 if config.image is not None else 0
    return GenerationWork(
        shape=shape,
        num_calls=steps * branches,
        num_steps=steps,
        branches=branches,
        is_one_batch=True,
        encoded_frames=shape.num_frames if whole or (has_mask and pictures) else pictures,
    )


ESTIMATING = Estimating(sized=sized, work=work)
