"""Clips made while training goes on, beside those of the untrained model."""

import logging
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.dataclasses import DistributedType
from PIL import Image

from reelwright.core.errors import ConfigError, UserError
from reelwright.core.events import ClipFailed, ClipFinished, Event, FileSaved, Notice
from reelwright.media.image_ops import write_png
from reelwright.media.sheet_page import Row, draw_page
from reelwright.protocols.family import Family, Model, Request, Session
from reelwright.protocols.train_configs import TrainConfig
from reelwright.protocols.training import Sampling, Training, TrainingModel
from reelwright.workflows.clips.files import ClipFiles
from reelwright.workflows.clips.making import COMPUTING, SECTIONS_FOLDER, Clip, make_clips
from reelwright.workflows.clips.planning import PlannedClip, record_of, with_line
from reelwright.workflows.clips.problems import Problems
from reelwright.workflows.training.sample_prompts import read_sample_prompts
from reelwright.workflows.training.setting import DenoiserSetting, Moment
from reelwright.workflows.training.showing import as_shown, is_shown_now
from reelwright.workflows.training.trackers import track_clip

SAMPLES = "samples"
"""Within a run: a folder for each step at which clips were made."""
UNTRAINED = "untrained"
"""Within samples: the clips of the model as it was before."""
BESIDE = "beside.png"
"""Within a step: each clip below that of the untrained model."""
_logger = logging.getLogger(__name__)
_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """All clips of a sample, decided and their inputs read; nothing is loaded."""

    sampling: Sampling
    model: Model
    clips: Sequence[PlannedClip]
    notices: Sequence[str]

    def encode(self, config: TrainConfig) -> None:
        """Encode texts and pictures while the denoiser is not there yet."""
        self.sampling.encode(self.model, config, [clip.request for clip in self.clips])


def plan_samples(
    family: Family, training: Training, config: TrainConfig, trained: TrainingModel
) -> SamplePlan | None:
    """The clips that the file of prompts asks for; None where there is no such file.

    A prompt without a seed has samples.seed plus its place, from 0. Raises UserError with all that is wrong,
    by line.
    """
    path = config.samples.prompts
    if path is None:
        return None
    base, problems = training.sampling.config(config, trained), Problems()
    file = read_sample_prompts(path, family.name)
    for said in file.problems:
        problems.add(ConfigError(said))
    is_text = path.suffix.lower() not in (".toml", ".json")
    model = training.sampling.locate(base, trained)
    clips: list[PlannedClip] = []
    notices: list[str] = []
    for place, line in enumerate(file.lines):
        origin = f"{path}: {'line' if is_text else 'prompt'} {line.line}"
        with problems.of(origin):
            wanted = with_line(replace(base, seed=config.samples.seed + place), line, origin)
            request = family.resolve(wanted, model)
            clips.append(_planned(family, model, request))
            notices += [f"{origin}: {said}" for said in (*line.notices, *request.notices)]
    problems.raise_all()
    return SamplePlan(sampling=training.sampling, model=model, clips=clips, notices=_each_once(notices))


class Samples:
    """Makes the clips of a plan before the first step, every so often, and at the end.

    In the run's folder: samples/step-00000100/clip-001_seed-42.mp4 (a folder of PNGs for a single frame) with
    its latents and contact sheet, and beside.png, where each is below its like of samples/untrained (which
    are those of step 0, if they were made with nothing learned). What cannot be made is a Notice.
    """

    def __init__(self, setting: DenoiserSetting, plan: SamplePlan) -> None:
        self._setting = setting
        self._config = setting.config.samples
        self._plan = plan
        self._folder = setting.folder / SAMPLES
        self._prompts = {clip.files.stem: clip.plan.config.prompt for clip in self._clips(self._folder)}
        self._base = ""
        self._is_loss_told = False
        self._last_step = -1

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if moment.step == self._last_step or not is_shown_now(moment, self._config):
            return
        accelerator = self._setting.accelerator
        if accelerator.distributed_type in _SHARDED:
            yield Notice(f"step {moment.step}: no clips are made while processes share out the weights.")
        elif accelerator.is_main_process:
            yield from self._make_and_compare(moment.step)
        accelerator.wait_for_everyone()
        self._last_step = moment.step

    def state(self) -> dict[str, Any]:
        return {"last_step": self._last_step, "base": self._base}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last_step, self._base = state["last_step"], state["base"]

    def _make_and_compare(self, step: int) -> Iterator[Event]:
        name = f"step-{step:08d}"
        is_untrained = step == 0 and not self._setting.trainables.change() > 0
        if is_untrained:
            self._base = name
        elif self._config.beside and not self._has_base():
            yield from self._make_untrained(step)
        files = yield from self._make(name, step)
        for stem, made in files.items():
            track_clip(self._setting.accelerator, f"{SAMPLES}/{stem}", made, step)
        if self._config.beside and self._has_base() and files and not is_untrained:
            page = self._folder / name / BESIDE
            write_png(page, draw_page(list(self._rows(name, files))))
            track_clip(self._setting.accelerator, f"{SAMPLES}/beside", {"contact_sheet": str(page)}, step)
        yield FileSaved("samples", str(self._folder / name))

    def _has_base(self) -> bool:
        return bool(self._base) and (self._folder / self._base).is_dir()

    def _make_untrained(self, step: int) -> Iterator[Event]:
        with self._setting.trainables.untrained() as is_untrained:
            if is_untrained:
                yield from self._make(UNTRAINED, step)
                self._base = UNTRAINED
                return
        if not self._is_loss_told:
            self._is_loss_told = True
            yield Notice(
                "samples.beside: clips stand alone: how they were before training is not known any more. To"
                " see it, start with --samples.at-start."
            )

    def _make(self, name: str, step: int) -> Generator[Event, None, dict[str, dict[str, str]]]:
        """Make the clips in a folder of that name; what was made, by the stem of its files' names."""
        folder = self._folder / name
        clips = self._clips(folder)
        made: dict[str, dict[str, str]] = {}
        try:
            with as_shown(self._setting):
                for event in make_clips(self._open_session(), clips):
                    if isinstance(event, ClipFinished):
                        made[clips[event.clip - 1].files.stem] = event.files
                    if isinstance(event, ClipFailed):
                        yield Notice(f"step {step}: clip {event.clip} was not made: {event.message}")
                    elif not isinstance(event, FileSaved):
                        yield event
        except (UserError, *COMPUTING) as error:
            _logger.warning("clips of step %d were not made", step, exc_info=error)
            yield Notice(f"step {step}: clips were not made, training goes on: {error}")
        shutil.rmtree(folder / SECTIONS_FOLDER, ignore_errors=True)
        if self._setting.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        return made

    def _clips(self, folder: Path) -> list[Clip]:
        total = len(self._plan.clips)
        plans = enumerate(self._plan.clips, start=1)
        return [Clip(plan=clip, folder=folder, number=number, total=total) for number, clip in plans]

    def _open_session(self) -> Session:
        """With the denoiser as it is now; what else it loads is gone when its clips are made."""
        denoiser = self._setting.accelerator.unwrap_model(self._setting.denoiser)
        return self._plan.sampling.start(self._plan.model, self._setting.config, denoiser)

    def _rows(self, name: str, files: Mapping[str, Mapping[str, str]]) -> Iterator[Row]:
        """Of each clip, that of the untrained model and the one of now."""
        for stem, made in files.items():
            before = ClipFiles(folder=self._folder / self._base, stem=stem).contact_sheet
            if before.is_file():
                yield Row(picture=_picture(before), lines=[f"{stem}: untrained"])
            prompt = self._prompts[stem]
            yield Row(picture=_picture(Path(made["contact_sheet"])), lines=[f"{stem}: {name}", prompt])


def _planned(family: Family, model: Model, request: Request) -> PlannedClip:
    """A clip whose files do not say how to make it again, as the weights of then are not kept.

    The record beside them tells, when sampling is resumed, that they are the ones that were wanted.
    """
    config, record = request.config, record_of(family, model, request.config, "train")
    kind = "png" if config.num_frames == 1 else config.format
    config = replace(config, format=kind, metadata=False, contact_sheet=True, preview_every=0)
    return PlannedClip(family=family.name, config=config, record=record.to_json(), request=request)


def _each_once(notices: Sequence[str]) -> list[str]:
    """What a letter means is said of the first line that uses it."""
    said = {notice.rpartition(": ")[2]: notice for notice in reversed(notices)}
    return [notice for notice in notices if notice in said.values()]


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")
