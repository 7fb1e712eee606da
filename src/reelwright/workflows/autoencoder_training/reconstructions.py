"""How well held-out clips come back: measured the same way each time, and shown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reelwright.core.events import Event, FileSaved, StageStarted
from reelwright.media.contact_sheet import Cell, draw_sheet, evenly_spaced, thumbnail
from reelwright.media.frame_quality import flicker, psnr, ssim
from reelwright.media.image_ops import write_png
from reelwright.protocols.autoencoder_train_configs import AutoencoderValidationConfig
from reelwright.protocols.autoencoder_training import LearningAutoencoder
from reelwright.workflows.autoencoder_training.held_out import HeldOutClip
from reelwright.workflows.autoencoder_training.network import AutoencoderNetwork
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import Moment, Setting
from reelwright.workflows.training.showing import as_shown

RECONSTRUCTIONS = "reconstructions"
"""Within a run: a picture for each step at which clips were judged."""
_NUM_SHOWN, _COLUMNS, _WIDTH = 4, 6, 160
"""Clips in a picture, frames of each, and pixels of a frame's width."""
_MEASURES: Mapping[str, Callable[[Tensor, Tensor], float]] = {"psnr": psnr, "ssim": ssim, "flicker": flicker}


class Reconstructions:
    """Gives back each clip from the means of its latents; the measures are means over the clips."""

    def __init__(
        self,
        setting: Setting,
        config: AutoencoderValidationConfig,
        metrics: Metrics,
        open_clips: Callable[[], Iterable[HeldOutClip]],
    ) -> None:
        self._setting = setting
        self._config = config
        self._metrics = metrics
        self._open_clips = open_clips
        self._last_step = -1

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.step == self._last_step or not self._is_due(moment):
            return
        yield StageStarted("validate")
        rows: list[list[Cell]] = []
        values: dict[str, list[float]] = {name: [] for name in _MEASURES}
        with as_shown(self._setting):
            for clip in self._open_clips():
                pair = as_shares(clip.values[0]), as_shares(self._copy(clip.values)[0])
                for name, measure in _MEASURES.items():
                    values[name].append(measure(*pair))
                if self._config.picture and len(rows) < 2 * _NUM_SHOWN:
                    rows += _rows(pair, f"{values['psnr'][-1]:.1f} dB")
        self._last_step = moment.step
        means = {f"validation_{name}": sum(each) / len(each) for name, each in values.items() if each}
        self._metrics.write({"step": moment.step, **means})
        yield self._metrics.tell(moment, means)
        if rows and self._setting.is_main:
            path = self._setting.folder / RECONSTRUCTIONS / f"step-{moment.step:08d}.png"
            write_picture(rows, path)
            yield FileSaved("reconstructions", str(path))

    def state(self) -> dict[str, Any]:
        return {"last_step": self._last_step}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last_step = state["last_step"]

    def _is_due(self, moment: Moment) -> bool:
        every = self._config.every_steps
        if moment.step == 0:
            return self._config.at_start
        return every > 0 and (moment.step % every == 0 or moment.is_last)

    def _copy(self, values_BCFHW: Tensor) -> Tensor:
        network = self._setting.accelerator.unwrap_model(self._setting.network)
        assert isinstance(network, AutoencoderNetwork)
        autoencoder = cast("LearningAutoencoder", network.autoencoder)
        latents = autoencoder.encode(values_BCFHW.to(self._setting.accelerator.device)).mean
        return autoencoder.decode(latents).cpu()


def as_shares(values_CFHW: Tensor) -> Tensor:
    """Values in [-1, 1], and whatever networks make beyond, as shares of full brightness."""
    return ((values_CFHW + 1) / 2).clamp(0, 1)


def write_picture(rows: Sequence[Sequence[Cell]], path: Path) -> None:
    """Rows of frames; shorter ones are filled up with their last frame."""
    columns = max(map(len, rows))
    cells = [row[min(index, len(row) - 1)] for row in rows for index in range(columns)]
    path.parent.mkdir(exist_ok=True)
    write_png(path, draw_sheet(cells, columns))


def _rows(pair: tuple[Tensor, Tensor], said: str) -> list[list[Cell]]:
    """Frames of the original, and below them those of its copy."""
    shown = evenly_spaced(pair[0].shape[1], _COLUMNS)
    words = ("original", said)
    return [
        [Cell(picture=_picture(clip_CFHW[:, index]), left=word) for index in shown]
        for clip_CFHW, word in zip(pair, words, strict=True)
    ]


def _picture(frame_CHW: Tensor) -> Image.Image:
    pixels = (frame_CHW * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return thumbnail(Image.fromarray(np.asarray(pixels)), _WIDTH)
