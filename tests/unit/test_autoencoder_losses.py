"""Losses and their gradients against formulas written once more here, in float64."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.nn.discriminator import Discriminator
from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder_train_configs import DiscriminatorConfig, LossConfig
from reelwright.workflows.autoencoder_training.losses import AutoencoderLosses, seen_frames

SHAPE = (2, 3, 5, 8, 8)
NUM_VALUES = 3 * 5 * 8 * 8
ADVERSARIAL = DiscriminatorConfig(weight=0.5, start=10)


class TwoLayers(nn.Module):
    """Pixels to moments and back: as little as an autoencoder can be."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encode = nn.Conv3d(3, 4, 1).double()
        self.decode = nn.Conv3d(2, 3, 1).double()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Posterior]:
        posterior = Posterior(self.encode(pixels))
        return self.decode(posterior.mean), posterior


class MeanDistance(nn.Module):
    """A perceptual distance that can be computed by hand."""

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        return (pictures.mean(dim=(2, 3)) - others.mean(dim=(2, 3))).square().sum(1)


def pixels(seed: int = 1) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def small_discriminator() -> Discriminator:
    torch.manual_seed(3)
    return Discriminator(4, num_stages=2, num_clip_stages=1).double()


def losses(
    config: LossConfig,
    adversarial: DiscriminatorConfig = ADVERSARIAL,
    discriminator: nn.Module | None = None,
    perceptual: nn.Module | None = None,
) -> AutoencoderLosses:
    return AutoencoderLosses(config, adversarial, discriminator, perceptual)


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True))


def assert_same(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def generator_loss(
    judge: AutoencoderLosses, network: TwoLayers, step: int
) -> tuple[Tensor, dict[str, float]]:
    reconstruction, posterior = network(pixels())
    return judge.generator(pixels(), reconstruction, posterior, step, network.decode.weight)


def written_out(network: TwoLayers, l1: float, l2: float, kl: float) -> Tensor:
    reconstruction, _ = network(pixels())
    mean, log_variance = network.encode(pixels()).split(2, dim=1)
    divergence = -0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum() / SHAPE[0]
    error = reconstruction - pixels()
    return l1 * error.abs().mean() + l2 * (error**2).mean() + kl * divergence / NUM_VALUES


def test_reconstruction_and_divergence_and_their_gradients_are_as_written_out():
    network = TwoLayers()

    loss, parts = generator_loss(losses(LossConfig(l1=0.7, l2=2.0, kl=0.1)), network, step=0)

    expected = written_out(network, 0.7, 2.0, 0.1)
    torch.testing.assert_close(loss, expected)
    assert_same(gradients(loss, network), gradients(expected, network))
    assert set(parts) == {"l1", "l2", "kl"}
    assert 0.7 * parts["l1"] + 2.0 * parts["l2"] + 0.1 * parts["kl"] == pytest.approx(loss.item())


def test_the_balance_of_losses_does_not_depend_on_the_size_of_a_clip():
    network, judge = TwoLayers(), losses(LossConfig(kl=0.1))
    larger = pixels().repeat(1, 1, 1, 2, 2)
    reconstruction, posterior = network(larger)

    loss, _ = judge.generator(larger, reconstruction, posterior, 0, network.decode.weight)

    torch.testing.assert_close(loss, generator_loss(judge, network, step=0)[0])


@pytest.mark.parametrize("step", [0, 9])
def test_there_is_no_game_during_the_warm_up(step: int):
    network, discriminator = TwoLayers(), small_discriminator()
    judge = losses(LossConfig(), discriminator=discriminator)

    loss, parts = generator_loss(judge, network, step)
    game, game_parts = judge.discriminator_loss(pixels(), pixels(2), step)

    torch.testing.assert_close(loss, written_out(network, 1.0, 0.0, 1e-6))
    assert "deception" not in parts
    assert game.item() == 0 and game_parts == {} and not judge.is_adversarial(step)


@pytest.mark.parametrize("step", [10, 11, 1000])
def test_after_the_warm_up_the_gradients_at_the_last_layer_are_balanced(step: int):
    network, discriminator = TwoLayers(), small_discriminator()
    judge = losses(LossConfig(l1=1.0, l2=0.5), discriminator=discriminator)

    loss, parts = generator_loss(judge, network, step)

    reconstruction, _ = network(pixels())
    likelihood = written_out(network, 1.0, 0.5, 0.0)
    deception = -discriminator(reconstruction).mean()
    last = network.decode.weight
    wanted, deceived = (
        torch.autograd.grad(part, last, retain_graph=True)[0].square().sum().sqrt()
        for part in (likelihood, deception)
    )
    ratio = wanted / deceived
    expected = written_out(network, 1.0, 0.5, 1e-6) + 0.5 * ratio.detach() * deception
    torch.testing.assert_close(loss, expected)
    assert_same(gradients(loss, network), gradients(expected, network))
    assert parts["adaptive_weight"] == pytest.approx(ratio.item())
    # At the last layer both pull as hard as each other, but for the weight.
    pull = torch.autograd.grad(loss - written_out(network, 1.0, 0.5, 1e-6), last)[0]
    torch.testing.assert_close(pull.norm(), 0.5 * wanted)


def test_the_ratio_of_gradients_is_limited():
    network, discriminator = TwoLayers(), small_discriminator()
    weak = replace(ADVERSARIAL, adaptive_limit=1e-3)

    _, parts = generator_loss(losses(LossConfig(), weak, discriminator), network, step=10)

    assert parts["adaptive_weight"] == pytest.approx(1e-3)


class Constant(nn.Module):
    """A discriminator to which all clips are alike."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, clips: Tensor) -> Tensor:
        return self.value * (1 + 0 * clips.mean(dim=(1, 2, 3, 4)))


def test_a_discriminator_without_gradient_changes_nothing():
    network = TwoLayers()
    judge = losses(LossConfig(), discriminator=Constant(2.0))

    loss, parts = generator_loss(judge, network, step=10)

    assert parts["adaptive_weight"] == 0.0
    assert_same(gradients(loss, network), gradients(written_out(network, 1.0, 0.0, 1e-6), network))


def test_a_discriminator_that_ran_away_is_not_multiplied_but_shown():
    _, parts = generator_loss(
        losses(LossConfig(), discriminator=Constant(float("nan"))), TwoLayers(), step=10
    )

    assert parts["adaptive_weight"] == 0.0
    assert parts["deception"] != parts["deception"]


def test_a_perfect_reconstruction_is_left_alone():
    network, discriminator = TwoLayers(), small_discriminator()
    reconstruction, posterior = network(pixels())
    judge = losses(LossConfig(), discriminator=discriminator)

    loss, parts = judge.generator(
        reconstruction.detach(), reconstruction, posterior, 10, network.decode.weight
    )

    assert parts["adaptive_weight"] == 0.0 and loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(loss, network))


def test_deceiving_leaves_no_gradient_in_the_discriminator():
    network, discriminator = TwoLayers(), small_discriminator()

    generator_loss(losses(LossConfig(), discriminator=discriminator), network, step=10)[0].backward()

    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(parameter.requires_grad for parameter in discriminator.parameters())
    assert all(parameter.grad is not None for parameter in network.parameters())


def written_game(kind: str, real: Tensor, made: Tensor) -> Tensor:
    if kind == "hinge":
        return (torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + made, min=0).mean()) / 2
    return (-torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(made)).log().mean()) / 2


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_the_discriminators_loss_and_its_gradients_are_as_written_out(kind: str):
    discriminator = small_discriminator()
    chosen = replace(ADVERSARIAL, kind=cast(Literal["hinge", "vanilla"], kind))
    copies = pixels(2).requires_grad_()

    loss, parts = losses(LossConfig(), chosen, discriminator).discriminator_loss(pixels(), copies, 10)

    real, made = discriminator(pixels()), discriminator(copies.detach())
    expected = written_game(kind, real, made)
    torch.testing.assert_close(loss, expected)
    assert_same(gradients(loss, discriminator), gradients(expected, discriminator))
    loss.backward()
    assert copies.grad is None
    assert parts["score_of_clips"] == pytest.approx(real.mean().item())
    assert parts["score_of_copies"] == pytest.approx(made.mean().item())


def test_both_learn_against_each_other():
    network, discriminator = TwoLayers(), small_discriminator()
    judge = losses(LossConfig(), discriminator=discriminator)
    learning = torch.optim.Adam(discriminator.parameters(), lr=1e-2)

    def play() -> float:
        loss, _ = judge.discriminator_loss(pixels(), network(pixels())[0], 10)
        learning.zero_grad()
        loss.backward()
        learning.step()
        return loss.item()

    course = [play() for _ in range(12)]

    assert course[-1] < 0.8 * course[0]


def test_there_is_no_discriminators_loss_without_one():
    with pytest.raises(ValueError, match="no discriminator"):
        losses(LossConfig()).discriminator_loss(pixels(), pixels(2), 10)


@pytest.mark.parametrize("wanted", [0, 2, 5])
def test_perceptual_distances_are_means_over_the_frames_looked_at(wanted: int):
    network = TwoLayers()
    config = LossConfig(perceptual=0.3, perceptual_frames=wanted)

    loss, parts = generator_loss(losses(config, perceptual=MeanDistance()), network, step=1)

    seen = {0: [0, 1, 2, 3, 4], 2: [1, 3], 5: [0, 1, 2, 3, 4]}[wanted]
    means = (pixels() - network(pixels())[0]).mean(dim=(3, 4))[:, :, seen]
    distance = means.square().sum(1).mean()
    expected = written_out(network, 1.0, 0.0, 1e-6) + 0.3 * distance
    torch.testing.assert_close(loss, expected)
    assert_same(gradients(loss, network), gradients(expected, network))
    assert parts["perceptual"] == pytest.approx(distance.item())


@pytest.mark.parametrize("num_frames", [1, 9, 17])
@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_every_frame_is_looked_at_sooner_or_later(num_frames: int, wanted: int):
    steps = [seen_frames(num_frames, wanted, step) for step in range(-(-num_frames // wanted))]

    assert {frame for frames in steps for frame in frames} == set(range(num_frames))
    assert all(len(set(frames)) == min(wanted, num_frames) for frames in steps)


def test_losses_follow_from_clips_and_step_alone():
    network, discriminator = TwoLayers(), small_discriminator()
    config = LossConfig(perceptual=1.0, perceptual_frames=2)
    judge = losses(config, discriminator=discriminator, perceptual=MeanDistance())
    first = generator_loss(judge, network, step=20)
    torch.manual_seed(12345)
    F.dropout(torch.ones(10))

    again = generator_loss(losses(config, ADVERSARIAL, discriminator, MeanDistance()), network, step=20)

    assert torch.equal(first[0], again[0]) and first[1] == again[1]
