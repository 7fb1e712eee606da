"""What a variational encoder says of a clip: not its latents, but where they lie."""

import torch
from torch import Tensor


class Posterior:
    """A diagonal Gaussian over latents."""

    def __init__(self, moments_BCTHW: Tensor) -> None:
        self.mean, log_variance = moments_BCTHW.chunk(2, dim=1)
        self.log_variance = log_variance.clamp(-30.0, 20.0)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.at(torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype))

    def at(self, noise_BCTHW: Tensor) -> Tensor:
        """The latents that unit noise stands for."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise_BCTHW.to(self.mean.device)

    def kl_divergence(self) -> Tensor:
        """Divergence from the unit Gaussian, summed over all dimensions but the batch. Returns [B]."""
        terms = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.flatten(1).sum(dim=1)
