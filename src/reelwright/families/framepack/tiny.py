"""Write small models in the diffusers folder layout, with random weights: for tests, and to train from.

python -m reelwright.families.framepack.tiny FOLDER
writes what the embedded `tiny` was trained from.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.data.synthetic.scene_captions import scene_captions
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.encoders.clip import MAX_TOKENS
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.autoencoder_training import described_autoencoder
from reelwright.families.framepack.config import AutoencoderConfig, Direction, TransformerConfig
from reelwright.families.framepack.key_maps import RELEASED_AUTOENCODER, RELEASED_TRANSFORMER
from reelwright.families.framepack.tiny_tokenizers import write_clip_tokenizer, write_llama_tokenizer
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.model_folder import OWN_FACTS

TINY_TRANSFORMER = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=32,
    num_layers=2,
    num_single_layers=2,
    num_refiner_layers=1,
    text_embed_dim=64,
    pooled_projection_dim=32,
    image_proj_dim=32,
    rope_axes_dim=(8, 12, 12),
)
TINY_AUTOENCODER = AutoencoderConfig(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=8)
TRAINED_TRANSFORMER = replace(
    TINY_TRANSFORMER,
    num_attention_heads=5,
    num_single_layers=4,
    text_embed_dim=96,
    pooled_projection_dim=64,
)
TRAINED_AUTOENCODER = replace(TINY_AUTOENCODER, block_out_channels=(16, 32, 64, 64), norm_num_groups=2)
_NUM_SCENES = 6000
_IMAGE_SIDE = 384
_RESOLUTION, _TRAINED_RESOLUTION = 128, 96
"""Pixels of a side of the square that videos are made in, unless a size is given."""

_INDEX = {
    "_class_name": "HunyuanVideoFramepackPipeline",
    "feature_extractor": ["transformers", "SiglipImageProcessor"],
    "image_encoder": ["transformers", "SiglipVisionModel"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "LlamaModel"],
    "text_encoder_2": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "transformer": ["diffusers", "HunyuanVideoFramepackTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
}
_SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "use_dynamic_shifting": True,
}
_PROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "SiglipImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "size": {"height": _IMAGE_SIDE, "width": _IMAGE_SIDE},
}


@dataclass(frozen=True, kw_only=True)
class SmallEncoders:
    """What the sizes of a denoiser do not tell of its encoders."""

    captions: tuple[str, ...] = ()
    """Each of their words becomes one token; those of simple scenes if there are none."""
    image_patch: int = 32
    """Pixels of a patch of the image encoder; the denoiser reads all patches, so fewer make it faster."""


def write_model(
    folder: Path,
    *,
    transformer: TransformerConfig = TINY_TRANSFORMER,
    autoencoder: AutoencoderConfig = TINY_AUTOENCODER,
    direction: Direction | Literal["both"] = "backward",
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
    encoders: SmallEncoders | None = None,
) -> None:
    """Write all parts of a model with random weights. The same arguments give the same bytes.

    direction: which sections the model is said to make first; random weights may claim to know both.
    """
    chosen = encoders or SmallEncoders()
    texts = chosen.captions or tuple(simple_captions())
    num_llama_tokens = write_llama_tokenizer(folder / "tokenizer", texts)
    num_clip_tokens = write_clip_tokenizer(folder / "tokenizer_2", texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = FramePackTransformer(transformer)
        pixels = FramePackAutoencoder(autoencoder)
        networks: dict[str, PreTrainedModel] = {
            "text_encoder": _llama(num_llama_tokens, transformer.text_embed_dim),
            "text_encoder_2": _clip(num_clip_tokens, transformer.pooled_projection_dim),
            "image_encoder": _siglip(transformer.image_proj_dim, chosen.image_patch),
        }
    _save(folder / "transformer", RELEASED_TRANSFORMER.to_file(denoiser.state_dict()), dtype)
    _save(folder / "vae", RELEASED_AUTOENCODER.to_file(pixels.state_dict()), dtype)
    for part, encoder in networks.items():
        _save(folder / part, _released_names(encoder), dtype, stem="model")
        write_json(folder / part / "config.json", encoder.config.to_diff_dict())
    write_json(
        folder / "transformer" / "config.json", transformer.to_json("HunyuanVideoFramepackTransformer3DModel")
    )
    write_json(folder / "vae" / "config.json", described_autoencoder(autoencoder))
    write_json(folder / "scheduler" / "scheduler_config.json", _SCHEDULER)
    write_json(folder / "feature_extractor" / "preprocessor_config.json", _PROCESSOR)
    write_json(folder / "model_index.json", _INDEX)
    _write_facts(folder, direction, _RESOLUTION)


def _write_facts(folder: Path, direction: str, resolution: int) -> None:
    facts = {"weights": "random", "direction": direction, "resolution": str(resolution)}
    write_json(folder / OWN_FACTS, facts)


def _save(
    folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype, *, stem: str = "diffusion_pytorch_model"
) -> None:
    save_sharded(folder, {name: tensor.to(dtype) for name, tensor in tensors.items()}, stem=stem)


def _released_names(encoder: PreTrainedModel) -> dict[str, Tensor]:
    """Released files name the half of the pair; the networks of later transformers do not."""
    prefix = {"clip_text_model": "text_model.", "siglip_vision_model": "vision_model."}.get(
        encoder.config.model_type, ""
    )
    state = encoder.state_dict()
    return {prefix + name.removeprefix(prefix): state[name] for name in state}


def _llama(num_tokens: int, width: int) -> LlamaModel:
    """The last two layers are there, as in the released encoder, though nobody reads what they make."""
    return LlamaModel(
        LlamaConfig(
            vocab_size=num_tokens,
            hidden_size=width,
            intermediate_size=width,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_theta": 500_000.0, "rope_type": "default"},
            max_position_embeddings=8192,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def _clip(num_tokens: int, width: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=num_tokens,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            # As released: 2 stands for the largest token, which ends a prompt.
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )
    )


def _siglip(width: int, patch: int) -> SiglipVisionModel:
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=_IMAGE_SIDE,
            patch_size=patch,
        )
    )


if __name__ == "__main__":
    write_model(
        Path(sys.argv[1]),
        transformer=TRAINED_TRANSFORMER,
        autoencoder=TRAINED_AUTOENCODER,
        direction="both",
        dtype=torch.float32,
        encoders=SmallEncoders(captions=tuple(scene_captions(_NUM_SCENES, seed=1)), image_patch=96),
    )
    _write_facts(Path(sys.argv[1]), "both", _TRAINED_RESOLUTION)
