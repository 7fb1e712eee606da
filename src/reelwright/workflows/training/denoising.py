"""A denoiser's task: to answer what its objective asks about a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reelwright.protocols.training import Batch, Example, Losses, Objective


@dataclass(frozen=True, kw_only=True)
class DenoiserTask:
    """The weighted mean squared error of answers."""

    objective: Objective

    def losses(self, network: nn.Module, batch: Batch, _number: int, /) -> Losses:
        example = _packed(self.objective, batch) if batch.parts else self.objective.example(batch)
        errors_B = errors_of(network, example)
        return Losses(
            total=(errors_B * example.weight_B).sum(), level_B=example.level_B, errors_B=errors_B.detach()
        )


def errors_of(denoiser: nn.Module, example: Example) -> Tensor:
    """The mean squared error of each item of a batch, float32 [B], unweighted."""
    prediction = denoiser(example.noisy_BCTHW, example.timestep_B, example.conditions)
    target = example.target_BCTHW
    if isinstance(target, Tensor):
        return _mean_squares(prediction, target)
    return torch.cat([_mean_squares(*pair) for pair in zip(prediction, target, strict=True)])


def _mean_squares(prediction_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    return (prediction_BCTHW.float() - target_BCTHW).square().flatten(1).mean(1)


def _packed(objective: Objective, batch: Batch) -> Example:
    """What is asked about a pack: of each item, what would be asked if it were alone."""
    examples = [objective.example(part) for part in batch.parts]
    return Example(
        noisy_BCTHW=[_single(each.noisy_BCTHW) for each in examples],
        timestep_B=torch.cat([each.timestep_B for each in examples]),
        conditions=[each.conditions for each in examples],
        target_BCTHW=[_single(each.target_BCTHW) for each in examples],
        weight_B=torch.cat([each.weight_B for each in examples]),
        level_B=torch.cat([each.level_B for each in examples]),
    )


def _single(latents: Tensor | list[Tensor]) -> Tensor:
    assert isinstance(latents, Tensor)
    return latents
