"""Blocks that keep only their inputs for the backward pass."""

import pytest
import torch
from torch import Tensor, nn

from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.execution.activation_checkpoint import checkpoint_blocks
from reelwright.execution.prepare import prepare
from reelwright.execution.stacks import stacks_of
from reelwright.protocols.train_configs import AdapterConfig, TrainExecutionConfig

from .lora_networks import SUBJECTS
from .training_questions import QUESTIONS, error

FAMILIES = sorted(SUBJECTS)


def _learning(family: str, method: str, *, before: str = "") -> nn.Module:
    """A denoiser with something that learns, its blocks checkpointed before or after adapters go in."""
    network = SUBJECTS[family].build().requires_grad_(method == "full").train()
    if before == "adapters":
        _checkpoint(network)
    if method in ("lora", "loha", "lokr"):
        dropout = 0.3 if method == "lora" else 0.0
        config = AdapterConfig(rank=2, dropout=dropout, targets="all")
        trainables = adapter_trainables(
            network, SUBJECTS[family].targets, config, method, layout="native", dtype=torch.float32, seed=1
        )
        # Those that begin with zeros, and stop all gradients.
        for parameter in trainables.tensors().values():
            if not parameter.any():
                nn.init.normal_(parameter)
    return network


def _checkpoint(network: nn.Module, *, offload: bool = False) -> None:
    for stack in stacks_of(network):
        checkpoint_blocks(stack, offload=offload)


def _gradients(network: nn.Module, family: str) -> dict[str, Tensor]:
    torch.manual_seed(7)
    error(network, QUESTIONS[family](0)).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("offload", [False, True], ids=["kept", "offloaded"])
@pytest.mark.parametrize("method", ["lora", "lokr", "loha", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same_to_the_bit(family: str, method: str, offload: bool) -> None:
    expected = _gradients(_learning(family, method), family)
    network = _learning(family, method)
    names = list(network.state_dict())
    _checkpoint(network, offload=offload)
    gradients = _gradients(network, family)
    assert list(network.state_dict()) == names
    assert gradients.keys() == expected.keys()
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_may_be_put_in_afterwards(family: str) -> None:
    expected = _gradients(_learning(family, "lora"), family)
    gradients = _gradients(_learning(family, "lora", before="adapters"), family)
    assert all(torch.equal(gradients[name], expected[name]) for name in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept_for_the_backward_pass(family: str) -> None:
    def kept(network: nn.Module) -> int:
        held: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            error(network, QUESTIONS[family](0))
        weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
        return sum(size for place, size in held.items() if place not in weights)

    network = _learning(family, "lora")
    before = kept(network)
    _checkpoint(network)
    assert kept(network) < before / 2


def test_nothing_is_computed_twice_without_gradients() -> None:
    network = _learning("cogvideox", "lora")
    calls: list[nn.Module] = []
    network.get_submodule("blocks.0.attention").register_forward_hook(lambda module, *_: calls.append(module))
    _checkpoint(network)
    with torch.no_grad():
        error(network, QUESTIONS["cogvideox"](0))
    assert len(calls) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_offloaded_inputs_leave_the_gpu() -> None:
    kept: dict[bool, int] = {}
    for offload in (False, True):
        stack = nn.ModuleList(nn.Sequential(nn.Linear(256, 256), nn.GELU()) for _ in range(8)).cuda()
        checkpoint_blocks(stack, offload=offload)
        tokens = torch.randn(4096, 256, device="cuda", requires_grad=True)
        before = torch.cuda.memory_allocated()
        for block in stack:
            tokens = block(tokens)
        kept[offload] = torch.cuda.memory_allocated() - before
        tokens.sum().backward()
    assert kept[True] < kept[False] / 2


@pytest.mark.parametrize("method", ["lora", "loha", "lokr"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_learn_beside_weights_in_8_bits(family: str, method: str) -> None:
    network = SUBJECTS[family].build()
    execution = TrainExecutionConfig(fp8=True, activation_checkpoint=True)
    cpu = torch.device("cpu")
    prepare(network, execution, lambda name: "modulation" not in name, dtype=torch.float32, device=cpu)
    config = AdapterConfig(rank=2)
    trainables = adapter_trainables(
        network, SUBJECTS[family].targets, config, method, layout="native", dtype=torch.float32, seed=1
    )
    assert _gradients(network, family).keys() == trainables.tensors().keys()
    assert trainables.change() == pytest.approx(0.0)
