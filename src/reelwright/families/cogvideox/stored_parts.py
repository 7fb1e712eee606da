"""The parts of models as they lie in files: enough to recognize, check and convert each by itself."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reelwright.checkpoint.settings_files import read_json, read_settings
from reelwright.checkpoint.stored_network import StoredNetwork
from reelwright.core.errors import CheckpointError
from reelwright.encoders.pretrained import part_of
from reelwright.encoders.t5 import T5Text
from reelwright.execution.fp8 import layers_of_blocks
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.autoencoder_training import described_autoencoder
from reelwright.families.cogvideox.checkpoints import read_scheduler, read_transformer_config
from reelwright.families.cogvideox.config import AutoencoderConfig, TransformerConfig
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.key_maps import AUTOENCODER_LAYOUTS, TRANSFORMER_LAYOUTS
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.model_part import ModelPart, network_part


def describe_transformer_files(path: Path) -> StoredNetwork:
    """The denoiser at a path. Raises CheckpointError."""
    place = part_of(path, "transformer")
    config = read_transformer_config(place)

    def make() -> nn.Module:
        with torch.device("meta"):
            return CogVideoXTransformer(config)

    return StoredNetwork(
        path=place,
        make=make,
        layouts=TRANSFORMER_LAYOUTS,
        settings=partial(config.to_json, "CogVideoXTransformer3DModel"),
        roundable=partial(layers_of_blocks, is_wanted=EXECUTION_FACTS.is_quantized),
    )


def describe_autoencoder_files(path: Path) -> StoredNetwork:
    """The autoencoder at a path. Raises CheckpointError."""
    place = part_of(path, "vae")
    described = place / "config.json"
    config = read_settings(AutoencoderConfig, described) if described.is_file() else AutoencoderConfig()

    def make() -> nn.Module:
        with torch.device("meta"):
            return CogVideoXAutoencoder(config)

    def settings() -> dict[str, Any]:
        if described.is_file():
            return described_autoencoder(config)
        raise CheckpointError(
            f"{path}: does not tell the scale of its latents, which a folder's config.json says. Write"
            " a single file, or begin with a folder that has its config.json."
        )

    return StoredNetwork(path=place, make=make, layouts=AUTOENCODER_LAYOUTS, settings=settings)


def _describe_text_encoder(path: Path) -> StoredNetwork:
    return T5Text(part_of(path, "text_encoder"), path).encoder.stored()


def _check_tokenizer(paths: Mapping[str, Path]) -> None:
    tokenizer = paths["tokenizer"]
    text = T5Text(paths.get("text_encoder", tokenizer), tokenizer)
    if "text_encoder" in paths:
        text.check_tokenizer()
    else:
        text.count_tokens("")


def _check_scheduler(paths: Mapping[str, Path]) -> None:
    read_scheduler(paths["scheduler"].parent, TransformerConfig())


def _check_index(paths: Mapping[str, Path]) -> None:
    read_json(paths["index"] / "model_index.json")


PARTS = (
    network_part("transformer", describe_transformer_files),
    network_part("vae", describe_autoencoder_files),
    network_part("text_encoder", _describe_text_encoder),
    ModelPart(name="tokenizer", check=_check_tokenizer),
    ModelPart(name="scheduler", check=_check_scheduler),
    ModelPart(name="index", check=_check_index),
)
