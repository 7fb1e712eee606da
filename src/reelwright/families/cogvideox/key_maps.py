"""Tensor names of the released files: diffusers folders and single files, and original SAT checkpoints."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reelwright.checkpoint.key_map import KeyMap, Rule
from reelwright.core.errors import CheckpointError

# What trainers and other programs put before every name of the denoiser or the autoencoder.
_WRAPPERS = ("module.", "model.diffusion_model.", "diffusion_model.")
_AUTOENCODER_WRAPPERS = ("module.", "first_stage_model.", "vae.")

DIFFUSERS_TRANSFORMER = KeyMap(
    name="diffusers transformer",
    prefixes=(*_WRAPPERS, "transformer."),
    rules=(
        Rule("patch_embedding.projection.*", "patch_embed.proj.*"),
        Rule("patch_embedding.text_projection.*", "patch_embed.text_proj.*"),
        Rule("patch_embedding.positions", "patch_embed.pos_embedding"),
        Rule("time_embedding.linear_{i}.*", "time_embedding.linear_{i}.*"),
        Rule("ofs_embedding.linear_{i}.*", "ofs_embedding.linear_{i}.*"),
        Rule("blocks.{n}.norm{i}.modulation.*", "transformer_blocks.{n}.norm{i}.linear.*"),
        Rule("blocks.{n}.norm{i}.norm.*", "transformer_blocks.{n}.norm{i}.norm.*"),
        Rule("blocks.{n}.attention.query.*", "transformer_blocks.{n}.attn1.to_q.*"),
        Rule("blocks.{n}.attention.key.*", "transformer_blocks.{n}.attn1.to_k.*"),
        Rule("blocks.{n}.attention.value.*", "transformer_blocks.{n}.attn1.to_v.*"),
        Rule("blocks.{n}.attention.output.*", "transformer_blocks.{n}.attn1.to_out.0.*"),
        Rule("blocks.{n}.attention.query_norm.*", "transformer_blocks.{n}.attn1.norm_q.*"),
        Rule("blocks.{n}.attention.key_norm.*", "transformer_blocks.{n}.attn1.norm_k.*"),
        Rule("blocks.{n}.feed_forward.expand.*", "transformer_blocks.{n}.ff.net.0.proj.*"),
        Rule("blocks.{n}.feed_forward.contract.*", "transformer_blocks.{n}.ff.net.2.*"),
        Rule("norm.*", "norm_final.*"),
        Rule("output_norm.modulation.*", "norm_out.linear.*"),
        Rule("output_norm.norm.*", "norm_out.norm.*"),
        Rule("output_projection.*", "proj_out.*"),
    ),
)
"""The `transformer` folder of released models, and single files made from it."""

SAT_TRANSFORMER = KeyMap(
    name="SAT transformer",
    prefixes=_WRAPPERS,
    rules=(
        Rule("patch_embedding.projection.*", "mixins.patch_embed.proj.*"),
        Rule("patch_embedding.text_projection.*", "mixins.patch_embed.text_proj.*"),
        Rule("patch_embedding.positions", "mixins.pos_embed.pos_embedding"),
        Rule("time_embedding.linear_1.*", "time_embed.0.*"),
        Rule("time_embedding.linear_2.*", "time_embed.2.*"),
        Rule("ofs_embedding.linear_1.*", "ofs_embed.0.*"),
        Rule("ofs_embedding.linear_2.*", "ofs_embed.2.*"),
        # One matrix modulates a whole block: the video's shift, scale and gate for attention, the same for
        # the feed-forward, then these six for text. Ours, like diffusers', is one matrix for each norm.
        Rule(
            "blocks.{n}.norm1.modulation.*",
            "mixins.adaln_layer.adaLN_modulations.{n}.1.*",
            parts=(0, 1, 2, 6, 7, 8),
            of=12,
        ),
        Rule(
            "blocks.{n}.norm2.modulation.*",
            "mixins.adaln_layer.adaLN_modulations.{n}.1.*",
            parts=(3, 4, 5, 9, 10, 11),
            of=12,
        ),
        Rule("blocks.{n}.norm1.norm.*", "transformer.layers.{n}.input_layernorm.*"),
        Rule("blocks.{n}.norm2.norm.*", "transformer.layers.{n}.post_attention_layernorm.*"),
        *(
            Rule(
                f"blocks.{{n}}.attention.{part}.*",
                "transformer.layers.{n}.attention.query_key_value.*",
                parts=(index,),
                of=3,
            )
            for index, part in enumerate(("query", "key", "value"))
        ),
        Rule("blocks.{n}.attention.output.*", "transformer.layers.{n}.attention.dense.*"),
        Rule("blocks.{n}.attention.query_norm.*", "mixins.adaln_layer.query_layernorm_list.{n}.*"),
        Rule("blocks.{n}.attention.key_norm.*", "mixins.adaln_layer.key_layernorm_list.{n}.*"),
        Rule("blocks.{n}.feed_forward.expand.*", "transformer.layers.{n}.mlp.dense_h_to_4h.*"),
        Rule("blocks.{n}.feed_forward.contract.*", "transformer.layers.{n}.mlp.dense_4h_to_h.*"),
        Rule("norm.*", "transformer.final_layernorm.*"),
        Rule("output_norm.modulation.*", "mixins.final_layer.adaLN_modulation.1.*"),
        Rule("output_norm.norm.*", "mixins.final_layer.norm_final.*"),
        Rule("output_projection.*", "mixins.final_layer.linear.*"),
    ),
    dropped=(
        "transformer.word_embeddings*",
        "transformer.position_embeddings*",
        "*embed_tokens*",
        "*freqs_cos",
        "*freqs_sin",
        "*position_embedding*",
        # Stored with every model, learned only where the network asks for it; else it is computed.
        "mixins.pos_embed.pos_embedding",
        # A whole training checkpoint holds these beside the denoiser.
        "first_stage_model.*",
        "conditioner.*",
    ),
)
"""`mp_rank_00_model_states.pt` of the original training code."""

TRANSFORMER_LAYOUTS = (DIFFUSERS_TRANSFORMER, SAT_TRANSFORMER)


def _autoencoder_rules(
    *, stages: Iterable[tuple[str, str]], middle: Iterable[tuple[str, str]], words: Mapping[str, str]
) -> tuple[Rule, ...]:
    """The rules of one file layout.

    `stages` and `middle` pair our prefixes with the file's; `words` are the file's for residual, shortcut,
    downsample and upsample.
    """
    residuals = [(f"{ours}.resnets.{{j}}", f"{file}.{words['residual']}.{{j}}") for ours, file in stages]
    rules = [rule for pair in (*residuals, *middle) for rule in _residual_rules(*pair, words["shortcut"])]
    for ours, file in stages:
        sampler = "downsample" if ours.startswith("encoder") else "upsample"
        rules.append(Rule(f"{ours}.{sampler}.conv.*", f"{file}.{words[sampler]}.conv.*"))
    for side in ("encoder", "decoder"):
        rules += [Rule(f"{side}.{conv}.*", f"{side}.{conv}.conv.*") for conv in ("conv_in", "conv_out")]
        rules += _norm_rules(f"{side}.norm_out", f"{side}.norm_out")
    return tuple(rules)


def _residual_rules(ours: str, file: str, shortcut: str) -> list[Rule]:
    convolutions = [Rule(f"{ours}.{conv}.*", f"{file}.{conv}.conv.*") for conv in ("conv1", "conv2")]
    norms = [rule for norm in ("norm1", "norm2") for rule in _norm_rules(f"{ours}.{norm}", f"{file}.{norm}")]
    return [*convolutions, *norms, Rule(f"{ours}.shortcut.*", f"{file}.{shortcut}.*")]


def _norm_rules(ours: str, file: str) -> list[Rule]:
    """Plain norms in the encoder; in the decoder they are scaled and shifted by the latents."""
    if ours.startswith("encoder"):
        return [Rule(f"{ours}.*", f"{file}.*")]
    pairs = {"norm": "norm_layer", "scale": "conv_y.conv", "shift": "conv_b.conv"}
    return [Rule(f"{ours}.{our_part}.*", f"{file}.{part}.*") for our_part, part in pairs.items()]


DIFFUSERS_AUTOENCODER = KeyMap(
    name="diffusers autoencoder",
    prefixes=_AUTOENCODER_WRAPPERS,
    rules=_autoencoder_rules(
        stages=(
            ("encoder.stages.{i}", "encoder.down_blocks.{i}"),
            ("decoder.stages.{i}", "decoder.up_blocks.{i}"),
        ),
        middle=[
            (f"{side}.middle.{{j}}", f"{side}.mid_block.resnets.{{j}}") for side in ("encoder", "decoder")
        ],
        words={
            "residual": "resnets",
            "shortcut": "conv_shortcut",
            "downsample": "downsamplers.0",
            "upsample": "upsamplers.0",
        },
    ),
)
"""The `vae` folder of released models, and single files made from it."""

_NUM_STAGES = 4
SAT_AUTOENCODER = KeyMap(
    name="SAT autoencoder",
    prefixes=_AUTOENCODER_WRAPPERS,
    rules=_autoencoder_rules(
        stages=(
            ("encoder.stages.{i}", "encoder.down.{i}"),
            # The original counts the decoder's stages from the output.
            *((f"decoder.stages.{_NUM_STAGES - 1 - i}", f"decoder.up.{i}") for i in range(_NUM_STAGES)),
        ),
        middle=[
            (f"{side}.middle.{i}", f"{side}.mid.block_{i + 1}")
            for side in ("encoder", "decoder")
            for i in range(2)
        ],
        words={
            "residual": "block",
            "shortcut": "nin_shortcut",
            "downsample": "downsample",
            "upsample": "upsample",
        },
    ),
    dropped=("loss.*",),
)
"""`3d-vae.pt` of the original training code."""

AUTOENCODER_LAYOUTS = (DIFFUSERS_AUTOENCODER, SAT_AUTOENCODER)

# The only released denoiser of this many heads has fixed sinusoidal positions; all others rotate.
_HEADS_WITHOUT_ROTARY = 30


def describe_transformer(shapes: Mapping[str, Sequence[int]], origin: str) -> dict[str, Any]:
    """The settings of config.json that the tensors of a single file tell, in either layout.

    `shapes` are those of the file, by its own names. The clip size that the positions were made for is not
    among them. Raises CheckpointError, which begins with `origin`, if this is no such network.
    """
    ours = max((_in_our_names(layout, shapes) for layout in TRANSFORMER_LAYOUTS), key=len)
    try:
        return _settings(ours)
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        beginning = ", ".join(list(shapes)[:3]) or "none"
        raise CheckpointError(
            f"{origin}: this is not a CogVideoX transformer; its first tensors are {beginning}."
            " Give the file of the transformer."
        ) from error


def _in_our_names(layout: KeyMap, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    return {
        found.ours: (shape[0] * len(found.parts) // found.of, *shape[1:])
        for name, shape in shapes.items()
        for found in layout.find(layout.without_prefix(name))
    }


def _settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    width, text_embed_dim = shapes["patch_embedding.text_projection.weight"]
    head_dim = shapes["blocks.0.attention.query_norm.weight"][0]
    patches = _patch_settings(shapes)
    volume = patches["patch_size"] ** 2 * (patches["patch_size_t"] or 1)
    ofs = shapes.get("ofs_embedding.linear_1.weight")
    return {
        "num_layers": 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")),
        "num_attention_heads": width // head_dim,
        "attention_head_dim": head_dim,
        "out_channels": shapes["output_projection.weight"][0] // volume,
        "text_embed_dim": text_embed_dim,
        "time_embed_dim": shapes["time_embedding.linear_1.weight"][0],
        "ofs_embed_dim": ofs[1] if ofs else None,
        "attention_bias": "blocks.0.attention.query.bias" in shapes,
        "use_rotary_positional_embeddings": width // head_dim != _HEADS_WITHOUT_ROTARY,
        "use_learned_positional_embeddings": "patch_embedding.positions" in shapes,
        **patches,
    }


def _patch_settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """A convolution cuts patches in space (1.0), a linear layer over 2x2x2 values in time too (1.5)."""
    weight = shapes["patch_embedding.projection.weight"]
    if len(weight) == 4:
        has_bias = "patch_embedding.projection.bias" in shapes
        return {
            "in_channels": weight[1],
            "patch_size": weight[2],
            "patch_size_t": None,
            "patch_bias": has_bias,
        }
    return {"in_channels": weight[1] // 8, "patch_size": 2, "patch_size_t": 2}
