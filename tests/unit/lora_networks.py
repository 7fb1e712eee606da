"""Small networks of both families, and what a LoRA file does to them under the released names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reelwright.adapters.plan import AdapterPlan, plan_adapters
from reelwright.checkpoint.key_map import KeyMap
from reelwright.families.cogvideox import lora_layouts as cogvideox_layouts
from reelwright.families.cogvideox.config import TransformerConfig as CogVideoXConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack import lora_layouts as framepack_layouts
from reelwright.families.framepack.config import TransformerConfig as FramePackConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig

COGVIDEOX = CogVideoXConfig(
    num_layers=2,
    num_attention_heads=2,
    attention_head_dim=8,
    text_embed_dim=12,
    time_embed_dim=16,
    max_text_seq_length=6,
    sample_height=8,
    sample_width=8,
    sample_frames=5,
)
FRAMEPACK = FramePackConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    num_layers=2,
    num_single_layers=2,
    text_embed_dim=24,
    pooled_projection_dim=12,
    image_proj_dim=20,
    rope_axes_dim=(4, 6, 6),
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network to be changed, and how to speak of its modules."""

    build: Callable[[], nn.Module]
    targets: AdapterTargets
    key_map: KeyMap

    def released(self, network: nn.Module) -> dict[str, Tensor]:
        """Its weights by released module name."""
        state = self.key_map.to_file(network.state_dict())
        return {
            name.removesuffix(".weight"): tensor.clone()
            for name, tensor in state.items()
            if "bias" not in name
        }

    def plan(self, *paths: Path, **options: object) -> AdapterPlan:
        return plan_adapters(GenerateConfig(lora=paths, **options), lambda: self.targets)  # pyright: ignore

    def changes(self, *paths: Path, **options: object) -> dict[str, Tensor]:
        """How much each weight changes by merging, by released module name; the others are left out."""
        network = self.build()
        before = self.released(network)
        self.plan(*paths, **options).apply(network)
        after = self.released(network)
        return {
            name: after[name] - before[name] for name in before if not torch.equal(after[name], before[name])
        }


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().requires_grad_(False).eval()


SUBJECTS = {
    "cogvideox": Subject(
        build=lambda: seeded(lambda: CogVideoXTransformer(COGVIDEOX)),
        targets=cogvideox_layouts.adapter_targets(COGVIDEOX, "small CogVideoX"),
        key_map=DIFFUSERS_TRANSFORMER,
    ),
    "framepack": Subject(
        build=lambda: seeded(lambda: FramePackTransformer(FRAMEPACK)),
        targets=framepack_layouts.adapter_targets(FRAMEPACK, "small FramePack"),
        key_map=RELEASED_TRANSFORMER,
    ),
}


class Draw:
    """Random matrices, the same in every run."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, dict(metadata or {}))
    return path


def largest_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Over the same names only."""
    assert sorted(ours) == sorted(theirs)
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)
