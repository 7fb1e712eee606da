"""What an autoencoder and its discriminator are told to become better at (arXiv 2408.06072).

Nothing here is drawn: the same clips at the same step have the same losses. All losses are means over pixel
values, so that their balance does not depend on the size of clips.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder_train_configs import DiscriminatorConfig, LossConfig
from reelwright.workflows.autoencoder_training.adversarial import ADVERSARIAL_LOSSES, balance

Losses = tuple[Tensor, dict[str, float]]
"""What to follow the gradient of, and its parts, before weights, for metrics."""


class AutoencoderLosses:
    """What there is to minimize, given the networks that judge.

    discriminator: clips to scores of any shape. perceptual: pictures and pictures, with values in [-1, 1], to
    distances [B]. Either may be None, where its weight is 0.
    """

    def __init__(
        self,
        config: LossConfig,
        discriminator_config: DiscriminatorConfig,
        discriminator: nn.Module | None,
        perceptual: nn.Module | None,
    ) -> None:
        self._config = config
        self._discriminator_config = discriminator_config
        self._discriminator = discriminator
        self._perceptual = perceptual
        self._adversarial = ADVERSARIAL_LOSSES[discriminator_config.kind]

    def is_adversarial(self, step: int) -> bool:
        """Whether the warm-up is over, so that the discriminator learns and is to be deceived."""
        return self._discriminator is not None and step >= self._discriminator_config.start

    def generator(
        self,
        pixels_BCFHW: Tensor,
        reconstruction_BCFHW: Tensor,
        posterior: Posterior,
        step: int,
        last_layer: nn.Parameter,
    ) -> Losses:
        """The autoencoder's loss. `last_layer`: the weights of its last convolution, to weigh gradients by.

        No gradient reaches the discriminator.
        """
        parts = self._reconstruction(pixels_BCFHW, reconstruction_BCFHW, step)
        weights = {"l1": self._config.l1, "l2": self._config.l2, "perceptual": self._config.perceptual}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        if self._discriminator is not None and self.is_adversarial(step):
            with _held(self._discriminator):
                parts["deception"] = self._adversarial.deceive(self._discriminator(reconstruction_BCFHW))
            ratio = balance(total, parts["deception"], last_layer, self._discriminator_config.adaptive_limit)
            parts["adaptive_weight"] = ratio
            total = total + self._discriminator_config.weight * ratio * parts["deception"]
        parts["kl"] = posterior.kl_divergence().mean() / pixels_BCFHW[0].numel()
        return total + self._config.kl * parts["kl"], _numbers(parts)

    def discriminator_loss(self, pixels_BCFHW: Tensor, reconstruction_BCFHW: Tensor, step: int) -> Losses:
        """The discriminator's loss, which has no gradient in the autoencoder; 0 during the warm-up.

        Raises ValueError if there is no discriminator.
        """
        if self._discriminator is None:
            raise ValueError("there is no discriminator to train")
        if not self.is_adversarial(step):
            return pixels_BCFHW.new_zeros(()), {}
        # Both at once, so that what is shared between processes is shared once.
        scores = self._discriminator(torch.cat([pixels_BCFHW, reconstruction_BCFHW.detach()]))
        real, made = scores.chunk(2)
        loss = self._adversarial.discriminate(real, made)
        parts = {"discriminator": loss, "score_of_clips": real.mean(), "score_of_copies": made.mean()}
        return loss, _numbers(parts)

    def _reconstruction(
        self, pixels_BCFHW: Tensor, reconstruction_BCFHW: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Before weights, without those whose weight is 0, but for one that is always shown."""
        difference = pixels_BCFHW - reconstruction_BCFHW
        parts = {"l1": difference.abs().mean()}
        if self._config.l2:
            parts["l2"] = difference.square().mean()
        if self._perceptual is not None:
            frames = seen_frames(pixels_BCFHW.shape[2], self._config.perceptual_frames, step)
            pictures, copies = (
                clips[:, :, frames].transpose(1, 2).flatten(0, 1)
                for clips in (pixels_BCFHW, reconstruction_BCFHW)
            )
            parts["perceptual"] = self._perceptual(pictures, copies).mean()
        return parts


def seen_frames(num_frames: int, wanted: int, step: int) -> list[int]:
    """Which frames of a clip are looked at: evenly spread, moving on with each step; `wanted` 0 takes all.

    In as many steps as one of them stands for frames, all frames are seen.
    """
    if not 0 < wanted < num_frames:
        return list(range(num_frames))
    return sorted((index * num_frames // wanted + step) % num_frames for index in range(wanted))


@contextmanager
def _held(network: nn.Module) -> Generator[None]:
    """Gradients go through the network, and none into it."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad = True


def _numbers(parts: dict[str, Tensor]) -> dict[str, float]:
    names = list(parts)
    values: list[float] = torch.stack([parts[name].detach().float() for name in names]).tolist()
    return dict(zip(names, values, strict=True))
