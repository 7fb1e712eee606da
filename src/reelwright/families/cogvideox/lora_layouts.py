"""How LoRA files name the modules of CogVideoX (specs: CogVideoX 9)."""

import torch

from reelwright.checkpoint.settings_files import read_settings
from reelwright.families.cogvideox.config import TRANSFORMERS, VARIANTS, TransformerConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER, SAT_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.adapter_targets import AdapterLayout, AdapterTargets, weight_shapes
from reelwright.protocols.model_folder import embedded_roots

_LAYOUTS = (
    AdapterLayout(key_map=DIFFUSERS_TRANSFORMER),
    # The original trainer scales by 1 / rank and stores nothing of it.
    AdapterLayout(key_map=SAT_TRANSFORMER, default_alpha=1.0),
)
_ATTENTION = r"blocks\.\d+\.attention\.(query|key|value|output)"
_BLOCKS = r"blocks\.\d+\..+"


def adapter_targets(config: TransformerConfig, name: str) -> AdapterTargets:
    """The modules of a transformer of these sizes that LoRAs may change."""
    with torch.device("meta"):
        shapes = weight_shapes(CogVideoXTransformer(config))
    return AdapterTargets(
        name=name, shapes=shapes, layouts=_LAYOUTS, usual=_ATTENTION, attention=_ATTENTION, blocks=_BLOCKS
    )


def released_name(name: str, config: TransformerConfig) -> str:
    """The released model that a transformer is, or has the sizes of; "" where there is none."""
    if any(variant.name == name for variant in VARIANTS):
        return name
    told = ("num_layers", "num_attention_heads", "in_channels", "patch_size_t", "ofs_embed_dim")
    told += ("use_rotary_positional_embeddings", "use_learned_positional_embeddings")
    sizes = [getattr(config, each) for each in told]
    same = (
        known for known, other in TRANSFORMERS.items() if [getattr(other, each) for each in told] == sizes
    )
    return next(same, "")


def released_targets() -> tuple[AdapterTargets, ...]:
    """Of every released size, and of the embedded models."""
    sizes = {name: config for name, config in TRANSFORMERS.items() if not name.startswith("fun-")}
    for name, root in embedded_roots(VARIANTS).items():
        sizes[name] = read_settings(TransformerConfig, root / "transformer" / "config.json")
    return tuple(adapter_targets(config, f"CogVideoX {name}") for name, config in sizes.items())
