"""How much of a step's loss is chance: timesteps drawn freely, in buckets, or by explicit uniform sampling.

python benchmarks/explicit_uniform.py docs/images/explicit-uniform.png

The denoiser knows how far its latents spread and nothing else, so that its loss at every timestep is known:
what is measured is the choice of timesteps alone. The curves are standard deviations of the mean loss of
steps with 1 to 128 items, over its mean.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reelwright.diffusion.timestep_sampling import strata_of_places
from reelwright.families.cogvideox.config import CogVideoXNoiseConfig, SchedulerConfig
from reelwright.families.cogvideox.noising import chosen_timestep
from reelwright.families.cogvideox.schedule import training_alphas
from reelwright.media.contact_sheet import BACKGROUND, INK, sheet_font
from reelwright.media.image_ops import write_png

Floats = NDArray[np.float64]

SPREAD = 0.5
"""Standard deviation of the latents."""
NUM_STEPS = 400
STEP_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
WAYS = {
    "drawn freely": (CogVideoXNoiseConfig(), (148, 163, 184)),
    "num_timestep_buckets = 10": (CogVideoXNoiseConfig(num_timestep_buckets=10), (251, 146, 60)),
    "explicit_uniform": (CogVideoXNoiseConfig(explicit_uniform=True), (96, 165, 250)),
}
LEAST, MOST = 1e-3, 1.0
WIDTH, HEIGHT, MARGIN = 560, 320, 48


def losses_by_timestep() -> Floats:
    """What is left of a velocity's variance when its noisy latents are known."""
    signal = training_alphas(SchedulerConfig()).numpy()
    return SPREAD**2 / (signal * SPREAD**2 + 1.0 - signal)


def deviation(settings: CogVideoXNoiseConfig, num_items: int, losses: Floats) -> float:
    """Of the mean loss of a step, over that of all."""
    count = num_items * NUM_STEPS
    drawn = np.random.default_rng(num_items).random(count)
    strata = strata_of_places(settings, range(count), count, epoch=0, seed=0)
    where = [own if stratum is None else stratum.at(own) for stratum, own in zip(strata, drawn, strict=True)]
    timesteps = [chosen_timestep(settings, each, len(losses)) for each in where]
    means = losses[timesteps].reshape(NUM_STEPS, num_items).mean(1)
    return float(means.std() / losses.mean())


def draw(curves: dict[str, list[float]]) -> Image.Image:
    """Both axes are logarithmic."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    canvas, font = ImageDraw.Draw(image), sheet_font()
    canvas.text((MARGIN, 10), "deviation of the mean loss of a step, by its items", INK, font=font)
    for level in (1.0, 0.1, 0.01, 0.001):
        y = _height_of(level)
        canvas.line((MARGIN, y, WIDTH - MARGIN, y), (71, 85, 105))
        canvas.text((MARGIN - 4, y), f"{level:.1%}", INK, font=font, anchor="rm")
    for number, size in enumerate(STEP_SIZES):
        canvas.text((_place_of(number), HEIGHT - MARGIN + 8), str(size), INK, font=font, anchor="mt")
    for row, (name, (_, color)) in enumerate(WAYS.items()):
        points = [(_place_of(number), _height_of(value)) for number, value in enumerate(curves[name])]
        canvas.line(points, color, width=2)
        canvas.text((MARGIN + 8, HEIGHT - MARGIN - 52 + 16 * row), name, color, font=font)
    return image


def _place_of(number: int) -> float:
    return MARGIN + 12 + number * (WIDTH - 2 * MARGIN - 24) / (len(STEP_SIZES) - 1)


def _height_of(value: float) -> float:
    share = (np.log(MOST) - np.log(max(value, LEAST))) / np.log(MOST / LEAST)
    return 36 + share * (HEIGHT - MARGIN - 36)


def main(picture: Path) -> None:
    losses = losses_by_timestep()
    curves = {
        name: [deviation(settings, size, losses) for size in STEP_SIZES]
        for name, (settings, _) in WAYS.items()
    }
    for name, values in curves.items():
        told = "  ".join(f"{size}: {value:.2%}" for size, value in zip(STEP_SIZES, values, strict=True))
        print(f"{name:26} {told}")
    write_png(picture, draw(curves))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
