"""Layers with factors that learn: outputs and gradients beside those of the changed weight, and dropout."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.adapters.factors import Adapter, AdapterKind
from reelwright.adapters.learning.initial_factors import FactorSizes, divided, initial_adapter
from reelwright.adapters.learning.learning_modules import Dropouts, LearningModule

EXACT = 1e-11
"""Of float64 sums in another order."""
LAYERS = {
    "linear": (lambda: nn.Linear(12, 18), (2, 5, 12)),
    "rows": (lambda: nn.Linear(12, 18, bias=False), (4, 12)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(4, 6, (1, 2, 2), stride=(1, 2, 2)), (1, 4, 3, 4, 6)),
}
KINDS: list[AdapterKind] = ["lora", "loha", "lokr"]
RANKS = {"low": 2, "whole": 40}
"""At the second one, LoKr takes a whole matrix, and scale 1."""


def filled(kind: AdapterKind, shape: tuple[int, ...], rank: int, alpha: float = 3.0) -> Adapter:
    """An adapter that has learned something."""
    sizes = FactorSizes(rank=rank, alpha=alpha)
    adapter = initial_adapter(kind, shape, sizes, seed=1, name="layer")
    generator = torch.Generator().manual_seed(2)
    factors = {name: torch.randn(f.shape, generator=generator) / 4 for name, f in adapter.factors.items()}
    return Adapter(kind=kind, factors=factors, alpha=alpha)


def weight_of(kind: str, factors: Mapping[str, Tensor], shape: tuple[int, ...], alpha: float) -> Tensor:
    """The change of a weight as the papers write it."""
    match kind:
        case "lora":
            up, down = factors["up"].flatten(1), factors["down"].flatten(1)
            return (alpha / len(down) * up @ down).view(shape)
        case "loha":
            first = factors["hada_w1_a"] @ factors["hada_w1_b"]
            second = factors["hada_w2_a"] @ factors["hada_w2_b"]
            return (alpha / len(factors["hada_w1_b"]) * first * second).view(shape)
        case _:
            small, scale = factors["lokr_w1"], 1.0
            if "lokr_w2" in factors:
                large = factors["lokr_w2"]
            else:
                scale = alpha / len(factors["lokr_w2_b"])
                large = factors["lokr_w2_a"] @ factors["lokr_w2_b"]
            large = large.reshape(shape[0] // len(small), shape[1] // small.shape[1], *shape[2:])
            return (scale * torch.einsum("ab,cd...->acbd...", small, large)).reshape(shape)


def changed_layer(layer: nn.Module, weight: Tensor, inputs: Tensor) -> Tensor:
    match layer:
        case nn.Conv2d():
            return F.conv2d(inputs, weight, layer.bias, layer.stride, layer.padding)
        case nn.Conv3d():
            return F.conv3d(inputs, weight, layer.bias, layer.stride, layer.padding)
        case _:
            return F.linear(inputs, weight, layer.bias)


def frozen(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, size = LAYERS[name]
    return build().double().requires_grad_(False), torch.randn(size, dtype=torch.float64)


@pytest.mark.parametrize("rank", RANKS.values(), ids=RANKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_the_changed_weight(name: str, kind: AdapterKind, rank: int):
    layer, inputs = frozen(name)
    weight = layer.get_parameter("weight")
    shape = tuple(weight.shape)
    module = LearningModule(layer, filled(kind, shape, rank)).double()
    own, other = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    factors = {name: p.detach().clone().requires_grad_() for name, p in module.factors().items()}
    outputs = module(own)
    expected = changed_layer(layer, weight + weight_of(kind, factors, shape, 3.0), other)
    assert (outputs - expected).abs().max() < EXACT
    towards = torch.randn_like(outputs)
    outputs.backward(towards)
    expected.backward(towards)
    assert (own.grad - other.grad).abs().max() < EXACT
    for factor, parameter in module.factors().items():
        assert (parameter.grad - factors[factor].grad).abs().max() < EXACT, factor
        assert parameter.grad.abs().max() > 0
    assert weight.grad is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_autocast", [False, True], ids=["bfloat16", "autocast"])
def test_the_inputs_number_format_is_computed_in(kind: AdapterKind, is_autocast: bool):
    torch.manual_seed(0)
    layer = nn.Linear(12, 18).requires_grad_(False)
    inputs = torch.randn(3, 12)
    adapter = filled(kind, (18, 12), 2)
    exact = LearningModule(layer, adapter)(inputs)
    if is_autocast:
        module = LearningModule(layer, adapter)
        with torch.autocast("cpu", torch.bfloat16):
            rough = module(inputs)
    else:
        module = LearningModule(layer.to(torch.bfloat16), adapter)
        rough = module(inputs.bfloat16())
    rough.sum().backward()
    assert rough.dtype == torch.bfloat16
    # Eight bits of mantissa, sums of a dozen products.
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()
    assert all(each.grad.dtype == each.dtype == torch.float32 for each in module.factors().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_adapter_changes_nothing_and_can_learn(kind: AdapterKind):
    layer, inputs = frozen("linear")
    adapter = initial_adapter(kind, (18, 12), FactorSizes(rank=2, alpha=2.0), seed=5, name="a")
    module = LearningModule(layer, adapter).double()
    outputs = module(inputs)
    assert torch.equal(outputs, layer(inputs))
    outputs.sum().backward()
    assert any(each.grad.abs().max() > 0 for each in module.factors().values())


@pytest.mark.parametrize("kind", KINDS)
def test_first_values_follow_from_seed_and_name_alone(kind: AdapterKind):
    def made(seed: int, name: str) -> dict[str, Tensor]:
        torch.rand(seed)  # whatever else is drawn
        sizes = FactorSizes(rank=2, alpha=1.0)
        return dict(initial_adapter(kind, (18, 12), sizes, seed=seed, name=name).factors)

    first, again, other, elsewhere = made(3, "a"), made(3, "a"), made(4, "a"), made(3, "b")
    assert all(torch.equal(first[name], again[name]) for name in first)
    for strange in (other, elsewhere):
        assert any(not torch.equal(first[name], strange[name]) for name in first)


def test_the_down_matrix_is_uniform_within_one_over_the_root_of_its_inputs():
    """kaiming_uniform with a = sqrt(5), specs: FramePack 7.1."""
    sizes = FactorSizes(rank=64, alpha=64.0)
    factors = initial_adapter("lora", (8, 400), sizes, seed=0, name="a").factors
    assert factors["up"].abs().max() == 0
    assert 0.045 < factors["down"].abs().max() <= 1 / 20
    assert factors["down"].std() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        (127, -1, (1, 127)),
        (128, -1, (8, 16)),
        (128, 16, (8, 16)),
        (250, 8, (5, 50)),
        (360, 4, (4, 90)),
        (360, -1, (18, 20)),
        (1024, -1, (32, 32)),
        (12, 6, (2, 6)),
    ],
)
def test_sides_of_kronecker_products(size: int, factor: int, expected: tuple[int, int]):
    assert divided(size, factor) == expected


def dropped(kind: AdapterKind, dropouts: Dropouts, times: int) -> tuple[Tensor, Tensor]:
    """What an adapter adds in training, many times, and without dropout."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 26).requires_grad_(False)
    inputs = torch.randn(2, 3, 12)
    module = LearningModule(layer, filled(kind, (26, 12), 2), dropouts)
    module.eval()
    with torch.no_grad():
        plain = module(inputs) - layer(inputs)
        module.train()
        return torch.stack([module(inputs) - layer(inputs) for _ in range(times)]), plain


@pytest.mark.parametrize(
    ("kind", "dropouts", "strength"),
    [
        ("lora", Dropouts(values=0.3), 1.0),
        ("lora", Dropouts(ranks=0.3), 1.0),
        ("loha", Dropouts(ranks=0.3), 1.0),
        ("lokr", Dropouts(ranks=0.3), 1.0),
        ("lora", Dropouts(modules=0.3), 0.7),
        ("loha", Dropouts(modules=0.3), 0.7),
        ("lokr", Dropouts(modules=0.3), 0.7),
    ],
    ids=str,
)
def test_what_is_dropped_is_made_up_for_on_average(kind: AdapterKind, dropouts: Dropouts, strength: float):
    drawn, plain = dropped(kind, dropouts, 2000)
    assert drawn.std(0).max() > 0.01
    # The average of 2000 draws lies within five of its standard errors.
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - strength * plain).abs() <= 5 * error + 1e-6).all()


def test_whole_adapters_are_left_out_or_not_changed():
    drawn, plain = dropped("lora", Dropouts(modules=0.5), 20)
    kinds = {bool(each.abs().max() < 1e-6): each for each in drawn}
    assert set(kinds) == {True, False}
    assert (kinds[False] - plain).abs().max() < 1e-6


def test_a_module_that_is_left_out_still_has_gradients():
    """Processes that train together wait for those of each parameter."""
    layer, inputs = frozen("linear")
    module = LearningModule(layer, filled("lora", (18, 12), 2), Dropouts(modules=0.99)).double()
    torch.manual_seed(0)
    module(inputs).sum().backward()
    assert all(each.grad.abs().max() == 0 for each in module.factors().values())


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_follows_the_global_generator(kind: AdapterKind):
    layer, inputs = frozen("linear")
    module = LearningModule(layer, filled(kind, (18, 12), 2), Dropouts(ranks=0.5)).double()

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return module(inputs)

    assert torch.equal(drawn(1), drawn(1))
    assert any(not torch.equal(drawn(1), drawn(seed)) for seed in range(2, 8))


def kept_bytes(module: nn.Module, inputs: Tensor) -> int:
    """What autograd keeps for the backward pass beside parameters and the inputs, each storage once."""
    known = {each.untyped_storage().data_ptr() for each in (*module.parameters(), inputs)}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = module(inputs)
    assert kept.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_backward_pass_keeps_nothing_of_the_size_of_weights_or_outputs(kind: AdapterKind):
    layer = nn.Linear(96, 128).requires_grad_(False)
    inputs = torch.randn(50, 96, requires_grad=True)
    module = LearningModule(layer, filled(kind, (128, 96), 2))
    # LoRA keeps what is between its matrices, two numbers for each of 50 rows.
    assert kept_bytes(module, inputs) <= 50 * 2 * 4


def test_it_can_be_switched_off():
    layer, inputs = frozen("linear")
    module = LearningModule(layer, filled("loha", (18, 12), 2)).double()
    module.is_active = False
    assert torch.equal(module(inputs), layer(inputs))


def test_convolutions_of_groups_are_refused():
    with pytest.raises(ValueError, match="groups"):
        LearningModule(nn.Conv2d(4, 4, 3, groups=2), filled("lora", (4, 2, 3, 3), 2))
