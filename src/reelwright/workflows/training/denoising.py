"""A denoiser's task: to answer what its objective asks about a batch."""

from dataclasses import dataclass

from torch import Tensor, nn

from reelwright.protocols.training import Batch, Example, Losses, Objective


@dataclass(frozen=True, kw_only=True)
class DenoiserTask:
    """The weighted mean squared error of answers."""

    objective: Objective

    def losses(self, network: nn.Module, batch: Batch, _number: int, /) -> Losses:
        example = self.objective.example(batch)
        errors_B = errors_of(network, example)
        return Losses(
            total=(errors_B * example.weight_B).sum(), level_B=example.level_B, errors_B=errors_B.detach()
        )


def errors_of(denoiser: nn.Module, example: Example) -> Tensor:
    """The mean squared error of each item of a batch, float32 [B], unweighted."""
    prediction = denoiser(example.noisy_BCTHW, example.timestep_B, example.conditions)
    return (prediction.float() - example.target_BCTHW).square().flatten(1).mean(1)
