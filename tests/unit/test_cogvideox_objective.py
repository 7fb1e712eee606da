"""What chance decides about items of CogVideoX: how often, how far, and that it is each item's own."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reelwright.core.errors import ConfigError, FileError
from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig, TransformerConfig
from reelwright.families.cogvideox.noising import chosen_timestep, loss_weight, timestep_range

from .cogvideox_batches import NOTHING_LEFT_OUT, batch_of, channels_of, objective_of

CONFIG = TransformerConfig(
    num_layers=1, num_attention_heads=1, text_embed_dim=4, max_text_seq_length=3, sample_frames=9
)
SECOND = replace(CONFIG, patch_size_t=2, use_rotary_positional_embeddings=True)
MANY = 1500


def items(count: int, **more: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"latents": torch.randn(count, 16, 3, 2, 2), "prompt_embeds": torch.rand(count, 3, 4) + 1, **more}


class Recorder:
    """An autoencoder that remembers the pixels it was given."""

    def encode_stream(self, chunks):
        (self.pixels,) = chunks
        count, _, _, height, width = self.pixels.shape
        yield torch.zeros(count, 32, 1, height // 8, width // 8)


def test_captions_and_conditions_are_left_out_as_often_as_asked_and_apart():
    settings = CogVideoXNoiseConfig(caption_dropout=0.1, condition_dropout=0.05)
    control = torch.ones(MANY, 16, 3, 2, 2)
    channels = channels_of(Layout.CONTROL, settings)
    objective = objective_of(replace(CONFIG, in_channels=32), settings, channels=channels)
    conditions = objective.example(batch_of(items(MANY, control_latents=control))).conditions
    captions = (conditions.text_BLD == 0).flatten(1).all(1)
    controls = (conditions.image_BCTHW == 0).flatten(1).all(1)
    for left_out, share in ((captions, 0.1), (controls, 0.05), (captions & controls, 0.005)):
        spread = math.sqrt(MANY * share * (1 - share))
        assert left_out.sum().item() == pytest.approx(MANY * share, abs=4 * spread)
    assert (conditions.text_BLD[~captions] >= 1).all()
    assert (conditions.image_BCTHW[~controls] == 1).all()


def test_the_empty_caption_can_stand_for_none():
    empty = torch.full((3, 4), -2.0)
    settings = CogVideoXNoiseConfig(caption_dropout=1.0, caption_dropout_to="empty")
    example = objective_of(CONFIG, settings, no_caption=empty).example(batch_of(items(2)))
    assert (example.conditions.text_BLD == empty).all()


def test_at_given_levels_nothing_is_left_out_or_weighted():
    settings = CogVideoXNoiseConfig(caption_dropout=1.0, condition_dropout=1.0, weighting="min_snr")
    channels = channels_of(Layout.CONTROL, settings)
    objective = objective_of(replace(CONFIG, in_channels=32), settings, channels=channels)
    batch = batch_of(items(3, control_latents=torch.ones(3, 16, 3, 2, 2)))
    example = objective.example(batch, torch.tensor([0.0, 0.1, 1.0]))
    assert example.timestep_B.tolist() == [0, 100, 999]
    assert example.level_B.tolist() == pytest.approx([0.0, 100 / 999, 1.0])
    assert (example.weight_B == 1).all()
    assert (example.conditions.text_BLD >= 1).all()
    assert (example.conditions.image_BCTHW == 1).all()
    again = objective.example(batch, torch.tensor([0.0, 0.1, 1.0]))
    assert torch.equal(example.noisy_BCTHW, again.noisy_BCTHW)


@pytest.mark.parametrize("config", [CONFIG, SECOND], ids=["1.0", "1.5"])
def test_an_item_is_the_same_alone_and_in_any_batch(config):
    channels = channels_of(Layout.IMAGE, space=Recorder(), is_noised=True)
    objective = objective_of(
        replace(config, in_channels=32), CogVideoXNoiseConfig(noise_offset=0.1), channels=channels
    )
    tensors = items(4, first_frame=torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8))
    together = objective.example(batch_of(tensors))
    for index in range(4):
        one = batch_of(
            {name: each[index : index + 1] for name, each in tensors.items()}, seeds=(100 + index,)
        )
        alone = objective.example(one)
        for field in ("noisy_BCTHW", "timestep_B", "target_BCTHW", "weight_B", "level_B"):
            assert torch.equal(getattr(alone, field)[0], getattr(together, field)[index])
        for field in ("text_BLD", "image_BCTHW"):
            assert torch.equal(
                getattr(alone.conditions, field)[0], getattr(together.conditions, field)[index]
            )


def test_one_option_does_not_change_what_others_draw():
    tensors = items(3)
    plain = objective_of(CONFIG).example(batch_of(tensors))
    dropped = objective_of(CONFIG, CogVideoXNoiseConfig(caption_dropout=1.0)).example(batch_of(tensors))
    assert torch.equal(plain.noisy_BCTHW, dropped.noisy_BCTHW)
    other = objective_of(CONFIG).example(batch_of(tensors, seeds=(1, 2, 3)))
    assert not torch.equal(plain.noisy_BCTHW, other.noisy_BCTHW)


def test_clips_and_noise_can_be_told_from_what_is_asked():
    tensors = items(8)
    example = objective_of(CONFIG).example(batch_of(tensors))
    share = objective_of(CONFIG).alphas[example.timestep_B].view(-1, 1, 1, 1, 1).float()
    noisy, velocity = example.noisy_BCTHW, example.target_BCTHW
    torch.testing.assert_close(share.sqrt() * noisy - (1 - share).sqrt() * velocity, tensors["latents"])
    noise = (1 - share).sqrt() * noisy + share.sqrt() * velocity
    assert abs(noise.mean()) < 4 / math.sqrt(noise.numel())
    assert noise.std() == pytest.approx(1, abs=4 / math.sqrt(2 * noise.numel()))


def test_the_strength_of_noise_on_images_is_log_normal():
    settings = replace(NOTHING_LEFT_OUT, image_noise_mean=-3.0, image_noise_std=0.5)
    recorder, count = Recorder(), 400
    channels = channels_of(Layout.IMAGE, settings, space=recorder, is_noised=True)
    picture = torch.full((count, 3, 16, 16), 51, dtype=torch.uint8)
    objective = objective_of(replace(CONFIG, in_channels=32), settings, channels=channels)
    objective.example(batch_of(items(count, first_frame=picture)))
    noise = (recorder.pixels - (51 / 255 * 2 - 1)).flatten(1)
    strengths = noise.square().mean(1).sqrt().log()
    assert strengths.mean() == pytest.approx(-3, abs=4 * 0.5 / math.sqrt(count))
    assert strengths.std() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2 * count))


def test_a_noise_offset_moves_all_of_a_channel():
    shape = {"latents": torch.zeros(1, 16, 3, 8, 8), "prompt_embeds": torch.ones(1, 3, 4)}
    plain = objective_of(CONFIG).example(batch_of(shape), torch.ones(1))
    moved = objective_of(CONFIG, replace(NOTHING_LEFT_OUT, noise_offset=0.5)).example(
        batch_of(shape), torch.ones(1)
    )
    difference = (moved.noisy_BCTHW - plain.noisy_BCTHW)[0].flatten(1)
    assert (difference.std(1) < 1e-6).all()
    assert 0.2 < difference.mean(1).std() < 0.8


@pytest.mark.parametrize("sampling", ["uniform", "logit_normal"])
def test_both_ends_of_the_timesteps_are_drawn(sampling):
    settings = CogVideoXNoiseConfig(timestep_sampling=sampling)
    assert chosen_timestep(settings, 0.0, 1000) == 0
    assert chosen_timestep(settings, 1 - 2**-53, 1000) == 999
    limited = replace(settings, min_timestep=300, max_timestep=301)
    assert {chosen_timestep(limited, where / 8, 1000) for where in range(8)} == {300, 301}


def test_quantiles_of_timesteps_are_those_of_their_distribution():
    uniform = [chosen_timestep(CogVideoXNoiseConfig(), (k + 0.5) / 1000, 1000) for k in range(1000)]
    assert uniform == list(range(1000))
    middle = CogVideoXNoiseConfig(timestep_sampling="logit_normal", logit_mean=-0.4, logit_std=0.7)
    # One deviation above the mean is the quantile 0.8413.
    assert chosen_timestep(middle, 0.5, 1000) == int(1000 / (1 + math.exp(0.4)))
    assert chosen_timestep(middle, 0.841344746, 1000) == int(1000 / (1 + math.exp(-0.3)))


@pytest.mark.parametrize(("low", "high"), [(500, 400), (0, 1000), (1000, 0)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(ConfigError, match="min_timestep"):
        timestep_range(CogVideoXNoiseConfig(min_timestep=low, max_timestep=high), 1000)


def test_buckets_spread_the_timesteps_of_an_epoch():
    settings = replace(NOTHING_LEFT_OUT, num_timestep_buckets=10)
    timesteps = objective_of(CONFIG, settings).example(batch_of(items(40))).timestep_B
    counts = torch.bincount(timesteps // 100, minlength=10)
    assert counts.tolist() == [4] * 10


def test_min_snr_is_that_of_velocities():
    settings = CogVideoXNoiseConfig(weighting="min_snr", min_snr_gamma=5.0)
    for alpha in (0.999, 0.9, 0.5, 0.01):
        ratio = alpha / (1 - alpha)
        assert loss_weight(settings, alpha) == pytest.approx(min(ratio, 5.0) / (ratio + 1))
    assert loss_weight(settings, 0.0) == 0
    assert loss_weight(CogVideoXNoiseConfig(), 0.3) == 1


def test_an_image_is_in_the_frame_that_is_put_in_front_and_in_no_other():
    image = torch.rand(1, 16, 1, 2, 2) + 1
    channels = channels_of(Layout.IMAGE, image_scale=0.7)
    objective = objective_of(replace(SECOND, in_channels=32, ofs_embed_dim=8), channels=channels)
    tensors = items(1, image_latents=image)
    example = objective.example(batch_of(tensors))
    shown = example.conditions.image_BCTHW
    assert shown.shape == example.noisy_BCTHW.shape == (1, 16, 4, 2, 2)
    assert torch.equal(shown[:, :, :1], image)
    assert (shown[:, :, 1:] == 0).all()
    assert example.conditions.ofs_B.tolist() == [2.0]
    asked = objective.example(batch_of(tensors), torch.ones(1)).target_BCTHW
    assert torch.equal(asked[:, :, 0], asked[:, :, 1])


@pytest.mark.parametrize(
    ("layout", "message"),
    [(Layout.CONTROL, "no control clip"), (Layout.IMAGE, "no first frame")],
    ids=["control", "image"],
)
def test_an_item_without_what_the_model_reads_is_named(layout, message):
    objective = objective_of(replace(CONFIG, in_channels=32), channels=channels_of(layout))
    with pytest.raises(FileError, match=rf"^clip 0: holds {message}"):
        objective.example(batch_of(items(2)))


def test_images_without_noise_are_encoded_as_they_are():
    recorder = Recorder()
    channels = channels_of(Layout.IMAGE, space=recorder)
    objective = objective_of(replace(CONFIG, in_channels=32), channels=channels)
    picture = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    objective.example(batch_of(items(1, first_frame=picture)))
    torch.testing.assert_close(recorder.pixels[:, :, 0], picture / 127.5 - 1)
