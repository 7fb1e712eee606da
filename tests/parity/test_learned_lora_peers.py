"""What our adapters learn and save beside PEFT, diffusers and LyCORIS: outputs, gradients and files."""

from pathlib import Path

import pytest
import torch
from diffusers import CogVideoXPipeline, HunyuanVideoFramepackPipeline
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn

from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.adapters.plan import plan_adapters
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.configs import GenerateConfig
from reelwright.protocols.train_configs import AdapterConfig
from reelwright.protocols.training import Trainables

from .released import our_velocity, reference_rotary, reference_velocity, same_transformer
from .test_framepack_transformer import BASE, call_of, our_prediction, reference_prediction
from .test_lora_peers import (
    CONFIG,
    FRAMEPACK_TARGETS,
    LATENTS,
    TARGETS,
    TOLERANCE,
    both_velocities,
    cogvideox_reference,
    framepack_reference,
    same_framepack,
)

RANKS = (r".*\.key=5",)


def answers(ours: nn.Module, reference: nn.Module) -> tuple[Tensor, Tensor]:
    """As `both_velocities`, to learn from."""
    random = torch.Generator().manual_seed(2)
    latents, text = torch.randn(LATENTS, generator=random), torch.randn(1, 8, 32, generator=random)
    timestep = torch.tensor([501])
    rotary = reference_rotary(reference, LATENTS[2:])
    return (
        our_velocity.__wrapped__(ours, latents, text, timestep),
        reference_velocity.__wrapped__(reference, latents, text, timestep, rotary),
    )


def learning(
    network: nn.Module, known: AdapterTargets, kind: str, layout: str, **options: object
) -> Trainables:
    """Adapters that have learned something."""
    config = AdapterConfig(**{"rank": 2, "alpha": 3.0, **options})  # pyright: ignore
    trainables = adapter_trainables(
        network,
        known,
        config,
        kind,  # pyright: ignore
        layout=layout,
        dtype=torch.float32,
        seed=0,
    )
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in trainables.tensors().values():
            tensor.copy_(torch.randn(tensor.shape, generator=random) / 3)
    return trainables


def save(trainables: Trainables, place: Path) -> Path:
    """The first of the files that are written."""
    return Path(next(iter(list(trainables.save(place, trainables.tensors(), {})))).path)  # pyright: ignore


@torch.no_grad()
def test_diffusers_answers_as_ours_in_training_cogvideox(tmp_path: Path):
    reference = cogvideox_reference()
    ours = same_transformer(reference, CONFIG)
    trainables = learning(ours, TARGETS, "lora", "diffusers", rank_pattern=RANKS)
    _, plain = both_velocities(ours, reference)
    path = save(trainables, tmp_path / "lora")
    state, metadata = CogVideoXPipeline.lora_state_dict(path, return_lora_metadata=True)
    CogVideoXPipeline.load_lora_into_transformer(state, reference, metadata=metadata)
    changed, theirs = both_velocities(ours, reference)
    assert (theirs - plain).abs().max() > 0.1
    assert (changed - theirs).abs().max() < TOLERANCE


@torch.no_grad()
def test_diffusers_answers_as_ours_in_training_framepack(tmp_path: Path):
    reference = framepack_reference()
    ours, call = same_framepack(reference), call_of(BASE)
    trainables = learning(ours, FRAMEPACK_TARGETS, "lora", "diffusers", targets="all", rank_pattern=RANKS)
    path = save(trainables, tmp_path / "lora")
    plain = reference_prediction(reference, call)
    state, metadata = HunyuanVideoFramepackPipeline.lora_state_dict(path, return_lora_metadata=True)
    HunyuanVideoFramepackPipeline.load_lora_into_transformer(state, reference, metadata=metadata)
    theirs = reference_prediction(reference, call)
    assert (theirs - plain).abs().max() > 0.1
    # Predictions are near 1; modulations multiply.
    assert (our_prediction(ours, call) - theirs).abs().max() < TOLERANCE * theirs.abs().max()


def test_peft_answers_and_learns_as_ours(tmp_path: Path):
    """Its own network, loaded from our folder, has the same outputs and gradients."""
    reference = cogvideox_reference().requires_grad_(False)
    ours = same_transformer(reference, CONFIG)
    trainables = learning(ours, TARGETS, "lora", "peft", rank_pattern=RANKS)
    path = save(trainables, tmp_path / "lora")
    network = PeftModel.from_pretrained(reference, path.parent, is_trainable=True)
    both = answers(ours, network.get_base_model())
    assert (both[0] - both[1]).abs().max() < TOLERANCE
    for answer in both:
        answer.square().mean().backward()
    theirs = dict(network.named_parameters())
    factors = {"down": "lora_A", "up": "lora_B"}
    for name, parameter in trainables.tensors().items():
        module, _, factor = name.rpartition(".")
        located = DIFFUSERS_TRANSFORMER.locate(f"{module}.weight")
        assert located is not None
        stem = f"base_model.model.{located.file_name.removesuffix('.weight')}"
        other = theirs[f"{stem}.{factors[factor]}.default.weight"]
        assert (parameter.grad - other.grad).abs().max() < TOLERANCE, name
        assert other.grad.abs().max() > 0


LYCORIS = {"loha": LohaModule, "lokr": LokrModule}
FACTORS = {
    "loha": ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    "lokr": ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "", "lokr_t2"),
}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("loha", {"include": ("patch_embed.proj",)}),
        ("lokr", {}),
        ("lokr", {"factor": 4}),
        ("lokr", {"rank": 64}),
    ],
    ids=["loha", "lokr", "lokr-factor", "lokr-whole"],
)
def test_lycoris_answers_and_learns_as_ours(kind: str, options: dict[str, object], tmp_path: Path):
    """Its own layers in the reference network, made of our file, have the same outputs and gradients.

    LyCORIS cannot read its own LoKr of a convolution.
    """
    reference = cogvideox_reference().requires_grad_(False)
    ours = same_transformer(reference, CONFIG)
    trainables = learning(ours, TARGETS, kind, "native", **options)
    tensors = load_file(save(trainables, tmp_path / "lora"))
    plain, _ = both_velocities(same_transformer(reference, CONFIG), reference)
    theirs: dict[str, nn.Parameter] = {}
    for module in {name.rpartition(".")[0]: name for name in trainables.tensors()}:
        located = DIFFUSERS_TRANSFORMER.locate(f"{module}.weight")
        assert located is not None
        name = located.file_name.removesuffix(".weight")
        stem = "lora_unet_" + name.replace(".", "_")
        factors = (tensors.get(f"{stem}.{factor}") for factor in FACTORS[kind])
        with torch.no_grad():
            layer = LYCORIS[kind].make_module_from_state_dict(
                stem, reference.get_submodule(name), *factors, tensors[f"{stem}.alpha"], None
            )
        layer.apply_to()
        theirs |= {f"{module}.{factor}": parameter for factor, parameter in layer.named_parameters()}
    both = answers(ours, reference)
    assert (both[1] - plain).abs().max() > 0.1
    assert (both[0] - both[1]).abs().max() < TOLERANCE * both[1].abs().max()
    for answer in both:
        answer.square().mean().backward()
    own = trainables.tensors()
    assert own.keys() == theirs.keys()
    for name, parameter in theirs.items():
        assert (own[name].grad - parameter.grad).abs().max() < TOLERANCE, name
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize("layout", ["native", "diffusers", "peft"])
def test_our_readers_make_the_same_of_every_layout(layout: str, tmp_path: Path):
    reference = cogvideox_reference()
    learned, merged = same_transformer(reference, CONFIG), same_transformer(reference, CONFIG)
    path = save(learning(learned, TARGETS, "lora", layout, rank_pattern=RANKS), tmp_path / "lora")
    plan_adapters(GenerateConfig(lora=(path,)), lambda: TARGETS).apply(merged)
    with torch.no_grad():
        first, _ = both_velocities(learned, reference)
        second, plain = both_velocities(merged, reference)
    assert (first - plain).abs().max() > 0.1
    assert (first - second).abs().max() < TOLERANCE


def test_what_peft_saves_can_be_trained_on(tmp_path: Path):
    network = get_peft_model(
        cogvideox_reference(), LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_out.0"])
    )
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=random) / 8)
    network.save_pretrained(tmp_path)
    ours = same_transformer(cogvideox_reference(), CONFIG)
    trainables = adapter_trainables(
        ours,
        TARGETS,
        AdapterConfig(weights=tmp_path, rank_from_weights=True),
        "lora",
        layout="native",
        dtype=torch.float32,
        seed=0,
    )
    assert {tuple(t.shape) for n, t in trainables.tensors().items() if n.endswith("down")} == {(4, 128)}
    with torch.no_grad():
        first, theirs = both_velocities(ours, network.get_base_model())
    assert (first - theirs).abs().max() < TOLERANCE
