"""The golden vectors of the specification (CogVideoX 3 and 11), which were made by running the reference."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler
from torch import Tensor, nn

from reelwright.checkpoint.key_map import KeyMap
from reelwright.diffusion.guidance import guidance_scales
from reelwright.diffusion.process import V_PREDICTION
from reelwright.diffusion.samplers import SAMPLERS
from reelwright.diffusion.schedules import Step, neighbor_steps, released_steps, spaced_timesteps
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.conditions import (
    Conditions,
    fit_grid,
    position_conditions,
    rotary_positions,
)
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    AutoencoderConfig,
    SchedulerConfig,
    TransformerConfig,
)
from reelwright.families.cogvideox.key_maps import DIFFUSERS_AUTOENCODER, DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.latent_space import LatentSpace, released_tiling
from reelwright.families.cogvideox.schedule import training_alphas
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.nn.embeddings import sincos_position_table, sinusoidal_embedding
from reelwright.nn.posterior import Posterior

from .golden import fill_weights, fingerprint, wave

PRINTED = 6e-6
"""The vectors were printed with five decimals."""

AMPLIFIED = 1e-4
"""These sine weights amplify rounding: diffusers' own float32 decoder is 6e-5 from its float64 results."""

TOY = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    time_embed_dim=16,
    text_embed_dim=32,
    max_text_seq_length=8,
    sample_height=6,
    sample_width=10,
    sample_frames=9,
)
ROTARY = replace(TOY, use_rotary_positional_embeddings=True)
LEARNED = replace(ROTARY, in_channels=32, use_learned_positional_embeddings=True)
SECOND = replace(ROTARY, patch_size_t=2)
TRANSFORMER_CASES = {
    "A": (TOY, 3, 64, -0.0543, 2.149824, (-1.68696, -1.9694, -2.06408, -0.85162, -0.27214)),
    "B": (ROTARY, 3, 64, -0.08754, 3.302882, (-2.33016, -4.07941, -2.40667, -2.45002, -1.03598)),
    "C": (LEARNED, 3, 65, -0.08336, 3.1567, (-1.94905, -4.48528, -2.31818, -2.70855, -0.52445)),
    "D": (SECOND, 4, 64, -0.020703, 1.802646, (-1.99656, -1.51659, 1.48775, -2.01049, -2.4715)),
    "E": (
        replace(SECOND, in_channels=32, ofs_embed_dim=16),
        4,
        68,
        -0.012185,
        1.090823,
        (-1.40457, 0.75311, 1.45825, -1.37024, -1.07779),
    ),
}
"""Settings, latent frames, tensors; then mean, deviation and five elements of the output."""

AUTOENCODER = AutoencoderConfig(
    block_out_channels=(8, 16, 16, 32),
    latent_channels=4,
    layers_per_block=1,
    norm_num_groups=4,
    sample_height=96,
    sample_width=80,
)
MEANS = {
    1: (0.076123, 1.965964, (-3.35596, -3.9275, -0.90369, 3.50646, 0.72888)),
    8: (0.066681, 2.271705, (-1.30675, -3.17639, -4.84011, 1.19039, 0.31675)),
    9: (0.053093, 2.14574, (-0.59513, -1.5605, 0.32354, 0.653, 1.54227)),
    17: (0.060925, 1.692534, (-2.38841, -4.60014, -0.39304, 2.23151, 0.266)),
}
"""Of the posterior, by the number of frames."""
LOG_VARIANCE = (-0.03839, 1.676989, (-1.83494, -4.19867, -0.45518, 1.53023, 0.22945))
"""Of the posterior of 17 frames."""
FRAMES = {
    1: (1, 0.076852, 0.3942, (-0.11603, -0.20752, -0.0293, 0.12778, 0.06313)),
    2: (8, 0.033456, 1.251143, (-1.34991, -2.0615, -1.05052, -1.20854, 0.72093)),
    3: (9, 0.073637, 1.223431, (-0.41207, -0.49869, -0.35487, 0.14351, 0.06779)),
    5: (17, 0.027557, 1.722332, (-1.88234, -2.72811, -1.44967, 0.64601, -1.15574)),
}
"""Decoded latents, by their number: frames, mean, deviation, elements."""
TILED_MEAN = (0.07163, 2.18696, (-1.18206, -2.57936, 1.34964, 1.15047, 1.06145))
TILED_FRAMES = (0.080585, 0.106367, (0.04433, -0.00406, 0.11028, 0.19249, 0.07088))

ALPHAS = {
    1.0: (0.99915, 0.99823345, 0.98101046, 0.65245702, 0.24101878, 0.032799118, 1.9678881e-7, 0.0),
    3.0: (0.99745433, 0.99480063, 0.94657298, 0.38905371, 0.095328101, 0.010838902, 6.2307885e-8, 0.0),
}
"""By the SNR shift, at timesteps 0, 1, 19, 250, 500, 750, 998, 999."""
DDIM = {
    1.0: (0.9509, 0.861887, 0.749593, 0.641618, 0.489701),
    3.0: (0.974196, 0.924531, 0.845103, 0.722789, 0.390928),
}
DPM = {
    1.0: (
        (0.058983, -0.3),
        (0.162486, 0.176865),
        (0.213713, 0.169102),
        (0.261218, 0.206605),
        (0.259982, 0.259982),
    ),
    3.0: (
        (0.07682, -0.3),
        (0.149274, 0.16698),
        (0.194569, 0.154507),
        (0.236273, 0.175322),
        (0.223895, 0.223895),
    ),
}
"""Latents and clean latents after each of five steps from 1.0, by the SNR shift."""


def filled(network: nn.Module, layout: KeyMap) -> nn.Module:
    """The network with the weights by formula, which goes by the sorted names of the released files."""
    shapes = {name: tensor.shape for name, tensor in layout.to_file(network.state_dict()).items()}
    network.load_state_dict(layout.to_ours(fill_weights(shapes)))
    return network.eval()


def check(output: Tensor, mean: float, deviation: float, elements, *, tolerance: float):
    """Means are printed with more digits and average rounding away."""
    found_mean, found_deviation, found_elements = fingerprint(output)
    assert found_mean == pytest.approx(mean, abs=PRINTED)
    assert found_deviation == pytest.approx(deviation, abs=PRINTED)
    assert found_elements == pytest.approx(elements, abs=tolerance)


@pytest.mark.parametrize("case", TRANSFORMER_CASES)
@torch.no_grad()
def test_the_toy_transformer_gives_the_golden_vector(case):
    config, num_frames, num_tensors, mean, deviation, elements = TRANSFORMER_CASES[case]
    network = filled(CogVideoXTransformer(config), DIFFUSERS_TRANSFORMER)
    assert len(DIFFUSERS_TRANSFORMER.to_file(network.state_dict())) == num_tensors
    positions = position_conditions(config, (num_frames, 6, 10))
    if config.use_rotary_positional_embeddings and config.patch_size_t is None:
        # These were made with the base grid of the released models, as diffusers cuts it.
        released = replace(config, sample_height=60, sample_width=90)
        positions = {"rotary_LK": rotary_positions(released, (num_frames, 3, 5), "released")}
    latents = wave((1, num_frames, config.in_channels, 6, 10), 0.013).transpose(1, 2)
    conditions = Conditions(
        text_BLD=wave((1, 8, 32), 0.017, cosine=True),
        image_BCTHW=latents[:, 16:] if config.condition_channels else None,
        ofs_B=torch.tensor([2.0]) if config.ofs_embed_dim else None,
        **positions,
    )
    velocity = network(latents[:, :16], torch.tensor([601]), conditions).transpose(1, 2)
    check(velocity, mean, deviation, elements, tolerance=2 * PRINTED)


def test_the_released_crop_of_the_position_grid_is_spaced_as_recorded():
    assert fit_grid((3, 5), (30, 45)) == ((2, 0), (29, 45))
    config = replace(ROTARY, sample_height=60, sample_width=90)
    angles = rotary_positions(config, (1, 3, 5), "released").view(3, 5, 32).angle()
    # The first rotation of each axis turns by the position itself.
    rows, columns = angles[:, 0, 8], angles[0, :, 20]
    recorded_rows = torch.tensor([2 + i * (29 * 2 / 3 - 2) / 2 for i in range(3)])
    recorded_columns = torch.tensor([0.0, 9.0, 18.0, 27.0, 36.0])
    torch.testing.assert_close(rows.cos(), recorded_rows.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(columns.sin(), recorded_columns.sin(), atol=1e-5, rtol=0)
    exact = rotary_positions(config, (1, 3, 5)).view(3, 5, 32).angle()[:, 0, 8]
    torch.testing.assert_close(exact.cos(), torch.tensor([2.0, 11.0, 20.0]).cos(), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def autoencoder() -> CogVideoXAutoencoder:
    network = filled(CogVideoXAutoencoder(AUTOENCODER), DIFFUSERS_AUTOENCODER)
    assert len(network.state_dict()) == 244
    return network.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("num_frames", MEANS)
def test_the_toy_encoder_gives_the_golden_vector(autoencoder, num_frames):
    posterior = autoencoder.encode(wave((1, 3, num_frames, 32, 48), 0.013), first_frame=num_frames != 8)
    assert posterior.mean.shape == (1, 4, (num_frames + 3) // 4, 4, 6)
    check(posterior.mean, *MEANS[num_frames], tolerance=AMPLIFIED)
    if num_frames == 17:
        check(posterior.log_variance, *LOG_VARIANCE, tolerance=AMPLIFIED)


@pytest.mark.parametrize("num_latents", FRAMES)
def test_the_toy_decoder_gives_the_golden_vector(autoencoder, num_latents):
    num_frames, *golden = FRAMES[num_latents]
    frames = autoencoder.decode(wave((1, 4, num_latents, 4, 6), 0.11), first_frame=num_latents != 2)
    assert frames.shape == (1, 3, num_frames, 32, 48)
    check(frames, *golden, tolerance=AMPLIFIED)


def test_the_toy_autoencoder_in_tiles_gives_the_golden_vectors(autoencoder):
    tiling = released_tiling(AUTOENCODER)
    assert (tiling.height, tiling.width) == (6, 5)
    space = LatentSpace(autoencoder=autoencoder, tiling=tiling)
    posterior: Posterior = space.encode(wave((1, 3, 9, 64, 64), 0.013))
    assert posterior.mean.shape == (1, 4, 3, 8, 8)
    check(posterior.mean, *TILED_MEAN, tolerance=AMPLIFIED)
    frames = torch.cat(list(space.decode(wave((1, 4, 3, 8, 8), 0.11) * space.scale)))
    assert frames.shape == (9, 64, 64, 3)
    pixels = frames.permute(3, 0, 1, 2) / 127.5 - 1
    mean, deviation, elements = TILED_FRAMES
    # Decoded clips are bytes: a step is 2/255.
    assert pixels.mean().item() == pytest.approx(mean, abs=1e-3)
    assert pixels.std().item() == pytest.approx(deviation, abs=1e-3)
    assert fingerprint(pixels)[2] == pytest.approx(elements, abs=1 / 255 + AMPLIFIED)


def test_timesteps_are_embedded_as_recorded():
    embedding = sinusoidal_embedding(torch.tensor([601]), 1920)[0]
    recorded = (-0.576953, -0.070275, 0.99816, -0.816777, -0.997528, 0.060642)
    # At 601 radians float32 knows an angle to 3e-5.
    assert embedding[[0, 1, 959, 960, 961, 1919]].tolist() == pytest.approx(recorded, abs=3e-5)


def test_sinusoidal_positions_are_as_recorded():
    table = sincos_position_table(1920, (13, 30, 45), spatial_scale=1.875).view(13, 30, 45, 1920)
    columns = [0, 1, 240, 480, 481, 840, 1200, 1201, 1560]
    recorded = {
        (1, 2, 3): (
            *(0.841471, 0.820537, 0.540302),
            *(0.999574, 0.999937, -0.0292, 0.875595, 0.862264, 0.483046),
        ),
        (12, 29, 44): (
            *(-0.536573, -0.851145, 0.843854),
            *(-0.995465, -0.772492, -0.095134, 0.238962, 0.590745, -0.971029),
        ),
    }
    for place, values in recorded.items():
        assert table[place][columns].tolist() == pytest.approx(values, abs=1e-6)


def test_rotary_positions_are_as_recorded():
    table = rotary_positions(TRANSFORMERS["5b"], (13, 30, 45)).view(13, 30, 45, 32)[5, 7, 11]
    dims = [0, 2, 15, 16, 18, 39, 40, 42, 63]
    angles = table[[dim // 2 for dim in dims]]
    cosines = (0.283662, -0.010342, 0.999999, 0.753902, -0.994225, 0.999999, 0.004426, 0.383293, 0.999997)
    sines = (-0.958924, 0.999947, 0.001581, 0.656987, -0.107312, 0.001508, -0.99999, -0.923627, 0.00237)
    assert angles.real.tolist() == pytest.approx(cosines, abs=2e-6)
    assert angles.imag.tolist() == pytest.approx(sines, abs=2e-6)


@pytest.mark.parametrize("shift", ALPHAS)
def test_the_noise_schedule_is_as_recorded(shift):
    alphas = training_alphas(SchedulerConfig(snr_shift_scale=shift))
    assert alphas[[0, 1, 19, 250, 500, 750, 998, 999]].tolist() == pytest.approx(ALPHAS[shift], rel=2e-7)
    assert alphas[999] == 0


def walk(name: str, steps: list[Step]) -> list[tuple[float, float]]:
    """Latents and clean latents after each step from 1.0, where the network says v = 0.5 x - 0.2."""

    def predict_x0(latents: Tensor, step: Step) -> Tensor:
        return V_PREDICTION.predict_x0(latents, 0.5 * latents - 0.2, step.level)

    noise: Callable[[], Tensor] = lambda: torch.tensor(0.1, dtype=torch.float64)  # noqa: E731
    start = torch.tensor(1.0, dtype=torch.float64)
    return [
        (state.latents.item(), state.x0.item()) for state in SAMPLERS[name](predict_x0, start, steps, noise)
    ]


@pytest.mark.parametrize("shift", DDIM)
@pytest.mark.parametrize("linked", ["neighbor", "released"])
def test_the_samplers_step_as_recorded(shift, linked):
    alphas = training_alphas(SchedulerConfig(snr_shift_scale=shift))
    timesteps = spaced_timesteps(5, "trailing")
    assert timesteps == [999, 799, 599, 399, 199]
    linked_steps = {
        "neighbor": neighbor_steps(alphas, timesteps),
        "released": released_steps(alphas, timesteps, 5),
    }
    steps = linked_steps[linked]
    assert [latents for latents, _ in walk("ddim", steps)] == pytest.approx(DDIM[shift], abs=1e-6)
    for found, recorded in zip(walk("dpm", steps), DPM[shift], strict=True):
        assert found == pytest.approx(recorded, abs=1e-6)


def test_the_released_wave_of_guidance_is_as_recorded():
    timesteps = spaced_timesteps(50, "trailing")
    scales = guidance_scales("legacy", 6.0, timesteps, 50)
    recorded = (2.29, 2.54, 6.97, 6.42, 2.79, 4.27, 1.04, 4.17, 1.62, 6.98, 1.00, 2.87)
    assert scales[:12] == pytest.approx(recorded, abs=0.0051)
    assert scales[-1] == pytest.approx(1.0, abs=0.4)
    assert all(1 <= scale <= 7 for scale in scales)


def test_timesteps_are_the_released_ones_for_every_number_of_steps():
    scheduler = CogVideoXDDIMScheduler(timestep_spacing="trailing")
    one_too_many = []
    for num_steps in range(1, 1001):
        scheduler.set_timesteps(num_steps)
        listed = scheduler.timesteps.tolist()
        if len(listed) != num_steps:
            one_too_many.append(num_steps)
        assert spaced_timesteps(num_steps, "trailing") == listed[:num_steps]
    assert len(one_too_many) == 62
    assert one_too_many[:3] == [61, 103, 121]


def mismatches(num_steps: int) -> int:
    """Steps before the last that the released arithmetic sends elsewhere than to the next timestep."""
    alphas = training_alphas(SchedulerConfig())
    timesteps = spaced_timesteps(num_steps, "trailing")
    pairs = zip(
        neighbor_steps(alphas, timesteps)[:-1],
        released_steps(alphas, timesteps, num_steps)[:-1],
        strict=True,
    )
    return sum(ours != theirs for ours, theirs in pairs)


def test_the_released_arithmetic_of_previous_timesteps_errs_as_recorded():
    assert mismatches(50) == 0
    assert mismatches(30) == 10
    assert mismatches(60) == 39
    # As listed by the released code, with one too many for some counts.
    last_timesteps = {n: round(float(numpy.arange(1000, 0, -1000 / n)[-1])) - 1 for n in range(1, 1001)}
    never_clean = [n for n, last in last_timesteps.items() if last - 1000 // n >= 0]
    assert len(never_clean) == 372
    assert {6, 7, 11, 13, 15, 17, 18, 19, 24, 28, 35} <= set(never_clean)
    alphas = training_alphas(SchedulerConfig())
    for n in (6, 35, 50):
        timesteps = spaced_timesteps(n, "trailing")
        last = released_steps(alphas, timesteps, n)[-1]
        assert (last.next_level.sigma > 0) == (n in never_clean)
        assert neighbor_steps(alphas, timesteps)[-1].next_level.sigma == 0


@pytest.mark.parametrize(("shift", "most"), [(1.0, 6e-4), (3.0, 1e-3)])
def test_rescaling_over_the_steps_used_differs_as_little_as_recorded(shift, most):
    scheduler = SchedulerConfig(snr_shift_scale=shift)
    used = numpy.linspace(999, 0, 50, endpoint=False).astype(int).tolist()
    table, subset = training_alphas(scheduler)[used], training_alphas(scheduler, used)[used]
    difference = (table.sqrt() - subset.sqrt()).abs().max().item()
    assert difference == pytest.approx(most, rel=0.05)
    assert subset[0] == 0
    assert math.isclose(
        subset[-1], training_alphas(replace(scheduler, rescale_betas_zero_snr=False))[used[-1]]
    )
