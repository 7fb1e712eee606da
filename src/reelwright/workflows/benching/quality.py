"""How near clips came to those of the exact run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from torch import Tensor

from reelwright.checkpoint.latent_files import read_latents
from reelwright.data.judging.steadiness import measure_steadiness
from reelwright.media.frame_quality import psnr, ssim
from reelwright.media.video_reader import read_video


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """Of the clips of a run, the mean unless it says otherwise."""

    psnr: float
    """Decibels against the exact frames; 100 for the same frames."""
    least_psnr: float
    """Of the clip that suffered most."""
    ssim: float
    latent_error: float
    """|latents - exact| / |exact|."""
    drift: float
    """How far brightness or contrast wanders within a clip, in percent of their range."""
    drift_of_exact: float


def compare(clips: Sequence[dict[str, str]], exact: Sequence[dict[str, str]]) -> Nearness:
    """Clips with those that the exact run made of the same prompts, by their files."""
    pairs = [(_frames(clip), _frames(other)) for clip, other in zip(clips, exact, strict=True)]
    decibels = [psnr(frames, others) for frames, others in pairs]
    return Nearness(
        psnr=mean(decibels),
        least_psnr=min(decibels),
        ssim=mean(ssim(frames, others) for frames, others in pairs),
        latent_error=mean(
            _latent_error(read_latents(Path(clip["latent"])), read_latents(Path(other["latent"])))
            for clip, other in zip(clips, exact, strict=True)
        ),
        drift=mean(_drift(frames) for frames, _ in pairs),
        drift_of_exact=mean(_drift(others) for _, others in pairs),
    )


def _latent_error(latents: Tensor, exact: Tensor) -> float:
    return float((latents - exact).double().norm() / exact.double().norm())


def _drift(frames_CFHW: Tensor) -> float:
    frames_FHWC = (255.0 * frames_CFHW).permute(1, 2, 3, 0).numpy().astype(np.float32)
    return measure_steadiness(frames_FHWC).drift


def _frames(clip: dict[str, str]) -> Tensor:
    return read_video(Path(clip["frames"])).permute(3, 0, 1, 2).float() / 255.0
