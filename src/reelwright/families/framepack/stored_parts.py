"""The parts of models as they lie in files: enough to recognize, check and convert each by itself."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from reelwright.checkpoint.stored_network import StoredNetwork
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.pretrained import part_of
from reelwright.encoders.siglip import SiglipImage
from reelwright.execution.fp8 import layers_of_blocks
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.autoencoder_training import described_autoencoder
from reelwright.families.framepack.checkpoints import describe_autoencoder, read_transformer_config
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.direction import find_direction
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS
from reelwright.families.framepack.key_maps import AUTOENCODER_LAYOUTS, TRANSFORMER_LAYOUTS
from reelwright.families.framepack.parts import Parts
from reelwright.families.framepack.transformer import FramePackTransformer, keeps_float32
from reelwright.protocols.model_part import ModelPart, network_part


def describe_transformer_files(path: Path) -> StoredNetwork:
    """The denoiser at a path, and whether it is F1 as far as this is told. Raises CheckpointError."""
    place = part_of(path, "transformer")
    config = read_transformer_config(place)
    given = FramePackGenerate(dit=path)
    trained = find_direction(given, Parts(given)).trained
    facts = {} if trained == "unknown" else {"direction": str(trained)}

    def make() -> nn.Module:
        with torch.device("meta"):
            return FramePackTransformer(config)

    return StoredNetwork(
        path=place,
        make=make,
        layouts=TRANSFORMER_LAYOUTS,
        settings=lambda: {**config.to_json("HunyuanVideoFramepackTransformer3DModel"), **facts},
        facts=facts,
        keeps_float32=lambda name, dtype: keeps_float32(name),
        roundable=partial(layers_of_blocks, is_wanted=EXECUTION_FACTS.is_quantized),
    )


def describe_autoencoder_files(path: Path) -> StoredNetwork:
    """The autoencoder at a path. Raises CheckpointError."""
    place = part_of(path, "vae")
    config = describe_autoencoder(place)

    def make() -> nn.Module:
        with torch.device("meta"):
            return FramePackAutoencoder(config)

    return StoredNetwork(
        path=place,
        make=make,
        layouts=AUTOENCODER_LAYOUTS,
        settings=lambda: described_autoencoder(config),
    )


def _tokenizer_part(
    name: str, encoder: str, text_of: Callable[[Path, Path], LlamaText | ClipText]
) -> ModelPart:
    """It is read, and where its encoder is there too, it is checked against it."""

    def check(paths: Mapping[str, Path]) -> None:
        text = text_of(paths.get(encoder, paths[name]), paths[name])
        if encoder in paths:
            text.check_tokenizer()
        else:
            text.tokenize("")

    return ModelPart(name=name, check=check)


PARTS = (
    network_part("transformer", describe_transformer_files),
    network_part("vae", describe_autoencoder_files),
    network_part("text_encoder", lambda path: LlamaText(path, path).encoder.stored()),
    network_part("text_encoder_2", lambda path: ClipText(path, path).encoder.stored()),
    network_part("image_encoder", lambda path: SiglipImage(path).encoder.stored()),
    _tokenizer_part("tokenizer", "text_encoder", LlamaText),
    _tokenizer_part("tokenizer_2", "text_encoder_2", ClipText),
)
