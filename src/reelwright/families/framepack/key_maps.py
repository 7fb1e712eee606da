"""Tensor names of the released files; single files made from them have the same names."""

from collections.abc import Mapping, Sequence
from typing import Any

from reelwright.checkpoint.key_map import KeyMap, Rule
from reelwright.core.errors import CheckpointError

RELEASED_TRANSFORMER = KeyMap(
    name="released transformer",
    # What trainers and other programs put before every name.
    prefixes=("module.", "model.diffusion_model.", "diffusion_model.", "transformer."),
    rules=(
        Rule("patch_embedding.noisy.*", "x_embedder.proj.*"),
        Rule("patch_embedding.clean_1x.*", "clean_x_embedder.proj.*"),
        Rule("patch_embedding.clean_2x.*", "clean_x_embedder.proj_2x.*"),
        Rule("patch_embedding.clean_4x.*", "clean_x_embedder.proj_4x.*"),
        Rule("image_projection.expand.*", "image_projection.up.*"),
        Rule("image_projection.contract.*", "image_projection.down.*"),
        Rule("time_embedding.linear_{i}.*", "time_text_embed.timestep_embedder.linear_{i}.*"),
        Rule("guidance_embedding.linear_{i}.*", "time_text_embed.guidance_embedder.linear_{i}.*"),
        Rule("pooled_embedding.expand.*", "time_text_embed.text_embedder.linear_1.*"),
        Rule("pooled_embedding.contract.*", "time_text_embed.text_embedder.linear_2.*"),
        *(
            Rule(f"text_refiner.{ours}.*", f"context_embedder.{file}.*")
            for ours, file in (
                ("time_embedding.linear_{i}", "time_text_embed.timestep_embedder.linear_{i}"),
                ("mean_embedding.expand", "time_text_embed.text_embedder.linear_1"),
                ("mean_embedding.contract", "time_text_embed.text_embedder.linear_2"),
                ("projection", "proj_in"),
            )
        ),
        *(
            Rule(
                f"text_refiner.blocks.{{n}}.{ours}.*",
                f"context_embedder.token_refiner.refiner_blocks.{{n}}.{file}.*",
            )
            for ours, file in (
                ("norm{i}", "norm{i}"),
                ("heads.query", "attn.to_q"),
                ("heads.key", "attn.to_k"),
                ("heads.value", "attn.to_v"),
                ("output", "attn.to_out.0"),
                ("feed_forward.expand", "ff.net.0.proj"),
                ("feed_forward.contract", "ff.net.2"),
                ("modulation", "norm_out.linear"),
            )
        ),
        *(
            Rule(f"double_blocks.{{n}}.{ours}.*", f"transformer_blocks.{{n}}.{file}.*")
            for ours, file in (
                ("video.modulation", "norm1.linear"),
                ("video.heads.query", "attn.to_q"),
                ("video.heads.key", "attn.to_k"),
                ("video.heads.value", "attn.to_v"),
                ("video.heads.query_norm", "attn.norm_q"),
                ("video.heads.key_norm", "attn.norm_k"),
                ("video.output", "attn.to_out.0"),
                ("video.feed_forward.expand", "ff.net.0.proj"),
                ("video.feed_forward.contract", "ff.net.2"),
                ("text.modulation", "norm1_context.linear"),
                ("text.heads.query", "attn.add_q_proj"),
                ("text.heads.key", "attn.add_k_proj"),
                ("text.heads.value", "attn.add_v_proj"),
                ("text.heads.query_norm", "attn.norm_added_q"),
                ("text.heads.key_norm", "attn.norm_added_k"),
                ("text.output", "attn.to_add_out"),
                ("text.feed_forward.expand", "ff_context.net.0.proj"),
                ("text.feed_forward.contract", "ff_context.net.2"),
            )
        ),
        *(
            Rule(f"single_blocks.{{n}}.{ours}.*", f"single_transformer_blocks.{{n}}.{file}.*")
            for ours, file in (
                ("modulation", "norm.linear"),
                ("heads.query", "attn.to_q"),
                ("heads.key", "attn.to_k"),
                ("heads.value", "attn.to_v"),
                ("heads.query_norm", "attn.norm_q"),
                ("heads.key_norm", "attn.norm_k"),
                ("expand", "proj_mlp"),
                ("output", "proj_out"),
            )
        ),
        Rule("output_norm.modulation.*", "norm_out.linear.*"),
        Rule("output_projection.*", "proj_out.*"),
    ),
)
"""The `transformer` folder of released models, and single files made from it (specs: FramePack 1.2)."""

TRANSFORMER_LAYOUTS = (RELEASED_TRANSFORMER,)

_RELEASED_HEAD_SIZE = 128
_RELEASED_AXES = (16, 56, 56)


def describe_transformer(shapes: Mapping[str, Sequence[int]], origin: str) -> dict[str, Any]:
    """The settings of config.json that the tensors of a single file tell.

    `shapes` are those of the file, by its own names. Raises CheckpointError, which begins with `origin`, if
    this is no such network, or if its heads are not of the released size: how a head is shared among the
    axes of its rotary positions cannot be seen in tensors.
    """
    layout = RELEASED_TRANSFORMER
    ours = {
        found.ours: tuple(shape)
        for name, shape in shapes.items()
        for found in layout.find(layout.without_prefix(name))
    }
    try:
        settings = _settings(ours)
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        beginning = ", ".join(list(shapes)[:3]) or "none"
        raise CheckpointError(
            f"{origin}: this is not a FramePack transformer; its first tensors are {beginning}."
            " Give the file of the transformer."
        ) from error
    if settings["attention_head_dim"] != _RELEASED_HEAD_SIZE:
        raise CheckpointError(
            f"{origin}: heads of {settings['attention_head_dim']} channels are not those of a released model,"
            " so the file does not tell how its positions rotate. Give the folder that has its config.json."
        )
    return settings


def _settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    width, in_channels = shapes["patch_embedding.noisy.weight"][:2]
    head_size = shapes["single_blocks.0.heads.query_norm.weight"][0]
    return {
        "in_channels": in_channels,
        "out_channels": shapes["output_projection.weight"][0] // 4,
        "num_attention_heads": width // head_size,
        "attention_head_dim": head_size,
        "num_layers": _num_blocks(shapes, "double_blocks."),
        "num_single_layers": _num_blocks(shapes, "single_blocks."),
        "num_refiner_layers": _num_blocks(shapes, "text_refiner.blocks."),
        "mlp_ratio": shapes["single_blocks.0.expand.weight"][0] / width,
        "text_embed_dim": shapes["text_refiner.projection.weight"][1],
        "pooled_projection_dim": shapes["pooled_embedding.expand.weight"][1],
        "image_proj_dim": shapes["image_projection.expand.weight"][1],
        "rope_axes_dim": _RELEASED_AXES,
    }


def _num_blocks(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    places = (name.removeprefix(prefix) for name in shapes if name.startswith(prefix))
    return 1 + max(int(place.split(".")[0]) for place in places)


def _resnet_rules(ours: str, file: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{ours}.norm{{k}}.*", f"{file}.norm{{k}}.*"),
        Rule(f"{ours}.conv{{k}}.*", f"{file}.conv{{k}}.conv.*"),
        Rule(f"{ours}.shortcut.*", f"{file}.conv_shortcut.conv.*"),
    )


def _half_rules(half: str, stages: str, resample: str) -> tuple[Rule, ...]:
    """The rules of the encoder or the decoder, with the file's words for its stages and their last layer."""
    attention = {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "output": "to_out.0"}
    return (
        *(Rule(f"{half}.conv_{end}.*", f"{half}.conv_{end}.conv.*") for end in ("in", "out")),
        *_resnet_rules(f"{half}.stages.{{i}}.resnets.{{j}}", f"{half}.{stages}.{{i}}.resnets.{{j}}"),
        Rule(f"{half}.stages.{{i}}.resample.*", f"{half}.{stages}.{{i}}.{resample}.0.conv.conv.*"),
        *_resnet_rules(f"{half}.middle.resnets.{{j}}", f"{half}.mid_block.resnets.{{j}}"),
        *(
            Rule(f"{half}.middle.attention.{ours}.*", f"{half}.mid_block.attentions.0.{file}.*")
            for ours, file in attention.items()
        ),
        Rule(f"{half}.norm_out.*", f"{half}.conv_norm_out.*"),
    )


RELEASED_AUTOENCODER = KeyMap(
    name="released autoencoder",
    prefixes=("module.", "first_stage_model.", "vae."),
    # What the autoencoder was trained against, which the original file may hold too.
    dropped=("loss.*",),
    rules=(
        *_half_rules("encoder", "down_blocks", "downsamplers"),
        Rule("moments_projection.*", "quant_conv.*"),
        Rule("latents_projection.*", "post_quant_conv.*"),
        *_half_rules("decoder", "up_blocks", "upsamplers"),
    ),
)
"""The `vae` folder of diffusers, and the original `pytorch_model.pt`, whose tensors have the same names."""

AUTOENCODER_LAYOUTS = (RELEASED_AUTOENCODER,)
