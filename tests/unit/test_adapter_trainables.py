"""Adapters that learn in a denoiser: what learns, what is saved, what training starts from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from reelwright.adapters.factors import AdapterKind
from reelwright.adapters.learning.adapter_trainables import adapter_trainables, merge_base_weights
from reelwright.checkpoint.safetensors_io import read_safetensors_metadata
from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.core.events import FileSaved
from reelwright.protocols.train_configs import AdapterConfig
from reelwright.protocols.training import Trainables

from .lora_networks import SUBJECTS, Draw, Subject, largest_difference, save

CONTROL = SUBJECTS["cogvideox"]
PACKED = SUBJECTS["framepack"]
KINDS: list[AdapterKind] = ["lora", "loha", "lokr"]
TOLERANCE = 1e-6
"""Of float32 changes of weights near 0.1."""


def started(
    subject: Subject,
    network: nn.Module,
    kind: AdapterKind = "lora",
    *,
    layout: str = "native",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **options: object,
) -> Trainables:
    config = AdapterConfig(**{"rank": 2, "alpha": 3.0, **options})  # pyright: ignore
    return adapter_trainables(network, subject.targets, config, kind, layout=layout, dtype=dtype, seed=seed)


def scatter(trainables: Trainables, seed: int = 0) -> None:
    """As if it had learned something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in trainables.tensors().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 5)


def saved(trainables: Trainables, place: Path, metadata: Mapping[str, str] | None = None) -> list[Path]:
    tensors = {name: tensor.detach() for name, tensor in trainables.tensors().items()}
    events = list(trainables.save(place, tensors, metadata or {}))
    return [Path(event.path) for event in events if isinstance(event, FileSaved)]


def learned(network: nn.Module, subject: Subject) -> dict[str, Tensor]:
    """What each layer adds, found by asking it: the columns of its change, by released name."""
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(getattr(module, "wrapped", None), nn.Linear):
            with torch.no_grad():
                eye = torch.eye(module.wrapped.in_features)
                change = (module(eye) - module.wrapped(eye)).T
            located = subject.key_map.locate(f"{name}.weight")
            assert located is not None
            found[located.file_name.removesuffix(".weight")] = change
    return found


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    before = [parameter.clone() for parameter in network.parameters()]
    yield
    assert all(map(torch.equal, before, network.parameters()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_step_changes_only_the_adapters(subject: Subject, kind: AdapterKind):
    network = subject.build()
    frozen = dict(network.named_parameters())
    before = {name: tensor.clone() for name, tensor in frozen.items()}
    trainables = started(subject, network, kind, rank=4)
    fresh = {name: tensor.detach().clone() for name, tensor in trainables.tensors().items()}
    (group,) = trainables.groups()
    optimizer = torch.optim.AdamW(group.parameters.values(), lr=0.1)
    layers = [module for module in network.modules() if hasattr(module, "wrapped")]
    assert len(layers) == len(subject.targets.usual_modules())
    for layer in layers:
        layer(torch.randn(3, layer.wrapped.in_features)).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.items())
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in frozen.values())
    assert group.parameters.keys() == fresh.keys() == trainables.tensors().keys()
    assert {id(p) for p in network.parameters() if p.requires_grad} == set(map(id, group.parameters.values()))
    # The random ones have no gradient yet where the others are zero, and weight decay moves them all.
    assert all(not torch.equal(fresh[name], tensor) for name, tensor in trainables.tensors().items())


def test_names_are_our_modules_with_the_factor():
    network = CONTROL.build()
    names = started(CONTROL, network).tensors()
    assert "blocks.0.attention.query.down" in names
    assert all(torch.equal(network.get_parameter(name), tensor) for name, tensor in names.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_saved_file_does_merged_what_was_learned(subject: Subject, kind: AdapterKind, tmp_path: Path):
    network = subject.build()
    trainables = started(subject, network, kind)
    scatter(trainables)
    (path,) = saved(trainables, tmp_path / "some.name-000001")
    assert path.name == "some.name-000001.safetensors"
    changes = subject.changes(path)
    assert largest_difference(changes, learned(network, subject)) < TOLERANCE
    weights = subject.released(subject.build())
    expected = parameters_to_vector(changes.values()).norm()
    expected = expected / parameters_to_vector([weights[name] for name in changes]).norm()
    assert trainables.change() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("layout", ["native", "diffusers", "peft"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_layout_in_every_number_format(layout: str, dtype: torch.dtype, tmp_path: Path):
    network = PACKED.build()
    trainables = started(PACKED, network, layout=layout, dtype=dtype, rank_pattern=(r".*\.key=3",))
    scatter(trainables)
    path = saved(trainables, tmp_path / "lora", {"ss_steps": "7"})[0]
    tensors = load_file(path)
    assert {tensor.dtype for tensor in tensors.values() if tensor.ndim} == {dtype}
    kept = read_safetensors_metadata(path)
    assert kept["ss_steps"] == "7"
    assert "lora_adapter_metadata" in kept
    if layout == "native":
        assert sum(name.endswith(".alpha") for name in tensors) == len(PACKED.targets.usual_modules())
    # Rounded once, each factor is wrong by half its last bit.
    bits = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}[dtype]
    tolerance = max(TOLERANCE, 2.0 * 2**-bits)
    assert largest_difference(PACKED.changes(path), learned(network, PACKED)) < tolerance


def test_peft_gets_the_folder_that_it_reads(tmp_path: Path):
    files = saved(started(CONTROL, CONTROL.build(), layout="peft"), tmp_path / "lora")
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "lora/adapter_model.safetensors",
        "lora/adapter_config.json",
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lora"]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        saved(started(CONTROL, CONTROL.build(), seed=4), tmp_path / name, {"x": "1", "b": "2"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_values_are_put_back_exactly_and_others_refused():
    first, second = started(CONTROL, CONTROL.build()), started(CONTROL, CONTROL.build(), seed=1)
    scatter(first)
    values = {name: tensor.detach().clone() for name, tensor in first.tensors().items()}
    second.load(values)
    assert all(torch.equal(values[name], tensor) for name, tensor in second.tensors().items())
    name = next(iter(values))
    with pytest.raises(CheckpointError, match="no values are given"):
        second.load({other: tensor for other, tensor in values.items() if other != name})
    with pytest.raises(CheckpointError, match="stranger: nothing learns"):
        second.load({**values, "stranger": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"is \[2, 16\], the values are \[3, 3\]"):
        second.load({**values, name: torch.zeros(3, 3)})


def test_within_untrained_the_network_answers_as_before():
    network, plain = CONTROL.build(), CONTROL.build()
    trainables = started(CONTROL, network)
    scatter(trainables)
    inputs = torch.randn(2, 16)
    layer, before = (each.get_submodule("blocks.0.attention.query") for each in (network, plain))
    changed = layer(inputs)
    with trainables.untrained() as is_untrained:
        assert is_untrained
        assert torch.equal(layer(inputs), before(inputs))
    assert torch.equal(layer(inputs), changed)
    assert not torch.equal(changed, before(inputs))


@pytest.mark.parametrize(
    ("kind", "fast"),
    [("lora", {"up"}), ("loha", {"hada_w2_a"}), ("lokr", {"lokr_w2", "lokr_w2_b"})],
)
def test_what_starts_at_zero_may_learn_faster(kind: AdapterKind, fast: set[str]):
    trainables = started(CONTROL, CONTROL.build(), kind, up_rate=16.0, targets="all")
    slow, quick = trainables.groups()
    assert (slow.rate_factor, quick.rate_factor) == (1.0, 16.0)
    assert {name.rpartition(".")[2] for name in quick.parameters} == fast
    assert slow.parameters.keys() | quick.parameters.keys() == trainables.tensors().keys()
    assert all(tensor.abs().max() == 0 for tensor in quick.parameters.values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_module_adds_can_be_limited(kind: AdapterKind):
    plain, network = CONTROL.build(), CONTROL.build()
    scatter(started(CONTROL, plain, kind, targets="all"))
    before = learned(plain, CONTROL)
    norms = {name: float(change.norm()) for name, change in before.items()}
    limit = sorted(norms.values())[len(norms) // 2]
    trainables = started(CONTROL, network, kind, max_norm=limit, targets="all")
    scatter(trainables)
    trainables.after_step()
    after = learned(network, CONTROL)
    for name, change in after.items():
        limited = before[name] * min(1.0, limit / norms[name])
        assert (change - limited).abs().max() < TOLERANCE


def test_parameters_that_were_exchanged_are_found():
    """As FSDP does with its shares of them."""
    network = CONTROL.build()
    trainables = started(CONTROL, network)
    layer = network.get_submodule("blocks.1.attention.key")
    layer.up = nn.Parameter(torch.ones(16, 2))
    assert trainables.tensors()["blocks.1.attention.key.up"] is layer.up
    assert trainables.groups()[0].parameters["blocks.1.attention.key.up"] is layer.up


@pytest.mark.parametrize("seed", [0, 1])
def test_first_values_follow_from_the_seed_and_not_from_other_modules(seed: int):
    whole = started(CONTROL, CONTROL.build(), seed=seed).tensors()
    torch.rand(9)
    part = started(CONTROL, CONTROL.build(), seed=seed, exclude=(r".*(query|key)",)).tensors()
    assert 0 < len(part) < len(whole)
    assert all(torch.equal(whole[name], tensor) for name, tensor in part.items())
    name = "blocks.0.attention.value.down"
    other = started(CONTROL, CONTROL.build(), seed=seed + 1).tensors()
    assert not torch.equal(whole[name], other[name])


@pytest.mark.parametrize("layout", ["native", "diffusers", "peft"])
def test_training_goes_on_from_a_file_with_its_ranks(layout: str, tmp_path: Path):
    network, again = PACKED.build(), PACKED.build()
    first = started(PACKED, network, layout=layout, rank_pattern=(r"double_.*=5",), exclude=(r".*\.query",))
    scatter(first)
    path = saved(first, tmp_path / "lora")[0]
    second = adapter_trainables(
        again,
        PACKED.targets,
        AdapterConfig(weights=path, rank_from_weights=True),
        "lora",
        layout="native",
        dtype=torch.float32,
        seed=0,
    )
    shapes = {name: tensor.shape for name, tensor in first.tensors().items()}
    assert {name: tensor.shape for name, tensor in second.tensors().items()} == shapes
    assert largest_difference(learned(again, PACKED), learned(network, PACKED)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_file_at_another_alpha(kind: AdapterKind, tmp_path: Path):
    network, again = CONTROL.build(), CONTROL.build()
    first = started(CONTROL, network, kind, exclude=(r".*\.key",))
    scatter(first)
    (path,) = saved(first, tmp_path / "lora")
    second = started(CONTROL, again, kind, alpha=1.0, weights=path)
    assert second.tensors().keys() > first.tensors().keys()
    changes = {name: change for name, change in learned(again, CONTROL).items() if change.any()}
    assert largest_difference(changes, learned(network, CONTROL)) < TOLERANCE


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "rank": ({"rank": 4}, "has rank 2 in .*, rank 4 is asked for. Set rank_from_weights"),
    "fewer": ({"exclude": (r".*\.key",)}, "key, not trained here; it would be lost"),
    "both": ({"rank_from_weights": True}, "rank: comes from weights, as rank_from_weights says"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_files_that_do_not_fit_are_refused(options: dict[str, object], said: str, tmp_path: Path):
    (path,) = saved(started(CONTROL, CONTROL.build()), tmp_path / "lora")
    with pytest.raises(ConfigError, match=said):
        started(CONTROL, CONTROL.build(), weights=path, **{"rank": 2, **options})


def test_files_of_another_kind_or_model_are_refused(tmp_path: Path):
    (path,) = saved(started(CONTROL, CONTROL.build(), "loha"), tmp_path / "lora")
    with pytest.raises(ConfigError, match="holds loha, the method is lora"):
        started(CONTROL, CONTROL.build(), weights=path)
    with pytest.raises(CheckpointError, match="none of its 8 modules are in small FramePack"):
        started(PACKED, PACKED.build(), weights=path)


def test_joined_modules_that_cannot_be_cut_are_refused(tmp_path: Path):
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{name}.lokr_w1": torch.ones(8, 4), f"{name}.lokr_w2": torch.ones(12, 8)}
    path = save(tmp_path / "joined.safetensors", tensors)
    with pytest.raises(ConfigError, match="joins in lora_unet_double_blocks_0_img_attn_qkv what is apart"):
        started(PACKED, PACKED.build(), "lokr", weights=path)


@pytest.mark.parametrize("has_sides", [True, False], ids=["with sides", "flat"])
def test_files_with_and_without_the_sides_of_kernels_are_trained_on(has_sides: bool, tmp_path: Path):
    draw, tensors = Draw(), dict[str, Tensor]()
    inner = CONTROL.targets.shapes["patch_embedding.projection"][1:]
    for name, sides in (("patch_embed_proj", inner), ("transformer_blocks_0_attn1_to_q", (16, 1, 1))):
        down, up = draw(3, *sides), draw(16, 3, 1, 1) / 8
        tensors[f"lora_unet_{name}.lora_down.weight"] = down if has_sides else down.flatten(1)
        tensors[f"lora_unet_{name}.lora_up.weight"] = up if has_sides else up.flatten(1)
    path = save(tmp_path / "lora.safetensors", tensors)
    network = CONTROL.build()
    trainables = started(CONTROL, network, rank=16, alpha=0.0, weights=path, rank_from_weights=True)
    assert len(trainables.tensors()) == 4
    merged = CONTROL.build()
    CONTROL.plan(path).apply(merged)
    for name, size in (("patch_embedding.projection", (1, *inner)), ("blocks.0.attention.query", (2, 16))):
        inputs = draw(*size)
        learned_too, expected = (each.get_submodule(name)(inputs) for each in (network, merged))
        assert (learned_too - expected).abs().max() < 1e-5


def test_base_weights_are_merged_and_not_saved_again(tmp_path: Path):
    source = started(CONTROL, CONTROL.build())
    scatter(source)
    (path,) = saved(source, tmp_path / "base")
    network, plain = CONTROL.build(), CONTROL.build()
    config = AdapterConfig(base_weights=(path, path), base_weights_multiplier=(0.5,))
    notices = merge_base_weights(network, CONTROL.targets, config)
    assert "8 weights change at multiplier 0.5" in notices[-1]
    after, before = CONTROL.released(network), CONTROL.released(plain)
    changes = {name: after[name] - before[name] for name in CONTROL.changes(path)}
    assert largest_difference(changes, CONTROL.changes(path)) < TOLERANCE
    with pytest.raises(ConfigError, match="2 values for 1 files"):
        merge_base_weights(
            network,
            CONTROL.targets,
            AdapterConfig(base_weights=(path,), base_weights_multiplier=(1.0, 2.0)),
        )


OPTIONS: dict[str, tuple[AdapterKind, dict[str, object], str]] = {
    "dropout": ("loha", {"dropout": 0.1}, "dropout: loha has no values between"),
    "all dropped": ("lora", {"module_dropout": 1.0}, "module_dropout: at 1 nothing is left"),
    "factor": ("lora", {"factor": 4}, "factor: is for the method lokr"),
    "no factor": ("lokr", {"factor": 0}, "factor: 0 is no side"),
    "ranks": ("lokr", {"rank_dropout": 0.1, "rank": 64}, "LoKr holds whole matrices"),
    "no file": ("lora", {"rank_from_weights": True}, "there is no file to take it from"),
    "layout": ("lokr", {"layout": "peft"}, "lokr is written as native only"),
    "unknown layout": ("lora", {"layout": "pfet"}, "Did you mean peft"),
}


@pytest.mark.parametrize(("kind", "options", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options_without_effect_are_refused(kind: AdapterKind, options: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=said):
        started(CONTROL, CONTROL.build(), kind, **options)  # pyright: ignore
