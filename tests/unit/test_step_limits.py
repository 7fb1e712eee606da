"""The limit of gradients in a step, by hand: losses are linear, so their gradients are known."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from reelwright.protocols.training import Batch, Losses, ParameterGroup
from reelwright.workflows.training.setting import Setting, StepResult
from reelwright.workflows.training.step import Stepper


class Slopes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(2))
        self.opponent = nn.Parameter(torch.zeros(1))


def take(slopes: Slopes, own: tuple[float, float], opponent: float, limit: float) -> StepResult:
    """One step of gradient descent at a rate of 1 on a loss with these slopes."""

    def losses(network: nn.Module, batch: Batch, number: int, /) -> Losses:
        return Losses(total=(slopes.own * torch.tensor(own)).sum() + slopes.opponent.sum() * opponent)

    accelerator = Accelerator(cpu=True)
    optimizer = cast("torch.optim.Optimizer", accelerator.prepare(torch.optim.SGD(slopes.parameters(), lr=1)))
    groups = [
        ParameterGroup(name="own", parameters={"own": slopes.own}),
        ParameterGroup(name="other", parameters={"opponent": slopes.opponent}, is_opponent=True),
    ]
    setting: Any = SimpleNamespace(
        accelerator=accelerator,
        config=SimpleNamespace(seed=1, optimizer=SimpleNamespace(max_grad_norm=limit)),
        network=slopes,
        task=SimpleNamespace(losses=losses),
        trainables=SimpleNamespace(groups=lambda: groups, after_step=lambda: None),
        num_sharing=1,
    )
    batch: Any = SimpleNamespace(names=["a"], fill=1.0, parts=())
    return Stepper(setting=cast("Setting", setting), optimizer=optimizer, schedule=None).take([batch], 1)


@pytest.mark.parametrize(
    ("own", "opponent", "limit", "moved"),
    [
        ((3.0, 4.0), 0.5, 1.0, (0.6, 0.8, 0.5)),
        ((0.3, 0.4), 20.0, 1.0, (0.3, 0.4, 1.0)),
        ((3.0, 4.0), 20.0, 0.0, (3.0, 4.0, 20.0)),
    ],
    ids=["own", "opponent", "none"],
)
def test_an_opponents_gradients_are_limited_by_themselves(
    own: tuple[float, float], opponent: float, limit: float, moved: tuple[float, ...]
):
    slopes = Slopes()
    result = take(slopes, own, opponent, limit)
    assert (-slopes.own).tolist() == pytest.approx(moved[:2], abs=1e-5)
    assert (-slopes.opponent).tolist() == pytest.approx(moved[2:], abs=1e-5)
    assert result.gradient_norm == pytest.approx((own[0] ** 2 + own[1] ** 2) ** 0.5)
    assert result.parts == {"other_gradient_norm": pytest.approx(opponent)}
