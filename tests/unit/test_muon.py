"""Muon: its step is torch's within rounding, its update is orthogonal, and each layer has its optimizer."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import OptimizerConfig
from reelwright.protocols.training import ParameterGroup
from reelwright.workflows.training.muon import orthogonalized
from reelwright.workflows.training.optimizers import check_optimizer, make_optimizer

SHAPES = {"square": (48, 48), "tall": (96, 32), "wide": (32, 96)}


def drawn(shape: Sequence[int], seed: int = 0) -> torch.Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def muon(
    parameters: dict[str, nn.Parameter], *arguments: str, edges: Sequence[str] = ()
) -> torch.optim.Optimizer:
    config = OptimizerConfig(name="muon", learning_rate=0.02, arguments=arguments)
    return make_optimizer(config, [ParameterGroup(name="all", parameters=parameters, edges=frozenset(edges))])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_orthogonalized_matrices_keep_their_directions_and_have_singular_values_near_1(shape):
    matrix = drawn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    # In the bases of the singular vectors the result is diagonal: nothing was turned.
    inside = left.mT @ orthogonalized(matrix) @ right.mT
    values = inside.diagonal()
    assert (inside - values.diag()).abs().max() < 1e-4
    # Random square matrices have singular values near 0, which five rounds do not lift; 0 has no direction.
    kept = values if shape[0] != shape[1] else values[:-1]
    assert kept.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_steps_are_those_of_torch_but_for_its_rounding_to_bfloat16(shape):
    start, gradients = drawn(shape), [drawn(shape, seed) for seed in (1, 2)]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        muon({"weight": ours}, "weight_decay=0.3"),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
    )
    for gradient in gradients:
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    change = theirs - start
    # bfloat16 has 8 binary digits, and five rounds add up their errors.
    assert (ours - theirs).norm() < 0.03 * change.norm()


def test_what_was_learned_is_the_same_in_float32_whatever_the_scale_of_the_gradients():
    small, large = (orthogonalized(scale * drawn((24, 40))) for scale in (1e-4, 1e4))
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-5)


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalized(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_kernels_of_convolutions_are_matrices_if_the_user_says_so():
    kernel, matrix = (nn.Parameter(drawn((16, 4, 3, 3, 3))) for _ in range(2))
    flat = nn.Parameter(matrix.detach().flatten(1).clone())
    for parameter, optimizer in (
        (kernel, muon({"kernel": kernel})),
        (matrix, muon({"kernel": matrix}, "flatten=true")),
        (flat, muon({"flat": flat})),
    ):
        parameter.grad = drawn(parameter.shape, seed=4)
        optimizer.step()
    assert torch.equal(matrix.flatten(1), flat)
    assert not torch.allclose(kernel, matrix)


def test_first_and_last_layers_take_the_steps_of_adamw():
    edge, plain = (nn.Parameter(drawn((8, 8))) for _ in range(2))
    optimizer = muon({"first": edge, "inner": nn.Parameter(drawn((8, 8)))}, edges=["first"])
    other = torch.optim.AdamW([plain], lr=0.02, weight_decay=0.1)
    edge.grad, plain.grad = drawn((8, 8), seed=2), drawn((8, 8), seed=2)
    optimizer.step()
    other.step()
    torch.testing.assert_close(edge, plain)
    assert [group["name"] for group in optimizer.param_groups] == ["all", "all, not matrices"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [("momentum=1.5", "momentum: 1.5"), ("ns_step=0", "ns_step"), ("betas=2,3", "Invalid beta")],
    ids=["momentum", "name", "betas"],
)
def test_arguments_that_it_cannot_use_are_refused(argument, said):
    config = OptimizerConfig(name="muon", arguments=(argument,))
    with pytest.raises(ConfigError, match=said):
        make_optimizer(config, [ParameterGroup(name="a", parameters={"b": nn.Parameter(torch.zeros(2))})])
    assert check_optimizer(OptimizerConfig(name="muon", arguments=("nesterov=false", "flatten=true"))) == []
