"""The SigLIP image encoder: a picture to one vector for each patch of it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from reelwright.checkpoint.key_map import KeyMap, same_names
from reelwright.checkpoint.layout_fit import Shape
from reelwright.encoders.contrastive import LAYER_NAMES, count_positions, layer_shapes, norm_shapes
from reelwright.encoders.pretrained import NetworkKind, Pretrained, count_heads, count_layers, part_of

_HEAD_SIZE = 72
_RELEASED_SIDE = 384

SIGLIP_LAYOUT = KeyMap(
    name="SigLIP vision",
    rules=same_names(
        [
            "embeddings.patch_embedding.*",
            "embeddings.position_embedding.weight",
            *LAYER_NAMES,
            "post_layernorm.*",
        ]
    ),
    dropped=(
        "embeddings.position_ids",
        "head.*",
        "text_model.*",
        "logit_scale",
        "logit_bias",
    ),
    prefixes=("vision_model.vision_model.", "model.vision_model.", "vision_model."),
)


class SiglipImage:
    """From its first use until it is released, the image encoder of a model.

    `encoder_path` is a single file, a folder with weights and config.json, or a whole model with the folder
    `image_encoder`.
    """

    def __init__(self, encoder_path: Path) -> None:
        self.encoder_path = part_of(encoder_path, "image_encoder")
        self.encoder = Pretrained(self.encoder_path, _SIGLIP)

    @property
    def width(self) -> int:
        """Features per patch."""
        return int(self.encoder.config.hidden_size)

    def check(self) -> None:
        """Raise CheckpointError if a file is missing or damaged, or holds another network."""
        self.encoder.check()

    def encode(
        self, images: Sequence[Image.Image], *, device: torch.device | str, dtype: torch.dtype
    ) -> Tensor:
        """Features [B, L, D] of RGB pictures, in `dtype` on `device`; any shape is stretched to a square.

        Loads the encoder at the first call. Each picture runs alone, so it does not depend on its neighbors.
        """
        encoder = self.encoder.loaded(torch.device(device), dtype)
        with torch.no_grad():
            rows = [self._encode_one(encoder, image) for image in images]
        return torch.cat(rows).to(dtype)

    def release(self) -> None:
        """Give back the encoder's memory; the next `encode` loads it again."""
        self.encoder.release()

    def _encode_one(self, encoder: "transformers.SiglipVisionModel", image: Image.Image) -> Tensor:
        side = self.encoder.config.image_size
        pixels = square_pixels(image, side if isinstance(side, int) else side[0])
        features = encoder(pixel_values=pixels.to(encoder.device, encoder.dtype)).last_hidden_state
        assert features is not None
        return features


def square_pixels(image: Image.Image, side: int) -> Tensor:
    """An RGB picture as float32 [1, 3, side, side] in [-1, 1], by the released processor's arithmetic."""
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    scaled = torch.from_numpy((np.asarray(resized, dtype=np.float64) * (1 / 255)).astype(np.float32))
    return ((scaled - 0.5) / 0.5).permute(2, 0, 1).unsqueeze(0).contiguous()


def siglip_shapes(config: "transformers.SiglipVisionConfig") -> dict[str, Shape]:
    """Of the network's tensors. Raises ValueError if heads do not fit, or pictures are not square."""
    width, (_, patch) = config.hidden_size, _sides(config)
    return {
        "embeddings.patch_embedding.weight": (width, config.num_channels, patch, patch),
        "embeddings.patch_embedding.bias": (width,),
        "embeddings.position_embedding.weight": (count_patches(config), width),
        **layer_shapes(config),
        **norm_shapes("post_layernorm", width),
    }


def count_patches(config: "transformers.SiglipVisionConfig") -> int:
    """Features that it gives of a picture."""
    side, patch = _sides(config)
    return (side // patch) ** 2


def _sides(config: "transformers.SiglipVisionConfig") -> tuple[int, int]:
    """Of a picture and of a patch, in pixels."""
    side, patch = config.image_size, config.patch_size
    if not isinstance(side, int) or not isinstance(patch, int):
        raise ValueError(f"pictures of {side} and patches of {patch} are not square")
    return side, patch


def _settings(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What shapes tell; the other settings are those of SigLIP so400m."""
    width, _, patch_size, _ = shapes["embeddings.patch_embedding.weight"]
    num_patches = shapes["embeddings.position_embedding.weight"][0]
    # The last pixels of the released size make no whole patch, so shapes do not tell it.
    is_released = (_RELEASED_SIDE // patch_size) ** 2 == num_patches
    return {
        "hidden_size": width,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count_layers(shapes, "encoder.layers"),
        "num_attention_heads": count_heads(width, _HEAD_SIZE),
        "image_size": _RELEASED_SIDE if is_released else math.isqrt(num_patches) * patch_size,
        "patch_size": patch_size,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    }


def _build(config: "transformers.SiglipVisionConfig") -> "transformers.SiglipVisionModel":
    return transformers.SiglipVisionModel(config)


def _config(settings: dict[str, Any]) -> "transformers.SiglipVisionConfig":
    # The head makes one vector of the whole picture, which no video model reads.
    without_head: dict[str, Any] = {**settings, "vision_use_head": False}
    return transformers.SiglipVisionConfig(**without_head)


_SIGLIP = NetworkKind(
    title="SigLIP image encoder",
    example="sigclip_vision_patch14_384.safetensors",
    model_types=("siglip_vision_model", "siglip"),
    section="vision_config",
    layouts=(SIGLIP_LAYOUT,),
    settings=_settings,
    config=_config,
    shapes=siglip_shapes,
    network=_build,
    finish=count_positions,
    released_prefix="vision_model.",
)
