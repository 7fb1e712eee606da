"""How LoRA files name the modules of FramePack (specs: FramePack 7.2 and 7.4)."""

from collections.abc import Mapping

import torch

from reelwright.checkpoint.key_map import KeyMap, Rule
from reelwright.checkpoint.settings_files import read_settings
from reelwright.families.framepack.config import VARIANTS, TransformerConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.adapter_targets import AdapterLayout, AdapterTargets, weight_shapes
from reelwright.protocols.model_folder import embedded_roots


def _hunyuan_blocks(name: str, words: Mapping[str, str]) -> KeyMap:
    """HunyuanVideo's blocks as one program calls their parts: `words` are its own for those that differ."""
    return KeyMap(
        name=name,
        rules=(
            *_double_stream_rules("video", "img", words),
            *_double_stream_rules("text", "txt", words),
            # Query, key, value and the feed-forward's entrance, which is four times as wide as each of them.
            *(
                Rule(f"single_blocks.{{n}}.{ours}.*", "single_blocks.{n}.linear1.*", parts=parts, of=7)
                for ours, parts in (
                    ("heads.query", (0,)),
                    ("heads.key", (1,)),
                    ("heads.value", (2,)),
                    ("expand", (3, 4, 5, 6)),
                )
            ),
            Rule("single_blocks.{n}.output.*", "single_blocks.{n}.linear2.*"),
            Rule("single_blocks.{n}.modulation.*", f"single_blocks.{{n}}.modulation.{words['modulation']}.*"),
        ),
    )


def _double_stream_rules(ours: str, file: str, words: Mapping[str, str]) -> tuple[Rule, ...]:
    """One stream of a double block; the file joins query, key and value in one matrix."""
    ours, file = f"double_blocks.{{n}}.{ours}", f"double_blocks.{{n}}.{file}"
    attention = f"{file}_attn{words['attention']}"
    return (
        *(
            Rule(f"{ours}.heads.{part}.*", f"{attention}qkv.*", parts=(index,), of=3)
            for index, part in enumerate(("query", "key", "value"))
        ),
        Rule(f"{ours}.output.*", f"{attention}proj.*"),
        Rule(f"{ours}.feed_forward.expand.*", f"{file}_mlp.{words['expand']}.*"),
        Rule(f"{ours}.feed_forward.contract.*", f"{file}_mlp.{words['contract']}.*"),
        Rule(f"{ours}.modulation.*", f"{file}_mod.{words['modulation']}.*"),
    )


HUNYUAN_BLOCKS = _hunyuan_blocks(
    "HunyuanVideo blocks", {"attention": "_", "expand": "fc1", "contract": "fc2", "modulation": "linear"}
)
"""As the original code names them; LoRAs of HunyuanVideo work here too (specs: FramePack 7.4)."""
COMFY_HUNYUAN_BLOCKS = _hunyuan_blocks(
    "HunyuanVideo blocks of ComfyUI", {"attention": ".", "expand": "0", "contract": "2", "modulation": "lin"}
)

_LAYOUTS = (
    AdapterLayout(key_map=RELEASED_TRANSFORMER),
    AdapterLayout(key_map=HUNYUAN_BLOCKS, fused_export="hunyuan-fused"),
    AdapterLayout(key_map=COMFY_HUNYUAN_BLOCKS),
)
_USUAL = (
    r"double_blocks\.\d+\.(video|text)\.(heads\.(query|key|value)|output|feed_forward\.(expand|contract))"
    r"|single_blocks\.\d+\.(heads\.(query|key|value)|expand|output)"
)
# The output of a single block is that of its feed-forward too.
_ATTENTION = (
    r"double_blocks\.\d+\.(video|text)\.(heads\.(query|key|value)|output)"
    r"|single_blocks\.\d+\.(heads\.(query|key|value)|output)"
)
_BLOCKS = r"(double|single)_blocks\.\d+\..+"


def adapter_targets(config: TransformerConfig, name: str) -> AdapterTargets:
    """The modules of a transformer of these sizes that LoRAs may change."""
    with torch.device("meta"):
        shapes = weight_shapes(FramePackTransformer(config))
    return AdapterTargets(
        name=name, shapes=shapes, layouts=_LAYOUTS, usual=_USUAL, attention=_ATTENTION, blocks=_BLOCKS
    )


def released_targets() -> tuple[AdapterTargets, ...]:
    """Of the released size, which both models have, and of the embedded models."""
    sizes = {"released": TransformerConfig()}
    for name, root in embedded_roots(VARIANTS).items():
        sizes[name] = read_settings(TransformerConfig, root / "transformer" / "config.json")
    return tuple(adapter_targets(config, f"FramePack {name}") for name, config in sizes.items())
