"""Names and shapes of released files, written down by hand, and files of their size that occupy no disk."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def sparse_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16", metadata: Mapping[str, str] = {}
) -> Path:
    """A file of the full size, for a number format of two bytes."""
    header, end = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + end)
    return path


def _linear(name: str, width: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (width, inputs), f"{name}.bias": (width,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def framepack_transformer() -> Shapes:
    """FramePackI2V_HY and FramePack_F1_I2V_HY_20250503 (specs: FramePack 1.2)."""
    w, inner = 3072, 12288
    shapes: Shapes = {}
    for name, kernel in (
        ("x_embedder.proj", (1, 2, 2)),
        ("clean_x_embedder.proj", (1, 2, 2)),
        ("clean_x_embedder.proj_2x", (2, 4, 4)),
        ("clean_x_embedder.proj_4x", (4, 8, 8)),
    ):
        shapes |= {f"{name}.weight": (w, 16, *kernel), f"{name}.bias": (w,)}
    shapes |= _linear("image_projection.up", 9216, 1152) | _linear("image_projection.down", w, 9216)
    refiner = "context_embedder.time_text_embed"
    for name, inputs in (
        ("time_text_embed.timestep_embedder", 256),
        ("time_text_embed.guidance_embedder", 256),
        ("time_text_embed.text_embedder", 768),
        (f"{refiner}.timestep_embedder", 256),
        (f"{refiner}.text_embedder", 4096),
    ):
        shapes |= _linear(f"{name}.linear_1", w, inputs) | _linear(f"{name}.linear_2", w, w)
    shapes |= _linear("context_embedder.proj_in", w, 4096)
    for block in range(2):
        at = f"context_embedder.token_refiner.refiner_blocks.{block}"
        shapes |= _norm(f"{at}.norm1", w) | _norm(f"{at}.norm2", w)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes |= _linear(f"{at}.attn.{part}", w, w)
        shapes |= _linear(f"{at}.ff.net.0.proj", inner, w) | _linear(f"{at}.ff.net.2", w, inner)
        shapes |= _linear(f"{at}.norm_out.linear", 2 * w, w)
    shapes |= _framepack_blocks(w, inner)
    return shapes | _linear("norm_out.linear", 2 * w, w) | _linear("proj_out", 64, w)


def _framepack_blocks(w: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for block in range(20):
        at = f"transformer_blocks.{block}"
        shapes |= _linear(f"{at}.norm1.linear", 6 * w, w) | _linear(f"{at}.norm1_context.linear", 6 * w, w)
        for part in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
            shapes |= _linear(f"{at}.attn.{part}", w, w)
        shapes |= _linear(f"{at}.attn.to_out.0", w, w) | _linear(f"{at}.attn.to_add_out", w, w)
        for part in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            shapes[f"{at}.attn.{part}.weight"] = (128,)
        for part in ("ff", "ff_context"):
            shapes |= _linear(f"{at}.{part}.net.0.proj", inner, w) | _linear(f"{at}.{part}.net.2", w, inner)
    for block in range(40):
        at = f"single_transformer_blocks.{block}"
        for part in ("to_q", "to_k", "to_v"):
            shapes |= _linear(f"{at}.attn.{part}", w, w)
        shapes |= {f"{at}.attn.norm_q.weight": (128,), f"{at}.attn.norm_k.weight": (128,)}
        shapes |= _linear(f"{at}.norm.linear", 3 * w, w) | _linear(f"{at}.proj_mlp", inner, w)
        shapes |= _linear(f"{at}.proj_out", w, w + inner)
    return shapes


def _convolution(name: str, width: int, inputs: int, size: int = 3) -> Shapes:
    return {f"{name}.weight": (width, inputs, size, size, size), f"{name}.bias": (width,)}


def _residual_blocks(at: str, count: int, inputs: int, width: int) -> Shapes:
    shapes: Shapes = {}
    for number in range(count):
        given, block = (width if number else inputs), f"{at}.resnets.{number}"
        shapes |= _norm(f"{block}.norm1", given) | _convolution(f"{block}.conv1.conv", width, given)
        shapes |= _norm(f"{block}.norm2", width) | _convolution(f"{block}.conv2.conv", width, width)
        if given != width:
            shapes |= _convolution(f"{block}.conv_shortcut.conv", width, given, 1)
    return shapes


def hunyuan_autoencoder() -> Shapes:
    """The autoencoder of HunyuanVideo, by diffusers' names, which the original file has too."""
    shapes = _convolution("quant_conv", 32, 32, 1) | _convolution("post_quant_conv", 16, 16, 1)
    for half, widths, ends in (
        ("encoder", (128, 256, 512, 512), ((3, 128), (512, 32))),
        ("decoder", (512, 512, 256, 128), ((16, 512), (128, 3))),
    ):
        shapes |= _convolution(f"{half}.conv_in.conv", ends[0][1], ends[0][0])
        shapes |= _norm(f"{half}.conv_norm_out", ends[1][0])
        shapes |= _convolution(f"{half}.conv_out.conv", ends[1][1], ends[1][0])
        shapes |= _residual_blocks(f"{half}.mid_block", 2, 512, 512)
        middle = f"{half}.mid_block.attentions.0"
        shapes |= _norm(f"{middle}.group_norm", 512)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes |= _linear(f"{middle}.{part}", 512, 512)
        blocks, count, resize = (
            ("down_blocks", 2, "downsamplers") if half == "encoder" else ("up_blocks", 3, "upsamplers")
        )
        for number, width in enumerate(widths):
            at = f"{half}.{blocks}.{number}"
            shapes |= _residual_blocks(at, count, widths[max(number - 1, 0)], width)
            if number < 3:
                shapes |= _convolution(f"{at}.{resize}.0.conv.conv", width, width)
    return shapes


def llama3(prefix: str = "model.", num_layers: int = 32) -> Shapes:
    """The text half of llava-llama-3-8b, as single files of it are named."""
    shapes: Shapes = {"embed_tokens.weight": (128320, 4096), "norm.weight": (4096,)}
    for layer in range(num_layers):
        at = f"layers.{layer}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": (4096, 4096) for part in "qo"}
        shapes |= {f"{at}.self_attn.{part}_proj.weight": (1024, 4096) for part in "kv"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": (14336, 4096) for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (4096, 14336)
        shapes |= {f"{at}.{part}_layernorm.weight": (4096,) for part in ("input", "post_attention")}
    return {prefix + name: shape for name, shape in shapes.items()}


def _contrastive_layers(num_layers: int, width: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for layer in range(num_layers):
        at = f"encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{at}.self_attn.{part}", width, width)
        shapes |= _norm(f"{at}.layer_norm1", width) | _norm(f"{at}.layer_norm2", width)
        shapes |= _linear(f"{at}.mlp.fc1", inner, width) | _linear(f"{at}.mlp.fc2", width, inner)
    return shapes


def clip_large(prefix: str = "text_model.") -> Shapes:
    """The text half of CLIP ViT-L/14."""
    shapes = {
        "embeddings.token_embedding.weight": (49408, 768),
        "embeddings.position_embedding.weight": (77, 768),
        **_contrastive_layers(12, 768, 3072),
        **_norm("final_layer_norm", 768),
    }
    return {prefix + name: shape for name, shape in shapes.items()}


def siglip_so400m(prefix: str = "vision_model.") -> Shapes:
    """The vision half of SigLIP so400m-patch14-384, with its head."""
    shapes = {
        "embeddings.patch_embedding.weight": (1152, 3, 14, 14),
        "embeddings.patch_embedding.bias": (1152,),
        "embeddings.position_embedding.weight": (729, 1152),
        **_contrastive_layers(27, 1152, 4304),
        **_norm("post_layernorm", 1152),
        "head.probe": (1, 1, 1152),
        "head.attention.in_proj_weight": (3456, 1152),
        "head.attention.in_proj_bias": (3456,),
        **_linear("head.attention.out_proj", 1152, 1152),
        **_norm("head.layernorm", 1152),
        **_linear("head.mlp.fc1", 4304, 1152),
        **_linear("head.mlp.fc2", 1152, 4304),
    }
    return {prefix + name: shape for name, shape in shapes.items()}
