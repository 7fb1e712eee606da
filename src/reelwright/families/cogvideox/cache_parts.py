"""The parts of a checkpoint that caches need: for clips no text encoder, for captions no autoencoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from reelwright.checkpoint.fingerprint import fingerprint_folder, fingerprint_part
from reelwright.checkpoint.loading import check_network
from reelwright.core.errors import CheckpointError
from reelwright.encoders.t5 import T5Text
from reelwright.execution.block_swap import check_streaming
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.execution.weights import round_encoder
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import load_autoencoder, read_autoencoder_config
from reelwright.families.cogvideox.config import (
    AutoencoderConfig,
    CogVideoXCacheLatents,
    CogVideoXCacheText,
    TransformerConfig,
)
from reelwright.families.cogvideox.key_maps import AUTOENCODER_LAYOUTS
from reelwright.families.cogvideox.latent_space import LatentSpace, chosen_tiling
from reelwright.families.cogvideox.model_parts import ModelFolder, ReleasedDtype
from reelwright.protocols.configs import AutoencodingConfig


@dataclass(frozen=True, kw_only=True)
class LatentParts:
    """The autoencoder, and what is known of the denoiser that will read its latents."""

    transformer: TransformerConfig
    autoencoder_path: Path
    autoencoder: AutoencoderConfig
    released_dtype: ReleasedDtype
    fingerprint: str
    notices: tuple[str, ...] = ()

    @property
    def stored_dtype(self) -> torch.dtype:
        return getattr(torch, self.released_dtype)


@dataclass(frozen=True, kw_only=True)
class TextParts:
    """The text encoder, and how many tokens the denoiser reads."""

    text: T5Text
    num_tokens: int
    released_dtype: ReleasedDtype
    fingerprints: Mapping[str, str]
    notices: tuple[str, ...] = ()

    @property
    def stored_dtype(self) -> torch.dtype:
        return getattr(torch, self.released_dtype)


def find_latent_parts(config: CogVideoXCacheLatents) -> LatentParts:
    """Raises CheckpointError for what is missing, damaged or of another model."""
    choose_device(config.execution.device)
    folder = ModelFolder(config, ["vae/*"] if config.vae is None else [])
    transformer = folder.transformer
    path = config.vae or folder.part("vae")
    autoencoder = read_autoencoder_config(path, transformer)
    with torch.device("meta"):
        network = CogVideoXAutoencoder(autoencoder)
    check_network(network, path, AUTOENCODER_LAYOUTS)
    if autoencoder.latent_channels != transformer.out_channels:
        raise CheckpointError(
            f"{path}: makes {autoencoder.latent_channels} latent channels; {config.model} reads"
            f" {transformer.out_channels}. Give the autoencoder of this model with --vae."
        )
    return LatentParts(
        transformer=transformer,
        autoencoder_path=path,
        autoencoder=autoencoder,
        released_dtype=folder.released_dtype,
        fingerprint=fingerprint_part(path),
        notices=folder.notices if config.vae is None else (),
    )


def find_text_parts(config: CogVideoXCacheText, *, with_weights: bool = True) -> TextParts:
    """Raises CheckpointError for what is missing, damaged or of another model.

    Without weights the encoder may have nothing but its settings.
    """
    device = choose_device(config.execution.device)
    alone = {"text_encoder/*": config.text_encoder, "tokenizer/*": config.tokenizer}
    folder = ModelFolder(config, [pattern for pattern, path in alone.items() if path is None])
    encoder_path = config.text_encoder or folder.part("text_encoder")
    tokenizer_path = config.tokenizer or folder.part("tokenizer")
    text = T5Text(encoder_path, tokenizer_path)
    check_streaming(config.execution)
    round_encoder(text.encoder, config.execution.text_weights, device)
    text.encoder.is_streamed = config.execution.stream_encoders
    text.check() if with_weights else text.check_tokenizer()
    if text.width != folder.transformer.text_embed_dim:
        raise CheckpointError(
            f"{encoder_path}: gives {text.width} features per token; {config.model} reads"
            f" {folder.transformer.text_embed_dim}. Give this model's own with --text-encoder, --tokenizer."
        )
    return TextParts(
        text=text,
        num_tokens=config.text_tokens or folder.transformer.max_text_seq_length,
        released_dtype=folder.released_dtype,
        fingerprints={
            "tokenizer": fingerprint_folder(tokenizer_path),
            **({"text_encoder": fingerprint_part(encoder_path)} if with_weights else {}),
        },
        notices=folder.notices if config.text_encoder is None else (),
    )


def load_latent_space(
    parts: LatentParts, execution: AutoencodingConfig, device: torch.device, *, whole_clip: bool
) -> LatentSpace:
    """The autoencoder, loaded; `whole_clip`: its norms see all of a clip, not chunks of it."""
    dtype = choose_dtype(execution.dtype, device, parts.released_dtype)
    return LatentSpace(
        autoencoder=load_autoencoder(parts, device, dtype),
        tiling=chosen_tiling(parts.autoencoder, execution),
        whole_clip=whole_clip,
    )
