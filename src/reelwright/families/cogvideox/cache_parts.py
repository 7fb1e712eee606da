"""The parts of a checkpoint that caches need: for clips no text encoder, for captions no autoencoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from reelwright.checkpoint.fingerprint import fingerprint_folder, fingerprint_part
from reelwright.checkpoint.loading import check_network
from reelwright.core.errors import CheckpointError
from reelwright.encoders.t5 import T5Text
from reelwright.execution.devices import choose_device
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import (
    FOLDER_ADVICE,
    guess_dtype,
    read_autoencoder_config,
    read_transformer_config,
)
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    VARIANTS,
    AutoencoderConfig,
    CogVideoXCacheLatents,
    CogVideoXCacheText,
    TransformerConfig,
)
from reelwright.families.cogvideox.key_maps import AUTOENCODER_LAYOUTS
from reelwright.protocols.model_folder import find_root, find_variant, weight_notices

ReleasedDtype = Literal["float32", "bfloat16", "float16"]


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
    folder = _ModelFolder(config, ["vae/*"] if config.vae is None else [])
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


def find_text_parts(config: CogVideoXCacheText) -> TextParts:
    """Raises CheckpointError for what is missing, damaged or of another model."""
    choose_device(config.execution.device)
    alone = {"text_encoder/*": config.text_encoder, "tokenizer/*": config.tokenizer}
    folder = _ModelFolder(config, [pattern for pattern, path in alone.items() if path is None])
    encoder_path = config.text_encoder or folder.part("text_encoder")
    tokenizer_path = config.tokenizer or folder.part("tokenizer")
    text = T5Text(encoder_path, tokenizer_path)
    text.check()
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
            "text_encoder": fingerprint_part(encoder_path),
            "tokenizer": fingerprint_folder(tokenizer_path),
        },
        notices=folder.notices if config.text_encoder is None else (),
    )


class _ModelFolder:
    """The folder of a model, of which no more is looked for, or downloaded, than is asked for."""

    def __init__(self, config: CogVideoXCacheLatents | CogVideoXCacheText, patterns: Sequence[str]) -> None:
        self._config = config
        self._variant = find_variant(config.model, VARIANTS)
        self._is_described = config.dit is not None or config.model in TRANSFORMERS
        self._patterns = [*patterns, *([] if self._is_described else ["transformer/config.json"])]

    @cached_property
    def transformer(self) -> TransformerConfig:
        """That of the single file or the folder; the released models are known by name."""
        if self._config.dit is not None:
            return read_transformer_config(self._config.dit)
        if self._is_described:
            return TRANSFORMERS[self._config.model]
        return read_transformer_config(self._root / "transformer")

    @property
    def released_dtype(self) -> ReleasedDtype:
        return self._variant.dtype if self._variant else guess_dtype(self.transformer)

    @property
    def notices(self) -> tuple[str, ...]:
        return weight_notices(self._config.model, self._root)

    def part(self, name: str) -> Path:
        path = self._root / name
        if not path.exists():
            raise CheckpointError(f"{path}: is missing. {FOLDER_ADVICE}")
        return path

    @cached_property
    def _root(self) -> Path:
        return find_root(self._config.model, self._variant, self._patterns, offline=self._config.offline)
