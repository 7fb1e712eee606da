"""Small cached data sets to train on, and what a run left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reelwright.cli.main import main
from reelwright.media.video_writer import write_mp4

RATES = {"framepack": 30.0, "cogvideox": 8.0}
FRAMES = {"framepack": 21, "cogvideox": 9}
SIDE = 64


def make_data(
    folder: Path,
    family: str,
    *,
    count: int = 4,
    batch_size: int = 1,
    model: str = "tiny",
    words: tuple[str, ...] = (),
) -> Path:
    """A file of data sets with some clips of a wandering square, encoded for a model.

    words: more of the command that encodes the clips.
    """
    clips = folder / "clips"
    draw_clips(clips, FRAMES[family], fps=RATES[family], count=count)
    window = "fp_latent_window_size = 2\n" if family == "framepack" else ""
    file = folder / "data.toml"
    file.write_text(
        f'[general]\nresolution = [{SIDE}, {SIDE}]\ncaption_extension = ".txt"\nbatch_size = {batch_size}\n'
        f'[[datasets]]\nvideo_directory = "{clips}"\ncache_directory = "{folder / "cache"}"\n{window}'
    )
    for kind, more in (("latents", words), ("text", ())):
        line = ["cache", kind, family, "--dataset", str(file), "--model", model, *more, "--quiet"]
        assert main(line) == 0
    return file


def draw_clips(folder: Path, num_frames: int, *, fps: float, count: int = 4) -> None:
    """Clips of a wandering square with captions."""
    folder.mkdir(parents=True)
    for number in range(count):
        draw = np.random.default_rng(number)
        frames = np.full((num_frames, SIDE, SIDE, 3), draw.integers(0, 200, 3), np.uint8)
        for index, frame in enumerate(frames):
            left = (7 * number + index) % 40
            frame[20:36, left : left + 16] = (40 * number % 256, 200, 90)
        write_mp4(folder / f"clip_{number}.mp4", [torch.from_numpy(frames)], fps=fps)
        (folder / f"clip_{number}.txt").write_text(f"a square numbered {number}")


def losses_of(run: Path) -> list[float]:
    """The loss of each step, in order."""
    return [line["loss"] for line in lines_of(run) if "loss" in line]


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights_of(run: Path) -> dict[str, bytes]:
    """Name -> content of every saved file of weights."""
    found = [*run.glob("*.safetensors"), *run.glob("*/diffusion_pytorch_model*.safetensors")]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}
