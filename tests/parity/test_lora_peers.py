"""LoRA files beside PEFT, LyCORIS and diffusers: either reads what the other writes, to the same effect."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from diffusers import (
    CogVideoXPipeline,
    HunyuanVideoFramepackPipeline,
    HunyuanVideoFramepackTransformer3DModel,
)
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn

from reelwright.adapters.combination import load_adapters
from reelwright.adapters.exports import export
from reelwright.adapters.formats import read_adapter
from reelwright.adapters.plan import plan_adapters
from reelwright.checkpoint.key_map import KeyMap
from reelwright.checkpoint.safetensors_io import save_safetensors
from reelwright.core.events import FileSaved
from reelwright.families.cogvideox import lora_layouts as cogvideox_layouts
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.framepack import lora_layouts as framepack_layouts
from reelwright.families.framepack.config import TransformerConfig as FramePackConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig
from reelwright.workflows import lora

from .released import (
    LAYOUTS,
    our_velocity,
    reference_rotary,
    reference_transformer,
    reference_velocity,
    same_transformer,
    scatter_norms,
)
from .test_framepack_transformer import BASE, call_of, our_prediction, reference_prediction
from .test_framepack_transformer import SMALL as SMALL_FRAMEPACK

TOLERANCE = 1e-5
CONFIG = LAYOUTS["5b"]
TARGETS = cogvideox_layouts.adapter_targets(CONFIG, "small CogVideoX")
FRAMEPACK_TARGETS = framepack_layouts.adapter_targets(SMALL_FRAMEPACK, "small FramePack")
NAMES = ["to_q", "to_k", "to_v", "to_out.0"]


def cogvideox_reference() -> nn.Module:
    torch.manual_seed(0)
    reference = reference_transformer(CONFIG).eval()
    scatter_norms(reference)
    return reference


def framepack_reference() -> nn.Module:
    torch.manual_seed(0)
    sizes = asdict(SMALL_FRAMEPACK)
    reference = HunyuanVideoFramepackTransformer3DModel(
        **sizes, has_image_proj=True, has_clean_x_embedder=True
    )
    scatter_norms(reference)
    return reference.eval()


def fill(network: nn.Module) -> None:
    """Give fresh LoRAs something to do: their up matrices begin as zeros."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=random) / 8)


def change_by_ours(
    path: Path, reference: nn.Module, targets: AdapterTargets, key_map: KeyMap, ours: nn.Module
) -> dict[str, Tensor]:
    """By how much our merge changes each weight, by released name."""
    before = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    plan_adapters(GenerateConfig(lora=(path,)), lambda: targets).apply(ours)
    after = key_map.to_file(ours.state_dict())
    return {name: after[name] - before[name] for name in after if not torch.equal(after[name], before[name])}


def change_of_cogvideox(path: Path) -> dict[str, Tensor]:
    reference = cogvideox_reference()
    ours = same_transformer(reference, CONFIG)
    return change_by_ours(path, reference, TARGETS, DIFFUSERS_TRANSFORMER, ours)


def change_by_peft(network: nn.Module) -> dict[str, Tensor]:
    """PEFT's own product of each LoRA, by the weight it is for."""
    return {
        f"{name.removeprefix('base_model.model.')}.weight": layer.get_delta_weight("default")
        for name, layer in network.named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def check_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert sorted(ours) == sorted(theirs)
    for name, delta in theirs.items():
        assert (ours[name] - delta).abs().max() < TOLERANCE, name
        assert delta.abs().max() > 0.01


PEFT_SETTINGS = {
    "alpha": {"lora_alpha": 12},
    "patterns": {
        "lora_alpha": 4,
        "alpha_pattern": {"attn1.to_q": 1},
        "rank_pattern": {"transformer_blocks.1.attn1.to_k": 6},
    },
    "rank-stabilized": {"lora_alpha": 4, "use_rslora": True},
}


@pytest.mark.parametrize("settings", PEFT_SETTINGS.values(), ids=PEFT_SETTINGS)
def test_what_peft_saves(settings: dict[str, object], tmp_path: Path):
    network = get_peft_model(cogvideox_reference(), LoraConfig(r=4, target_modules=NAMES, **settings))
    fill(network)
    network.save_pretrained(tmp_path)
    check_same(change_of_cogvideox(tmp_path), change_by_peft(network))


@pytest.mark.parametrize("settings", PEFT_SETTINGS.values(), ids=PEFT_SETTINGS)
def test_what_diffusers_saves(settings: dict[str, object], tmp_path: Path):
    network = cogvideox_reference()
    network.add_adapter(LoraConfig(r=4, target_modules=NAMES, **settings))
    fill(network)
    network.save_lora_adapter(tmp_path)
    check_same(change_of_cogvideox(tmp_path / "pytorch_lora_weights.safetensors"), change_by_peft(network))


def test_what_a_pipeline_of_diffusers_saves(tmp_path: Path):
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    network = cogvideox_reference()
    settings = LoraConfig(r=4, lora_alpha=10, target_modules=NAMES)
    network.add_adapter(settings)
    fill(network)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(network))
    CogVideoXPipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=layers, transformer_lora_adapter_metadata=settings.to_dict()
    )
    check_same(change_of_cogvideox(tmp_path / "pytorch_lora_weights.safetensors"), change_by_peft(network))


# Rank 64 makes whole matrices of LoKr; rank-stabilized ones LyCORIS itself reads back at another scale.
LYCORIS: list[tuple[type, int, dict[str, object]]] = [
    (LohaModule, 2, {}),
    (LohaModule, 2, {"rs_lora": True}),
    (LokrModule, 2, {}),
    (LokrModule, 2, {"rs_lora": True}),
    (LokrModule, 2, {"decompose_both": True, "factor": 8}),
    (LokrModule, 64, {}),
]


@pytest.mark.parametrize(("module", "rank", "options"), LYCORIS)
def test_what_lycoris_saves(module: type, rank: int, options: dict[str, object], tmp_path: Path):
    reference = cogvideox_reference()
    torch.manual_seed(1)
    adapter = module(
        "lycoris_transformer_blocks_0_attn1_to_k",
        reference.get_submodule("transformer_blocks.0.attn1.to_k"),
        lora_dim=rank,
        alpha=rank / 2,
        **options,
    )
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3)
    tensors = {f"{adapter.lora_name}.{name}": tensor for name, tensor in adapter.state_dict().items()}
    path = tmp_path / "lycoris.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    theirs = {"transformer_blocks.0.attn1.to_k.weight": adapter.get_weight(adapter.shape).detach()}
    check_same(change_of_cogvideox(path), theirs)


def source_lora(targets: AdapterTargets, key_map: KeyMap, path: Path) -> Path:
    """All usual modules, of two ranks and two alphas, in kohya's names."""
    random = torch.Generator().manual_seed(5)
    tensors: dict[str, Tensor] = {}
    for index, module in enumerate(targets.usual_modules()):
        rows, columns = targets.shapes[module]
        located = key_map.locate(f"{module}.weight")
        assert located is not None
        name = "lora_unet_" + located.file_name.removesuffix(".weight").replace(".", "_")
        rank = 2 + index % 2
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, columns, generator=random) / 8
        tensors[f"{name}.lora_up.weight"] = torch.randn(rows, rank, generator=random) / 4
        tensors[f"{name}.alpha"] = torch.tensor(3.0 if index % 3 else 1.0)
    save_file(tensors, path)
    return path


def converted(path: Path, targets: AdapterTargets, to: str, out: Path) -> Path:
    made = export(load_adapters(read_adapter(path, targets)), targets, to, {})
    save_safetensors(out, made.tensors, made.metadata)
    if to == "peft":
        (out.parent / "adapter_config.json").write_text(json.dumps(made.settings))
    return out


LATENTS = (1, 16, 5, 8, 12)


def both_velocities(ours: nn.Module, reference: nn.Module) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    latents, text = torch.randn(LATENTS, generator=random), torch.randn(1, 8, 32, generator=random)
    timestep = torch.tensor([501])
    rotary = reference_rotary(reference, LATENTS[2:])
    return (
        our_velocity(ours, latents, text, timestep),
        reference_velocity(reference, latents, text, timestep, rotary),
    )


@pytest.mark.parametrize("has_metadata", [True, False])
def test_diffusers_reads_our_cogvideox_files(has_metadata: bool, tmp_path: Path):
    """With the metadata as it does today, without it as it did before."""
    source = source_lora(TARGETS, DIFFUSERS_TRANSFORMER, tmp_path / "source.safetensors")
    path = converted(source, TARGETS, "diffusers", tmp_path / "pytorch_lora_weights.safetensors")
    reference = cogvideox_reference()
    ours = same_transformer(reference, CONFIG)
    state, metadata = CogVideoXPipeline.lora_state_dict(path, return_lora_metadata=True)
    assert metadata
    _, plain = both_velocities(ours, reference)
    CogVideoXPipeline.load_lora_into_transformer(
        state, reference, metadata=metadata if has_metadata else None
    )
    plan_adapters(GenerateConfig(lora=(source,)), lambda: TARGETS).apply(ours)
    changed, theirs = both_velocities(ours, reference)
    assert (theirs - plain).abs().max() > 0.1
    assert (changed - theirs).abs().max() < TOLERANCE


def same_framepack(reference: nn.Module) -> FramePackTransformer:
    ours = FramePackTransformer(SMALL_FRAMEPACK)
    ours.load_state_dict(RELEASED_TRANSFORMER.to_ours(reference.state_dict()))
    return ours.requires_grad_(False).eval()


@torch.no_grad()
@pytest.mark.parametrize("has_metadata", [True, False])
def test_diffusers_reads_our_framepack_files(has_metadata: bool, tmp_path: Path):
    source = source_lora(FRAMEPACK_TARGETS, RELEASED_TRANSFORMER, tmp_path / "source.safetensors")
    path = converted(source, FRAMEPACK_TARGETS, "diffusers", tmp_path / "pytorch_lora_weights.safetensors")
    reference = framepack_reference()
    ours = same_framepack(reference)
    call = call_of(BASE)
    plain = reference_prediction(reference, call)
    state, metadata = HunyuanVideoFramepackPipeline.lora_state_dict(path, return_lora_metadata=True)
    HunyuanVideoFramepackPipeline.load_lora_into_transformer(
        state, reference, metadata=metadata if has_metadata else None
    )
    plan_adapters(GenerateConfig(lora=(source,)), lambda: FRAMEPACK_TARGETS).apply(ours)
    theirs = reference_prediction(reference, call)
    assert (theirs - plain).abs().max() > 0.1
    assert (our_prediction(ours, call) - theirs).abs().max() < TOLERANCE


@torch.no_grad()
def test_networks_with_loras_beside_their_weights_predict_as_diffusers_does(tmp_path: Path):
    source = source_lora(FRAMEPACK_TARGETS, RELEASED_TRANSFORMER, tmp_path / "source.safetensors")
    path = converted(source, FRAMEPACK_TARGETS, "diffusers", tmp_path / "pytorch_lora_weights.safetensors")
    reference = framepack_reference()
    ours = same_framepack(reference)
    reference.load_lora_adapter(path)
    reference.set_adapters("default_0", 0.3)
    config = GenerateConfig(lora=(source,), lora_multiplier=(0.3,), lora_mode="unmerged")
    plan_adapters(config, lambda: FRAMEPACK_TARGETS).apply(ours)
    call = call_of(BASE)
    assert (our_prediction(ours, call) - reference_prediction(reference, call)).abs().max() < TOLERANCE


def test_peft_reads_our_folders(tmp_path: Path):
    source = source_lora(TARGETS, DIFFUSERS_TRANSFORMER, tmp_path / "source.safetensors")
    path = converted(source, TARGETS, "peft", tmp_path / "adapter_model.safetensors")
    network = PeftModel.from_pretrained(cogvideox_reference(), path.parent)
    check_same(change_of_cogvideox(source), change_by_peft(network))


def test_joined_hunyuan_files_are_read_as_diffusers_reads_them(tmp_path: Path):
    """Its reader knows the released width only: one block of each kind, at rank 1."""
    config = FramePackConfig(num_layers=1, num_single_layers=1)
    targets = framepack_layouts.adapter_targets(config, "one block of each kind")
    random = torch.Generator().manual_seed(5)
    tensors: dict[str, Tensor] = {}
    for name, rows, columns in (
        ("double_blocks.0.img_attn_qkv", 9216, 3072),
        ("double_blocks.0.txt_attn_qkv", 9216, 3072),
        ("double_blocks.0.img_attn_proj", 3072, 3072),
        ("double_blocks.0.txt_mlp.fc1", 12288, 3072),
        ("double_blocks.0.img_mlp.fc2", 3072, 12288),
        ("double_blocks.0.img_mod.linear", 18432, 3072),
        ("single_blocks.0.linear1", 21504, 3072),
        ("single_blocks.0.linear2", 3072, 15360),
        ("single_blocks.0.modulation.linear", 9216, 3072),
    ):
        tensors[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(1, columns, generator=random)
        tensors[f"diffusion_model.{name}.lora_B.weight"] = torch.randn(rows, 1, generator=random)
    path = tmp_path / "hunyuan.safetensors"
    save_file(tensors, path)
    theirs = HunyuanVideoFramepackPipeline.lora_state_dict(path)
    ours = load_adapters(read_adapter(path, targets))
    found: set[str] = set()
    for module, adapter in ours.items():
        located = RELEASED_TRANSFORMER.locate(f"{module}.weight")
        assert located is not None
        name = "transformer." + located.file_name.removesuffix(".weight")
        assert torch.equal(adapter.factors["down"], theirs[f"{name}.lora_A.weight"]), name
        assert torch.equal(adapter.factors["up"], theirs[f"{name}.lora_B.weight"]), name
        assert adapter.scale == 1
        found |= {f"{name}.lora_A.weight", f"{name}.lora_B.weight"}
    assert found == set(theirs)


def test_the_folder_of_a_peft_conversion_is_whole(tmp_path: Path):
    """Written by the command itself, for a module of a released size."""
    name = "transformer.transformer_blocks.3.attn1.to_q"
    random = torch.Generator().manual_seed(5)
    tensors = {
        f"{name}.lora_A.weight": torch.randn(2, 3072, generator=random),
        f"{name}.lora_B.weight": torch.randn(3072, 2, generator=random),
    }
    save_file(tensors, tmp_path / "source.safetensors")
    made = lora.run(
        "convert",
        file=tmp_path / "source.safetensors",
        out=tmp_path / "peft",
        to="peft",
        family="cogvideox",
    )
    saved = [Path(event.path) for event in made if isinstance(event, FileSaved)]
    assert saved == [
        tmp_path / "peft" / "adapter_model.safetensors",
        tmp_path / "peft" / "adapter_config.json",
    ]
    assert LoraConfig.from_pretrained(tmp_path / "peft").target_modules == {"transformer_blocks.3.attn1.to_q"}
