"""The game of an autoencoder and its discriminator: what each of them wants, and how much it counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss:
    """Of scores, whatever their shape: high for what is taken for a clip."""

    discriminate: Callable[[Tensor, Tensor], Tensor]
    """(scores of clips, scores of reconstructions) to the discriminator's loss."""
    deceive: Callable[[Tensor], Tensor]
    """Scores of reconstructions to the autoencoder's loss."""


def balance(reconstruction: Tensor, deception: Tensor, last_layer: nn.Parameter, limit: float) -> Tensor:
    """How much larger the first loss's gradient is than the second's at a layer, at most `limit`.

    As in VQGAN (arXiv 2012.09841, eq. 7). 0 where that says nothing: the second has no gradient, or one of
    them is not finite.
    """
    wanted = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0].norm()
    deceived = torch.autograd.grad(deception, last_layer, retain_graph=True)[0].norm()
    ratio = (wanted / deceived).clamp(max=limit)
    says_something = (deceived > 0) & torch.isfinite(wanted) & torch.isfinite(deceived)
    return torch.where(says_something, ratio, torch.zeros_like(ratio))


def _hinge(real: Tensor, made: Tensor) -> Tensor:
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + made).mean())


def _cross_entropy(real: Tensor, made: Tensor) -> Tensor:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(made).mean())


def _minus_mean(made: Tensor) -> Tensor:
    return -made.mean()


ADVERSARIAL_LOSSES: Mapping[str, AdversarialLoss] = MappingProxyType(
    {
        "hinge": AdversarialLoss(discriminate=_hinge, deceive=_minus_mean),
        "vanilla": AdversarialLoss(discriminate=_cross_entropy, deceive=_minus_mean),
    }
)
