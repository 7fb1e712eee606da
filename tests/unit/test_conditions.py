"""What the denoiser reads beside noise: positions, text, and latents of images and clips."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelwright.families.cogvideox.checkpoints import Layout
from reelwright.families.cogvideox.conditions import (
    Conditions,
    chosen_rope_grid,
    fit_grid,
    pad_front,
    position_conditions,
    rotary_positions,
)
from reelwright.families.cogvideox.config import TRANSFORMERS, CogVideoXGenerate, TransformerConfig
from reelwright.families.cogvideox.image_conditions import image_conditions
from reelwright.families.cogvideox.requests import CogVideoXRequest
from reelwright.nn.embeddings import sincos_position_table
from reelwright.nn.posterior import Posterior

SCALE = 0.7
BASE = (30, 45)
sides = st.integers(1, 120)


def angles_of(variant: str, grid, rope_grid: str = "exact"):
    """The first angle of each axis, which is the position itself (modulo a turn): frames, rows, columns."""
    table = rotary_positions(TRANSFORMERS[variant], grid, rope_grid).view(*grid, 32)
    return table[:, 0, 0, 0], table[0, :, 0, 8], table[0, 0, :, 20]


def assert_at(rotations: torch.Tensor, positions: list[float]):
    angles = torch.tensor(positions, dtype=torch.float64)
    torch.testing.assert_close(rotations.real.double(), angles.cos(), atol=2e-5, rtol=0)
    torch.testing.assert_close(rotations.imag.double(), angles.sin(), atol=2e-5, rtol=0)


@given(sides, sides)
def test_a_grid_is_fitted_into_the_base_and_keeps_its_aspect(height, width):
    (top, left), (bottom, right) = fit_grid((height, width), BASE)
    assert bottom - top == BASE[0] or right - left == BASE[1]
    assert 0 <= top <= bottom <= BASE[0]
    assert 0 <= left <= right <= BASE[1]
    # Sides are rounded to whole cells.
    assert abs((bottom - top) * width - (right - left) * height) <= 0.5 * max(height, width)
    assert abs(top - (BASE[0] - bottom)) <= 1
    assert abs(left - (BASE[1] - right)) <= 1


def test_at_the_training_size_positions_are_integers_in_every_reading():
    for rope_grid in ("exact", "released", "integer"):
        frames, rows, columns = angles_of("5b", (13, 30, 45), rope_grid)
        assert_at(frames, list(range(13)))
        assert_at(rows, list(range(30)))
        assert_at(columns, list(range(45)))


def test_other_aspects_are_spread_over_their_box_without_its_end():
    frames, rows, columns = angles_of("5b", (3, 30, 30))
    assert_at(frames, [0, 1, 2])
    assert_at(rows, list(range(30)))
    # 30 columns in the middle 30 of 45, which begin at round(7.5) = 8.
    assert_at(columns, [8 + i for i in range(30)])
    _, rows, _ = angles_of("5b", (1, 15, 45))
    assert_at(rows, [8 + i for i in range(15)])


def test_the_released_spacing_takes_too_small_a_step_away_from_the_edge():
    _, _, columns = angles_of("5b", (1, 30, 30), "released")
    last = 38 * 29 / 30
    assert_at(columns, [8 + i * (last - 8) / 29 for i in range(30)])


def test_plain_integers_are_had_on_request():
    _, rows, columns = angles_of("5b", (1, 50, 20), "integer")
    assert_at(rows, list(range(50)))
    assert_at(columns, list(range(20)))


@pytest.mark.parametrize("grid", [(11, 48, 85), (11, 85, 48), (21, 100, 20)])
def test_1_5_counts_integers_at_any_size_portrait_too(grid):
    for rotations, count in zip(angles_of("1.5-5b", grid), grid, strict=True):
        assert_at(rotations, list(range(count)))


def test_each_layout_gets_the_positions_it_was_trained_with():
    grid = (13, 60, 90)
    sinusoidal = position_conditions(TRANSFORMERS["2b"], grid)
    assert list(sinusoidal) == ["positions_LD"]
    expected = sincos_position_table(1920, (13, 30, 45), spatial_scale=1.875)
    assert torch.equal(sinusoidal["positions_LD"], expected)
    assert position_conditions(TRANSFORMERS["5b"], grid)["rotary_LK"].shape == (13 * 30 * 45, 32)
    assert list(position_conditions(TRANSFORMERS["5b-i2v"], grid)) == ["rotary_LK"]
    # Two latent frames make one token in 1.5.
    assert position_conditions(TRANSFORMERS["1.5-5b"], (22, 96, 170))["rotary_LK"].shape == (
        11 * 48 * 85,
        32,
    )


def test_both_halves_of_a_guided_call_share_all_but_the_text():
    positive, negative = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    image = torch.randn(1, 16, 2, 4, 4)
    both = Conditions(text_BLD=positive, image_BCTHW=image, ofs_B=torch.tensor([2.0])).with_negative(negative)
    assert torch.equal(both.text_BLD, torch.cat([negative, positive]))
    assert both.image_BCTHW is not None
    assert torch.equal(both.image_BCTHW, torch.cat([image, image]))
    assert both.ofs_B is not None
    assert both.ofs_B.tolist() == [2.0, 2.0]


def test_rotations_keep_their_precision_when_conditions_change_format():
    conditions = Conditions(
        text_BLD=torch.randn(1, 4, 8),
        rotary_LK=torch.polar(torch.ones(3, 2), torch.randn(3, 2)),
        positions_LD=torch.randn(3, 8),
        ofs_B=torch.tensor([2.0]),
    ).to(torch.device("cpu"), torch.bfloat16)
    assert conditions.text_BLD.dtype == torch.bfloat16
    assert conditions.positions_LD.dtype == torch.bfloat16
    assert conditions.rotary_LK.dtype == torch.complex64
    assert conditions.ofs_B.dtype == torch.float32
    assert conditions.image_BCTHW is None


def test_frames_put_in_front_are_copies_of_the_first():
    latents = torch.arange(6.0).view(1, 1, 3, 1, 2)
    assert torch.equal(pad_front(latents, 0), latents)
    assert pad_front(latents, 2)[0, 0, :, 0, 0].tolist() == [0.0, 0.0, 0.0, 2.0, 4.0]


class SampledSpace:
    """Latents are every eighth pixel of every fourth frame, without spread."""

    scale = SCALE
    autoencoder = SimpleNamespace(
        temporal_stride=4, spatial_stride=8, config=SimpleNamespace(latent_channels=16)
    )

    def encode(self, pixels_BCFHW: torch.Tensor) -> Posterior:
        cells = pixels_BCFHW[:, :1, ::4, ::8, ::8].expand(-1, 16, -1, -1, -1)
        return Posterior(torch.cat([cells, torch.full_like(cells, -1e9)], dim=1))


def channels_of(layout: Layout, *, num_frames=9, num_latents=3, scale="scaled", **inputs) -> torch.Tensor:
    config = CogVideoXGenerate(num_frames=num_frames, height=16, width=24, image_latent_scale=scale)
    request = CogVideoXRequest(config=config, **inputs)
    channels = image_conditions(layout, request, SampledSpace(), torch.manual_seed(0), num_latents)
    assert channels is not None
    assert channels.shape[2:] == (num_latents, 2, 3)
    return channels


def plain(level: float) -> torch.Tensor:
    return torch.full((3, 16, 24), level)


def levels(channels: torch.Tensor) -> list[float]:
    """One value for each latent frame, which must be plain."""
    frames = channels[0].transpose(0, 1).flatten(1)
    assert (frames.amax(1) - frames.amin(1)).max() < 1e-5
    return frames.mean(1).tolist()


def test_text_models_read_nothing_beside_noise():
    request = CogVideoXRequest(config=CogVideoXGenerate())
    assert image_conditions(Layout.TEXT, request, SampledSpace(), torch.Generator(), 3) is None


@pytest.mark.parametrize(("scale", "factor"), [("raw", 1.0), ("scaled", SCALE), ("inverse", 1 / SCALE)])
def test_an_image_stands_in_the_first_latent_frame_and_zeros_follow(scale, factor):
    channels = channels_of(Layout.IMAGE, scale=scale, first_image_CHW=plain(0.5))
    assert channels.shape[1] == 16
    assert levels(channels) == pytest.approx([0.5 * factor, 0, 0], abs=1e-5)


def test_an_end_image_stands_in_the_last_latent_frame():
    channels = channels_of(Layout.IMAGE, scale="raw", first_image_CHW=plain(0.5), last_image_CHW=plain(-0.25))
    assert levels(channels) == pytest.approx([0.5, 0, -0.25], abs=1e-5)


def test_a_frame_put_in_front_holds_the_image_and_no_other_does():
    channels = channels_of(Layout.IMAGE, scale="raw", num_latents=4, first_image_CHW=plain(0.5))
    assert levels(channels) == pytest.approx([0.5, 0, 0, 0], abs=1e-5)


def test_a_control_clip_is_its_mean_latent_scaled():
    clip = torch.linspace(-1, 1, 9).view(1, 1, 9, 1, 1).expand(1, 3, 9, 16, 24)
    channels = channels_of(Layout.CONTROL, clip_BCFHW=clip)
    assert levels(channels) == pytest.approx([-SCALE, 0.0, SCALE], abs=1e-5)


def test_inpainting_reads_a_mask_and_a_clip_that_is_black_where_nothing_is_known():
    channels = channels_of(Layout.INPAINT, first_image_CHW=plain(0.5), last_image_CHW=plain(0.25))
    assert channels.shape[1] == 17
    assert levels(channels[:, :1]) == pytest.approx([SCALE, 0, 0], abs=1e-5)
    assert levels(channels[:, 1:]) == pytest.approx([0.5 * SCALE, -SCALE, 0.25 * SCALE], abs=1e-5)


def test_inpainting_from_text_alone_reads_zeros():
    channels = channels_of(Layout.INPAINT)
    assert channels.shape[1] == 17
    assert not channels.any()


@pytest.mark.parametrize(("variant", "own"), [("5b", (30, 45)), ("1.5-5b", (48, 85))])
def test_fitted_positions_spread_over_the_models_own_grid_and_are_integers_there(variant, own):
    rows, columns = own
    _, *places = angles_of(variant, (1, *own), "fitted")
    assert_at(places[0], list(range(rows)))
    assert_at(places[1], list(range(columns)))
    _, *places = angles_of(variant, (1, 2 * rows, 2 * columns), "fitted")
    assert_at(places[0], [row / 2 for row in range(2 * rows)])
    assert_at(places[1], [column / 2 for column in range(2 * columns)])


def test_sines_are_fitted_as_rotations_are_and_counted_on_otherwise():
    config = TRANSFORMERS["2b"]
    wide = (1, 120, 180)
    fitted = position_conditions(config, wide, "fitted")["positions_LD"].view(60, 90, -1)
    own = position_conditions(config, (1, 60, 90))["positions_LD"].view(30, 45, -1)
    assert torch.equal(fitted[::2, ::2], own)
    counted = position_conditions(config, wide, "integer")["positions_LD"].view(60, 90, -1)
    assert torch.equal(counted[:30, :45], own)
    assert torch.equal(counted, position_conditions(config, wide)["positions_LD"].view(60, 90, -1))


def test_a_model_is_used_as_it_was_trained_unless_told_otherwise():
    trained = TransformerConfig.from_json({"rope_grid": "integer"}, "config.json")
    assert [chosen_rope_grid(name, trained) for name in ("auto", "exact")] == ["integer", "exact"]
    assert trained.to_json("T")["rope_grid"] == "integer"
    assert "rope_grid" not in TransformerConfig().to_json("T")
